/// The operations of a broadcast by completion token. As the channel's: each is tried once without waiting, and only
/// one that has to wait enters its context's registry and takes the cancellation slot.
#pragma once

#include <exception>
#include <new>
#include <utility>

#include <weir/channel/detail/async_operations.hpp>
#include <weir/channel/detail/broadcast_core.hpp>

namespace weir::detail {

template <class T, class Handler>
class AsyncBroadcastSend : public SendWaiter, public HandlerBlock<AsyncBroadcastSend<T, Handler>, T, Handler> {
  using Core = BroadcastCore<T>;
  using Block = HandlerBlock<AsyncBroadcastSend, T, Handler>;

 public:
  AsyncBroadcastSend(Handler&& handler, Core& core, T&& value)
      : SendWaiter(wake_, &move_out), Block(std::move(handler), core.executor()), core_(core) {
    carry<T>(value_, std::move(value));
  }

  void start() {
    const CoreRef<Core> core = core_;
    if (attempt(*core, nullptr)) return fire(wake_);
    if (!Block::enter(core->executor())) return;
    try {
      connect_cancellation<Core, &Core::cancel_send_by>(wake_, *core, Block::handler());
    } catch (...) {
      fail();
      return fire(wake_);
    }
    if (attempt(*core, this)) fire(wake_);
  }
  [[nodiscard]] bool take_back() noexcept { return core_->cancel_send(*this); }

 private:
  void fail() noexcept {
    state = WaitState::failed;
    error = std::current_exception();
  }
  /// True: it is over, as `state` says. False: it waits, or (without a waiter) it would have to.
  bool attempt(Core& core, SendWaiter* waiter) noexcept {
    try {
      const auto outcome = core.send([this](void* slot) { move_out(*this, slot); }, Known{waiter});
      if (outcome == WaitState::queued || outcome == WaitState::full) return false;
      state = outcome;
    } catch (...) {
      fail();
    }
    return true;
  }
  static bool move_out(SendWaiter& self, void* slot) {
    ::new (slot) T(std::move(*static_cast<AsyncBroadcastSend&>(self).value_));
    return true;
  }
  static void fire(WakeList::Deferred& fired) noexcept {
    auto& me = static_cast<AsyncBroadcastSend&>(static_cast<SendWaiter&>(waiter_of(fired)));
    if (me.state == WaitState::done) me.value_.reset();
    const auto code = me.state == WaitState::failed ? value_failed(me.error) : async_error(me.state);
    me.complete(code, std::move(me.value_));
  }

  HandlerWake wake_{*this, &fire};
  CoreRef<Core> core_;
  Carried<T> value_;
};

template <class T, class Handler>
class AsyncBroadcastReceive : public BroadcastWaiter<T>,
                              public HandlerBlock<AsyncBroadcastReceive<T, Handler>, T, Handler> {
  using Core = BroadcastCore<T>;
  using Place = BroadcastSubscription<T>;
  using Block = HandlerBlock<AsyncBroadcastReceive, T, Handler>;

 public:
  AsyncBroadcastReceive(Handler&& handler, Place& place)
      : BroadcastWaiter<T>(wake_), Block(std::move(handler), place.core.executor()), place_(place) {}

  void start() {
    const CoreRef<Place> place = place_;
    if (attempt(nullptr)) return finish();
    if (!Block::enter(place->core.executor())) return;
    try {
      connect_cancellation<Core, &Core::cancel_receive_by>(wake_, place->core, Block::handler());
    } catch (...) {
      error_ = std::current_exception();
      return finish();
    }
    if (attempt(this)) finish();
  }
  [[nodiscard]] bool take_back() noexcept { return place_->core.cancel_receive(*this); }

 private:
  /// As for a send.
  bool attempt(BroadcastWaiter<T>* waiter) noexcept {
    try {
      bool later = false;
      const Found found = place_->core.receive(*place_, run_, waiter, later);
      if (found == Found::nothing) return false;
      found_ = found;
    } catch (...) {
      error_ = std::current_exception();
    }
    return true;
  }
  static void fire(WakeList::Deferred& fired) noexcept {
    auto& me = static_cast<AsyncBroadcastReceive&>(static_cast<BroadcastWaiter<T>&>(waiter_of(fired)));
    if (me.state != WaitState::cancelled) me.found_ = me.place_->core.resume(*me.place_, me.run_);
    me.finish();
  }
  void finish() noexcept {
    Carried<T> value;
    if (found_ == Found::value) {
      try {
        place_->core.finish(*place_, run_, [&value](auto&& v) {
          T taken(static_cast<decltype(v)>(v));
          carry<T>(value, std::move(taken));
        });
      } catch (...) {
        error_ = std::current_exception();
      }
    }
    const auto code = outcome();
    this->complete(code, std::move(value));
  }
  [[nodiscard]] std::error_code outcome() const noexcept {
    if (error_) return value_failed(error_);
    switch (found_) {
      case Found::value:
        return {};
      case Found::lagged:
        return Errc::lagged;
      case Found::disconnected:
        return Errc::disconnected;
      case Found::end:
        return run_.reason ? code_of(run_.reason, Errc::channel_closed) : std::error_code();
      case Found::nothing:
        break;
    }
    return async_error(WaitState::cancelled);
  }

  HandlerWake wake_{*this, &fire};
  CoreRef<Place> place_;
  BroadcastRun<T> run_;
  Found found_ = Found::nothing;
  std::exception_ptr error_;
};

}  // namespace weir::detail
