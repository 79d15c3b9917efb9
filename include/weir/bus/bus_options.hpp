/// What a bus is asked for, what it answers, and what it counts.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <system_error>

#include <weir/bus/event.hpp>
#include <weir/channel/options.hpp>

namespace weir {

/// Trivially destructible, so that it can be given in braces.
struct BusOptions {
  /// Events that run at the same time, at most. From 1.
  std::size_t workers = 1;
  /// Events that may wait, for each priority. From 1. A worker that is the only one takes up to 15 plain events along
  /// with one that it starts, a quarter of these at most; they count until it has run them.
  std::size_t capacity = 1024;
  /// What publishing does that finds its priority's room taken. Critical events are never dropped by it: where another
  /// would be, they wait. `latest` replaces the queued events of the same topic and priority, also when there is room,
  /// in O(events queued).
  Overflow overflow = Overflow::wait;
  /// One of so many starts is given to the event that has waited longest, however little urgent: the first of the queue
  /// starts after that many others at most. 0: never, the least urgent may starve.
  std::uint32_t quota = 64;
  /// Handlers that may wait for their own bus at the same time; one more is refused with `Errc::would_deadlock`.
  std::size_t nested = 256;
  /// Topics whose last value is kept, of those that `keep_last_values` says, at most. From 1. For one more, the value
  /// goes that is the oldest.
  std::size_t last_values = 1024;
};

/// How an event ended. Each admitted event ends in one of these ways, once.
enum class EventOutcome : std::uint8_t {
  completed,  ///< every handler that was to run has returned; also one that nobody subscribed to
  failed,     ///< a handler threw; the others ran all the same
  cancelled,  ///< cancelled before it started, or while it ran, and something was cut short by it
  timed_out,  ///< its run timeout passed, and something was cut short by it
  expired,    ///< its time to live passed before it started
  dropped,    ///< an overflow policy gave its room to another
  discarded,  ///< it was queued when the bus was aborted or destroyed, or its plugin was closed
};

[[nodiscard]] constexpr std::string_view name_of(EventOutcome outcome) noexcept {
  constexpr std::string_view names[] = {"completed", "failed",  "cancelled", "timed out",
                                        "expired",   "dropped", "discarded"};
  return names[static_cast<std::size_t>(outcome)];
}

/// What cancelling an event did.
enum class CancelAnswer : std::uint8_t {
  cancelled,  ///< it was queued: it never runs; its payload and its room are free
  signalled,  ///< it runs: its token says so, and handlers that have not started are skipped
  too_late,   ///< it had ended
  not_found,  ///< it is no event of this bus, or nothing of it is left
  refused,    ///< it is being rolled back, which is not cancelled
};

/// The answer, and for `too_late` how the event ended.
struct CancelResult {
  CancelAnswer answer = CancelAnswer::not_found;
  std::optional<EventOutcome> outcome = {};

  [[nodiscard]] friend bool operator==(const CancelResult& result, CancelAnswer expected) noexcept {
    return result.answer == expected;
  }
};

/// The answer of a `try_publish`: the event's number, or why it was refused.
struct PublishResult {
  EventId id = 0;
  std::error_code error = {};

  [[nodiscard]] explicit operator bool() const noexcept { return !error; }
};

/// What became of the batches of a bus.
struct BatchStats {
  using Duration = std::chrono::steady_clock::duration;

  std::size_t running = 0;  ///< admitted, at least in part, and not over
  std::uint64_t committed = 0;
  std::uint64_t rolled_back = 0;
  std::uint64_t incomplete = 0;  ///< rolled back, but for something that could not be undone
  std::uint64_t refused = 0;     ///< nothing of it was admitted
  std::size_t hung = 0;          ///< compensators that were given up, and still run
  /// From admission to the end, of those whose publisher waited for it.
  Duration ran{};
  Duration longest_run{};
};

/// What became of the last values of a bus's topics.
struct LastValueStats {
  std::size_t kept = 0;
  std::uint64_t evicted = 0;    ///< because of `BusOptions::last_values`
  std::uint64_t delivered = 0;  ///< queued for a handler that came late
};

/// What happened to the events of one priority, or of all. They add up at any moment:
/// `admitted == queued + running + completed + failed + cancelled + timed_out + expired + dropped + discarded`. A last
/// value that is delivered to a late handler counts as an event of its own, but for the times that it waited.
struct BusStats {
  using Duration = std::chrono::steady_clock::duration;

  std::uint64_t admitted = 0;
  std::size_t queued = 0;
  std::size_t running = 0;
  std::uint64_t completed = 0;
  std::uint64_t failed = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t timed_out = 0;
  std::uint64_t expired = 0;
  std::uint64_t dropped = 0;
  std::uint64_t discarded = 0;
  /// From admission to start, and from start to end, of those that have started or ended; to the tick of the system.
  Duration waited{};
  Duration longest_wait{};
  Duration ran{};
  Duration longest_run{};
  /// Only in those of all priorities together.
  BatchStats batches;
  LastValueStats last_values;

  void add(const BusStats& other) noexcept {
    admitted += other.admitted;
    queued += other.queued;
    running += other.running;
    completed += other.completed;
    failed += other.failed;
    cancelled += other.cancelled;
    timed_out += other.timed_out;
    expired += other.expired;
    dropped += other.dropped;
    discarded += other.discarded;
    waited += other.waited;
    longest_wait = std::max(longest_wait, other.longest_wait);
    ran += other.ran;
    longest_run = std::max(longest_run, other.longest_run);
  }
};

/// How a drain ended.
struct DrainReport {
  /// Everything that was admitted has ended by itself.
  bool complete = false;
  std::size_t discarded = 0;  ///< events that were still queued at the deadline
  std::size_t running = 0;    ///< events that still ran at the deadline; they have been cancelled
};

}  // namespace weir
