/// The numbers of a stream's events.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace weir::detail {

/// A stream's events are numbered in one of two ways, by all who emit: from any thread (`take`), or as they are put
/// into the channel (`next_in_channel`), which is one at a time already and needs no locked instruction.
class alignas(64) EventNumbers {
 public:
  /// The first of `n` consecutive ones.
  [[nodiscard]] std::uint64_t take(std::size_t n) noexcept { return last_.fetch_add(n, std::memory_order_relaxed) + 1; }
  /// Takes back the number of an event that was refused, if it was the last.
  void give_back(std::uint64_t id) noexcept { last_.compare_exchange_strong(id, id - 1, std::memory_order_relaxed); }
  /// Only by who owns the put side of the stream's channel (channel/detail/sides.hpp): when a value is built in it.
  [[nodiscard]] std::uint64_t next_in_channel() noexcept {
    const std::uint64_t id = last_.load(std::memory_order_relaxed) + 1;
    last_.store(id, std::memory_order_relaxed);
    return id;
  }

 private:
  std::atomic<std::uint64_t> last_{0};
  /// What stands behind it is read by workers for every event.
  [[maybe_unused]] std::byte apart_[64 - sizeof(std::atomic<std::uint64_t>)];
};

}  // namespace weir::detail
