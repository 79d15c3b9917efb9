#pragma once

// The one place that states the version: the build reads it from here.

#define WEIR_VERSION_MAJOR 0
#define WEIR_VERSION_MINOR 1
#define WEIR_VERSION_PATCH 0

// Compares as a number: 10203 is 1.2.3.
#define WEIR_VERSION (WEIR_VERSION_MAJOR * 10000 + WEIR_VERSION_MINOR * 100 + WEIR_VERSION_PATCH)

namespace weir {

struct Version {
  int major_number;
  int minor_number;
  int patch_number;
};

inline constexpr Version version{WEIR_VERSION_MAJOR, WEIR_VERSION_MINOR, WEIR_VERSION_PATCH};

}  // namespace weir
