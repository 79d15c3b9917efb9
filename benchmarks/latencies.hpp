#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "harness.hpp"

namespace weir_bench {

/// The value that this share of them does not exceed; 0 of none.
template <class T>
[[nodiscard]] T quantile(std::vector<T> values, double share) {
  if (values.empty()) return {};
  const auto rank = std::min(values.size() - 1, static_cast<std::size_t>(share * static_cast<double>(values.size())));
  const auto place = values.begin() + static_cast<std::ptrdiff_t>(rank);
  std::nth_element(values.begin(), place, values.end());
  return *place;
}

/// How long things took, one by one.
class Latencies {
 public:
  explicit Latencies(std::size_t expected) { all_.reserve(expected); }

  void add(Clock::duration took) { all_.push_back(std::chrono::duration<double, std::nano>(took).count()); }

  [[nodiscard]] std::size_t count() const noexcept { return all_.size(); }
  [[nodiscard]] double mean_ns() const noexcept {
    double sum = 0;
    for (const double ns : all_) sum += ns;
    return all_.empty() ? 0 : sum / static_cast<double>(all_.size());
  }
  [[nodiscard]] double quantile_ns(double share) const { return quantile(all_, share); }
  /// How many were done within the time.
  [[nodiscard]] std::size_t within(Clock::duration time) const noexcept {
    const double most = std::chrono::duration<double, std::nano>(time).count();
    return static_cast<std::size_t>(std::count_if(all_.begin(), all_.end(), [&](double ns) { return ns <= most; }));
  }
  /// `p50_ns`, `p99_ns` and `p999_ns`.
  void add_figures(std::map<std::string, double>& figures, std::string_view prefix = {}) const {
    figures[std::string(prefix) + "p50_ns"] = quantile_ns(0.5);
    figures[std::string(prefix) + "p99_ns"] = quantile_ns(0.99);
    figures[std::string(prefix) + "p999_ns"] = quantile_ns(0.999);
  }

 private:
  std::vector<double> all_;
};

}  // namespace weir_bench
