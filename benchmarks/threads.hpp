#pragma once

#include <cstddef>
#include <exception>
#include <latch>
#include <thread>
#include <utility>
#include <vector>

#include "harness.hpp"

namespace weir_bench {

/// Runs `party(i)` for each i below `parties` on a thread of its own, the first on the calling one; all stand ready
/// before the clock starts.
template <class Party>
[[nodiscard]] Sample measure_threads(std::uint64_t events, std::size_t parties, Party party) {
  std::latch ready(static_cast<std::ptrdiff_t>(parties));
  std::latch done(static_cast<std::ptrdiff_t>(parties - 1));
  std::vector<std::exception_ptr> errors(parties);
  std::vector<std::thread> others;
  for (std::size_t i = 1; i < parties; ++i) {
    others.emplace_back([&, i] {
      ready.arrive_and_wait();
      try {
        party(i);
      } catch (...) {
        errors[i] = std::current_exception();
      }
      done.count_down();
    });
  }
  ready.arrive_and_wait();
  const Measurement measurement;
  party(std::size_t{0});
  done.wait();
  const Sample sample = measurement.finish(events);
  for (std::thread& other : others) other.join();
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
  return sample;
}

template <class Here, class There>
[[nodiscard]] Sample measure_two_threads(std::uint64_t events, Here&& here, There&& there) {
  return measure_threads(events, 2, [&](std::size_t which) {
    if (which == 0) {
      here();
    } else {
      there();
    }
  });
}

}  // namespace weir_bench
