#pragma once

#include <oneapi/tbb/concurrent_queue.h>

#include <cstddef>
#include <cstdint>

#include "harness.hpp"
#include "payload.hpp"
#include "two_threads.hpp"

namespace weir_bench {

template <class T>
[[nodiscard]] Sample run_tbb_bounded_queue(std::uint64_t events) {
  tbb::concurrent_bounded_queue<T> queue;
  queue.set_capacity(static_cast<std::ptrdiff_t>(default_capacity));
  U64 sum = 0;
  const Sample sample = measure_two_threads(
      events,
      [&] {
        for (U64 i = 0; i < events; ++i) queue.emplace(i);
      },
      [&] {
        T value{};
        for (U64 i = 0; i < events; ++i) {
          queue.pop(value);
          sum += digest(value);
        }
      });
  expect_delivered(expected_digest<T>(events), sum);
  return sample;
}

}  // namespace weir_bench
