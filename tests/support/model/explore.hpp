/// How a test explores: with what the environment asks for.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "support/model/checker.hpp"

namespace weir_test::model {

/// `WEIR_PREEMPTIONS`: up to so many, without a limit on the executions. `WEIR_CHOICES`: the one execution that a
/// report named. `WEIR_TALLY`: says how many there were.
inline Report explore(const char* name, Bounds bounds, const Checker::Make& make) {
  if (const char* const n = std::getenv("WEIR_PREEMPTIONS")) {
    bounds.preemptions = static_cast<std::uint32_t>(std::atoi(n));
    bounds.executions = ~std::uint64_t{0};
  }
  Checker checker(bounds);
  const char* const choices = std::getenv("WEIR_CHOICES");
  Report report = choices ? checker.repeat(make, choices) : checker.explore(make);
  if (std::getenv("WEIR_TALLY")) {
    std::fprintf(stderr, "%-60s %9llu%s%s\n", name, static_cast<unsigned long long>(report.executions),
                 report.found() ? " found: " : "", report.failure.c_str());
  }
  return report;
}

}  // namespace weir_test::model
