#pragma once

#include <cstdlib>
#include <string>

namespace weir_test {

/// How often a stress test on real threads repeats: WEIR_STRESS in the environment wins.
inline int stress(int otherwise) {
  const char* const said = std::getenv("WEIR_STRESS");
  return said ? std::stoi(said) : otherwise;
}

}  // namespace weir_test
