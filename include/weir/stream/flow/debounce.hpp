/// `debounce` and `throttle`: fewer values, by the time between them.
#pragma once

#include <chrono>
#include <optional>
#include <utility>

#include <weir/stream/detail/flow_child.hpp>
#include <weir/stream/detail/flow_clock.hpp>
#include <weir/stream/flow/flow.hpp>

namespace weir {
namespace detail {

template <Flow Up>
class DebounceFlow {
 public:
  using value_type = flow_value_t<Up>;
  static constexpr bool synchronous = false;

  DebounceFlow(Up up, TimeService::Duration quiet) : arm_(std::move(up)), quiet_(quiet) {}

  void open(const FlowSite& site) {
    signal_.open(*site.home);
    arm_.open(site, signal_);
  }
  [[nodiscard]] Pull pull(std::optional<value_type>& out) {
    signal_.lower();
    // Before its successor is looked for: that it came late is the consumer's doing.
    if (held_ && signal_.time().now() >= due_) return give(out);
    const Pull pulled = arm_.pull(out);
    if (pulled == Pull::value) {
      held_.emplace(std::move(*out));
      out.reset();
      due_ = signal_.time().after(quiet_);
      return Pull::again;
    }
    return pulled == Pull::end && held_ ? give(out) : pulled;
  }
  [[nodiscard]] FlowSignal::Wait ready() { return signal_.wait_until(held_ ? due_ : TimeService::TimePoint::max()); }
  [[nodiscard]] Task<> close() {
    signal_.disarm();
    return arm_.close();
  }

 private:
  Pull give(std::optional<value_type>& out) {
    out.emplace(std::move(*held_));
    held_.reset();
    return Pull::value;
  }

  FlowArm<Up> arm_;
  TimeService::Duration quiet_;
  FlowAlarm signal_;
  TimeService::TimePoint due_;
  std::optional<value_type> held_;
};

template <Flow Up>
class ThrottleFlow : public FlowOver<Up> {
 public:
  using value_type = flow_value_t<Up>;
  static constexpr bool synchronous = false;

  ThrottleFlow(Up up, TimeService::Duration period) : FlowOver<Up>(std::move(up)), period_(period) {}

  void open(const FlowSite& site) {
    time_ = &time_of(*site.home);
    this->up_.open(site);
  }
  [[nodiscard]] Pull pull(std::optional<value_type>& out) {
    const Pull pulled = this->up_.pull(out);
    if (pulled != Pull::value) return pulled;
    const TimeService::TimePoint now = time_->now();
    if (now < next_) {
      out.reset();
      return Pull::again;
    }
    next_ = later(now, period_);
    return Pull::value;
  }

 private:
  TimeService::Duration period_;
  TimeService* time_ = nullptr;
  TimeService::TimePoint next_ = TimeService::TimePoint::min();
};

/// With the last value of a period kept for its end.
template <Flow Up>
class EdgeThrottleFlow {
 public:
  using value_type = flow_value_t<Up>;
  static constexpr bool synchronous = false;

  EdgeThrottleFlow(Up up, TimeService::Duration period, bool leading, bool trailing)
      : arm_(std::move(up)), period_(period), leading_(leading), trailing_(trailing) {}

  void open(const FlowSite& site) {
    signal_.open(*site.home);
    arm_.open(site, signal_);
  }
  [[nodiscard]] Pull pull(std::optional<value_type>& out) {
    signal_.lower();
    if (held_ && signal_.time().now() >= next_) return give(out);
    const Pull pulled = arm_.pull(out);
    if (pulled == Pull::end && held_) return give(out);
    if (pulled != Pull::value) return pulled;
    const TimeService::TimePoint now = signal_.time().now();
    const bool first = now >= next_;
    if (first) next_ = later(now, period_);
    if (first && leading_) return Pull::value;
    if (trailing_) held_.emplace(std::move(*out));
    out.reset();
    return Pull::again;
  }
  [[nodiscard]] FlowSignal::Wait ready() { return signal_.wait_until(held_ ? next_ : TimeService::TimePoint::max()); }
  [[nodiscard]] Task<> close() {
    signal_.disarm();
    return arm_.close();
  }

 private:
  Pull give(std::optional<value_type>& out) {
    next_ = later(signal_.time().now(), period_);
    out.emplace(std::move(*held_));
    held_.reset();
    return Pull::value;
  }

  FlowArm<Up> arm_;
  TimeService::Duration period_;
  bool leading_;
  bool trailing_;
  FlowAlarm signal_;
  /// The end of the period.
  TimeService::TimePoint next_ = TimeService::TimePoint::min();
  std::optional<value_type> held_;
};

}  // namespace detail

/// A value passes when no newer one has come for `quiet`; one that a newer one follows sooner is dropped. The last
/// passes when the flow ends. Times are those at which the values were pulled, by the clock of the execution context:
/// while downstream is busy nothing is pulled, and nothing dropped. Holds one value; its upstream waits in a child
/// coroutine, at most one value ahead. Throws `Error(Errc::invalid_argument)` for a `quiet` that is not longer than 0.
template <class Rep, class Period>
[[nodiscard]] auto debounce(std::chrono::duration<Rep, Period> quiet) {
  const TimeService::Duration ticks = detail::flow_duration(quiet, "debounce(quiet): the time");
  return FlowAdaptor([ticks]<Flow Up>(Up up) { return detail::DebounceFlow<Up>(std::move(up), ticks); });
}

/// Passes a value, and drops those that come before `period` has passed since it was pulled. Holds none. Throws
/// `Error(Errc::invalid_argument)` for a period that is not longer than 0.
template <class Rep, class Period>
[[nodiscard]] auto throttle(std::chrono::duration<Rep, Period> period) {
  const TimeService::Duration ticks = detail::flow_duration(period, "throttle(period): the period");
  return FlowAdaptor([ticks]<Flow Up>(Up up) { return detail::ThrottleFlow<Up>(std::move(up), ticks); });
}

/// Which values of a period pass.
enum class ThrottleEdge : unsigned char {
  leading,   ///< the first, which begins it
  trailing,  ///< the last, at its end
  both,      ///< the first, and the last of the others at its end
};

/// The same with the newest value of each period, so that what came last is not lost. A period begins with a value that
/// comes in none, and with one that passes at the end of one; a value that is still held passes when the flow ends.
/// Times are those at which values were pulled. Holds one value; its upstream waits in a child coroutine, at most one
/// value ahead.
template <class Rep, class Period>
[[nodiscard]] auto throttle(std::chrono::duration<Rep, Period> period, ThrottleEdge edge) {
  const TimeService::Duration ticks = detail::flow_duration(period, "throttle(period): the period");
  return FlowAdaptor([ticks, edge]<Flow Up>(Up up) {
    return detail::EdgeThrottleFlow<Up>(std::move(up), ticks, edge != ThrottleEdge::trailing,
                                        edge != ThrottleEdge::leading);
  });
}

}  // namespace weir
