#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "harness.hpp"

namespace weir_bench {

/// "ns_per_event 41.5 allocs_per_event 0", which is how processes tell each other their figures. Throws what an answer
/// that begins with "error" says.
[[nodiscard]] Sample parse_sample(const std::string& line);

/// Runs it in a copy of this process, so that neither the memory that others have freed nor what it leaves behind is
/// seen by the next.
[[nodiscard]] Sample run_in_a_copy(const std::function<Sample()>& run);

/// A program that answers each line on its standard input by one line of figures.
class Program {
 public:
  explicit Program(std::string path);
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  /// Ends its input, on which it is to end, and waits for that.
  ~Program();

  [[nodiscard]] Sample ask(const std::string& request);

 private:
  class Child;

  std::string path_;
  std::unique_ptr<Child> child_;  // started with the first request
};

}  // namespace weir_bench
