/// What an adaptive stream has seen of itself in a while.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include <weir/stream/event.hpp>

namespace weir::detail {

/// What was seen at one point.
struct WindowMeasurement {
  EventTime end{};
  EventTime::duration length{};
  std::uint64_t events = 0;
  /// The time that workers spent in the receiver, summed up.
  EventTime::duration busy{};
  /// How many events failed, or needed another try.
  std::uint64_t failed = 0;
  /// The standard error of the throughput, as a part of it, by how much the times of the events differ.
  double noise = 0;
  /// The time of the workers, in the receiver and before it, for the events that were done; and how many there were.
  /// 0: it is not known.
  EventTime::duration cycles{};
  std::size_t workers = 0;
  /// Those who did something waited for it for so long, if that is known.
  EventTime::duration idle{};

  /// Of what was done well. By the time of the workers, if it is known for as long as an event takes: how many events
  /// end inside a short window is chance.
  [[nodiscard]] double throughput() const noexcept {
    const auto done_well = static_cast<double>(events - std::min(events, failed));
    const double seconds = std::chrono::duration<double>(length).count();
    if (steady()) return done_well * static_cast<double>(workers) / std::chrono::duration<double>(cycles).count();
    return seconds > 0 ? done_well / seconds : 0;
  }
  [[nodiscard]] bool steady() const noexcept {
    return cycles.count() > 0 && std::chrono::duration<double>(length).count() >= latency();
  }
  [[nodiscard]] double failed_part() const noexcept {
    return events == 0 ? 0 : static_cast<double>(std::min(events, failed)) / static_cast<double>(events);
  }
  /// For how long an event keeps a worker, in seconds.
  [[nodiscard]] double latency() const noexcept {
    return events == 0 ? 0 : std::chrono::duration<double>(busy).count() / static_cast<double>(events);
  }
  /// How many workers were busy, on average.
  [[nodiscard]] double in_use() const noexcept {
    if (steady())
      return static_cast<double>(workers) * static_cast<double>(busy.count()) / static_cast<double>(cycles.count());
    return length.count() > 0 ? static_cast<double>(busy.count()) / static_cast<double>(length.count()) : 0;
  }
  void add(const WindowMeasurement& other) noexcept {
    const double all = static_cast<double>(events + other.events);
    const double own = noise * static_cast<double>(events);
    const double others = other.noise * static_cast<double>(other.events);
    noise = all > 0 ? std::sqrt(own * own + others * others) / all : 0;
    const bool alike = events == 0 || (cycles.count() > 0 && other.cycles.count() > 0 && workers == other.workers);
    cycles = alike ? cycles + other.cycles : EventTime::duration();
    workers = other.workers;
    end = other.end;
    length += other.length;
    events += other.events;
    busy += other.busy;
    failed += other.failed;
  }
};

}  // namespace weir::detail
