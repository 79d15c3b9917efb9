/// What can stand between an emitter and the channel, and what it puts its events into.
///
/// Protocol:
///  1. `EmitCounters` belong to one emitter. Each counter only grows, and an event is counted as emitted before it is
///     counted as anything else: read them in the opposite order.
///  2. `sent` grows under the channel's lock, when an event takes its place there: whatever becomes of the one that
///     waits, it tells how many have gone.
///  3. One party at a time uses an `EmitOutlet`.
/// tests/stream/rate_limited_test.cpp and sender_task_test.cpp break when one of these is broken.
#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <iterator>
#include <mutex>
#include <ranges>
#include <span>
#include <utility>
#include <vector>

#include <weir/channel/channel.hpp>
#include <weir/core/error.hpp>
#include <weir/core/task.hpp>
#include <weir/stream/detail/stream_core.hpp>
#include <weir/stream/event.hpp>

namespace weir::detail {

/// What stands before the channel of one emitter. Its functions may be called from any thread.
template <class T>
class EmitHook {
 public:
  EmitHook() = default;
  EmitHook(const EmitHook&) = delete;
  EmitHook& operator=(const EmitHook&) = delete;
  virtual ~EmitHook() = default;

  /// Emits the event if there is nothing to wait for. False: nothing happened to it.
  [[nodiscard]] virtual bool emit_at_once(SenderEvent<T>& event) = 0;
  /// The same for who can't wait, so that it may go to greater lengths.
  [[nodiscard]] virtual bool try_emit(SenderEvent<T>& event) { return emit_at_once(event); }
  /// Emits it. When it throws, nothing happened to it.
  [[nodiscard]] virtual Task<> emit(SenderEvent<T>& event) = 0;
  /// Emits them in order. When it throws, some may have gone.
  [[nodiscard]] virtual Task<> emit_run(std::vector<SenderEvent<T>>& run) = 0;
};

struct alignas(64) EmitCounters {
  std::atomic<std::uint64_t> gathered{0};
  std::atomic<std::uint64_t> sent{0};
  std::atomic<std::uint64_t> discarded{0};
  /// Otherwise an event is emitted when it is sent.
  bool gathers = false;
};

/// What the emitters of a stream did. Any thread.
class EmitLedger {
 public:
  struct Totals {
    std::uint64_t emitted = 0;
    std::uint64_t sent = 0;
    std::uint64_t discarded = 0;
  };

  [[nodiscard]] EmitCounters& add(bool gathers) {
    const std::lock_guard lock(mutex_);
    EmitCounters& added = counters_.emplace_back();
    added.gathers = gathers;
    return added;
  }
  [[nodiscard]] Totals totals() const {
    Totals totals;
    const std::lock_guard lock(mutex_);
    for (const EmitCounters& of : counters_) {
      totals.discarded += of.discarded.load(std::memory_order_acquire);
      const std::uint64_t sent = of.sent.load(std::memory_order_acquire);
      totals.sent += sent;
      totals.emitted += of.gathers ? of.gathered.load(std::memory_order_acquire) : sent;
    }
    return totals;
  }

 private:
  mutable std::mutex mutex_;
  std::deque<EmitCounters> counters_;
};

/// Walks over events and gives what the channel carries, to be moved from; counts what was passed.
template <class T, class Element>
class SentIterator {
 public:
  using iterator_concept = std::forward_iterator_tag;
  using value_type = Element;
  using difference_type = std::ptrdiff_t;

  SentIterator() = default;
  SentIterator(SenderEvent<T>* at, EmitCounters& counters) noexcept : at_(at), counters_(&counters) {}

  [[nodiscard]] Element&& operator*() const noexcept {
    if constexpr (std::same_as<Element, SenderEvent<T>>) {
      return std::move(*at_);
    } else {
      return std::move(*at_).data();
    }
  }
  SentIterator& operator++() noexcept {
    ++at_;
    counters_->sent.fetch_add(1, std::memory_order_release);
    return *this;
  }
  SentIterator operator++(int) noexcept {
    const SentIterator before(*this);
    ++*this;
    return before;
  }
  [[nodiscard]] friend bool operator==(const SentIterator& a, const SentIterator& b) noexcept { return a.at_ == b.at_; }

 private:
  SenderEvent<T>* at_ = nullptr;
  EmitCounters* counters_ = nullptr;
};

/// The channel that the events of one emitter go into.
template <class T>
class EmitOutlet {
 public:
  EmitOutlet(StreamCore& core, EmitCounters& counters) noexcept : core_(core), counters_(counters) {}
  EmitOutlet(const EmitOutlet&) = delete;
  EmitOutlet& operator=(const EmitOutlet&) = delete;
  virtual ~EmitOutlet() = default;

  [[nodiscard]] StreamCore& core() const noexcept { return core_; }
  [[nodiscard]] EmitCounters& counters() const noexcept { return counters_; }

  /// False: there was no room, and nothing happened to the event.
  [[nodiscard]] virtual bool try_send(SenderEvent<T>& event) = 0;
  /// In order, in one critical section if there is room. When it throws, `counters().sent` tells how many have gone.
  [[nodiscard]] virtual Task<> send(std::span<SenderEvent<T>> run) = 0;

 protected:
  /// The number of each, in one step.
  void number(std::span<SenderEvent<T>> run) noexcept {
    // Those that were numbered before and did not go are at the front.
    std::size_t numbered = 0;
    while (numbered < run.size() && run[numbered].id() != 0) ++numbered;
    if (numbered == run.size()) return;
    std::uint64_t id = core_.numbers().take(run.size() - numbered);
    const EventTime now = core_.clock().coarse_now();
    for (SenderEvent<T>& event : run.subspan(numbered)) event.stamp(id++, now);
  }

 private:
  StreamCore& core_;
  EmitCounters& counters_;
};

/// `Element` is `SenderEvent<T>`, or `T` in a channel of the user's.
template <class T, class Element>
class ChannelOutlet final : public EmitOutlet<T> {
 public:
  ChannelOutlet(StreamCore& core, EmitCounters& counters, ChannelSender<Element> tx)
      : EmitOutlet<T>(core, counters), tx_(std::move(tx)) {}

  [[nodiscard]] bool try_send(SenderEvent<T>& event) override {
    if constexpr (std::same_as<Element, SenderEvent<T>>) {
      const bool numbered = event.id() != 0;
      if (!numbered) event.stamp(this->core().numbers().take(1), this->core().clock().coarse_now());
      const std::uint64_t id = event.id();
      if (!tx_.try_send(std::move(event))) {
        if (!numbered) {
          this->core().numbers().give_back(id);
          event.stamp(0, event.created());
        }
        return false;
      }
    } else {
      if (!tx_.try_send(std::move(event).data())) return false;
    }
    this->counters().sent.fetch_add(1, std::memory_order_release);
    return true;
  }
  [[nodiscard]] Task<> send(std::span<SenderEvent<T>> run) override {
    if constexpr (std::same_as<Element, SenderEvent<T>>) this->number(run);
    using Iterator = SentIterator<T, Element>;
    SenderEvent<T>* const first = run.data();
    const std::ranges::subrange<Iterator> all(Iterator(first, this->counters()),
                                              Iterator(first + run.size(), this->counters()));
    co_await tx_.send_all(all);
  }

 private:
  ChannelSender<Element> tx_;
};

/// Sends an event by itself: when that throws, nothing happened to it.
template <class T>
Task<> send_one(EmitOutlet<T>& outlet, SenderEvent<T>& event) {
  Errc code{};
  try {
    auto sending = outlet.send(std::span(&event, 1));
    co_await std::move(sending);
    co_return;
  } catch (const PartialSend& refused) {
    code = static_cast<Errc>(refused.code().value());
  }
  throw Error(code);
}

/// Straight into the channel.
template <class T>
class EmitStraight final : public EmitHook<T> {
 public:
  explicit EmitStraight(EmitOutlet<T>& outlet) noexcept : outlet_(outlet) {}

  [[nodiscard]] bool emit_at_once(SenderEvent<T>& event) override { return outlet_.try_send(event); }
  [[nodiscard]] Task<> emit(SenderEvent<T>& event) override { return send_one(outlet_, event); }
  [[nodiscard]] Task<> emit_run(std::vector<SenderEvent<T>>& run) override { return outlet_.send(run); }

 private:
  EmitOutlet<T>& outlet_;
};

}  // namespace weir::detail
