/// Gathers what a sender emits, and puts it into the channel a run at a time: `.sender(batched(size, max_delay), …)`.
///
/// Protocol:
///  1. What is gathered, `error_` and the times belong to the one who has the turn, or, while nobody has it, to who
///     holds the mutex. Only who has the turn waits for room, and meanwhile nobody adds: never more than `size` events
///     are held, those that are on their way into the channel included.
///  2. An event is emitted, and counted in `gathered`, when it is gathered: it is given back only before that. A wait
///     that is cancelled afterwards leaves what has not gone where it is.
///  3. A root beside the sender's puts in what is old enough. It is woken by the first event after it parked, and ends
///     when `ended_` is cancelled; then its wait for room ends as well, and it gives the turn back.
///  4. `finish` takes the turn for good: what it can't put in, because the stream discards or the channel is closed, is
///     discarded and counted.
///  5. The roots own it together; it goes before the last of them.
/// tests/stream/rate_limited_test.cpp breaks when one of these is broken.
#pragma once

#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include <weir/core/cancellation.hpp>
#include <weir/core/shielded.hpp>
#include <weir/core/task.hpp>
#include <weir/core/timer.hpp>
#include <weir/core/with_cancellation.hpp>
#include <weir/stream/cancellation_level.hpp>
#include <weir/stream/detail/emit_hook.hpp>
#include <weir/stream/detail/stream_turn.hpp>

namespace weir::detail {

template <class T>
class EmitGather final : public EmitHook<T>, public StreamTurn {
 public:
  /// Allocates its memory.
  EmitGather(std::unique_ptr<EmitOutlet<T>> outlet, std::size_t size, EventTime::duration max_delay)
      : outlet_(std::move(outlet)), size_(size), max_delay_(max_delay) {
    events_.reserve(2 * size_);
  }

  [[nodiscard]] bool emit_at_once(SenderEvent<T>& event) override {
    WakeList wakes;
    const std::lock_guard lock(mutex());
    // The last one of a run puts it in: that may have to be waited for.
    if (taken() || error_ || held() + 1 >= size_) return false;
    add_locked(event, wakes);
    return true;
  }
  [[nodiscard]] bool try_emit(SenderEvent<T>& event) override {
    WakeList wakes;
    const std::lock_guard lock(mutex());
    if (taken() || error_) return false;
    if (held() >= size_) send_some();
    if (held() >= size_) return false;
    add_locked(event, wakes);
    if (held() >= size_) send_some();
    return true;
  }
  [[nodiscard]] Task<> emit(SenderEvent<T>& event) override {
    const StreamTurnHeld turn = co_await StreamTurn::TakeOperation(*this);
    auto adding = add(event);
    co_await std::move(adding);
  }
  [[nodiscard]] Task<> emit_run(std::vector<SenderEvent<T>>& run) override {
    const StreamTurnHeld turn = co_await StreamTurn::TakeOperation(*this);
    for (SenderEvent<T>& event : run) {
      if (!error_ && held() + 1 < size_ && outlet_->core().level() == 0) {
        add(event, Own());
      } else {
        auto adding = add(event);
        co_await std::move(adding);
      }
    }
  }

  /// The root that sees to `max_delay`.
  static Task<> send_when_due(std::shared_ptr<EmitGather> self) {
    try {
      auto waiting = self->send_old();
      co_await with_cancellation(self->ended_.token(), std::move(waiting));
    } catch (const Error& error) {
      if (!is_cancellation(error.code())) throw;
    }
  }

  /// By the sender's root, when its function has ended: puts the rest in, also when the root has been cancelled. Throws
  /// what kept something out of the channel, unless the function threw, or the stream is being stopped.
  [[nodiscard]] Task<> finish(bool threw) {
    ended_.cancel(Errc::cancelled);
    auto taking = take_turn();
    const StreamTurnHeld turn = co_await shielded(std::move(taking));
    if (held() != 0 && !error_ && !outlet_->core().discarding()) {
      auto sending = send_held();
      auto last = with_cancellation(outlet_->core().discard_token(), std::move(sending));
      co_await shielded(std::move(last));
    }
    discard();
    if (error_ && !threw && outlet_->core().level() == 0) std::rethrow_exception(error_);
  }

 private:
  struct Own {};
  class IdleOperation;

  [[nodiscard]] bool has_room() const noexcept override { return true; }
  [[nodiscard]] std::size_t held() const noexcept { return events_.size() - gone_; }
  [[nodiscard]] EventTime now() const noexcept { return outlet_->core().clock().now(); }
  [[nodiscard]] EventTime due_after(EventTime time) const noexcept {
    return max_delay_ > EventTime::max() - time ? EventTime::max() : time + max_delay_;
  }

  /// By who has the turn.
  void add(SenderEvent<T>& event, Own) {
    WakeList wakes;
    const std::lock_guard lock(mutex());
    add_locked(event, wakes);
  }
  void add_locked(SenderEvent<T>& event, WakeList& wakes) {
    if (events_.size() == 2 * size_) close_up();
    if (events_.empty()) {
      oldest_ = now();
      ++runs_;
      idle_.wake_one(wakes);
    }
    event.stamp(0, outlet_->core().clock().coarse_now());
    events_.push_back(std::move(event));
    auto& gathered = outlet_->counters().gathered;
    gathered.store(gathered.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }
  /// By who has the turn: waits for room if there are `size` already, and puts them in if there are then.
  Task<> add(SenderEvent<T>& event) {
    if (held() >= size_) {
      auto sending = send_held();
      co_await std::move(sending);
    }
    if (error_) std::rethrow_exception(error_);
    if (outlet_->core().level() != 0 || held() >= size_) throw Error(Errc::cancelled);
    add(event, Own());
    if (held() >= size_) {
      auto sending = send_held();
      co_await std::move(sending);
    }
  }

  /// By who has the turn. Throws nothing: being cancelled leaves the rest here, and what else keeps it out of the
  /// channel discards it.
  Task<> send_held() {
    const std::uint64_t before = outlet_->counters().sent.load(std::memory_order_relaxed);
    std::exception_ptr error;
    try {
      auto sending = outlet_->send(std::span(events_).subspan(gone_));
      co_await std::move(sending);
    } catch (...) {
      error = std::current_exception();
    }
    gone_ += static_cast<std::size_t>(outlet_->counters().sent.load(std::memory_order_acquire) - before);
    if (held() == 0) {
      start_anew();
    } else if (error && !is_error_code(error, [](const std::error_code& code) {
                 return is_cancellation(code) || code == Errc::timed_out;
               })) {
      error_ = std::move(error);
      discard();
    }
  }
  /// Under the mutex, while nobody has the turn: what goes without waiting.
  void send_some() {
    while (held() != 0 && outlet_->try_send(events_[gone_])) ++gone_;
    if (held() == 0) start_anew();
  }
  /// Those that have gone make room: there are `size` at least.
  void close_up() {
    spare_.reserve(2 * size_);
    for (SenderEvent<T>& event : std::span(events_).subspan(gone_)) spare_.push_back(std::move(event));
    start_anew();
    std::swap(events_, spare_);
  }
  void start_anew() noexcept {
    events_.clear();
    gone_ = 0;
  }
  void discard() noexcept {
    outlet_->counters().discarded.fetch_add(held(), std::memory_order_release);
    start_anew();
  }

  Task<StreamTurnHeld> take_turn() { co_return co_await StreamTurn::TakeOperation(*this); }

  Task<> send_old() {
    for (;;) {
      co_await IdleOperation(*this);
      const EventTime look = next_look();
      if (look > now()) co_await sleep_until(look);
      const StreamTurnHeld turn = co_await StreamTurn::TakeOperation(*this);
      if (held() == 0 || due_after(oldest_) > now()) continue;
      auto sending = send_held();
      co_await std::move(sending);
      // Its own wait was cancelled: it is the end.
      if (held() != 0) throw Error(Errc::cancelled);
    }
  }
  /// When there may be something to do: what comes meanwhile is not older than `max_delay` then.
  [[nodiscard]] EventTime next_look() {
    const std::lock_guard lock(mutex());
    return due_after(events_.empty() ? now() : oldest_);
  }

  std::unique_ptr<EmitOutlet<T>> outlet_;
  const std::size_t size_;
  const EventTime::duration max_delay_;
  std::vector<SenderEvent<T>> events_;
  /// Empty: the memory that is used next.
  std::vector<SenderEvent<T>> spare_;
  /// How many of them, from the front, are in the channel.
  std::size_t gone_ = 0;
  EventTime oldest_{};
  std::exception_ptr error_;
  StreamWaitList idle_;
  /// How many runs were begun, and how many of them the root that waits has seen.
  std::uint64_t runs_ = 0;
  std::uint64_t seen_ = 0;
  CancellationSource ended_;
};

/// Waits while nothing is gathered, unless something was meanwhile: then it is soon to come again, and being woken for
/// each run would cost more than looking.
template <class T>
class EmitGather<T>::IdleOperation final : public StreamWaiter {
 public:
  explicit IdleOperation(EmitGather& gather) noexcept
      : StreamWaiter(gather.mutex(), gather.idle_, kind), gather_(gather) {}

  [[nodiscard]] bool await_ready() noexcept {
    const std::lock_guard lock(gather_.mutex());
    if (gather_.runs_ != std::exchange(gather_.seen_, gather_.runs_) || gather_.held() != 0) return true;
    wait_locked();
    return false;
  }
  void await_resume() { resumed(); }

 private:
  static constexpr Cancellable::Kind kind{&StreamWaiter::cancel, nullptr, "something to be emitted"};
  EmitGather& gather_;
};

}  // namespace weir::detail
