#pragma once

#include <cstdlib>
#include <string>

namespace weir_test {

/// How often a stress test on real threads repeats: WEIR_STRESS in the environment wins.
inline int stress(int otherwise) {
  const char* const said = std::getenv("WEIR_STRESS");
  return said ? std::stoi(said) : otherwise;
}

/// The same for what is long because it counts: a sanitizer, which needs ten times as long, does a tenth of it.
inline int long_stress(int otherwise) {
#ifdef WEIR_SANITIZED
  return stress(otherwise / 10);
#else
  return stress(otherwise);
#endif
}

}  // namespace weir_test
