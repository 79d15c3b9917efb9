/// What a broadcast is asked for, and what it counts.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weir {

/// What a broadcast does about a receiver that is `capacity` values behind when the next one comes.
enum class SlowReceiver : std::uint8_t {
  wait,        ///< the sender waits for it: backpressure by the slowest
  skip,        ///< it misses the oldest value, and its next receive says how many it missed
  disconnect,  ///< it gets nothing more: its next receive throws `Errc::disconnected`
};

/// Trivially destructible, so that it can be given in braces.
struct BroadcastOptions {
  /// How far, in values, the slowest receiver may be behind. From 1.
  std::size_t capacity = 1024;
  SlowReceiver slow = SlowReceiver::wait;
};

/// Counters that add up, at any moment: `due == received + skipped + dropped + pending`.
struct BroadcastStats {
  std::uint64_t sent = 0;          ///< values that a send succeeded for
  std::uint64_t unheard = 0;       ///< of these, those that nobody was subscribed for
  std::uint64_t due = 0;           ///< for each value sent, the receivers that were subscribed then
  std::uint64_t received = 0;      ///< the times that a value reached a receiver
  std::uint64_t skipped = 0;       ///< that one missed a value because it was slow
  std::uint64_t dropped = 0;       ///< that one was disconnected, or left, before it had read a value
  std::uint64_t pending = 0;       ///< that one has a value still to read
  std::uint64_t disconnected = 0;  ///< receivers that were disconnected
  std::uint64_t slowest = 0;       ///< how many values the slowest receiver has still to read
  std::size_t buffered = 0;        ///< values that are kept for someone
  std::size_t capacity = 0;
  std::size_t subscribers = 0;
  std::size_t waiting_senders = 0;
  std::size_t waiting_receivers = 0;
};

/// What one receiver counts: `sent == received + skipped + dropped + pending`, at any moment.
struct BroadcastReceiverStats {
  std::uint64_t sent = 0;      ///< values sent since it subscribed (and until it was disconnected)
  std::uint64_t received = 0;  ///< values that reached it
  std::uint64_t skipped = 0;   ///< values that it missed because it was slow, also if it has not been told yet
  std::uint64_t dropped = 0;   ///< values that it had not read when it was disconnected
  std::uint64_t pending = 0;   ///< values that it has still to read: how far it is behind
  bool disconnected = false;
};

}  // namespace weir
