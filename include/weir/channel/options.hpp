/// What a channel is asked for, and what it counts.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weir {

/// What a send does that finds the channel full. A value dropped is counted in `ChannelStats::dropped`. Room that was
/// reserved is never taken away: where it leaves nothing to drop, the new value is dropped.
enum class Overflow : std::uint8_t {
  wait,         ///< the sender waits for room: backpressure
  reject,       ///< the send fails with `Errc::channel_full`; the value stays with the caller
  drop_newest,  ///< the value that comes is dropped; the send succeeds
  drop_oldest,  ///< the value buffered longest is dropped to make room
  latest,       ///< conflate: a new value replaces those that are buffered, also when there is room
};

/// Trivially destructible, so that it can be given in braces.
struct ChannelOptions {
  /// Values between the two ends, at most: buffered and reserved. From 1.
  std::size_t capacity = 1024;
  Overflow overflow = Overflow::wait;
};

/// Counters that add up: `admitted == received + buffered + dropped`, at any moment.
struct ChannelStats {
  std::uint64_t admitted = 0;  ///< values that a send was accepted for
  std::uint64_t received = 0;  ///< values that reached a receiver
  std::uint64_t dropped = 0;   ///< values that an overflow policy, `discard`, or the end of the last receiver destroyed
  std::size_t buffered = 0;    ///< values in the channel now
  std::size_t reserved = 0;    ///< permits granted and not used
  std::size_t capacity = 0;
  std::size_t waiting_senders = 0;
  std::size_t waiting_receivers = 0;
};

}  // namespace weir
