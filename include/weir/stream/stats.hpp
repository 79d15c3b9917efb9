/// What a stream counts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <weir/stream/event.hpp>

namespace weir {

/// A snapshot of a stream's counters. Each event that was emitted is in exactly one of the others:
///
///     emitted == processed + failed + dead_lettered + dropped + discarded + buffered + in_progress
///
/// and in a final event, where nothing is buffered or in progress any more, in one of the first five. Taken while
/// other threads work, it is right about each event that was settled before, and counts one that moves meanwhile once.
struct StreamStats {
  std::uint64_t emitted = 0;
  std::uint64_t processed = 0;      ///< the receiver returned, and what it returned was collected
  std::uint64_t failed = 0;         ///< the receiver, or the collection's policy, threw
  std::uint64_t dead_lettered = 0;  ///< given up, and handed to the dead letters
  std::uint64_t dropped = 0;        ///< by the overflow policy of the channel
  std::uint64_t discarded = 0;      ///< because the stream was stopped
  std::uint64_t buffered = 0;       ///< in the channel now, or gathered by the sender
  std::uint64_t in_progress = 0;    ///< taken by a worker and not settled
  std::size_t workers = 0;          ///< receivers' workers, those that ended included
  EventTime started{};
  EventTime completed{};  ///< of the stream; the epoch while it runs

  /// How many events are where they end.
  [[nodiscard]] std::uint64_t settled() const noexcept {
    return processed + failed + dead_lettered + dropped + discarded;
  }
  /// The law above.
  [[nodiscard]] bool balanced() const noexcept { return emitted == settled() + buffered + in_progress; }
};

/// How far a stream is: enough for a progress bar.
struct StreamProgress {
  std::uint64_t emitted = 0;
  std::uint64_t settled = 0;
  std::uint64_t backlog = 0;  ///< emitted and not settled
  EventTime::duration elapsed{};

  /// Settled events a second, since the start.
  [[nodiscard]] double rate() const noexcept {
    const double seconds = std::chrono::duration<double>(elapsed).count();
    return seconds > 0 ? static_cast<double>(settled) / seconds : 0;
  }
};

/// Where a stream is in its life.
enum class StreamStatus : std::uint8_t {
  running,   ///< the sender emits
  draining,  ///< the sender has ended; the rest is being processed
  stopping,  ///< it was cancelled, timed out, or failed
  complete,  ///< the final event is there
};

[[nodiscard]] constexpr std::string_view to_string(StreamStatus status) noexcept {
  switch (status) {
    case StreamStatus::running:
      return "running";
    case StreamStatus::draining:
      return "draining";
    case StreamStatus::stopping:
      return "stopping";
    case StreamStatus::complete:
      break;
  }
  return "complete";
}

}  // namespace weir
