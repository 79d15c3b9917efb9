/// A tick every so often, as the sender of a stream.
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>

#include <fmt/format.h>

#include <weir/core/error.hpp>
#include <weir/core/task.hpp>
#include <weir/core/this_task.hpp>
#include <weir/core/timer.hpp>
#include <weir/stream/detail/brief.hpp>
#include <weir/stream/emitter.hpp>

namespace weir {

/// What becomes of the ticks that were due while the receivers had no room.
enum class MissedTicks : std::uint8_t {
  skip,      ///< none of them but the last: the numbers have a gap, and the rhythm stays
  catch_up,  ///< all of them, as fast as there is room, until the rhythm is reached again
};

namespace detail {

/// The event of a tick is its number.
struct TickNumber {
  std::uint64_t operator()(std::uint64_t tick) const noexcept { return tick; }
};

}  // namespace detail

/// Made by `interval`.
template <class F = detail::TickNumber>
class Interval {
 public:
  Interval(TimeService::Duration period, F function) : period_(period), function_(std::move(function)) {
    if (period <= TimeService::Duration::zero()) {
      throw Error(Errc::invalid_argument, "interval: the period must be more than 0");
    }
  }

  /// See `MissedTicks`; `MissedTicks::skip` unless said.
  [[nodiscard]] Interval missed(MissedTicks policy) && {
    missed_ = policy;
    return std::move(*this);
  }
  /// Ends the stream after the tick of this number. Without it, only a cancel ends it.
  [[nodiscard]] Interval until_tick(std::uint64_t last) && {
    last_ = last;
    return std::move(*this);
  }

  /// For pictures of the stream.
  [[nodiscard]] std::string describe() const { return fmt::format("interval({})", detail::brief(period_)); }

  template <class T>
    requires std::constructible_from<T, std::invoke_result_t<F&, std::uint64_t>>
  Task<> operator()(Emitter<T>& out) {
    const auto start = co_await this_task::now();
    for (std::uint64_t tick = 1; tick <= last_; ++tick) {
      auto now = co_await this_task::now();
      if (missed_ == MissedTicks::skip) {
        const auto due = static_cast<std::uint64_t>((now - start) / period_);
        if (due > tick) tick = due < last_ ? due : last_;
      }
      const auto when = due_at(start, tick);
      if (when > now) co_await sleep_until(when);
      co_await out.emit_emplace(std::invoke(function_, tick));
    }
  }

 private:
  /// A tick that is too far away never comes.
  [[nodiscard]] TimeService::TimePoint due_at(TimeService::TimePoint start, std::uint64_t tick) const noexcept {
    const auto most = (TimeService::TimePoint::max() - start) / period_;
    if (tick > static_cast<std::uint64_t>(most)) return TimeService::TimePoint::max();
    return start + period_ * static_cast<TimeService::Duration::rep>(tick);
  }

  TimeService::Duration period_;
  F function_;
  MissedTicks missed_ = MissedTicks::skip;
  std::uint64_t last_ = std::numeric_limits<std::uint64_t>::max() - 1;
};

/// A sender that emits the number of each tick, from 1: tick n is due n periods after the stream's start, whatever the
/// ones before it took, by the clock of the execution context (in the simulator: the virtual one). What becomes of
/// ticks while the receivers are slow, says `missed`. Throws `Error(Errc::invalid_argument)` for a period of 0 or less.
/// Allocates nothing for a tick.
template <class Rep, class Period>
[[nodiscard]] Interval<> interval(std::chrono::duration<Rep, Period> period) {
  return Interval<>(detail::clock_duration(period), {});
}

/// The same, with the event that `function(number)` makes of a tick. It is called when the tick is due.
template <class Rep, class Period, class F>
  requires std::invocable<F&, std::uint64_t>
[[nodiscard]] Interval<F> interval(std::chrono::duration<Rep, Period> period, F function) {
  return Interval<F>(detail::clock_duration(period), std::move(function));
}

}  // namespace weir
