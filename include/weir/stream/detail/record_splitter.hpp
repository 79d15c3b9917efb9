#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <weir/core/error.hpp>

namespace weir::detail {

/// Where records end.
struct Delimiter {
  std::string text;
  /// A return before it belongs to it, too.
  bool takes_return = false;

  static Delimiter line() { return {"\n", true}; }
  static Delimiter of(char c) { return {std::string(1, c), false}; }
  static Delimiter of(std::string s) {
    if (s.empty()) throw Error(Errc::invalid_argument, "an empty delimiter ends no record");
    return {std::move(s), false};
  }
};

inline constexpr std::size_t unlimited_record = std::numeric_limits<std::size_t>::max();

/// Finds the records in blocks that follow each other. Only what spans blocks is copied.
///
/// While `begun_` is not empty it holds the start of the next record, without any delimiter in it, unless it was
/// `given`: then it is the record that `next` gave last.
class RecordSplitter {
 public:
  explicit RecordSplitter(Delimiter delimiter, std::size_t longest = unlimited_record)
      : delimiter_(std::move(delimiter)), longest_(longest) {}

  /// The block must live until `next` has said false.
  void feed(std::string_view block) noexcept { rest_ = block; }

  /// The next whole record; it is there until the next call. Throws `std::errc::message_size` for one that is too long.
  [[nodiscard]] bool next(std::string_view& record) {
    if (given_) {
      begun_.clear();
      given_ = false;
    }
    if (!begun_.empty()) return finish_begun(record);
    const std::size_t end = find(rest_);
    if (end == std::string_view::npos) {
      begun_.append(rest_);
      rest_ = {};
      check_begun();
      return false;
    }
    record = rest_.substr(0, end);
    rest_.remove_prefix(end + delimiter_.text.size());
    return give(record);
  }

  /// After the last block: what was begun and has no end. Empty if nothing was. Throws as `next` does.
  [[nodiscard]] std::string_view unfinished() const {
    if (given_) return {};
    const std::string_view record = delimiter_.takes_return ? without_return(begun_) : begun_;
    check(record.size());
    return record;
  }
  /// Whether something was begun, if only with a return.
  [[nodiscard]] bool has_unfinished() const noexcept { return !given_ && !begun_.empty(); }

 private:
  static std::string_view without_return(std::string_view line) noexcept {
    if (line.ends_with('\r')) line.remove_suffix(1);
    return line;
  }

  [[nodiscard]] std::size_t find(std::string_view in) const noexcept {
    return delimiter_.text.size() == 1 ? in.find(delimiter_.text.front()) : in.find(delimiter_.text);
  }

  bool finish_begun(std::string_view& record) {
    const std::size_t before = begun_.size();
    const std::size_t across = delimiter_.text.size() - 1;
    if (across != 0) {
      begun_.append(rest_.substr(0, across));
      const std::size_t from = before > across ? before - across : 0;
      const std::size_t end = begun_.find(delimiter_.text, from);
      if (end != std::string::npos) {
        rest_.remove_prefix(end + delimiter_.text.size() - before);
        begun_.resize(end);
        return give_begun(record);
      }
      begun_.resize(before);
    }
    const std::size_t end = find(rest_);
    begun_.append(rest_.substr(0, end));
    if (end == std::string_view::npos) {
      rest_ = {};
      check_begun();
      return false;
    }
    rest_.remove_prefix(end + delimiter_.text.size());
    return give_begun(record);
  }

  bool give_begun(std::string_view& record) {
    given_ = true;
    record = begun_;
    return give(record);
  }
  bool give(std::string_view& record) const {
    if (delimiter_.takes_return) record = without_return(record);
    check(record.size());
    return true;
  }
  /// What was begun may end with all of a delimiter but its last character.
  void check_begun() const {
    const std::size_t of_delimiter = delimiter_.text.size() - 1 + (delimiter_.takes_return ? 1 : 0);
    if (begun_.size() > of_delimiter) check(begun_.size() - of_delimiter);
  }
  void check(std::size_t size) const {
    if (size > longest_) {
      throw std::system_error(std::make_error_code(std::errc::message_size),
                              "a record is longer than max_record(" + std::to_string(longest_) + ")");
    }
  }

  Delimiter delimiter_;
  std::size_t longest_;
  std::string_view rest_;
  std::string begun_;
  bool given_ = false;
};

}  // namespace weir::detail
