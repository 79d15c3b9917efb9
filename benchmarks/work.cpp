#include "work.hpp"

#include <cmath>
#include <vector>

#include "harness.hpp"

namespace weir_bench {
namespace {

double measure_ns_per_iteration() {
  constexpr std::uint64_t iterations = 200'000;
  std::vector<double> samples;
  for (int round = 0; round < 31; ++round) {
    const Measurement measurement;
    spin(iterations);
    samples.push_back(measurement.finish(iterations).ns_per_event);
  }
  return spread_of(samples).median;
}

}  // namespace

std::uint64_t iterations_for_ns(double ns) {
  static const double ns_per_iteration = measure_ns_per_iteration();
  return static_cast<std::uint64_t>(std::llround(ns / ns_per_iteration));
}

}  // namespace weir_bench
