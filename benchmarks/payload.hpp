#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

namespace weir_bench {

using U64 = std::uint64_t;

/// A cache line of data. It has constructors, so that it can be built in place by any queue's emplace form.
struct P64 {
  P64() = default;
  explicit P64(U64 number) noexcept {
    for (std::size_t k = 0; k < words.size(); ++k) words[k] = number + k;
  }

  std::array<U64, 8> words;
};
static_assert(sizeof(P64) == 64 && std::is_trivially_copyable_v<P64>);

template <class T>
inline constexpr std::string_view payload_name = "";
template <>
inline constexpr std::string_view payload_name<U64> = "u64";
template <>
inline constexpr std::string_view payload_name<P64> = "p64";

/// Reads every word, so that a queue which loses or mixes any of them is found out.
[[nodiscard]] inline U64 digest(const U64& value) noexcept { return value; }

[[nodiscard]] inline U64 digest(const P64& value) noexcept {
  U64 sum = 0;
  for (const U64 word : value.words) sum += word;
  return sum;
}

/// What the digests of T{0} to T{events - 1} add up to.
template <class T>
[[nodiscard]] U64 expected_digest(U64 events) noexcept {
  const U64 numbers = events % 2 == 0 ? events / 2 * (events - 1) : (events - 1) / 2 * events;
  if constexpr (std::is_same_v<T, U64>) return numbers;
  return 8 * numbers + 28 * events;
}

/// Marks the end of a stream where a queue cannot be closed without losing what it holds.
template <class T>
[[nodiscard]] T end_mark() noexcept {
  return T{~U64{0}};
}

[[nodiscard]] inline bool is_end_mark(const U64& value) noexcept { return value == ~U64{0}; }
[[nodiscard]] inline bool is_end_mark(const P64& value) noexcept { return value.words[0] == ~U64{0}; }

}  // namespace weir_bench
