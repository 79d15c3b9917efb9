/// `ticks`: a flow of the time.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include <weir/core/timer.hpp>
#include <weir/stream/detail/flow_clock.hpp>
#include <weir/stream/flow/flow.hpp>

namespace weir {
namespace detail {

class TicksFlow {
 public:
  using value_type = std::uint64_t;
  static constexpr bool synchronous = false;

  explicit TicksFlow(TimeService::Duration period) noexcept : period_(period) {}

  void open(const FlowSite& site) {
    time_ = &time_of(*site.home);
    start_ = time_->now();
    next_ = later(start_, period_);
  }
  [[nodiscard]] Pull pull(std::optional<std::uint64_t>& out) {
    const TimeService::TimePoint now = time_->now();
    if (now < next_) return Pull::wait;
    out.emplace(static_cast<std::uint64_t>((now - start_) / period_));
    next_ = next_multiple(start_, period_, now);
    return Pull::value;
  }
  [[nodiscard]] auto ready() const { return sleep_until(next_); }
  [[nodiscard]] FlowNothing close() const noexcept { return {}; }

 private:
  TimeService::Duration period_;
  TimeService* time_ = nullptr;
  TimeService::TimePoint start_;
  TimeService::TimePoint next_;
};

}  // namespace detail

/// An endless flow that gives its n-th value, n, when n periods have passed since it was opened, by the clock of the
/// execution context. Ticks that nobody asked for in time are left out, so that a slow consumer gets a number that
/// jumps and not a backlog. Throws `Error(Errc::invalid_argument)` for a period that is not longer than 0.
template <class Rep, class Period>
[[nodiscard]] auto ticks(std::chrono::duration<Rep, Period> period) {
  return detail::TicksFlow(detail::flow_duration(period, "ticks(period): the period"));
}

}  // namespace weir
