#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "payload.hpp"

namespace weir_bench {

/// The numbers that one of several senders sends, or as many as one of several receivers gets.
struct Share {
  U64 first = 0;
  U64 last = 0;

  [[nodiscard]] U64 size() const noexcept { return last - first; }
};

[[nodiscard]] constexpr Share share_of(std::uint64_t events, std::size_t parties, std::size_t which) noexcept {
  return {events * which / parties, events * (which + 1) / parties};
}

/// What each receiver got, on cache lines of their own.
template <std::size_t receivers>
class Sums {
 public:
  [[nodiscard]] U64& operator[](std::size_t which) noexcept { return lines_[which].sum; }

  [[nodiscard]] U64 total() const noexcept {
    U64 sum = 0;
    for (const Line& line : lines_) sum += line.sum;
    return sum;
  }

 private:
  struct alignas(64) Line {
    U64 sum = 0;
  };
  std::array<Line, receivers> lines_{};
};

}  // namespace weir_bench
