/// `window` and `session`, by time: groups of values that came in the same while.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <weir/core/error.hpp>
#include <weir/stream/detail/flow_child.hpp>
#include <weir/stream/detail/flow_clock.hpp>
#include <weir/stream/detail/window_buffer.hpp>
#include <weir/stream/flow/flow.hpp>

namespace weir {

/// How many values a window by time may hold, from 1.
class WindowLimit {
 public:
  constexpr WindowLimit() noexcept = default;
  explicit WindowLimit(std::size_t values) : values_(values) {
    if (values == 0) throw Error(Errc::invalid_argument, "at_most(0): a window holds at least 1 value");
  }
  [[nodiscard]] constexpr std::size_t values() const noexcept { return values_; }

 private:
  std::size_t values_ = std::numeric_limits<std::size_t>::max();
};

/// The bound of a window by time: `window(1s, at_most(1000))`. Throws `Error(Errc::invalid_argument)` for 0.
[[nodiscard]] inline WindowLimit at_most(std::size_t values) { return WindowLimit(values); }

namespace detail {

/// What the windows by time have in common: an upstream that waits in a child, a clock, and the end.
template <Flow Up, class F>
class TimedWindowFlow {
 public:
  using T = flow_value_t<Up>;
  using value_type = typename window_result<F, T>::type;
  using TimePoint = TimeService::TimePoint;
  using Duration = TimeService::Duration;
  static constexpr bool synchronous = false;

  TimedWindowFlow(Up up, WindowLimit limit, F function)
      : limit_(limit.values()), arm_(std::move(up)), function_(std::move(function)) {}

  void open(const FlowSite& site) {
    signal_.open(*site.home);
    start_ = signal_.time().now();
    arm_.open(site, signal_);
  }
  [[nodiscard]] Task<> close() {
    signal_.disarm();
    return arm_.close();
  }

 protected:
  /// Its values are moved out.
  void give_all(std::optional<value_type>& out) {
    if constexpr (std::same_as<F, WholeWindow>) {
      out.emplace(window_.take());
    } else {
      out.emplace(std::invoke(function_, window_.view()));
    }
    window_.clear();
  }
  /// They stay.
  void give_view(std::optional<value_type>& out) {
    if constexpr (std::same_as<F, WholeWindow>) {
      const std::span<const T> view = window_.view();
      out.emplace(view.begin(), view.end());
    } else {
      out.emplace(std::invoke(function_, window_.view()));
    }
  }

  std::size_t limit_;
  FlowArm<Up> arm_;
  FlowAlarm signal_;
  TimePoint start_;
  WindowBuffer<T> window_;

 private:
  [[no_unique_address]] F function_;
};

/// Tumbling windows, and sessions: which end at a time that is known when a value comes.
template <Flow Up, class F, bool Session>
class TumblingFlow : public TimedWindowFlow<Up, F> {
  using Base = TimedWindowFlow<Up, F>;

 public:
  using value_type = typename Base::value_type;

  TumblingFlow(Up up, TimeService::Duration length, WindowLimit limit, F function)
      : Base(std::move(up), limit, std::move(function)), length_(length) {}

  [[nodiscard]] Pull pull(std::optional<value_type>& out) {
    this->signal_.lower();
    const TimeService::TimePoint now = this->signal_.time().now();
    if (!this->window_.empty() && now >= ends_) return give(out);
    std::optional<typename Base::T> in;
    const Pull pulled = this->arm_.pull(in);
    if (pulled == Pull::end && !this->window_.empty()) return give(out);
    if (pulled != Pull::value) return pulled;
    if (Session) {
      ends_ = later(now, length_);
    } else if (this->window_.empty()) {
      ends_ = next_multiple(this->start_, length_, now);
    }
    this->window_.push(std::move(*in));
    return this->window_.size() < this->limit_ ? Pull::again : give(out);
  }
  [[nodiscard]] FlowSignal::Wait ready() {
    return this->signal_.wait_until(this->window_.empty() ? TimeService::TimePoint::max() : ends_);
  }

 private:
  Pull give(std::optional<value_type>& out) {
    this->give_all(out);
    return Pull::value;
  }

  TimeService::Duration length_;
  TimeService::TimePoint ends_;
};

template <Flow Up, class F>
class SlidingFlow : public TimedWindowFlow<Up, F> {
  using Base = TimedWindowFlow<Up, F>;

 public:
  using value_type = typename Base::value_type;

  SlidingFlow(Up up, TimeService::Duration length, TimeService::Duration step, WindowLimit limit, F function)
      : Base(std::move(up), limit, std::move(function)), length_(length), step_(step) {}

  [[nodiscard]] Pull pull(std::optional<value_type>& out) {
    this->signal_.lower();
    const TimeService::TimePoint now = this->signal_.time().now();
    if (!this->window_.empty() && now >= next_) {
      // The last of the times that have come.
      const TimeService::TimePoint after = next_multiple(this->start_, step_, now);
      next_ = after;
      leave(after - step_ - length_);
      if (this->window_.empty()) return Pull::again;
      return give(out);
    }
    std::optional<typename Base::T> in;
    const Pull pulled = this->arm_.pull(in);
    if (pulled == Pull::end && fresh_) {
      leave(now - length_);
      if (!this->window_.empty()) return give(out);
    }
    if (pulled != Pull::value) return pulled;
    if (this->window_.empty()) next_ = next_multiple(this->start_, step_, now);
    if (this->window_.size() == this->limit_) drop_front();
    this->window_.push(std::move(*in));
    times_.push(TimeService::TimePoint(now));
    fresh_ = true;
    return Pull::again;
  }
  [[nodiscard]] FlowSignal::Wait ready() {
    return this->signal_.wait_until(this->window_.empty() ? TimeService::TimePoint::max() : next_);
  }

 private:
  Pull give(std::optional<value_type>& out) {
    this->give_view(out);
    fresh_ = false;
    return Pull::value;
  }
  void leave(TimeService::TimePoint until) {
    while (!times_.empty() && times_.front() < until) drop_front();
  }
  void drop_front() {
    this->window_.drop_front(1);
    times_.drop_front(1);
  }

  TimeService::Duration length_;
  TimeService::Duration step_;
  TimeService::TimePoint next_;
  bool fresh_ = false;
  WindowBuffer<TimeService::TimePoint> times_;
};

template <bool Session, class F>
auto tumbling(TimeService::Duration length, WindowLimit limit, F function) {
  return FlowAdaptor([length, limit, function = std::move(function)]<Flow Up>(Up up) mutable {
    return TumblingFlow<Up, F, Session>(std::move(up), length, limit, std::move(function));
  });
}

template <class F>
auto sliding(TimeService::Duration length, TimeService::Duration step, WindowLimit limit, F function) {
  return FlowAdaptor([length, step, limit, function = std::move(function)]<Flow Up>(Up up) mutable {
    static_assert(!std::same_as<F, WholeWindow> || std::copy_constructible<flow_value_t<Up>>,
                  "weir::window(length, step): the values can't be copied, so give a function of the window");
    return SlidingFlow<Up, F>(std::move(up), length, step, limit, std::move(function));
  });
}

template <class F>
inline constexpr bool is_duration = false;
template <class Rep, class Period>
inline constexpr bool is_duration<std::chrono::duration<Rep, Period>> = true;
template <class F>
concept WindowFunction = !is_duration<F> && !std::same_as<F, WindowLimit>;

template <class Rep, class Period>
auto window_length(std::chrono::duration<Rep, Period> length) {
  return flow_duration(length, "window(length): the time");
}
template <class Rep, class Period>
auto window_step(std::chrono::duration<Rep, Period> step) {
  return flow_duration(step, "window(length, step): the time to the next window");
}
template <class Rep, class Period>
auto session_gap(std::chrono::duration<Rep, Period> gap) {
  return flow_duration(gap, "session(gap): the time");
}

}  // namespace detail

/// Of all windows by time: the clock is that of the execution context, a value came when it was pulled, and a window
/// without values is left out. The upstream waits in a child coroutine, at most one value ahead. A window's values are
/// remembered, so give a bound where their number has none: `at_most(n)`. A window is a `std::vector`, one block; or
/// what `function` gives for a `std::span<const T>`, which is valid for that call: then nothing is allocated for it.
/// Durations that are not longer than 0 throw `Error(Errc::invalid_argument)`.

/// Windows of `length`, side by side from when the flow is opened: tumbling. Each passes when its time is up, when it
/// has as many values as it may have, or when the flow ends.
template <class Rep, class Period>
[[nodiscard]] auto window(std::chrono::duration<Rep, Period> length, WindowLimit limit = {}) {
  return detail::tumbling<false>(detail::window_length(length), limit, detail::WholeWindow());
}
template <class Rep, class Period, detail::WindowFunction F>
[[nodiscard]] auto window(std::chrono::duration<Rep, Period> length, F function) {
  return detail::tumbling<false>(detail::window_length(length), WindowLimit(), std::move(function));
}
template <class Rep, class Period, detail::WindowFunction F>
[[nodiscard]] auto window(std::chrono::duration<Rep, Period> length, WindowLimit limit, F function) {
  return detail::tumbling<false>(detail::window_length(length), limit, std::move(function));
}

/// Every `step` from when the flow is opened, the values that came in the `length` before: sliding. With a bound the
/// oldest leave early. A time that passes while downstream is busy is left out. When the flow ends and values have come
/// since the last window, there is one more.
template <class Rep, class Period, class Rep2, class Period2>
[[nodiscard]] auto window(std::chrono::duration<Rep, Period> length, std::chrono::duration<Rep2, Period2> step,
                          WindowLimit limit = {}) {
  return detail::sliding(detail::window_length(length), detail::window_step(step), limit, detail::WholeWindow());
}
template <class Rep, class Period, class Rep2, class Period2, detail::WindowFunction F>
[[nodiscard]] auto window(std::chrono::duration<Rep, Period> length, std::chrono::duration<Rep2, Period2> step,
                          F function) {
  return detail::sliding(detail::window_length(length), detail::window_step(step), WindowLimit(), std::move(function));
}
template <class Rep, class Period, class Rep2, class Period2, detail::WindowFunction F>
[[nodiscard]] auto window(std::chrono::duration<Rep, Period> length, std::chrono::duration<Rep2, Period2> step,
                          WindowLimit limit, F function) {
  return detail::sliding(detail::window_length(length), detail::window_step(step), limit, std::move(function));
}

/// Values that came less than `gap` after each other: a window that passes when nothing has come for `gap`, when it has
/// as many values as it may have, or when the flow ends.
template <class Rep, class Period>
[[nodiscard]] auto session(std::chrono::duration<Rep, Period> gap, WindowLimit limit = {}) {
  return detail::tumbling<true>(detail::session_gap(gap), limit, detail::WholeWindow());
}
template <class Rep, class Period, detail::WindowFunction F>
[[nodiscard]] auto session(std::chrono::duration<Rep, Period> gap, F function) {
  return detail::tumbling<true>(detail::session_gap(gap), WindowLimit(), std::move(function));
}
template <class Rep, class Period, detail::WindowFunction F>
[[nodiscard]] auto session(std::chrono::duration<Rep, Period> gap, WindowLimit limit, F function) {
  return detail::tumbling<true>(detail::session_gap(gap), limit, std::move(function));
}

}  // namespace weir
