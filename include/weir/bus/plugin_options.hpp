/// What a plugin may do on a bus, what is counted of it, and what its end reports.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <weir/bus/event.hpp>

namespace weir {

/// What publishing does that finds the plugin's quota used up.
enum class PluginQuota : std::uint8_t {
  wait,    ///< it waits until one of the plugin's events has left the queue; those that wait are served in their order
  reject,  ///< `Errc::quota_exceeded`
};

/// Trivially destructible, so that it can be given in braces.
struct PluginOptions {
  /// The most urgent that it may publish with: what is more urgent is published as this.
  EventPriority highest = EventPriority::high;
  /// Events that it may have queued at once. From 1. Its own: the room of the bus comes on top.
  std::size_t quota = 256;
  PluginQuota on_quota = PluginQuota::wait;
  /// How long its end waits, after the deadline, for what it has cancelled then.
  std::chrono::milliseconds grace{1000};
};

/// What a plugin has done through its scope.
struct PluginStats {
  std::uint64_t published = 0;  ///< events that were admitted
  std::uint64_t refused = 0;    ///< events that were not: quota, room, or the end
  std::uint64_t capped = 0;     ///< events that were published with less urgency than asked for
  std::size_t queued = 0;       ///< events that are queued, or have a place in the quota and wait for room
  std::size_t handlers = 0;     ///< handlers that have not been destroyed
  std::size_t running = 0;      ///< calls, tasks and timers that run now
  std::uint64_t calls = 0;      ///< calls of its handlers and timers
  std::uint64_t failed = 0;     ///< calls and tasks that threw, cancellations aside
  std::string last_error;       ///< what the last of them threw
};

/// What of a plugin does not end.
struct PluginStuck {
  enum class Kind : std::uint8_t { handler, task, timer, event };

  Kind kind = Kind::handler;
  /// The handler's pattern, the task's or timer's name, the event's topic.
  std::string name;
  /// The event: what the handler was called for, or what somebody else's handler has not finished with.
  EventId event = 0;
  std::chrono::steady_clock::duration running{};
};

[[nodiscard]] constexpr std::string_view name_of(PluginStuck::Kind kind) noexcept {
  constexpr std::string_view names[] = {"handler", "task", "timer", "event"};
  return names[static_cast<std::size_t>(kind)];
}

/// How the end of a plugin went.
struct PluginReport {
  /// Nothing of the plugin is left: its shared object may be unloaded. Otherwise it may not.
  bool complete = false;
  std::size_t handlers = 0;   ///< handlers that were taken out
  std::size_t withdrawn = 0;  ///< events that were queued, and have ended as discarded
  std::size_t cancelled = 0;  ///< calls and events that still ran at the deadline, and were cancelled
  std::vector<PluginStuck> stuck;
};

}  // namespace weir
