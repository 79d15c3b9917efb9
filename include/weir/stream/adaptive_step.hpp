/// Where an adaptive stream is, and what it decided.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include <fmt/format.h>

#include <weir/stream/event.hpp>

namespace weir {

/// How many workers an adaptive stream has, and how many events a batch.
struct AdaptivePoint {
  std::size_t concurrency = 1;
  std::size_t batch = 1;
  friend bool operator==(AdaptivePoint, AdaptivePoint) = default;
};

/// Why an adaptive stream moved.
enum class AdaptiveReason : std::uint8_t {
  probe_more,  ///< to see whether more is better
  probe_less,  ///< to see whether less does as well
  revert,      ///< it was no better: back to the best
  settled,     ///< the neighbours are no better: it rests here
  recheck,     ///< it has rested: are the neighbours better by now?
  changed,     ///< the events take another time than before, or fail whatever it does: it climbs anew
  demand,      ///< workers that were idle have become busy: it climbs anew
  idle,        ///< some workers have been idle for long
  failing,     ///< too many events fail: it backs off
  recovered,   ///< they don't fail any more: it climbs anew
};

[[nodiscard]] constexpr const char* to_string(AdaptiveReason reason) noexcept {
  constexpr std::array names{"probe more", "probe less", "revert", "settled", "recheck",
                             "changed",    "demand",     "idle",   "failing", "recovered"};
  return names[static_cast<std::size_t>(reason)];
}

/// One decision of an adaptive stream.
struct AdaptiveStep {
  EventTime::duration when{};  ///< since the strategy began
  AdaptivePoint from;
  AdaptivePoint to;
  AdaptiveReason reason{};
  double throughput = 0;  ///< events done well a second, in the window before
  double latency = 0;     ///< for how long an event kept a worker, in seconds, on average
  double failed = 0;      ///< which part of the events failed, or needed another try
};

/// One line: "    1.240 s  concurrency 4 -> 8  probe more  812.3 events/s  4.920 ms", and "12.5 % fail" where some do.
[[nodiscard]] inline std::string to_string(const AdaptiveStep& step) {
  const double seconds = std::chrono::duration<double>(step.when).count();
  std::string line =
      fmt::format("{:9.3f} s  concurrency {} -> {}", seconds, step.from.concurrency, step.to.concurrency);
  const bool batches = step.from.batch != 1 || step.to.batch != 1;
  if (batches) line += fmt::format("  batch {} -> {}", step.from.batch, step.to.batch);
  line += fmt::format("  {}  {:.1f} events/s  {:.3f} ms", to_string(step.reason), step.throughput, step.latency * 1e3);
  if (step.failed > 0) line += fmt::format("  {:.1f} % fail", step.failed * 100);
  return line;
}

}  // namespace weir
