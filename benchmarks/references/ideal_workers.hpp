#pragma once

#include <array>
#include <cstdint>

#include "harness.hpp"
#include "payload.hpp"
#include "threads.hpp"
#include "work.hpp"

namespace weir_bench {

/// The work alone, split evenly between two threads: what no stream on two threads can be faster than.
template <class T>
[[nodiscard]] Sample run_ideal_workers(std::uint64_t events, std::uint64_t iterations) {
  std::array<U64, 2> sums{};
  const auto half = [&](std::size_t which) {
    U64 sum = 0;
    for (U64 i = which; i < events; i += 2) sum += work_on(T(i), iterations);
    sums[which] = sum;
  };
  const Sample sample = measure_two_threads(events, [&] { half(0); }, [&] { half(1); });
  expect_delivered(expected_digest<T>(events), sums[0] + sums[1]);
  return sample;
}

}  // namespace weir_bench
