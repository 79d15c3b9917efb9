#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "harness.hpp"
#include "payload.hpp"

namespace weir_bench {

/// The limit on one thread: an index, a mask and a slot that is written and read in place.
template <class T>
class RawRing {
 public:
  explicit RawRing(std::size_t capacity) : slots_(capacity), mask_(capacity - 1) {}

  bool try_push(U64 number) {
    if (tail_ - head_ > mask_) return false;
    slots_[tail_ & mask_] = T(number);
    ++tail_;
    return true;
  }

  bool try_pop(U64& sum) {
    if (tail_ == head_) return false;
    // One value at a time: Clang would add up a whole run of them by vector instructions.
    sum = hidden(sum + digest(slots_[head_ & mask_]));
    ++head_;
    return true;
  }

 private:
  std::vector<T> slots_;
  std::size_t mask_;
  std::size_t head_ = 0;
  std::size_t tail_ = 0;
};

template <class T>
[[nodiscard]] Sample run_raw_ring(std::uint64_t events) {
  RawRing<T> ring(default_capacity);
  U64 sum = 0;
  const Measurement measurement;
  for (U64 sent = 0; sent < events;) {
    while (sent < events && ring.try_push(sent)) ++sent;
    while (ring.try_pop(sum)) {
    }
  }
  const Sample sample = measurement.finish(events);
  expect_delivered(expected_digest<T>(events), sum);
  return sample;
}

}  // namespace weir_bench
