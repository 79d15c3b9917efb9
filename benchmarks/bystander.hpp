#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <weir/asio.hpp>

#include "harness.hpp"

namespace weir_bench {

/// A chain of posts on a pool that others keep busy. Its longest gap is what they cost somebody who shares the threads.
class Bystander {
 public:
  explicit Bystander(asio::thread_pool& pool) : executor_(pool.get_executor()) {}

  void start() {
    last_turn_ = Clock::now();
    asio::post(executor_, [this] { turn(); });
  }

  /// To be called when the work is done; the gap that is then open counts too.
  void stop() noexcept {
    stopped_at_.store(Clock::now().time_since_epoch().count(), std::memory_order_relaxed);
    stopping_.store(true, std::memory_order_release);
  }

  /// Valid once the pool has been joined, as are the figures.
  [[nodiscard]] double longest_gap_us() const noexcept {
    return std::chrono::duration<double, std::micro>(longest_gap_).count();
  }

  [[nodiscard]] std::map<std::string, double> figures(const Sample& sample, std::uint64_t events) const {
    const double elapsed_ms = sample.ns_per_event * static_cast<double>(events) / 1e6;
    return {{"ns_per_event", sample.ns_per_event},
            {"turns", static_cast<double>(turns_)},
            {"turns_per_ms", static_cast<double>(turns_) / elapsed_ms},
            {"longest_gap_us", longest_gap_us()}};
  }

 private:
  // The turns follow one another, so what only they touch needs no lock.
  void turn() {
    if (stopping_.load(std::memory_order_acquire)) {
      const Clock::time_point stopped{Clock::duration(stopped_at_.load(std::memory_order_relaxed))};
      longest_gap_ = std::max(longest_gap_, stopped - last_turn_);
      return;
    }
    const Clock::time_point now = Clock::now();
    longest_gap_ = std::max(longest_gap_, now - last_turn_);
    last_turn_ = now;
    ++turns_;
    asio::post(executor_, [this] { turn(); });
  }

  asio::thread_pool::executor_type executor_;
  Clock::time_point last_turn_{};
  Clock::duration longest_gap_{};
  std::uint64_t turns_ = 0;
  std::atomic<Clock::rep> stopped_at_{0};
  std::atomic<bool> stopping_{false};
};

}  // namespace weir_bench
