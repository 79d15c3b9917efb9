/// What the operators that look at the time have in common.
#pragma once

#include <chrono>
#include <string>

#include <weir/core/error.hpp>
#include <weir/core/home.hpp>
#include <weir/core/time_service.hpp>
#include <weir/core/timer.hpp>

namespace weir::detail {

/// A duration given to an operator: `what` names it for the one who gave none, or a negative one.
template <class Rep, class Period>
[[nodiscard]] TimeService::Duration flow_duration(std::chrono::duration<Rep, Period> duration, const char* what) {
  const TimeService::Duration ticks = clock_duration(duration);
  if (ticks <= TimeService::Duration::zero()) {
    throw Error(Errc::invalid_argument, std::string(what) + " must be longer than 0");
  }
  return ticks;
}

/// Never past the time that never comes.
[[nodiscard]] inline TimeService::TimePoint later(TimeService::TimePoint time, TimeService::Duration delay) noexcept {
  using TimePoint = TimeService::TimePoint;
  return delay > TimePoint::max() - time ? TimePoint::max() : time + delay;
}

/// The first of `start`, `start + step`, ... that is after `now`.
[[nodiscard]] inline TimeService::TimePoint next_multiple(TimeService::TimePoint start, TimeService::Duration step,
                                                          TimeService::TimePoint now) noexcept {
  if (now < start) return start;
  return later(start + (now - start) / step * step, step);
}

[[nodiscard]] inline TimeService& time_of(Home& home) { return asio::use_service<TimeService>(home.context()); }

}  // namespace weir::detail
