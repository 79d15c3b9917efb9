#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "harness.hpp"

namespace weir_bench {

struct Machine {
  std::string cpu;
  unsigned cores = 0;
  std::string compiler;
  std::string asio;

  [[nodiscard]] static Machine this_one();
};

void print_machine(std::ostream& out, const Machine& machine);
void print_table(std::ostream& out, const GroupResult& outcome);
void write_json(std::ostream& out, const Machine& machine, const std::vector<GroupResult>& outcomes);

}  // namespace weir_bench
