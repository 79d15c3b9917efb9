/// Figures for people: tables in columns, numbers in groups of three.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace example {

/// 1234567 as "1,234,567".
[[nodiscard]] inline std::string grouped(std::uint64_t number) {
  std::string digits = fmt::format("{}", number);
  for (std::size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, 1, ',');
  return digits;
}

/// At most `most` characters of what a terminal can show: what controls it is replaced, and a cut is marked.
[[nodiscard]] inline std::string shown(std::string_view text, std::size_t most) {
  std::string result;
  for (const char c : text.substr(0, most)) {
    const auto byte = static_cast<unsigned char>(c);
    result += byte < 0x20 || byte == 0x7f ? '?' : c;
  }
  if (text.size() <= most) return result;
  // A cut does not leave half of a character behind.
  while (!result.empty() && (static_cast<unsigned char>(result.back()) & 0xC0U) == 0x80U) result.pop_back();
  if (!result.empty() && static_cast<unsigned char>(result.back()) >= 0xC0U) result.pop_back();
  return result + "...";
}

/// The `most` greatest of a map's entries by `rank(entry)`, the greatest first; equals in the order of their keys, so
/// that the answer does not depend on the order in which the map was filled. O(n log n).
template <class Map, class Rank>
[[nodiscard]] auto top_of(const Map& map, std::size_t most, Rank rank) {
  using Key = typename Map::key_type;
  using Value = typename Map::mapped_type;
  std::vector<std::pair<Key, Value>> entries(map.begin(), map.end());
  const auto before = [&rank](const auto& a, const auto& b) {
    const auto rank_a = rank(a);
    const auto rank_b = rank(b);
    return rank_a != rank_b ? rank_a > rank_b : a.first < b.first;
  };
  const auto count = static_cast<std::ptrdiff_t>(std::min(most, entries.size()));
  std::partial_sort(entries.begin(), entries.begin() + count, entries.end(), before);
  entries.resize(static_cast<std::size_t>(count));
  return entries;
}

template <class Map>
[[nodiscard]] auto top_of(const Map& map, std::size_t most) {
  return top_of(map, most, [](const auto& entry) { return entry.second; });
}

/// Rows under a heading. The last column is text and stands to the left, the others are numbers and stand to the right.
class Table {
 public:
  explicit Table(std::vector<std::string> heading) { rows_.push_back(std::move(heading)); }

  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }

  [[nodiscard]] std::string text() const {
    std::vector<std::size_t> widths;
    for (const auto& row : rows_) {
      widths.resize(std::max(widths.size(), row.size()));
      for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
    }
    std::string result;
    for (const auto& row : rows_) {
      for (std::size_t i = 0; i < row.size(); ++i) {
        result += i + 1 < row.size() ? fmt::format("  {:>{}}", row[i], widths[i]) : "  " + row[i];
      }
      result += '\n';
    }
    return result;
  }

 private:
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace example
