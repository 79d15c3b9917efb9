#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include "harness.hpp"
#include "payload.hpp"
#include "threads.hpp"

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

/// How a side waits that is stuck. One that spins is too unsteady for a ring that is seldom stuck, and the only fair
/// one for a ring of capacity 1, which is stuck after each value.
struct Yielding {
  void operator()() const noexcept { std::this_thread::yield(); }
};

class Spinning {
 public:
  void operator()() noexcept {
    // The other side may have lost its processor.
    if (++spins_ % 128 == 0) std::this_thread::yield();
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }

 private:
  unsigned spins_ = 0;
};

template <class T, std::size_t batch, class Wait = Yielding, std::size_t capacity = default_capacity>
[[nodiscard]] Sample run_lamport_ring(std::uint64_t events) {
  LamportRing<T> ring(capacity);
  U64 sum = 0;
  const Sample sample = measure_two_threads(
      events,
      [&] {
        Wait wait;
        for (U64 sent = 0; sent < events;) {
          const std::size_t pushed = ring.push_some(sent, std::min<U64>(batch, events - sent));
          if (pushed == 0) wait();
          sent += pushed;
        }
      },
      [&] {
        Wait wait;
        for (U64 received = 0; received < events;) {
          const std::size_t popped = ring.pop_some(sum, batch);
          if (popped == 0) wait();
          received += popped;
        }
      });
  expect_delivered(expected_digest<T>(events), sum);
  return sample;
}

/// A ring of capacity 1 each way, both sides spinning; an event is a request and its reply, which is the request's
/// number again.
template <class T>
[[nodiscard]] Sample run_lamport_request(std::uint64_t events) {
  LamportRing<T> requests(1);
  LamportRing<T> replies(1);
  U64 sum = 0;
  U64 requested = 0;
  const Sample sample = measure_two_threads(
      events,
      [&] {
        Spinning wait;
        for (U64 i = 0; i < events; ++i) {
          while (requests.push_some(i, 1) == 0) wait();
          while (replies.pop_some(sum, 1) == 0) wait();
        }
      },
      [&] {
        Spinning wait;
        for (U64 i = 0; i < events; ++i) {
          while (requests.pop_some(requested, 1) == 0) wait();
          while (replies.push_some(i, 1) == 0) wait();
        }
      });
  expect_delivered(expected_digest<T>(events), requested);
  expect_delivered(expected_digest<T>(events), sum);
  return sample;
}

}  // namespace weir_bench
