#pragma once

#include <cstddef>
#include <mutex>
#include <vector>

#include <weir/stream/adaptive_step.hpp>
#include <weir/stream/detail/hill_climb.hpp>
#include <weir/stream/detail/window_measurement.hpp>
#include <weir/stream/event.hpp>

namespace weir::detail {

/// The last decisions. Any thread.
class AdaptiveLog {
 public:
  explicit AdaptiveLog(std::size_t length) : length_(length) { steps_.reserve(length); }

  void start(EventTime now, AdaptivePoint point) {
    const std::lock_guard lock(mutex_);
    started_ = now;
    point_ = point;
    steps_.clear();
    oldest_ = 0;
  }
  void add(const HillClimb::Move& move, const WindowMeasurement& seen) noexcept {
    const std::lock_guard lock(mutex_);
    point_ = move.to;
    if (length_ == 0) return;
    const AdaptiveStep step{seen.end - started_, move.from,      move.to,           move.reason,
                            seen.throughput(),   seen.latency(), seen.failed_part()};
    if (steps_.size() < length_) {
      steps_.push_back(step);
    } else {
      steps_[oldest_] = step;
      oldest_ = (oldest_ + 1) % length_;
    }
  }

  [[nodiscard]] AdaptivePoint point() const {
    const std::lock_guard lock(mutex_);
    return point_;
  }
  [[nodiscard]] std::vector<AdaptiveStep> steps() const {
    const std::lock_guard lock(mutex_);
    std::vector<AdaptiveStep> steps;
    steps.reserve(steps_.size());
    for (std::size_t i = 0; i < steps_.size(); ++i) steps.push_back(steps_[(oldest_ + i) % steps_.size()]);
    return steps;
  }

 private:
  const std::size_t length_;
  mutable std::mutex mutex_;
  EventTime started_{};
  AdaptivePoint point_;
  /// A ring once it is full.
  std::vector<AdaptiveStep> steps_;
  std::size_t oldest_ = 0;
};

}  // namespace weir::detail
