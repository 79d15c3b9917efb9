/// A progress bar on standard error, for people only: where that is no terminal, nothing is written.
#pragma once

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "support/table.hpp"

namespace example {

/// What a bar shows.
struct ProgressState {
  std::uint64_t processed = 0;
  std::uint64_t backlog = 0;       ///< sent and not yet processed
  std::optional<double> fraction;  ///< 0 to 1, when the whole is known
};

/// 1234567.0 as "1.2M".
[[nodiscard]] inline std::string abbreviated(double number) {
  constexpr std::string_view units = " kMGT";
  std::size_t unit = 0;
  while (number >= 999.5 && unit + 1 < units.size()) {
    number /= 1000;
    ++unit;
  }
  if (unit == 0) return fmt::format("{:.0f}", number);
  return number < 9.95 ? fmt::format("{:.1f}{}", number, units[unit]) : fmt::format("{:.0f}{}", number, units[unit]);
}

/// The bar as one line of at most `columns` characters, without a newline.
[[nodiscard]] inline std::string progress_line(const ProgressState& state, double rate, std::string_view unit,
                                               std::size_t columns) {
  const std::string figures =
      fmt::format("{} {}  {}/s  backlog {}", grouped(state.processed), unit, abbreviated(rate), grouped(state.backlog));
  if (!state.fraction) return figures.substr(0, columns);
  const double fraction = std::clamp(*state.fraction, 0.0, 1.0);
  const std::string share = fmt::format("{:3.0f}%  ", std::floor(fraction * 100));
  std::string bar;
  const std::size_t taken = share.size() + figures.size() + 4;
  if (columns >= taken + 10) {
    const std::size_t width = std::min<std::size_t>(columns - taken, 30);
    const auto full = static_cast<std::size_t>(fraction * static_cast<double>(width));
    bar = "[" + std::string(full, '#') + std::string(width - full, '.') + "] ";
  }
  return (bar + share + figures).substr(0, columns);
}

/// Events a second over the last seconds, so that the figure follows what happens without jumping.
class RateMeter {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// Takes a sample and gives the rate, or 0 while there is only one. A smaller count than before begins anew.
  double sample(Time now, std::uint64_t count) {
    if (!samples_.empty() && count < samples_.back().count) samples_.clear();
    samples_.push_back({now, count});
    while (samples_.size() > 2 && now - samples_.front().time > std::chrono::seconds(2)) samples_.pop_front();
    const Sample& first = samples_.front();
    const double seconds = std::chrono::duration<double>(now - first.time).count();
    return seconds > 0 ? static_cast<double>(count - first.count) / seconds : 0.0;
  }

 private:
  struct Sample {
    Time time;
    std::uint64_t count;
  };
  std::deque<Sample> samples_;
};

/// The line itself. It is drawn when `show` is called, at most ten times a second, and wiped by `clear` and by the
/// destructor. One thread.
class ProgressBar {
 public:
  static constexpr std::chrono::milliseconds interval{100};

  explicit ProgressBar(std::string_view unit) : unit_(unit), visible_(::isatty(STDERR_FILENO) == 1 && !dumb()) {}
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  ~ProgressBar() { clear(); }

  /// Whether there is any use in calling `show`.
  [[nodiscard]] bool visible() const noexcept { return visible_; }

  void show(const ProgressState& state) {
    if (!visible_) return;
    const auto now = std::chrono::steady_clock::now();
    if (drawn_ && now - last_ < interval) return;
    last_ = now;
    drawn_ = true;
    write("\r\x1b[K" + progress_line(state, rate_.sample(now, state.processed), unit_, columns() - 1));
  }

  void clear() {
    if (drawn_) write("\r\x1b[K");
    drawn_ = false;
  }

 private:
  [[nodiscard]] static bool dumb() noexcept {
    const char* const terminal = std::getenv("TERM");
    return terminal && std::string_view(terminal) == "dumb";
  }

  [[nodiscard]] static std::size_t columns() noexcept {
    winsize size{};
    if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 2) return 80;
    return size.ws_col;
  }

  static void write(const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
  }

  std::string unit_;
  bool visible_;
  bool drawn_ = false;
  RateMeter rate_;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace example
