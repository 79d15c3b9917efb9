/// One line of a web server's access log, in the common or the combined format:
///
///     host ident user [17/May/2015:10:05:03 +0000] "GET /index.html HTTP/1.1" 200 5043
///     host ident user [17/May/2015:10:05:03 +0000] "GET /index.html HTTP/1.1" 200 5043 "referer" "user agent"
///
/// What makes a line malformed is the server's part of it, never the client's: a request that is no HTTP at all is a
/// request all the same, and has the path "-". The rules, each with a case in tests/examples/log_line_test.cpp:
///  - The fields are separated by one space. A carriage return before the end of the line is not part of it.
///  - The host is any word, so a name, IPv4 and IPv6 with or without brackets. The user may contain spaces.
///  - The time is a date of the calendar, a time of day (second 60 is a leap second) and a zone of at most 14 hours.
///  - In the quoted fields a backslash escapes the next character; an unescaped quote ends the field.
///  - The status has three digits and is at least 100. The bytes are a number that fits in 64 bits, or "-", which is 0.
///  - After the bytes comes nothing, or the referer and the user agent.
#pragma once

#include <array>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

namespace example {

/// What a well-formed line says of a request.
struct LogHit {
  std::string path;  ///< as the log writes it, with its query and with its escapes
  std::uint64_t bytes = 0;
  int status = 0;
  int hour = 0;  ///< of the server's clock, as logged: 0 to 23
};

/// Why a line is malformed.
struct LogFault {
  std::string_view reason;
};

namespace detail {

class LogCursor {
 public:
  explicit LogCursor(std::string_view line) noexcept : rest_(line) {}

  [[nodiscard]] bool at_end() const noexcept { return rest_.empty(); }

  [[nodiscard]] bool skip(std::string_view expected) noexcept {
    if (!rest_.starts_with(expected)) return false;
    rest_.remove_prefix(expected.size());
    return true;
  }

  /// Takes at least one character, and leaves `end` as the next. False: there is no `end`, or nothing before it.
  [[nodiscard]] bool take_until(std::string_view end, std::string_view& taken) noexcept {
    const auto length = rest_.find(end);
    if (length == std::string_view::npos || length == 0) return false;
    taken = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return true;
  }

  [[nodiscard]] bool take_word(std::string_view& taken) noexcept {
    taken = rest_.substr(0, rest_.find(' '));
    rest_.remove_prefix(taken.size());
    return !taken.empty();
  }

  [[nodiscard]] bool take_quoted(std::string_view& taken) noexcept {
    if (!skip("\"")) return false;
    for (std::size_t i = 0; i < rest_.size(); ++i) {
      if (rest_[i] == '\\') {
        ++i;
      } else if (rest_[i] == '"') {
        taken = rest_.substr(0, i);
        rest_.remove_prefix(i + 1);
        return true;
      }
    }
    return false;
  }

 private:
  std::string_view rest_;
};

template <class Number>
[[nodiscard]] bool read_number(std::string_view digits, Number& number) noexcept {
  if (digits.empty() || digits.front() < '0' || digits.front() > '9') return false;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  return error == std::errc() && end == digits.data() + digits.size();
}

/// `time` is what stands between the brackets. Gives the hour, or -1 for what is no time.
[[nodiscard]] inline int hour_of(std::string_view time) noexcept {
  constexpr std::string_view shape = "dd/Mmm/yyyy:hh:mm:ss +zzzz";
  static constexpr std::array<std::string_view, 12> months = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                              "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  if (time.size() != shape.size()) return -1;
  for (const std::size_t at : {2U, 6U}) {
    if (time[at] != '/') return -1;
  }
  for (const std::size_t at : {11U, 14U, 17U}) {
    if (time[at] != ':') return -1;
  }
  if (time[20] != ' ' || (time[21] != '+' && time[21] != '-')) return -1;

  unsigned day = 0;
  int year = 0;
  int hour = 0;
  int minute = 0;
  int second = 0;
  int zone_hour = 0;
  int zone_minute = 0;
  if (!read_number(time.substr(0, 2), day) || !read_number(time.substr(7, 4), year) ||
      !read_number(time.substr(12, 2), hour) || !read_number(time.substr(15, 2), minute) ||
      !read_number(time.substr(18, 2), second) || !read_number(time.substr(22, 2), zone_hour) ||
      !read_number(time.substr(24, 2), zone_minute)) {
    return -1;
  }
  unsigned month = 1;
  while (month <= months.size() && months[month - 1] != time.substr(3, 3)) ++month;
  const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(month), std::chrono::day(day)};
  const bool valid = date.ok() && hour < 24 && minute < 60 && second <= 60 && zone_hour <= 14 && zone_minute < 60;
  return valid ? hour : -1;
}

[[nodiscard]] inline bool is_method(std::string_view word) noexcept {
  constexpr std::string_view punctuation = "!#$%&'*+-.^_`|~";
  for (const char c : word) {
    const bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (!letter && punctuation.find(c) == std::string_view::npos) return false;
  }
  return !word.empty();
}

}  // namespace detail

/// The path in a request line: what stands between the method and the protocol. The protocol may be missing, as HTTP
/// 0.9 has it. "-" when the request is empty or is no request line.
[[nodiscard]] inline std::string_view request_path(std::string_view request) noexcept {
  const auto after_method = request.find(' ');
  if (after_method == std::string_view::npos || !detail::is_method(request.substr(0, after_method))) return "-";
  std::string_view path = request.substr(after_method + 1);
  const auto last_word = path.rfind(' ');
  if (last_word != std::string_view::npos && path.substr(last_word + 1).starts_with("HTTP/")) {
    path = path.substr(0, last_word);
  }
  return path.empty() ? std::string_view("-") : path;
}

/// The path without its query.
[[nodiscard]] inline std::string_view without_query(std::string_view path) noexcept {
  return path.substr(0, path.find('?'));
}

/// Reads one line, given without its newline. Throws nothing but `std::bad_alloc`; O(length).
[[nodiscard]] inline std::variant<LogHit, LogFault> parse_log_line(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (line.empty()) return LogFault{"the line is empty"};

  detail::LogCursor cursor(line);
  std::string_view field;
  if (!cursor.take_word(field) || !cursor.skip(" ")) return LogFault{"there is no host"};
  if (!cursor.take_word(field) || !cursor.skip(" ")) return LogFault{"there is no identity after the host"};
  if (!cursor.take_until(" [", field)) return LogFault{"there is no user before a [time]"};
  if (!cursor.skip(" [") || !cursor.take_until("]", field)) return LogFault{"the time is not closed by a bracket"};
  LogHit hit;
  hit.hour = detail::hour_of(field);
  if (hit.hour < 0) return LogFault{"the time is not a valid dd/Mmm/yyyy:hh:mm:ss +zzzz"};

  std::string_view request;
  if (!cursor.skip("] ")) return LogFault{"there is no request"};
  if (!cursor.take_quoted(request)) return LogFault{"the request is not in quotes"};

  if (!cursor.skip(" ") || !cursor.take_word(field) || field.size() != 3 || !detail::read_number(field, hit.status) ||
      hit.status < 100) {
    return LogFault{"the status is not a number from 100 to 999"};
  }
  if (!cursor.skip(" ") || !cursor.take_word(field) || (field != "-" && !detail::read_number(field, hit.bytes))) {
    return LogFault{"the bytes are neither a number nor -"};
  }
  if (!cursor.at_end()) {
    if (!cursor.skip(" ") || !cursor.take_quoted(field)) return LogFault{"the referer is not in quotes"};
    if (!cursor.skip(" ") || !cursor.take_quoted(field)) return LogFault{"the user agent is not in quotes"};
    if (!cursor.at_end()) return LogFault{"something follows the user agent"};
  }
  hit.path = request_path(request);
  return hit;
}

}  // namespace example
