/// Partitions of a sender, as a strategy has them run: `.sender(adaptive({…}), …)`.
///
/// A worker of the strategy runs one partition after another. The partition's own coroutine runs in slices: the
/// strategy lets it run, and it rests when it has emitted for a while, when it has to wait for room, and at its end. So
/// what the strategy measures is the time that emitting takes without the waiting for room; and it holds a partition by
/// letting it rest.
///
/// Protocol:
///  1. What `Slices` has is guarded by its mutex; `open_` and `begun_` are also read without it, as an event that is a
///     little late for its slice is none.
///  2. A slice is open from `RunOperation` until the partition rests. Who emits when none is open waits for the next.
///  3. `ReadyOperation` ends when somebody waits for a slice, or nothing is left to do. One coroutine at a time, the
///     strategy's, waits in `loop_`.
///  4. Both coroutines of a worker are children of one scope on one home: none is left without the other.
/// tests/stream/sender_adaptive_test.cpp breaks when one of these is broken.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include <weir/core/spawn.hpp>
#include <weir/core/task.hpp>
#include <weir/core/this_task.hpp>
#include <weir/core/with_scope.hpp>
#include <weir/stream/batch.hpp>
#include <weir/stream/detail/emit_hook.hpp>
#include <weir/stream/detail/stream_core.hpp>
#include <weir/stream/detail/stream_waiters.hpp>
#include <weir/stream/emitter.hpp>
#include <weir/stream/sender.hpp>
#include <weir/stream/sender_strategy.hpp>

namespace weir::detail {

class Slices {
 public:
  explicit Slices(const EventClock& clock) noexcept : clock_(clock) {}
  Slices(const Slices&) = delete;
  Slices& operator=(const Slices&) = delete;

  class GrantOperation;
  class ReadyOperation;
  class RunOperation;

  /// Whether who emits has to wait for the next slice first.
  [[nodiscard]] bool over() const noexcept {
    return !open_.load(std::memory_order_relaxed) ||
           clock_.now().time_since_epoch() - begun_.load(std::memory_order_relaxed) >= length;
  }
  /// The partition can't go on by itself.
  void rest() noexcept {
    WakeList wakes;
    const std::lock_guard lock(mutex_);
    rest_locked(wakes);
  }
  /// There are no more partitions.
  void end() noexcept {
    WakeList wakes;
    const std::lock_guard lock(mutex_);
    ended_ = true;
    rest_locked(wakes);
  }

  void count(std::size_t events) noexcept { events_.fetch_add(events, std::memory_order_relaxed); }
  [[nodiscard]] std::size_t take_count() noexcept { return events_.exchange(0, std::memory_order_relaxed); }

 private:
  /// Long beside what it costs to change over.
  static constexpr std::chrono::microseconds length{100};

  void rest_locked(WakeList& wakes) noexcept {
    open_.store(false, std::memory_order_relaxed);
    loop_.wake_one(wakes);
  }

  const EventClock& clock_;
  std::mutex mutex_;
  StreamWaitList waiting_;
  StreamWaitList loop_;
  bool ended_ = false;
  std::atomic<bool> open_{false};
  std::atomic<EventTime::duration> begun_{};
  std::atomic<std::size_t> events_{0};
};

/// By the partition: waits for the next slice.
class Slices::GrantOperation final : public StreamWaiter {
 public:
  explicit GrantOperation(Slices& slices) noexcept
      : StreamWaiter(slices.mutex_, slices.waiting_, kind), slices_(slices) {}

  [[nodiscard]] bool await_ready() noexcept {
    WakeList wakes;
    const std::lock_guard lock(slices_.mutex_);
    wait_locked();
    slices_.rest_locked(wakes);
    return false;
  }
  void await_resume() { resumed(); }

 private:
  static constexpr Cancellable::Kind kind{&StreamWaiter::cancel, nullptr, "its sender's strategy to let it go on"};
  Slices& slices_;
};

/// By the strategy: waits until a partition can go on. False: there are no more.
class Slices::ReadyOperation final : public StreamWaiter {
 public:
  explicit ReadyOperation(Slices& slices) noexcept : StreamWaiter(slices.mutex_, slices.loop_, kind), slices_(slices) {}

  [[nodiscard]] bool await_ready() noexcept {
    {
      const std::lock_guard lock(slices_.mutex_);
      if (!slices_.ended_ && slices_.waiting_.empty()) {
        wait_locked();
        return false;
      }
    }
    return spend();
  }
  [[nodiscard]] bool await_resume() {
    resumed();
    const std::lock_guard lock(slices_.mutex_);
    return !slices_.ended_;
  }

 private:
  static constexpr Cancellable::Kind kind{&StreamWaiter::cancel, nullptr, "a partition of a sender"};
  Slices& slices_;
};

/// By the strategy: lets the partition go on until it rests.
class Slices::RunOperation final : public StreamWaiter {
 public:
  explicit RunOperation(Slices& slices) noexcept : StreamWaiter(slices.mutex_, slices.loop_, kind), slices_(slices) {}

  [[nodiscard]] bool await_ready() noexcept {
    WakeList wakes;
    const std::lock_guard lock(slices_.mutex_);
    slices_.begun_.store(slices_.clock_.now().time_since_epoch(), std::memory_order_relaxed);
    slices_.open_.store(true, std::memory_order_relaxed);
    wait_locked();
    slices_.waiting_.wake_all(wakes);
    return false;
  }
  void await_resume() { resumed(); }

 private:
  static constexpr Cancellable::Kind kind{&StreamWaiter::cancel, nullptr, "a partition of a sender to emit"};
  Slices& slices_;
};

/// Emits in slices.
template <class T>
class EmitSliced final : public EmitHook<T> {
 public:
  EmitSliced(EmitOutlet<T>& outlet, Slices& slices) noexcept : outlet_(outlet), slices_(slices) {}

  [[nodiscard]] bool emit_at_once(SenderEvent<T>& event) override { return !slices_.over() && try_emit(event); }
  [[nodiscard]] bool try_emit(SenderEvent<T>& event) override {
    if (!outlet_.try_send(event)) return false;
    slices_.count(1);
    return true;
  }
  [[nodiscard]] Task<> emit(SenderEvent<T>& event) override {
    if (slices_.over()) co_await Slices::GrantOperation(slices_);
    if (try_emit(event)) co_return;
    slices_.rest();
    auto sending = send_one(outlet_, event);
    co_await std::move(sending);
    auto going_on = go_on(1);
    co_await std::move(going_on);
  }
  [[nodiscard]] Task<> emit_run(std::vector<SenderEvent<T>>& run) override {
    if (slices_.over()) co_await Slices::GrantOperation(slices_);
    slices_.rest();
    auto sending = outlet_.send(run);
    co_await std::move(sending);
    auto going_on = go_on(run.size());
    co_await std::move(going_on);
  }

 private:
  /// After a wait for room. What is emitted stays so when this wait is cancelled.
  Task<> go_on(std::size_t emitted) {
    slices_.count(emitted);
    try {
      co_await Slices::GrantOperation(slices_);
    } catch (const Error& error) {
      if (!is_cancellation(error.code())) throw;
    }
  }

  EmitOutlet<T>& outlet_;
  Slices& slices_;
};

template <class Stream, class F, class Body>
Task<> adaptive_sender_root(StreamRoot root, std::shared_ptr<Stream> self, std::shared_ptr<AdaptiveSender<F>> shared,
                            Body body);

/// What a strategy sees of a worker that runs partitions: a slice stands for what a receiver does with an event.
template <class Stream, class F>
class SliceDrain {
 public:
  using Element = SenderEvent<typename Stream::value_type>;
  struct event_type {};
  static constexpr bool plain = false;

  SliceDrain(std::shared_ptr<Stream> stream, std::shared_ptr<AdaptiveSender<F>> shared, Slices& slices)
      : stream_(std::move(stream)), shared_(std::move(shared)), slices_(slices) {}
  SliceDrain(const SliceDrain&) = delete;
  SliceDrain& operator=(const SliceDrain&) = delete;

  [[nodiscard]] bool stopping() const noexcept { return stream_->level() != 0; }
  [[nodiscard]] EventTime now() const noexcept { return stream_->clock().now(); }
  [[nodiscard]] std::size_t kept() const noexcept { return 0; }

  [[nodiscard]] auto fetch(std::size_t = 1) {
    fresh_ = true;
    return Slices::ReadyOperation(slices_);
  }
  /// What was emitted since it was asked last.
  [[nodiscard]] std::size_t fetched() noexcept { return slices_.take_count(); }
  [[nodiscard]] event_type* next() noexcept { return std::exchange(fresh_, false) ? &slice_ : nullptr; }
  [[nodiscard]] auto process(event_type&) { return Slices::RunOperation(slices_); }

  template <class Body>
  void start_worker(Body body) {
    spawn(stream_->executor(),
          adaptive_sender_root(StreamRoot(stream_, StreamRole::sender), stream_, shared_, std::move(body)));
  }

 private:
  std::shared_ptr<Stream> stream_;
  std::shared_ptr<AdaptiveSender<F>> shared_;
  Slices& slices_;
  event_type slice_;
  bool fresh_ = false;
};

}  // namespace weir::detail

/// What strategies that look at failures ask: none here, as a partition that fails ends the stream.
template <class Stream, class F>
class weir::EventBatch<weir::detail::SliceDrain<Stream, F>> {
 public:
  [[nodiscard]] static std::uint64_t take_failures(const detail::SliceDrain<Stream, F>&, std::uint64_t&) noexcept {
    return 0;
  }
};

namespace weir::detail {

/// One partition after another, until there are no more.
template <class Stream, class F>
Task<> run_partitions(Stream& stream, AdaptiveSender<F>& shared, Slices& slices,
                      EmitHook<typename Stream::value_type>& hook) {
  using T = typename Stream::value_type;
  while (shared.next.load(std::memory_order_relaxed) < shared.partitions) {
    // Who is held does not hold a partition that others could begin.
    co_await Slices::GrantOperation(slices);
    const std::size_t index = shared.next.fetch_add(1, std::memory_order_relaxed);
    if (index >= shared.partitions) break;
    Emitter<T> out(stream, hook);
    const auto part = [&shared, index](Emitter<T>& emitter) {
      return std::invoke(shared.function, emitter, Partition{index, shared.partitions});
    };
    auto running = run_sender<T>(part, out);
    co_await std::move(running);
  }
  slices.end();
}

template <class Stream, class F, class Body>
Task<> adaptive_sender_root(StreamRoot root, std::shared_ptr<Stream> self, std::shared_ptr<AdaptiveSender<F>> shared,
                            Body body) {
  using T = typename Stream::value_type;
  Home& home = co_await this_task::home();
  home.set_name("a sender of a stream");
  root.enter(home);
  if (self->level() == 0) {
    try {
      const auto outlet = self->make_outlet(false);
      Slices slices(self->clock());
      EmitSliced<T> hook(*outlet, slices);
      SliceDrain<Stream, F> drain(self, shared, slices);
      const auto both = [&](Scope& scope) -> Task<> {
        scope.spawn(run_partitions(*self, *shared, slices, hook));
        auto driving = body(drain);
        co_await std::move(driving);
      };
      auto running = with_scope(both);
      co_await std::move(running);
    } catch (...) {
      self->sender_threw(std::current_exception());
    }
  }
  root.returned();
}

}  // namespace weir::detail
