/// A broadcast's operations in a `select`: see select_cases.hpp for the protocol.
#pragma once

#include <cstddef>
#include <string>
#include <tuple>
#include <utility>

#include <weir/channel/detail/broadcast_operations.hpp>
#include <weir/channel/detail/select_cases.hpp>

namespace weir::detail {

/// It reads only when it resumes, so that one which is destroyed before has taken nothing.
template <class T, class Sink>
class BroadcastReceiveCase {
  using Place = BroadcastSubscription<T>;

 public:
  using Result = typename Sink::Result;
  static constexpr bool is_timer = false;

  explicit BroadcastReceiveCase(BroadcastReceive<T, Sink>&& operation)
      : place_(operation.take_core()), parts_(operation.parts()) {}
  BroadcastReceiveCase(const BroadcastReceiveCase&) = delete;
  BroadcastReceiveCase& operator=(const BroadcastReceiveCase&) = delete;
  ~BroadcastReceiveCase() {
    if (has_turn()) place_->core.abandon_receive(*place_);
  }

  [[nodiscard]] bool try_at_once() {
    how_ = place_->core.await_turn(*place_, nullptr);
    return how_ == WaitState::done;
  }
  WaitState enter(SelectCommon& common) {
    waiter_.belongs_to(common.choice);
    how_ = WaitState::idle;
    try {
      how_ = place_->core.await_turn(*place_, &waiter_);
    } catch (...) {
      if (common.choice.claim(nullptr)) throw;
      return WaitState::lost;
    }
    entered_ = true;
    return how_;
  }
  void leave() noexcept {
    if (std::exchange(entered_, false)) place_->core.cancel_receive(waiter_);
  }
  [[nodiscard]] bool won(const Choice& choice) const noexcept { return choice.winner == &waiter_; }
  void take(Result& result) {
    how_ = WaitState::idle;
    auto& [sink, run] = parts_;
    const Found found = place_->core.resume(*place_, run);
    result = sink.take(place_->core, *place_, run, found);
  }
  void describe(std::string& text) const {
    text += "receive from ";
    place_->core.describe(text);
  }

 private:
  [[nodiscard]] bool has_turn() const noexcept {
    return how_ == WaitState::done || (how_ == WaitState::queued && waiter_.state == WaitState::done);
  }

  const CoreRef<Place> place_;
  bool entered_ = false;
  WaitState how_ = WaitState::idle;
  BroadcastWaiter<T> waiter_;
  std::tuple<Sink, BroadcastRun<T>> parts_;
};

template <class T, class Sink>
struct CaseOf<BroadcastReceive<T, Sink>> {
  using type = BroadcastReceiveCase<T, Sink>;
};
template <class T, class Value>
struct CaseOf<BroadcastSend<T, Value>> {
  using type = SendCase<BroadcastCore<T>, typename BroadcastSend<T, Value>::Source>;
};

}  // namespace weir::detail
