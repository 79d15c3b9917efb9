#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include "harness.hpp"
#include "payload.hpp"
#include "two_threads.hpp"

namespace weir_bench {

/// The limit on two threads: one writer, one reader, and no waiting but yielding.
///
/// 1. Only the writer stores tail_, only the reader head_; each publishes with a release store.
/// 2. A slot belongs to the writer from the reader's release of head_ until the writer's release of tail_.
/// 3. Each side looks at the other's index only when its cached copy says that it is stuck.
template <class T>
class LamportRing {
 public:
  explicit LamportRing(std::size_t capacity) : slots_(capacity), mask_(capacity - 1) {}

  /// Writes up to `count` values, first of them T(number), and publishes them with one store.
  std::size_t push_some(U64 number, std::size_t count) {
    const std::size_t tail = tail_.load(std::memory_order_relaxed);
    if (tail - cached_head_ > mask_) cached_head_ = head_.load(std::memory_order_acquire);
    const std::size_t pushed = std::min(count, slots_.size() - (tail - cached_head_));
    if (pushed == 0) return 0;
    for (std::size_t i = 0; i < pushed; ++i) slots_[(tail + i) & mask_] = T(number + i);
    tail_.store(tail + pushed, std::memory_order_release);
    return pushed;
  }

  std::size_t pop_some(U64& sum, std::size_t count) {
    const std::size_t head = head_.load(std::memory_order_relaxed);
    if (head == cached_tail_) cached_tail_ = tail_.load(std::memory_order_acquire);
    const std::size_t popped = std::min(count, cached_tail_ - head);
    if (popped == 0) return 0;
    for (std::size_t i = 0; i < popped; ++i) sum += digest(slots_[(head + i) & mask_]);
    head_.store(head + popped, std::memory_order_release);
    return popped;
  }

 private:
  std::vector<T> slots_;
  std::size_t mask_;
  alignas(64) std::atomic<std::size_t> tail_{0};
  std::size_t cached_head_ = 0;
  alignas(64) std::atomic<std::size_t> head_{0};
  std::size_t cached_tail_ = 0;
};

template <class T, std::size_t batch>
[[nodiscard]] Sample run_lamport_ring(std::uint64_t events) {
  LamportRing<T> ring(default_capacity);
  U64 sum = 0;
  const Sample sample = measure_two_threads(
      events,
      [&] {
        for (U64 sent = 0; sent < events;) {
          const std::size_t pushed = ring.push_some(sent, std::min<U64>(batch, events - sent));
          if (pushed == 0) std::this_thread::yield();
          sent += pushed;
        }
      },
      [&] {
        for (U64 received = 0; received < events;) {
          const std::size_t popped = ring.pop_some(sum, batch);
          if (popped == 0) std::this_thread::yield();
          received += popped;
        }
      });
  expect_delivered(expected_digest<T>(events), sum);
  return sample;
}

}  // namespace weir_bench
