/// The channel itself, behind its handles: a ring between two sides, a lock for everything else.
///
/// What can be done at once is done without the lock, by a handle that holds its side (channel_at_once.hpp; sides.hpp
/// has the protocol); the rest under it, here. Below it are what a channel consists of (channel_state.hpp) and how a
/// value or room finds who waits for it (channel_delivery.hpp).
///
/// Invariants, checked by tests/channel/channel_explore_test.cpp at each step of the simulator:
///  1. buffered + reserved <= capacity.
///  2. Receivers wait only while nothing is buffered; senders wait only while buffered + reserved == capacity.
///  3. A waiter is in a queue (`queued`), or its outcome stands in `state` and it was woken once. Cancelling takes it
///     out of the queue under the lock, and does nothing to one that is out already: completed beats cancelled.
///  4. admitted == received + buffered + dropped.
///  5. Closed, nobody waits, unless permits are out: their values may still come, so receivers wait for them.
///  6. One of a `select` is served, or told that the channel is closed, only by who took its claim (`Choice`) under the
///     lock, before the value is moved. Those of its waiters that lost are in no queue once the select has ended; until
///     then they are passed over, keep the gates closed, and are not counted.
///  7. No value of the user's is destroyed, and nobody is posted, under the lock: both happen after it, by `Trash` and
///     `WakeList`. Only the move (or the construction) of a value happens under it, and the end of what it moved from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <utility>

#include <weir/channel/detail/channel_at_once.hpp>
#include <weir/channel/detail/sides.hpp>
#include <weir/channel/detail/waiter.hpp>
#include <weir/channel/detail/wakes.hpp>
#include <weir/channel/options.hpp>

namespace weir::detail {

template <class T, class Sync>
class ChannelCore : public ChannelAtOnce<T, Sync> {
  using Base = ChannelAtOnce<T, Sync>;
  using Party = typename Sides<T, Sync>::Party;
  using Lock = typename Base::Lock;
  using Section = typename Base::Section;
  using Trash = typename Base::Trash;
  using Wakes = typename Base::Wakes;

 public:
  using Base::release;
  using Base::retain;

  void add_sender() noexcept {
    retain();
    ++sides_.senders;
  }
  void drop_sender() noexcept {
    if (--sides_.senders == 0) close(nullptr);
    release();
  }
  void add_receiver() noexcept {
    retain();
    ++sides_.receivers;
  }
  void drop_receiver() noexcept {
    if (--sides_.receivers == 0) end_receiving();
    release();
  }

  /// One value, built by `construct(void*)`: `done`, `closed` or `full`; or, under the policy `wait` and by one that
  /// waits (see `Asks`), `queued`.
  template <class Construct, class Asks>
  WaitState send(Construct&& construct, Asks asks) {
    Trash trash;
    Wakes wake(asks.home());
    const Section section(*this);
    sides_.own_put(Party::side);
    if (closed_ || abandoned_) return asks.claim() ? WaitState::closed : WaitState::lost;
    const WaitState room = make_room(asks, trash);
    if (room == WaitState::done) {
      if (!asks.claim()) return WaitState::lost;
      deliver_one(construct, trash, wake);
    }
    return room == WaitState::idle ? WaitState::done : room;
  }

  /// Values one after the other, until `waiter.transfer` says that it was the last: `done`, `closed`, `full` or
  /// `queued`.
  WaitState send_run(SendWaiter& waiter) {
    const Known asks{&waiter};
    for (;;) {
      Trash trash;
      Wakes wake(asks.home());
      const Section section(*this);
      sides_.own_put(Party::side);
      // What is dropped is destroyed after the lock, so each drop ends the critical section.
      while (!trash) {
        if (closed_ || abandoned_) return WaitState::closed;
        const WaitState room = make_room(asks, trash);
        bool last = false;
        if (room == WaitState::done) {
          last = deliver_next(waiter, trash, wake);
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
  template <class Asks>
  WaitState reserve(Asks asks) {
    Trash trash;
    const Section section(*this);
    sides_.own_put(Party::side);
    if (closed_ || abandoned_) return asks.claim() ? WaitState::closed : WaitState::lost;
    if (!has_room()) {
      const bool drops = overflow_ == Overflow::drop_oldest || overflow_ == Overflow::latest;
      if (drops && has_value()) {
        if (!asks.claim()) return WaitState::lost;
        drop_front(trash);
        ++reserved_;
        return WaitState::done;
      }
      if (overflow_ != Overflow::wait || !asks.waits()) return asks.claim() ? WaitState::full : WaitState::lost;
      sides_.own_take(Party::other);
      if (!has_room()) {
        senders_waiting_.push(asks.waiter());
        return WaitState::queued;
      }
    }
    if (!asks.claim()) return WaitState::lost;
    ++reserved_;
    return WaitState::done;
  }

  /// Uses a permit: false when nobody can receive any more (then the permit is still held, and nothing was moved).
  template <class Construct>
  bool send_reserved(Construct&& construct) {
    Trash trash;
    Wakes wake(nullptr);
    const Section section(*this);
    if (abandoned_) return false;
    if (overflow_ == Overflow::latest && has_value()) drop_front(trash);
    --reserved_;
    try {
      deliver_one(construct, trash, wake);
    } catch (...) {
      ++reserved_;
      throw;
    }
    // A receiver that waited got it, so the room is free again.
    pump(wake);
    wake_if_ended(wake);
    return true;
  }

  void release_permit() noexcept {
    Wakes wake(nullptr);
    const Section section(*this);
    --reserved_;
    pump(wake);
    wake_if_ended(wake);
  }

  /// Takes the oldest value by `take(T&)`: `done`, `closed` (drained as well; then `reason()` is there), or `queued` by
  /// one that waits, else `idle`.
  template <class Take, class Asks>
  WaitState receive(Take&& take, Asks asks) {
    Wakes wake(asks.home());
    const Section section(*this);
    sides_.own_take(Party::side);
    if (!has_value()) {
      if (ended()) return asks.claim() ? WaitState::closed : WaitState::lost;
      if (!asks.waits()) return WaitState::idle;
      sides_.own_put(Party::other);
      if (!has_value()) {
        receivers_waiting_.push(asks.waiter());
        return WaitState::queued;
      }
    }
    if (!asks.claim()) return WaitState::lost;
    Ring<T, Sync>& ring = *sides_.ring();
    take(ring.front());
    ring.pop();
    pump(wake);
    return WaitState::done;
  }
  /// What the channel was closed with, for a receiver that was told that it is closed: it does not change any more.
  [[nodiscard]] const std::exception_ptr& reason() const noexcept { return reason_; }

  /// Takes up to `max` values; 0: see `state`, as above.
  template <class Use, class Asks>
  std::size_t receive_some(Use&& use, std::size_t max, Asks asks, WaitState& state) {
    Wakes wake(asks.home());
    const Section section(*this);
    sides_.own_take(Party::side);
    std::size_t taken = 0;
    state = WaitState::done;
    const auto take_what_is_there = [&] {
      Ring<T, Sync>& ring = *sides_.ring();
      // Senders that wait come in as room appears, so that one call can take more than the capacity holds.
      try {
        while (taken < max && has_value()) {
          ring.take_some(max - taken, [&](T* values, std::size_t n, std::size_t& used) {
            const Count count{taken, used};
            use(values, n, used);
          });
          pump(wake);
        }
      } catch (...) {
        // It stays in front, for the next call to meet; those before it are to be told of.
        pump(wake);
        if (taken == 0) throw;
      }
    };
    if (has_value()) {
      take_what_is_there();
    } else if (ended()) {
      state = WaitState::closed;
    } else if (!asks.waits()) {
      state = WaitState::idle;
    } else if (sides_.own_put(Party::other); has_value()) {
      take_what_is_there();
    } else {
      receivers_waiting_.push(asks.waiter());
      state = WaitState::queued;
    }
    return taken;
  }

  /// Takes a waiter back: false when it was completed before.
  bool cancel_send(Waiter& waiter) noexcept { return take_back(waiter, senders_waiting_); }
  bool cancel_receive(Waiter& waiter) noexcept { return take_back(waiter, receivers_waiting_); }
  /// The same for one that is known by its key only, because it may have been completed and freed: null if it was.
  Waiter* cancel_send_by(std::uint64_t key) noexcept { return take_back_by(key, senders_waiting_); }
  Waiter* cancel_receive_by(std::uint64_t key) noexcept { return take_back_by(key, receivers_waiting_); }
  /// A value that was handed to a receiver which did not get it: it was destroyed before it could look, or the value's
  /// move threw.
  void count_undelivered() noexcept {
    const Lock lock(mutex_);
    ++dropped_;
  }

  void close(std::exception_ptr reason) noexcept {
    Wakes wake(nullptr);
    const Section section(*this);
    if (closed_) return;
    sides_.own_put(Party::other);
    closed_ = true;
    // Without receivers it has nobody to be told to, and those that were told of their end read what they find.
    if (!abandoned_) reason_ = std::move(reason);
    close_all(senders_waiting_, wake);
    wake_if_ended(wake);
  }

  /// What is there at the call, one after the other: each is destroyed outside the lock.
  std::size_t discard() noexcept {
    std::size_t count = 0;
    std::uint64_t end = 0;
    bool more = true;
    for (bool first = true; more; first = false) {
      Trash trash;
      Wakes wake(nullptr);
      const Section section(*this);
      sides_.own_take(Party::other);
      Ring<T, Sync>* const ring = sides_.ring();
      if (first) {
        end = ring ? ring->put_index() : 0;
        ++discarding_;
      }
      more = ring && ring->take_index() < end && has_value();
      if (more) {
        drop_front_surely(trash);
        ++count;
      } else {
        --discarding_;
      }
      pump(wake);
      wake_if_ended(wake);
    }
    return count;
  }

 protected:
  using Base::abandoned_;
  using Base::Base;
  using Base::buffered;
  using Base::close_all;
  using Base::closed_;
  using Base::deliver_next;
  using Base::deliver_one;
  using Base::discarding_;
  using Base::drop_front;
  using Base::drop_front_surely;
  using Base::dropped_;
  using Base::ended;
  using Base::has_room;
  using Base::has_value;
  using Base::make_room;
  using Base::mutex_;
  using Base::overflow_;
  using Base::pump;
  using Base::reason_;
  using Base::receivers_waiting_;
  using Base::reserved_;
  using Base::senders_waiting_;
  using Base::sides_;
  using Base::wake_if_ended;

 private:
  struct Count {
    std::size_t& total;
    const std::size_t& more;
    ~Count() { total += more; }
  };

  bool take_back(Waiter& waiter, WaitQueue& queue) noexcept {
    const Section section(*this);
    if (waiter.state != WaitState::queued) return false;
    queue.remove(waiter);
    waiter.state = WaitState::cancelled;
    return true;
  }
  Waiter* take_back_by(std::uint64_t key, WaitQueue& queue) noexcept {
    const Section section(*this);
    Waiter* const waiter = queue.find(key);
    if (!waiter) return nullptr;
    queue.remove(*waiter);
    waiter->state = WaitState::cancelled;
    return waiter;
  }

  /// The last receiver has gone: what is buffered can't reach anybody, and nothing more comes.
  void end_receiving() noexcept {
    {
      Wakes wake(nullptr);
      const Section section(*this);
      sides_.own_put(Party::other);
      abandoned_ = true;
      close_all(senders_waiting_, wake);
      close_all(receivers_waiting_, wake);
    }
    discard();
  }
};

/// With the executor, whose type nobody else has to know.
template <class T, class Sync, class Executor>
class ChannelBlock final : public ChannelCore<T, Sync> {
 public:
  ChannelBlock(const Executor& executor, const ChannelOptions& options)
      : ChannelCore<T, Sync>(options), executor_(executor) {}

  [[nodiscard]] asio::any_io_executor executor() const noexcept override { return executor_; }

 private:
  const Executor executor_;
};

}  // namespace weir::detail
