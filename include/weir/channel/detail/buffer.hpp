#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include <weir/channel/detail/ring.hpp>
#include <weir/channel/options.hpp>

namespace weir::detail {

/// The values that are in a channel, and the count of all that ever were: `admitted == received + size() + dropped`
/// between any two calls, also when one threw. Under the channel's lock.
template <class T>
class Buffer {
 public:
  /// Holds a dropped value until the lock is released: declared before the lock.
  using Trash = std::optional<T>;
  /// The same for all of them.
  using TrashAll = std::optional<Ring<T>>;

  explicit Buffer(std::size_t capacity) noexcept : ring_(capacity) {}

  [[nodiscard]] std::size_t capacity() const noexcept { return ring_.capacity(); }
  [[nodiscard]] std::size_t size() const noexcept { return ring_.size(); }
  [[nodiscard]] bool empty() const noexcept { return ring_.empty(); }

  /// Returns what `construct` returned; when it throws, nothing changed.
  template <class Construct>
  bool push(Construct&& construct) {
    const bool result = ring_.push_with(construct);
    ++admitted_;
    return result;
  }
  /// One that was handed to a receiver without a stay here, and one that such a receiver did not get in the end.
  void count_passed() noexcept {
    ++admitted_;
    ++received_;
  }
  void count_undelivered() noexcept {
    --received_;
    ++dropped_;
  }
  /// One that came and was dropped at once.
  void count_refused() noexcept {
    ++admitted_;
    ++dropped_;
  }

  /// Gives the oldest to `take(T&)`; when that throws, it stays.
  template <class Take>
  void take_front(Take&& take) {
    take(ring_.front());
    ring_.pop();
    ++received_;
  }

  void drop_front(Trash& trash) {
    trash.emplace(std::move(ring_.front()));
    ring_.pop();
    ++dropped_;
  }
  /// Takes `drop_front` back, if the value's move does not throw.
  void restore_front(Trash& trash) noexcept {
    if (!trash) return;
    try {
      ring_.push_front(std::move(*trash));
      --dropped_;
    } catch (...) {
    }
  }
  std::size_t drop_all(TrashAll& trash) noexcept {
    const std::size_t count = ring_.size();
    if (count != 0) {
      dropped_ += count;
      trash.emplace(std::move(ring_));
    }
    return count;
  }

  void fill(ChannelStats& stats) const noexcept {
    stats.admitted = admitted_;
    stats.received = received_;
    stats.dropped = dropped_;
    stats.buffered = ring_.size();
    stats.capacity = ring_.capacity();
  }

 private:
  Ring<T> ring_;
  std::uint64_t admitted_ = 0;
  std::uint64_t received_ = 0;
  std::uint64_t dropped_ = 0;
};

}  // namespace weir::detail
