#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <queue>
#include <thread>
#include <vector>
#if WEIR_BENCH_HAS_TBB
#  include <oneapi/tbb/concurrent_priority_queue.h>

#  include <atomic>
#endif

#include "bus_job.hpp"
#include "harness.hpp"
#include "payload.hpp"
#include "threads.hpp"

namespace weir_bench {

/// An event with what keeps those of one urgency in order.
template <class T>
struct RankedValue {
  std::size_t urgency = 0;
  U64 number = 0;
  T value{};

  /// Whether the other is the more urgent: the queues here give the greatest first.
  friend bool operator<(const RankedValue& a, const RankedValue& b) noexcept {
    return a.urgency != b.urgency ? a.urgency > b.urgency : a.number > b.number;
  }
};

/// A bounded `std::priority_queue` under a mutex, with a condition variable for each side.
template <class T>
class MutexPriorityQueue {
 public:
  explicit MutexPriorityQueue(std::size_t capacity) : capacity_(capacity) {}

  void push(std::size_t urgency, const T& value) {
    {
      std::unique_lock lock(mutex_);
      room_.wait(lock, [this] { return queue_.size() < capacity_; });
      queue_.push({urgency, next_++, value});
    }
    event_.notify_one();
  }
  [[nodiscard]] T pop() {
    std::unique_lock lock(mutex_);
    event_.wait(lock, [this] { return !queue_.empty(); });
    T value = queue_.top().value;
    queue_.pop();
    lock.unlock();
    room_.notify_one();
    return value;
  }

 private:
  const std::size_t capacity_;
  std::mutex mutex_;
  std::condition_variable room_;
  std::condition_variable event_;
  std::priority_queue<RankedValue<T>> queue_;
  U64 next_ = 0;
};

#if WEIR_BENCH_HAS_TBB
/// It does not wait for anything: both sides yield. Its size is a bound only about.
template <class T>
class TbbPriorityQueue {
 public:
  explicit TbbPriorityQueue(std::size_t capacity) : capacity_(capacity) {}

  void push(std::size_t urgency, const T& value) {
    while (queue_.size() >= capacity_) std::this_thread::yield();
    queue_.push({urgency, next_.fetch_add(1, std::memory_order_relaxed), value});
  }
  [[nodiscard]] T pop() {
    RankedValue<T> taken;
    while (!queue_.try_pop(taken)) std::this_thread::yield();
    return taken.value;
  }

 private:
  const std::size_t capacity_;
  tbb::concurrent_priority_queue<RankedValue<T>> queue_;
  std::atomic<U64> next_{0};
};
#endif

template <template <class> class Queue, class T>
[[nodiscard]] Sample run_priority_queue(std::uint64_t events, std::size_t handlers) {
  U64 sum = 0;
  const Handlers<T> all(handlers, sum);
  Queue<T> queue(default_capacity);
  const Sample sample = measure_two_threads(
      events,
      [&] {
        for (U64 i = 0; i < events; ++i) queue.push(0, T(i));
      },
      [&] {
        for (std::uint64_t i = 0; i < events; ++i) all.call(queue.pop());
      });
  expect_delivered(handlers * expected_digest<T>(events), sum);
  return sample;
}

template <template <class> class Queue, class T>
[[nodiscard]] Sample run_priority_queue_one_thread(std::uint64_t events, std::size_t handlers) {
  U64 sum = 0;
  const Handlers<T> all(handlers, sum);
  Queue<T> queue(default_capacity);
  const Measurement measurement;
  for (U64 sent = 0; sent < events; sent += default_capacity) {
    for (U64 i = 0; i < default_capacity; ++i) queue.push(0, T(sent + i));
    for (U64 i = 0; i < default_capacity; ++i) all.call(queue.pop());
  }
  const Sample sample = measurement.finish(events);
  expect_delivered(handlers * expected_digest<T>(events), sum);
  return sample;
}

/// On one thread, at a depth that stays.
template <template <class> class Queue, class T>
[[nodiscard]] Sample run_priority_queue_at_depth(std::uint64_t events, std::uint64_t depth) {
  U64 sum = 0;
  Queue<T> queue(2 * depth);
  HeldDepth held(events, depth);
  const std::function<void(const T&)> handler = [&](const T& value) {
    sum += digest(value);
    if (const auto next = held.handled()) queue.push(0, T(*next));
  };
  for (U64 i = 0; i < depth; ++i) queue.push(0, T(i));
  while (!held.over()) handler(queue.pop());
  expect_delivered(expected_digest<T>(events + 1), sum);
  return held.sample();
}

}  // namespace weir_bench
