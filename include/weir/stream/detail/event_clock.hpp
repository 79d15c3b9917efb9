/// The clock of a stream: that of its execution context, and a cheap one for stamping every event.
#pragma once

#include <chrono>
#include <ctime>
#include <memory>

#include <weir/asio.hpp>
#include <weir/core/time_service.hpp>
#include <weir/stream/event.hpp>

namespace weir::detail {

class EventClock {
 public:
  explicit EventClock(asio::execution_context& context)
      : timeline_(asio::use_service<TimeService>(context).timeline()), real_(is_real(timeline_->now())) {}

  [[nodiscard]] EventTime now() const noexcept { return timeline_->now(); }

  /// Behind `now()` by a tick of the kernel at most, at a fifth of its price.
  [[nodiscard]] EventTime coarse_now() const noexcept {
#if defined(CLOCK_MONOTONIC_COARSE)
    // The same timebase as libstdc++'s and libc++'s steady clock.
    if (real_) {
      timespec time;
      ::clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
      return EventTime(std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec));
    }
#endif
    return now();
  }

  [[nodiscard]] TimeService::Timeline& timeline() const noexcept { return *timeline_; }

 private:
  /// A virtual clock begins somewhere else than the machine's.
  static bool is_real(EventTime now) noexcept {
    const auto difference = now - EventTime::clock::now();
    return difference < std::chrono::seconds(1) && difference > std::chrono::seconds(-1);
  }

  std::shared_ptr<TimeService::Timeline> timeline_;
  bool real_;
};

}  // namespace weir::detail
