/// What a channel consists of: two sides, two queues and a lock; and what can be told of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include <weir/channel/detail/describe.hpp>
#include <weir/channel/detail/sides.hpp>
#include <weir/channel/detail/waiter.hpp>
#include <weir/channel/options.hpp>

namespace weir::detail {

/// The invariants are those of core.hpp, which keeps them.
template <class T, class Sync>
class ChannelState {
 public:
  ChannelState(const ChannelState&) = delete;
  ChannelState& operator=(const ChannelState&) = delete;

  [[nodiscard]] virtual asio::any_io_executor executor() const noexcept = 0;
  [[nodiscard]] std::size_t capacity() const noexcept { return sides_.capacity(); }
  [[nodiscard]] bool waits_when_full() const noexcept { return overflow_ == Overflow::wait; }
  [[nodiscard]] bool waits_or_rejects() const noexcept {
    return overflow_ == Overflow::wait || overflow_ == Overflow::reject;
  }

  void retain() noexcept { ++refs_; }
  void release() noexcept {
    if (--refs_ == 0) delete this;
  }

  [[nodiscard]] bool closed() const noexcept {
    const Lock lock(mutex_);
    return closed_ || abandoned_;
  }
  [[nodiscard]] ChannelStats stats() const noexcept {
    const Lock lock(mutex_);
    return stats_locked();
  }
  void set_name(std::string name) {
    auto fresh = std::make_unique<std::string>(std::move(name));
    const Lock lock(mutex_);
    name_.swap(fresh);
  }
  /// Appends what `describe` of a handle says.
  void describe(std::string& text) const {
    ChannelReport report;
    report.overflow = overflow_;
    report.senders = sides_.senders;
    report.receivers = sides_.receivers;
    {
      const Lock lock(mutex_);
      if (name_) report.name = *name_;
      report.stats = stats_locked();
      report.closed = closed_ || abandoned_;
      report.reason = reason_;
      report.sending.collect(senders_waiting_);
      report.receiving.collect(receivers_waiting_);
    }
    append_report(text, report);
  }

 protected:
  using Mutex = typename Sync::Mutex;
  using Lock = std::lock_guard<Mutex>;
  /// Holds a dropped value until the lock is released: declared before the section.
  using Trash = std::optional<T>;

  explicit ChannelState(const ChannelOptions& options) : sides_(options.capacity), overflow_(options.overflow) {}
  virtual ~ChannelState() = default;

  /// The lock; its end opens the gates that nothing speaks against.
  class Section {
   public:
    explicit Section(ChannelState& core) noexcept : core_(core), lock_(core.mutex_) {}
    Section(const Section&) = delete;
    Section& operator=(const Section&) = delete;
    ~Section() { core_.open_gates(); }

   private:
    ChannelState& core_;
    const Lock lock_;
  };

  struct Indices {
    std::uint64_t put;
    std::uint64_t taken;
  };
  /// Both sides may be at work: a state that adds up, and is not older than what the caller has seen of either.
  [[nodiscard]] Indices indices() const noexcept {
    const Ring<T, Sync>* const ring = sides_.ring();
    if (!ring) return {0, 0};
    const std::uint64_t taken = ring->take_index();
    const std::uint64_t put = ring->put_index();
    return {put, put - taken > capacity() ? put - capacity() : taken};
  }

  [[nodiscard]] std::size_t buffered() const noexcept {
    const Ring<T, Sync>* const ring = sides_.ring();
    return ring ? ring->size() : 0;
  }
  /// On an owned take side, and an owned put side.
  [[nodiscard]] bool has_value() const noexcept {
    Ring<T, Sync>* const ring = sides_.ring();
    return ring && ring->has_value();
  }
  [[nodiscard]] bool has_room() const noexcept { return buffered() + reserved_ < capacity(); }
  [[nodiscard]] bool ended() const noexcept { return closed_ && reserved_ == 0 && buffered() == 0; }

  void drop_front(Trash& trash) {
    Ring<T, Sync>& ring = *sides_.ring();
    trash.emplace(std::move(ring.front()));
    ring.pop();
    ++dropped_;
  }
  /// The same, where it must go: one whose move throws is destroyed where it is.
  void drop_front_surely(Trash& trash) noexcept {
    try {
      drop_front(trash);
    } catch (...) {
      sides_.ring()->pop();
      ++dropped_;
    }
  }
  /// Takes `drop_front` back, if the value's move does not throw.
  void restore_front(Trash& trash) noexcept {
    if (!trash) return;
    try {
      sides_.ring()->push_front(std::move(*trash));
      --dropped_;
    } catch (...) {
    }
  }

  Sides<T, Sync> sides_;
  const Overflow overflow_;
  bool closed_ = false;
  bool abandoned_ = false;
  mutable Mutex mutex_;
  typename Sync::Counter refs_{0};

  std::uint32_t discarding_ = 0;
  WaitQueue senders_waiting_;
  WaitQueue receivers_waiting_;
  std::size_t reserved_ = 0;
  /// Values that did not go through the ring: from a sender to a receiver that waited, or dropped as they came.
  std::uint64_t admitted_aside_ = 0;
  /// Those that were dropped as they came, out of the ring, or after they were handed to a receiver that did not get
  /// them.
  std::uint64_t dropped_ = 0;
  std::exception_ptr reason_;

 private:
  /// Rule 4 of the sides.
  void open_gates() noexcept {
    if (!sides_.ring() || !waits_or_rejects()) return;
    if (!senders_waiting_.empty() || !receivers_waiting_.empty()) return;
    if (!closed_ && !abandoned_ && reserved_ == 0) sides_.open_put();
    if (discarding_ == 0) sides_.open_take();
  }

  [[nodiscard]] ChannelStats stats_locked() const noexcept {
    const auto [put, taken] = indices();
    ChannelStats stats;
    stats.admitted = put + admitted_aside_;
    stats.received = taken + admitted_aside_ - dropped_;
    stats.dropped = dropped_;
    stats.buffered = static_cast<std::size_t>(put - taken);
    stats.reserved = reserved_;
    stats.capacity = capacity();
    stats.waiting_senders = senders_waiting_.count();
    stats.waiting_receivers = receivers_waiting_.count();
    return stats;
  }

  std::unique_ptr<std::string> name_;
};

}  // namespace weir::detail
