#pragma once

#include <cstdlib>
#include <string>

namespace weir_test {

/// How often a stress test on real threads repeats: WEIR_STRESS in the environment wins.
inline int stress(int otherwise) {
  const char* const said = std::getenv("WEIR_STRESS");
  return said ? std::stoi(said) : otherwise;
}

/// A number that is large because it counts: a sanitizer, which needs ten times as long, does a tenth of it.
constexpr int scaled(int otherwise) {
#ifdef WEIR_SANITIZED
  return otherwise / 10;
#else
  return otherwise;
#endif
}

/// The same for a stress test.
inline int long_stress(int otherwise) { return stress(scaled(otherwise)); }

}  // namespace weir_test
