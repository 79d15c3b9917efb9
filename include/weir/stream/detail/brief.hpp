/// Short texts for descriptions.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include <fmt/format.h>

namespace weir::detail {

/// "100ms": in the greatest unit in which it is a whole number.
template <class Rep, class Period>
[[nodiscard]] std::string brief(std::chrono::duration<Rep, Period> duration) {
  const std::int64_t n = std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count();
  if (n % 1'000'000'000 == 0) return fmt::format("{}s", n / 1'000'000'000);
  if (n % 1'000'000 == 0) return fmt::format("{}ms", n / 1'000'000);
  if (n % 1'000 == 0) return fmt::format("{}us", n / 1'000);
  return fmt::format("{}ns", n);
}

/// "1 worker", "2 workers".
[[nodiscard]] inline std::string counted(std::uint64_t n, std::string_view what) {
  return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s");
}

}  // namespace weir::detail
