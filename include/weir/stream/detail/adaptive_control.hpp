/// What the workers of an adaptive stream share: how many of them may work, what they measured, and what was decided.
///
/// Protocol:
///  1. Everything but `crowd_` and `ahead_` is guarded by the mutex. Nobody is woken and nothing is started under it.
///  2. `active_` workers work, the others wait in `parked_`. A worker parks itself before it takes an event, when there
///     are more active than the limit, which is at least 1: so one is always active.
///  3. Who raises the limit wakes parked workers, which are active from then on, and owes the start of those that are
///     missing.
///  4. `ended_` is set once, by the first worker that leaves for whatever reason: from then on nobody parks.
///  5. `ahead_` is what of the room for events that are taken ahead is free: `runs` never give out more.
/// tests/stream/adaptive_explore_test.cpp breaks when one of these is broken.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include <weir/core/wake_list.hpp>
#include <weir/stream/detail/adaptive_log.hpp>
#include <weir/stream/detail/hill_climb.hpp>
#include <weir/stream/detail/stream_waiters.hpp>
#include <weir/stream/event.hpp>

namespace weir::detail {

/// What a worker did since it told of it last.
struct WorkMeter {
  std::uint64_t events = 0;
  /// Of the receiver, or of runs of events that take no time: in how many steps it was done.
  std::uint64_t steps = 0;
  EventTime::duration busy{};
  EventTime told{};
  /// How many of the events failed, or needed another try.
  std::uint64_t failed = 0;
  /// Of the times of the steps, in seconds: how much they differ.
  double squares = 0;
  /// From the end of one step to the end of the next.
  EventTime::duration cycles{};

  /// `cycle`: since the step before ended, if that is known.
  void add(std::uint64_t n, EventTime::duration took, EventTime::duration cycle = {}) noexcept {
    cycles += cycle;
    events += n;
    ++steps;
    busy += took;
    const double seconds = std::chrono::duration<double>(took).count();
    squares += seconds * seconds;
  }
};

class AdaptiveControl {
 public:
  using Duration = EventTime::duration;

  AdaptiveControl(const HillClimb::Limits& limits, Duration window, std::size_t ahead, EventTime now,
                  std::shared_ptr<AdaptiveLog> log)
      : climb_(limits), window_(window), room_(ahead), log_(std::move(log)), begin_(now), last_(now) {
    ahead_.store(ahead, std::memory_order_relaxed);
    batch_.store(limits.start.batch, std::memory_order_relaxed);
    share_.store(limits.start.concurrency, std::memory_order_relaxed);
    log_->start(now, limits.start);
  }
  AdaptiveControl(const AdaptiveControl&) = delete;
  AdaptiveControl& operator=(const AdaptiveControl&) = delete;

  class ParkOperation;

  /// By a worker before it takes events: whether it should park.
  [[nodiscard]] bool crowded() const noexcept { return crowd_.load(std::memory_order_relaxed); }
  /// Whether one worker is all there is to be.
  [[nodiscard]] bool alone() const noexcept { return share_.load(std::memory_order_relaxed) == 1; }
  /// How large batches are to be.
  [[nodiscard]] std::size_t batch() const noexcept { return batch_.load(std::memory_order_relaxed); }

  /// Room for so many events to be taken ahead of the one that is processed, for one of the workers: give it back.
  [[nodiscard]] std::size_t take_ahead(std::size_t longest) noexcept {
    const std::size_t share = room_ / share_.load(std::memory_order_relaxed);
    std::size_t free = ahead_.load(std::memory_order_relaxed);
    std::size_t wanted = 0;
    do {
      wanted = std::min({longest, share, free});
    } while (wanted != 0 && !ahead_.compare_exchange_weak(free, free - wanted, std::memory_order_relaxed));
    return wanted;
  }
  void give_ahead(std::size_t n) noexcept {
    if (n != 0) ahead_.fetch_add(n, std::memory_order_relaxed);
  }

  /// By the first worker, when it begins: the number of workers that it has to start.
  [[nodiscard]] std::size_t begin() noexcept {
    WakeList wakes;
    const std::lock_guard lock(mutex_);
    return follow(wakes);
  }
  /// By a worker that has done something, until `now`. Gives the number of workers that the caller has to start.
  [[nodiscard]] std::size_t tell(WorkMeter& meter, EventTime now) noexcept {
    WakeList wakes;
    const std::lock_guard lock(mutex_);
    // What ends in step belongs to one window: it is cut between two steps, if there are any.
    const bool apart = now - last_ >= gap_;
    const Duration length = last_ - begin_;
    const bool measured = length >= window_of_now() && (seen_enough() || length >= longest_window());
    if (began_ && measured && (apart || length >= 2 * window_of_now())) close_window();
    const std::size_t owed = follow(wakes);
    if (!began_ && last_ >= from_ && (apart || last_ >= from_ + step_)) {
      began_ = true;
      begin_window();
    }
    events_ += meter.events;
    steps_ += meter.steps;
    busy_ += meter.busy;
    failed_ += meter.failed;
    squares_ += meter.squares;
    cycles_ += meter.cycles;
    last_ = std::max(last_, now);
    meter = WorkMeter();
    meter.told = now;
    return owed;
  }
  /// Takes back what `tell` asked for and what could not be started.
  void not_started(std::size_t n) noexcept {
    const std::lock_guard lock(mutex_);
    active_ -= n;
    present_ -= n;
  }

  /// The first who finds that there is nothing more to do, or is thrown out.
  void end() noexcept {
    WakeList wakes;
    const std::lock_guard lock(mutex_);
    ended_ = true;
    crowd_.store(false, std::memory_order_relaxed);
    parked_.wake_all(wakes);
  }

 private:
  static constexpr std::uint64_t fewest_steps = 4;
  static constexpr double most_steps = 32;

  /// Events that take long need a longer window: as many come as there are workers each time. On its way it hurries:
  /// what is clear is seen soon, and for what is not the climb asks for more windows.
  [[nodiscard]] Duration window_of_now() const noexcept {
    if (!climb_.hurried()) return std::max(window_, 4 * step_);
    const Duration step = steps_ < fewest_steps ? step_ : std::min(step_, busy_ / static_cast<Duration::rep>(steps_));
    return std::max(window_ / 4, step);
  }
  /// The square of the coefficient of variation of what a step takes.
  [[nodiscard]] double spread() const noexcept {
    const auto n = static_cast<double>(steps_);
    const double mean = steps_ == 0 ? 0 : std::chrono::duration<double>(busy_).count() / n;
    return mean > 0 ? std::max(0.0, squares_ / n / (mean * mean) - 1) : 0;
  }
  /// A window with fewer steps is made longer. They tell the less the more the times differ that they take.
  [[nodiscard]] bool seen_enough() const noexcept {
    return steps_ >= fewest_steps && static_cast<double>(steps_) >= most_steps * std::min(1.0, spread());
  }
  [[nodiscard]] Duration longest_window() const noexcept {
    return climb_.hurried() ? 16 * window_of_now() : 8 * window_;
  }

  void begin_window() noexcept {
    begin_ = last_;
    events_ = steps_ = failed_ = 0;
    busy_ = {};
    squares_ = 0;
    cycles_ = {};
  }
  void close_window() noexcept {
    WindowMeasurement seen;
    seen.end = last_;
    seen.length = last_ - begin_;
    seen.events = events_;
    seen.busy = busy_;
    seen.failed = failed_;
    seen.workers = climb_.point().concurrency;
    if (active_ == seen.workers && steps_ >= active_ && busy_ > cycles_ - cycles_ / 10) seen.cycles = cycles_;
    seen.idle = std::max(Duration::zero(), cycles_ - busy_);
    seen.noise = steps_ < fewest_steps ? 0.5 : std::sqrt(spread() / static_cast<double>(steps_));
    if (steps_ != 0) step_ = busy_ / static_cast<Duration::rep>(steps_);
    gap_ = std::min<Duration>(step_ / 8, window_ / 4);
    if (const auto move = climb_.feed(seen)) {
      log_->add(*move, seen);
      batch_.store(move->to.batch, std::memory_order_relaxed);
      share_.store(move->to.concurrency, std::memory_order_relaxed);
      if (move->from != move->to) {
        // What is under way was begun under the old point.
        began_ = false;
        from_ = last_ + step_;
      }
    }
    if (began_) begin_window();
  }

  /// Brings the number of active workers to the limit.
  std::size_t follow(WakeList& wakes) noexcept {
    const std::size_t limit = climb_.point().concurrency;
    while (active_ < limit && parked_.wake_one(wakes)) ++active_;
    std::size_t owed = 0;
    if (active_ < limit && present_ == active_ && !ended_) {
      owed = limit - active_;
      active_ += owed;
      present_ += owed;
    }
    crowd_.store(active_ > limit && !ended_, std::memory_order_relaxed);
    return owed;
  }

  std::mutex mutex_;
  StreamWaitList parked_;
  HillClimb climb_;
  const Duration window_;
  const std::size_t room_;
  std::shared_ptr<AdaptiveLog> log_;
  std::size_t active_ = 1;
  /// Active and parked.
  std::size_t present_ = 1;
  bool ended_ = false;
  std::atomic<bool> crowd_{false};
  std::atomic<std::size_t> batch_{1};
  std::atomic<std::size_t> share_{1};
  std::atomic<std::size_t> ahead_{0};

  /// The window: from one moment at which events were done to another.
  bool began_ = true;
  EventTime from_{};
  EventTime begin_;
  EventTime last_;
  std::uint64_t events_ = 0;
  std::uint64_t steps_ = 0;
  std::uint64_t failed_ = 0;
  Duration busy_{};
  double squares_ = 0;
  Duration cycles_{};
  /// How long a call of the receiver takes.
  Duration step_{};
  Duration gap_{};
};

class AdaptiveControl::ParkOperation final : public StreamWaiter {
 public:
  explicit ParkOperation(AdaptiveControl& control) noexcept
      : StreamWaiter(control.mutex_, control.parked_, kind), control_(control) {}

  [[nodiscard]] bool await_ready() noexcept {
    const std::lock_guard lock(control_.mutex_);
    if (control_.ended_ || control_.active_ <= control_.climb_.point().concurrency) return true;
    --control_.active_;
    control_.crowd_.store(control_.active_ > control_.climb_.point().concurrency, std::memory_order_relaxed);
    wait_locked();
    return false;
  }
  void await_resume() { resumed(); }

 private:
  static constexpr Cancellable::Kind kind{&StreamWaiter::cancel, nullptr, "more work in its stream"};
  AdaptiveControl& control_;
};

}  // namespace weir::detail
