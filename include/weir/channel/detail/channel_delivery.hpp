/// How values find their way under the lock: to a receiver that waits, else into the ring; and how room finds a sender.
#pragma once

#include <cstddef>
#include <exception>
#include <utility>

#include <weir/channel/detail/channel_state.hpp>
#include <weir/channel/detail/waiter.hpp>
#include <weir/channel/detail/wakes.hpp>
#include <weir/channel/options.hpp>

namespace weir::detail {

/// Everything here happens under the lock.
template <class T, class Sync>
class ChannelDelivery : public ChannelState<T, Sync> {
  using State = ChannelState<T, Sync>;
  using Party = typename Sides<T, Sync>::Party;

 public:
  using State::capacity;
  using State::waits_or_rejects;

 protected:
  using Trash = typename State::Trash;
  using Wakes = ChannelWakes<Sync>;

  using State::admitted_aside_;
  using State::buffered;
  using State::drop_front;
  using State::dropped_;
  using State::ended;
  using State::has_room;
  using State::has_value;
  using State::overflow_;
  using State::receivers_waiting_;
  using State::reserved_;
  using State::restore_front;
  using State::senders_waiting_;
  using State::sides_;
  using State::State;

  /// `done`: there is room for one more. `idle`: the new value is to be dropped, and is counted already. Else `full` or
  /// `queued`.
  template <class Asks>
  WaitState make_room(Asks& asks, Trash& trash) {
    if (overflow_ == Overflow::latest && has_value()) drop_front(trash);
    if (has_room()) return WaitState::done;
    switch (overflow_) {
      case Overflow::wait:
        if (!asks.waits()) return WaitState::full;
        sides_.own_take(Party::other);
        if (has_room()) return WaitState::done;
        senders_waiting_.push(asks.waiter());
        return WaitState::queued;
      case Overflow::reject:
        return WaitState::full;
      case Overflow::drop_oldest:
        if (has_value()) {
          drop_front(trash);
          return WaitState::done;
        }
        break;
      case Overflow::drop_newest:
      case Overflow::latest:
        break;
    }
    ++admitted_aside_;
    ++dropped_;
    return WaitState::idle;
  }

  /// To the receiver that waits longest, else into the ring. When `construct` throws, what was dropped to make room
  /// comes back, if its own move does not throw; else nothing changed.
  template <class Construct>
  void deliver_one(Construct& construct, Trash& trash, Wakes& wake) {
    deliver_instead(
        [&construct](void* slot) {
          construct(slot);
          return true;
        },
        trash, wake);
  }

  /// The next of many: with as many of those that follow as there is room for, if nobody waits for them. True: it was
  /// the last.
  bool deliver_next(SendWaiter& sender, Trash& trash, Wakes& wake) {
    if (sender.fill && receivers_waiting_.empty() && waits_or_rejects()) {
      bool last = false;
      sides_.ensure_ring().put_some(
          capacity() - buffered() - reserved_,
          [&](T* slots, std::size_t n, std::size_t& built) { last = sender.fill(sender, slots, n, built); });
      return last;
    }
    return deliver_instead([&](void* slot) { return sender.transfer(sender, slot); }, trash, wake);
  }

  /// Gives the room that appeared to those that wait for it, in their order.
  void pump(Wakes& wake) noexcept {
    while (!senders_waiting_.empty() && has_room()) {
      Waiter* const first = senders_waiting_.claim_front();
      if (!first) return;
      auto& sender = static_cast<SendWaiter&>(*first);
      auto how = WaitState::done;
      if (!sender.transfer) {
        ++reserved_;
      } else {
        try {
          Trash none;
          if (!deliver_next(sender, none, wake)) continue;
        } catch (...) {
          sender.error = std::current_exception();
          how = WaitState::failed;
        }
      }
      senders_waiting_.remove(sender);
      sender.finish(how, wake);
    }
  }

  static void close_all(WaitQueue& queue, Wakes& wake) noexcept {
    while (Waiter* const waiter = queue.claim_front()) {
      queue.remove(*waiter);
      waiter->finish(WaitState::closed, wake);
    }
  }

  void wake_if_ended(Wakes& wake) noexcept {
    if (!ended()) return;
    while (Waiter* const first = receivers_waiting_.claim_front()) {
      auto& receiver = static_cast<ReceiveWaiter<T>&>(*first);
      receivers_waiting_.remove(receiver);
      receiver.finish(WaitState::closed, wake);
    }
  }

 private:
  /// To the receiver that waits longest, else into the ring. Returns what `construct` returned; when it throws, nothing
  /// changed.
  template <class Construct>
  bool deliver(Construct&& construct, Wakes& wake) {
    Waiter* const first = receivers_waiting_.claim_front();
    if (!first) {
      Ring<T, Sync>& ring = sides_.ensure_ring();
      static_cast<void>(ring.has_room());
      return ring.put(construct);
    }
    auto& receiver = static_cast<ReceiveWaiter<T>&>(*first);
    bool last = false;
    try {
      last = construct(receiver.slot());
    } catch (...) {
      if (receiver.who == Waiter::Who::select) begin_again(receiver, wake);
      throw;
    }
    receiver.has_value = true;
    receivers_waiting_.remove(receiver);
    ++admitted_aside_;
    receiver.finish(WaitState::done, wake);
    return last;
  }

  /// One of a select that was claimed for nothing. What came for its others meanwhile passed it by.
  void begin_again(Waiter& receiver, Wakes& wake) noexcept {
    receivers_waiting_.remove(receiver);
    wake.add(*receiver.home(), *receiver.choice->again);
  }

  /// When `construct` throws, what was dropped to make room comes back, if its own move does not throw.
  template <class Construct>
  bool deliver_instead(Construct&& construct, Trash& trash, Wakes& wake) {
    try {
      return deliver(construct, wake);
    } catch (...) {
      restore_front(trash);
      throw;
    }
  }
};

}  // namespace weir::detail
