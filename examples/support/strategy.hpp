/// What `--strategy` says.
#pragma once

#include <charconv>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>

#include <fmt/format.h>

namespace example {

/// How the events of a stream are processed: by one worker, or by several, which may keep the order.
struct Strategy {
  static constexpr std::size_t most_workers = 1024;

  std::size_t workers = 0;  ///< 0: serial
  bool ordered = false;

  friend bool operator==(const Strategy&, const Strategy&) = default;

  [[nodiscard]] bool serial() const noexcept { return workers == 0; }
};

[[nodiscard]] inline std::string to_string(const Strategy& strategy) {
  if (strategy.serial()) return "serial";
  return fmt::format("parallel:{}{}", strategy.workers, strategy.ordered ? ":ordered" : "");
}

/// Reads `serial`, `parallel:N` or `parallel:N:ordered`. Throws `std::invalid_argument` with one line that says what
/// was wrong.
[[nodiscard]] inline Strategy parse_strategy(std::string_view text) {
  constexpr std::string_view parallel = "parallel";
  constexpr std::string_view ordered = ":ordered";
  if (text == "serial") return {};
  if (!text.starts_with(parallel)) {
    throw std::invalid_argument(fmt::format("there is no strategy '{}': it is serial or parallel:N", text));
  }
  Strategy strategy;
  std::string_view count = text.substr(parallel.size());
  if (count.ends_with(ordered)) {
    strategy.ordered = true;
    count.remove_suffix(ordered.size());
  }
  if (!count.starts_with(':') || count.size() == 1) {
    throw std::invalid_argument(fmt::format("'{}' does not say how many workers, as in parallel:4", text));
  }
  count.remove_prefix(1);
  const auto [end, error] = std::from_chars(count.data(), count.data() + count.size(), strategy.workers);
  const bool number = end == count.data() + count.size() && error != std::errc::invalid_argument;
  if (!number) throw std::invalid_argument(fmt::format("'{}' in '{}' is not a number of workers", count, text));
  if (error == std::errc::result_out_of_range || strategy.workers < 1 || strategy.workers > Strategy::most_workers) {
    throw std::invalid_argument(
        fmt::format("'{}' asks for {} workers: it can be 1 to {}", text, count, Strategy::most_workers));
  }
  return strategy;
}

}  // namespace example
