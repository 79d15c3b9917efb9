/// A broadcast's receive by completion token. Its send is the channel's.
#pragma once

#include <exception>
#include <new>
#include <utility>

#include <weir/channel/detail/async_operations.hpp>
#include <weir/channel/detail/broadcast_core.hpp>

namespace weir::detail {

template <class T, class Handler>
class AsyncBroadcastReceive : public BroadcastWaiter<T>,
                              public HandlerBlock<AsyncBroadcastReceive<T, Handler>, T, Handler> {
  using Core = BroadcastCore<T>;
  using Place = BroadcastSubscription<T>;
  using Block = HandlerBlock<AsyncBroadcastReceive, T, Handler>;
  friend Block;

 public:
  AsyncBroadcastReceive(Handler&& handler, Place& place)
      : BroadcastWaiter<T>(wake_), Block(std::move(handler), place.core.executor()), place_(place) {}

  void start() { Block::template begin<&Core::cancel_receive_by>(CoreRef<Core>(place_->core), wake_); }
  [[nodiscard]] bool take_back() noexcept { return place_->core.cancel_receive(*this); }

 private:
  bool attempt(Core& core, bool waits) noexcept {
    try {
      bool later = false;
      const Found found = core.receive(*place_, run_, waits ? this : nullptr, later);
      if (found == Found::nothing) return false;
      found_ = found;
    } catch (...) {
      error_ = std::current_exception();
    }
    return true;
  }
  static void fire(WakeList::Deferred& fired) noexcept {
    auto& me = static_cast<AsyncBroadcastReceive&>(static_cast<BroadcastWaiter<T>&>(waiter_of(fired)));
    if (me.state == WaitState::done) me.found_ = me.place_->core.resume(*me.place_, me.run_);
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
