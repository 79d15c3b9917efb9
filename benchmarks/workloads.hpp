#pragma once

#include <vector>

#include "harness.hpp"

namespace weir_bench {

[[nodiscard]] std::vector<Group> w1_groups();
[[nodiscard]] std::vector<Group> w2_groups();
[[nodiscard]] std::vector<Group> w3_groups();
[[nodiscard]] std::vector<Group> w4_groups();
[[nodiscard]] std::vector<Group> w5_groups();
[[nodiscard]] std::vector<Group> w6_groups();
[[nodiscard]] std::vector<Group> w7_groups();
[[nodiscard]] std::vector<Group> w8_groups();
[[nodiscard]] std::vector<Group> w9_groups();
[[nodiscard]] std::vector<Group> w10_groups();
[[nodiscard]] std::vector<Group> w11_groups();
[[nodiscard]] std::vector<Group> promise_groups();

}  // namespace weir_bench
