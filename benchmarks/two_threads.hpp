#pragma once

#include <exception>
#include <latch>
#include <thread>
#include <utility>

#include "harness.hpp"

namespace weir_bench {

/// Runs `here` on the calling thread and `there` on another; both stand ready before the clock starts.
template <class Here, class There>
[[nodiscard]] Sample measure_two_threads(std::uint64_t events, Here&& here, There&& there) {
  std::latch ready(2);
  std::latch done(1);
  std::exception_ptr error;
  std::thread other([&] {
    ready.arrive_and_wait();
    try {
      there();
    } catch (...) {
      error = std::current_exception();
    }
    done.count_down();
  });
  ready.arrive_and_wait();
  const Measurement measurement;
  here();
  done.wait();
  const Sample sample = measurement.finish(events);
  other.join();
  if (error) std::rethrow_exception(error);
  return sample;
}

}  // namespace weir_bench
