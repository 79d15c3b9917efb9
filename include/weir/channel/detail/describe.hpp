/// What `describe()` says of a channel: collected under its lock, written down after it.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>

#include <weir/channel/detail/waiter.hpp>
#include <weir/channel/options.hpp>

namespace weir::detail {

/// Those who wait at one end: the first of them by name, the others by number.
struct WaitingEnd {
  struct One {
    bool has_home = false;
    std::uint64_t root = 0;
    const char* name = nullptr;
    TimeService::Duration waited{};
  };

  /// Under the channel's lock, while their roots can't go.
  void collect(const WaitQueue& queue) noexcept {
    for (const Waiter* w = queue.empty() ? nullptr : &queue.front(); w; w = queue.after(*w)) {
      if (w->lost()) continue;
      if (count++ >= shown.size()) continue;
      One& one = shown[count - 1];
      const Home* const home = w->home();
      one.has_home = home != nullptr;
      if (home) one = {true, home->id(), home->name(), home->report_time() - w->since};
    }
  }

  std::array<One, 8> shown{};
  std::size_t count = 0;
};

struct ChannelReport {
  std::string name;
  ChannelStats stats;
  Overflow overflow = Overflow::wait;
  std::uint32_t senders = 0;
  std::uint32_t receivers = 0;
  bool closed = false;
  std::exception_ptr reason;
  WaitingEnd sending;
  WaitingEnd receiving;
};

[[nodiscard]] inline const char* name_of(Overflow overflow) noexcept {
  switch (overflow) {
    case Overflow::wait:
      return "wait";
    case Overflow::reject:
      return "reject";
    case Overflow::drop_newest:
      return "drop_newest";
    case Overflow::drop_oldest:
      return "drop_oldest";
    case Overflow::latest:
      return "latest";
  }
  return "?";
}

/// "1.204 s", "12 ms", "350 us": three digits after the point for seconds, none below.
inline void append_duration(std::string& text, TimeService::Duration duration) {
  using std::chrono::duration_cast;
  using std::chrono::microseconds;
  const auto us = duration_cast<microseconds>(duration).count();
  if (us < 1000) {
    text += std::to_string(us < 0 ? 0 : us) + " us";
  } else if (us < 1'000'000) {
    text += std::to_string(us / 1000) + " ms";
  } else {
    const std::string ms = std::to_string(us / 1000 % 1000);
    text += std::to_string(us / 1'000'000) + "." + std::string(3 - ms.size(), '0') + ms + " s";
  }
}

inline void append_end(std::string& text, const char* what, const WaitingEnd& end) {
  text += "; waiting to ";
  text += what;
  text += ": ";
  if (end.count == 0) text += "nobody";
  for (std::size_t i = 0; i < end.count && i < end.shown.size(); ++i) {
    const WaitingEnd::One& one = end.shown[i];
    if (i != 0) text += ", ";
    if (!one.has_home) {
      text += "a completion handler";
      continue;
    }
    text += "root " + std::to_string(one.root);
    if (one.name) text += std::string(" \"") + one.name + "\"";
    text += " for ";
    append_duration(text, one.waited);
  }
  if (end.count > end.shown.size()) text += " and " + std::to_string(end.count - end.shown.size()) + " more";
}

inline void append_reason(std::string& text, const std::exception_ptr& reason) {
  text += "; closed";
  if (!reason) return;
  try {
    std::rethrow_exception(reason);
  } catch (const std::exception& error) {
    text += std::string(" (") + error.what() + ")";
  } catch (...) {
    text += " with a reason";
  }
}

inline void append_report(std::string& text, const ChannelReport& report) {
  text += "channel ";
  if (!report.name.empty()) text += "\"" + report.name + "\" ";
  text += "of capacity " + std::to_string(report.stats.capacity) + " (" + name_of(report.overflow) + "): ";
  text += std::to_string(report.stats.buffered) + " buffered, " + std::to_string(report.stats.reserved) +
          " reserved, " + std::to_string(report.senders) + (report.senders == 1 ? " sender, " : " senders, ") +
          std::to_string(report.receivers) + (report.receivers == 1 ? " receiver" : " receivers");
  if (report.closed) append_reason(text, report.reason);
  append_end(text, "send", report.sending);
  append_end(text, "receive", report.receiving);
  text += "; so far " + std::to_string(report.stats.admitted) + " admitted, " + std::to_string(report.stats.received) +
          " received, " + std::to_string(report.stats.dropped) + " dropped";
}

}  // namespace weir::detail
