#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <utility>
#include <vector>

#include "bus_job.hpp"
#include "harness.hpp"
#include "payload.hpp"
#include "threads.hpp"

namespace weir_bench {

inline constexpr std::size_t unbounded = std::numeric_limits<std::size_t>::max();

/// What everybody writes first, and what eventpp's queue does: who publishes appends to a vector under a mutex, who
/// handles swaps it for an empty one.
template <class T>
class MutexBus {
 public:
  MutexBus(std::size_t capacity, std::size_t handlers, U64& sum) : capacity_(capacity), handlers_(handlers, sum) {}

  void publish(const T& value) {
    bool first = false;
    {
      std::unique_lock lock(mutex_);
      room_.wait(lock, [this] { return queued_.size() < capacity_; });
      first = queued_.empty();
      queued_.push_back(value);
    }
    if (first) event_.notify_one();
  }
  /// As many as there are; waits for the first.
  std::size_t handle_some() {
    {
      std::unique_lock lock(mutex_);
      event_.wait(lock, [this] { return !queued_.empty(); });
      std::swap(queued_, taken_);
    }
    room_.notify_one();
    for (const T& value : taken_) handlers_.call(value);
    const std::size_t count = taken_.size();
    taken_.clear();
    return count;
  }

 private:
  const std::size_t capacity_;
  const Handlers<T> handlers_;
  std::mutex mutex_;
  std::condition_variable room_;
  std::condition_variable event_;
  std::vector<T> queued_;
  std::vector<T> taken_;
};

template <class T, std::size_t capacity>
[[nodiscard]] Sample run_mutex_bus(std::uint64_t events, std::size_t handlers) {
  U64 sum = 0;
  MutexBus<T> bus(capacity, handlers, sum);
  const Sample sample = measure_two_threads(
      events,
      [&] {
        for (U64 i = 0; i < events; ++i) bus.publish(T(i));
      },
      [&] {
        for (std::uint64_t left = events; left != 0;) left -= bus.handle_some();
      });
  expect_delivered(handlers * expected_digest<T>(events), sum);
  return sample;
}

/// Nobody waits: the price of the queue and its locks.
template <class T>
[[nodiscard]] Sample run_mutex_bus_one_thread(std::uint64_t events, std::size_t handlers) {
  U64 sum = 0;
  MutexBus<T> bus(default_capacity, handlers, sum);
  const Measurement measurement;
  for (U64 sent = 0; sent < events; sent += default_capacity) {
    for (U64 i = 0; i < default_capacity; ++i) bus.publish(T(sent + i));
    bus.handle_some();
  }
  const Sample sample = measurement.finish(events);
  expect_delivered(handlers * expected_digest<T>(events), sum);
  return sample;
}

/// No queue at all.
template <class T>
[[nodiscard]] Sample run_direct_calls(std::uint64_t events, std::size_t handlers) {
  U64 sum = 0;
  const Handlers<T> all(handlers, sum);
  const Measurement measurement;
  for (U64 i = 0; i < events; ++i) all.call(T(hidden(i)));
  const Sample sample = measurement.finish(events);
  expect_delivered(handlers * expected_digest<T>(events), sum);
  return sample;
}

}  // namespace weir_bench
