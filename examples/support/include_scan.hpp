/// What a C or C++ header says about itself at a glance: its lines, and the headers that it includes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace example {

struct IncludeScan {
  std::uint64_t lines = 0;            ///< a last line without a newline counts
  std::vector<std::string> includes;  ///< in order, without quotes or brackets; repeated where the file repeats itself
};

namespace detail {

/// Walks over a source as far as directives need: comments, literals and continued lines are known, nothing is
/// expanded, and no condition is evaluated.
class IncludeScanner {
 public:
  explicit IncludeScanner(std::string_view text) noexcept : text_(text) {}

  void run(std::vector<std::string>& includes) {
    bool line_start = true;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '\n') {
        line_start = true;
        ++at_;
      } else if (skip_blank()) {
        // A comment counts as a blank, so a directive may follow it.
      } else if (c == '#' && line_start) {
        line_start = false;
        ++at_;
        directive(includes);
      } else {
        line_start = false;
        token();
      }
    }
  }

 private:
  [[nodiscard]] char peek(std::size_t ahead) const noexcept {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }
  [[nodiscard]] static bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
  [[nodiscard]] static bool is_word(char c) noexcept {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  }

  /// The length of a backslash at the end of a line with that end, or 0.
  [[nodiscard]] std::size_t splice() const noexcept {
    if (peek(0) != '\\') return 0;
    if (peek(1) == '\n') return 2;
    return peek(1) == '\r' && peek(2) == '\n' ? 3 : 0;
  }

  bool skip_blank() noexcept {
    const char c = peek(0);
    if (c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v') {
      ++at_;
      return true;
    }
    if (const std::size_t length = splice()) {
      at_ += length;
      return true;
    }
    if (c != '/') return false;
    if (peek(1) == '*') {
      const auto end = text_.find("*/", at_ + 2);
      at_ = end == std::string_view::npos ? text_.size() : end + 2;
      return true;
    }
    if (peek(1) != '/') return false;
    while (at_ < text_.size() && text_[at_] != '\n') at_ += std::max<std::size_t>(splice(), 1);
    at_ = std::min(at_, text_.size());
    return true;
  }

  [[nodiscard]] std::string_view word() noexcept {
    const std::size_t begin = at_;
    while (is_word(peek(0))) ++at_;
    return text_.substr(begin, at_ - begin);
  }

  void directive(std::vector<std::string>& includes) {
    while (skip_blank()) {
    }
    const std::string_view name = word();
    if (name != "include" && name != "include_next") return;
    while (skip_blank()) {
    }
    const char open = peek(0);
    if (open != '<' && open != '"') return;
    const char close = open == '<' ? '>' : '"';
    const auto end = text_.find_first_of(std::string_view(close == '>' ? ">\n" : "\"\n"), at_ + 1);
    if (end == std::string_view::npos || text_[end] != close) return;
    if (end > at_ + 1) includes.emplace_back(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
  }

  void token() noexcept {
    const char c = peek(0);
    if (c == '"' || c == '\'') {
      literal(c);
    } else if (is_digit(c)) {
      // The quote that separates digits opens no character.
      while (is_word(peek(0)) || peek(0) == '.' || (peek(0) == '\'' && is_word(peek(1)))) ++at_;
    } else if (is_word(c)) {
      const std::string_view name = word();
      if (peek(0) == '"' && (name == "R" || name == "LR" || name == "uR" || name == "UR" || name == "u8R")) raw();
    } else {
      ++at_;
    }
  }

  /// An unclosed one ends with its line: an apostrophe in an #error, or in what a condition leaves out.
  void literal(char quote) noexcept {
    ++at_;
    while (at_ < text_.size() && text_[at_] != '\n') {
      if (const std::size_t length = splice()) {
        at_ += length;
      } else if (text_[at_] == '\\' && peek(1) != '\n') {
        at_ = std::min(at_ + 2, text_.size());
      } else if (text_[at_++] == quote) {
        return;
      }
    }
  }

  void raw() {
    const auto open = text_.find('(', at_);
    if (open == std::string_view::npos) {
      ++at_;
      return;
    }
    const std::string close = ")" + std::string(text_.substr(at_ + 1, open - at_ - 1)) + "\"";
    const auto end = text_.find(close, open);
    at_ = end == std::string_view::npos ? text_.size() : end + close.size();
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace detail

/// Counts the lines of `text` and finds its `#include` and `#include_next` directives, in any spacing, also over
/// continued lines, but not in comments and literals. Both sides of a condition count; what a macro names does not.
/// O(length).
[[nodiscard]] inline IncludeScan scan_includes(std::string_view text) {
  IncludeScan scan;
  scan.lines = static_cast<std::uint64_t>(std::count(text.begin(), text.end(), '\n'));
  if (!text.empty() && text.back() != '\n') ++scan.lines;
  detail::IncludeScanner(text).run(scan.includes);
  return scan;
}

}  // namespace example
