/// The channel itself, behind its handles. All is done under one lock (`Sync::Mutex`; the local channel has none).
///
/// Invariants, checked by tests/channel/channel_explore_test.cpp at each step of the simulator:
///  1. buffered + reserved <= capacity.
///  2. Receivers wait only while nothing is buffered; senders wait only while buffered + reserved == capacity.
///  3. A waiter is in a queue (`queued`), or its outcome stands in `state` and it was woken once. Cancelling takes it
///  out
///     of the queue under the lock, and does nothing to one that is out already: completed beats cancelled.
///  4. admitted == received + buffered + dropped.
///  5. Closed, nobody waits, unless permits are out: their values may still come, so receivers wait for them.
///  6. No value of the user's is destroyed, and nobody is posted, under the lock: both happen after it, by `Trash` and
///     `WakeList`. Only the move (or the construction) of a value happens under it, and the end of what it moved from.
#pragma once

#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>

#include <weir/channel/detail/buffer.hpp>
#include <weir/channel/detail/waiter.hpp>
#include <weir/channel/options.hpp>
#include <weir/core/wake_list.hpp>

namespace weir::detail {

template <class T, class Sync>
class ChannelCore {
 public:
  using Mutex = typename Sync::Mutex;
  using Lock = std::lock_guard<Mutex>;

  ChannelCore(asio::any_io_executor executor, const ChannelOptions& options)
      : buffer_(options.capacity), overflow_(options.overflow), executor_(std::move(executor)) {}
  ChannelCore(const ChannelCore&) = delete;
  ChannelCore& operator=(const ChannelCore&) = delete;

  [[nodiscard]] const asio::any_io_executor& executor() const noexcept { return executor_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return buffer_.capacity(); }
  [[nodiscard]] bool waits_when_full() const noexcept { return overflow_ == Overflow::wait; }

  void retain() noexcept { ++refs_; }
  void release() noexcept {
    if (--refs_ == 0) delete this;
  }

  void add_sender() noexcept {
    retain();
    ++senders_;
  }
  void drop_sender() noexcept {
    if (--senders_ == 0) close(nullptr);
    release();
  }
  void add_receiver() noexcept {
    retain();
    ++receivers_;
  }
  void drop_receiver() noexcept {
    if (--receivers_ == 0) end_receiving();
    release();
  }

  /// One value, built by `construct(void*)`: `done`, `closed` or `full`; or, under the policy `wait` with a `waiter`,
  /// `queued`.
  template <class Construct>
  WaitState send(Construct&& construct, SendWaiter* waiter) {
    Trash trash;
    WakeList wake;
    const Lock lock(mutex_);
    if (closed_ || receivers_ == 0) return WaitState::closed;
    const WaitState room = make_room(waiter, trash);
    if (room == WaitState::done) deliver_one(construct, trash, wake);
    return room == WaitState::idle ? WaitState::done : room;
  }

  /// Values one after the other, until `waiter.transfer` says that it was the last: `done`, `closed`, `full` or
  /// `queued`.
  WaitState send_run(SendWaiter& waiter) {
    for (;;) {
      Trash trash;
      WakeList wake;
      const Lock lock(mutex_);
      // What is dropped is destroyed after the lock, so each drop ends the critical section.
      while (!trash) {
        if (closed_ || receivers_ == 0) return WaitState::closed;
        const WaitState room = make_room(&waiter, trash);
        bool last = false;
        if (room == WaitState::done) {
          last = deliver_instead([&](void* slot) { return waiter.transfer(waiter, slot); }, trash, wake);
        } else if (room == WaitState::idle) {
          last = waiter.transfer(waiter, nullptr);
        } else {
          return room;
        }
        if (last) return WaitState::done;
      }
    }
  }

  /// Room for one value, kept: `done`, `closed`, `full` or `queued`.
  WaitState reserve(SendWaiter* waiter) {
    Trash trash;
    const Lock lock(mutex_);
    if (closed_ || receivers_ == 0) return WaitState::closed;
    if (buffer_.size() + reserved_ == buffer_.capacity()) {
      const bool drops = overflow_ == Overflow::drop_oldest || overflow_ == Overflow::latest;
      if (drops && !buffer_.empty()) {
        buffer_.drop_front(trash);
      } else if (overflow_ == Overflow::wait && waiter) {
        senders_waiting_.push(*waiter);
        return WaitState::queued;
      } else {
        return WaitState::full;
      }
    }
    ++reserved_;
    return WaitState::done;
  }

  /// Uses a permit: false when nobody can receive any more (then the permit is still held, and nothing was moved).
  template <class Construct>
  bool send_reserved(Construct&& construct) {
    Trash trash;
    WakeList wake;
    const Lock lock(mutex_);
    if (receivers_ == 0) return false;
    if (overflow_ == Overflow::latest && !buffer_.empty()) buffer_.drop_front(trash);
    --reserved_;
    try {
      deliver_one(construct, trash, wake);
    } catch (...) {
      ++reserved_;
      throw;
    }
    // A receiver that waited got it, so the room is free again.
    admit_waiting(wake);
    wake_if_ended(wake);
    return true;
  }

  void release_permit() noexcept {
    WakeList wake;
    const Lock lock(mutex_);
    --reserved_;
    admit_waiting(wake);
    wake_if_ended(wake);
  }

  /// Takes the oldest value by `take(T&)`: `done`, `closed` (drained as well), or `queued` with a waiter, else `idle`.
  /// `reason` is what the channel was closed with.
  template <class Take>
  WaitState receive(Take&& take, ReceiveWaiter<T>* waiter, std::exception_ptr& reason) {
    WakeList wake;
    const Lock lock(mutex_);
    if (!buffer_.empty()) {
      buffer_.take_front(take);
      admit_waiting(wake);
      return WaitState::done;
    }
    if (ended()) {
      reason = reason_;
      return WaitState::closed;
    }
    if (!waiter) return WaitState::idle;
    receivers_waiting_.push(*waiter);
    return WaitState::queued;
  }

  /// Takes up to `max` values; 0: see `state`, as above.
  template <class Take>
  std::size_t receive_some(Take&& take, std::size_t max, ReceiveWaiter<T>* waiter, WaitState& state,
                           std::exception_ptr& reason) {
    WakeList wake;
    const Lock lock(mutex_);
    std::size_t taken = 0;
    state = WaitState::done;
    // Senders that wait come in as room appears, so that one call can take more than the capacity holds.
    try {
      while (taken < max && !buffer_.empty()) {
        buffer_.take_front(take);
        ++taken;
        if (buffer_.empty()) admit_waiting(wake);
      }
    } catch (...) {
      // It stays in front, for the next call to meet; those before it are to be told of.
      if (taken == 0) throw;
    }
    if (taken != 0) {
      admit_waiting(wake);
    } else if (ended()) {
      reason = reason_;
      state = WaitState::closed;
    } else if (waiter) {
      receivers_waiting_.push(*waiter);
      state = WaitState::queued;
    } else {
      state = WaitState::idle;
    }
    return taken;
  }

  /// Takes a waiter back: false when it was completed before.
  bool cancel_send(Waiter& waiter) noexcept { return take_back(waiter, senders_waiting_); }
  bool cancel_receive(Waiter& waiter) noexcept { return take_back(waiter, receivers_waiting_); }
  /// The same for one that is known by its key only, because it may have been completed and freed: null if it was.
  Waiter* cancel_send_by(std::uint64_t key) noexcept { return take_back_by(key, senders_waiting_); }
  Waiter* cancel_receive_by(std::uint64_t key) noexcept { return take_back_by(key, receivers_waiting_); }
  [[nodiscard]] std::uint64_t new_key() noexcept {
    const Lock lock(mutex_);
    return ++last_key_;
  }
  /// A value that was handed to a receiver which did not get it: it was destroyed before it could look, or the value's
  /// move threw.
  void count_undelivered() noexcept {
    const Lock lock(mutex_);
    buffer_.count_undelivered();
  }

  void close(std::exception_ptr reason) noexcept {
    WakeList wake;
    const Lock lock(mutex_);
    if (closed_) return;
    closed_ = true;
    reason_ = std::move(reason);
    close_all(senders_waiting_, wake);
    wake_if_ended(wake);
  }

  std::size_t discard() noexcept {
    typename Buffer<T>::TrashAll trash;
    WakeList wake;
    const Lock lock(mutex_);
    const std::size_t count = buffer_.drop_all(trash);
    admit_waiting(wake);
    wake_if_ended(wake);
    return count;
  }

  [[nodiscard]] bool closed() const noexcept {
    const Lock lock(mutex_);
    return closed_ || receivers_ == 0;
  }
  [[nodiscard]] ChannelStats stats() const noexcept {
    const Lock lock(mutex_);
    ChannelStats stats;
    buffer_.fill(stats);
    stats.reserved = reserved_;
    stats.waiting_senders = senders_waiting_.size();
    stats.waiting_receivers = receivers_waiting_.size();
    return stats;
  }

 private:
  using Trash = typename Buffer<T>::Trash;

  bool take_back(Waiter& waiter, WaitQueue& queue) noexcept {
    const Lock lock(mutex_);
    if (waiter.state != WaitState::queued) return false;
    queue.remove(waiter);
    waiter.state = WaitState::cancelled;
    return true;
  }
  Waiter* take_back_by(std::uint64_t key, WaitQueue& queue) noexcept {
    const Lock lock(mutex_);
    Waiter* waiter = queue.empty() ? nullptr : &queue.front();
    while (waiter && waiter->key != key) waiter = waiter->next;
    if (!waiter) return nullptr;
    queue.remove(*waiter);
    waiter->state = WaitState::cancelled;
    return waiter;
  }

  [[nodiscard]] bool ended() const noexcept { return closed_ && buffer_.empty() && reserved_ == 0; }

  /// `done`: there is room for one more. `idle`: the new value is to be dropped, and is counted already. Else `full` or
  /// `queued`.
  WaitState make_room(SendWaiter* waiter, Trash& trash) {
    if (overflow_ == Overflow::latest && !buffer_.empty()) buffer_.drop_front(trash);
    if (buffer_.size() + reserved_ < buffer_.capacity()) return WaitState::done;
    switch (overflow_) {
      case Overflow::wait:
        if (!waiter) return WaitState::full;
        senders_waiting_.push(*waiter);
        return WaitState::queued;
      case Overflow::reject:
        return WaitState::full;
      case Overflow::drop_oldest:
        if (!buffer_.empty()) {
          buffer_.drop_front(trash);
          return WaitState::done;
        }
        break;
      case Overflow::drop_newest:
      case Overflow::latest:
        break;
    }
    buffer_.count_refused();
    return WaitState::idle;
  }

  /// To the receiver that waits longest, else into the ring. Returns what `construct` returned; when it throws, nothing
  /// changed.
  template <class Construct>
  bool deliver(Construct&& construct, WakeList& wake) {
    if (receivers_waiting_.empty()) return buffer_.push(construct);
    auto& receiver = static_cast<ReceiveWaiter<T>&>(receivers_waiting_.front());
    const bool last = construct(receiver.slot());
    receiver.has_value = true;
    receivers_waiting_.remove(receiver);
    buffer_.count_passed();
    receiver.finish(WaitState::done, wake);
    return last;
  }

  /// The same; when `construct` throws, what was dropped to make room comes back, if its own move does not throw.
  template <class Construct>
  bool deliver_instead(Construct&& construct, Trash& trash, WakeList& wake) {
    try {
      return deliver(construct, wake);
    } catch (...) {
      buffer_.restore_front(trash);
      throw;
    }
  }
  template <class Construct>
  void deliver_one(Construct& construct, Trash& trash, WakeList& wake) {
    deliver_instead(
        [&construct](void* slot) {
          construct(slot);
          return true;
        },
        trash, wake);
  }

  /// Gives the room that appeared to those that wait for it, in their order.
  void admit_waiting(WakeList& wake) noexcept {
    while (!senders_waiting_.empty() && buffer_.size() + reserved_ < buffer_.capacity()) {
      auto& sender = static_cast<SendWaiter&>(senders_waiting_.front());
      auto how = WaitState::done;
      if (!sender.transfer) {
        ++reserved_;
      } else {
        try {
          if (!deliver([&](void* slot) { return sender.transfer(sender, slot); }, wake)) continue;
        } catch (...) {
          sender.error = std::current_exception();
          how = WaitState::failed;
        }
      }
      senders_waiting_.remove(sender);
      sender.finish(how, wake);
    }
  }

  static void close_all(WaitQueue& queue, WakeList& wake) noexcept {
    while (!queue.empty()) {
      Waiter& waiter = queue.front();
      queue.remove(waiter);
      waiter.finish(WaitState::closed, wake);
    }
  }

  void wake_if_ended(WakeList& wake) noexcept {
    if (!ended()) return;
    while (!receivers_waiting_.empty()) {
      auto& receiver = static_cast<ReceiveWaiter<T>&>(receivers_waiting_.front());
      receivers_waiting_.remove(receiver);
      receiver.reason = reason_;
      receiver.finish(WaitState::closed, wake);
    }
  }

  /// The last receiver has gone: what is buffered can't reach anybody, and nothing more comes.
  void end_receiving() noexcept {
    typename Buffer<T>::TrashAll trash;
    WakeList wake;
    const Lock lock(mutex_);
    buffer_.drop_all(trash);
    close_all(senders_waiting_, wake);
    close_all(receivers_waiting_, wake);
  }

  mutable Mutex mutex_;
  typename Sync::Counter refs_{0};
  typename Sync::Counter senders_{0};
  typename Sync::Counter receivers_{0};
  Buffer<T> buffer_;
  std::size_t reserved_ = 0;
  WaitQueue senders_waiting_;
  WaitQueue receivers_waiting_;
  std::uint64_t last_key_ = 0;
  Overflow overflow_;
  bool closed_ = false;
  std::exception_ptr reason_;
  asio::any_io_executor executor_;
};

}  // namespace weir::detail
