#pragma once

#include <vector>

#include "harness.hpp"

namespace weir_bench {

[[nodiscard]] std::vector<Group> w1_groups();
[[nodiscard]] std::vector<Group> w2_groups();
[[nodiscard]] std::vector<Group> w6_groups();

}  // namespace weir_bench
