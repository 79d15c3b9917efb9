/// The operations of a broadcast that a weir coroutine awaits.
#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>
#include <new>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include <weir/channel/detail/broadcast_core.hpp>
#include <weir/core/promise.hpp>

namespace weir {

/// Thrown by a receive that says so, under the policy `skip`: the receiver was too slow and missed `skipped()` values.
/// The next receive goes on with the oldest that is still there. The code is `Errc::lagged`.
class Lagged : public Error {
 public:
  explicit Lagged(std::uint64_t skipped)
      : Error(Errc::lagged, std::to_string(skipped) + (skipped == 1 ? " value" : " values") + " missed"),
        skipped_(skipped) {}
  [[nodiscard]] std::uint64_t skipped() const noexcept { return skipped_; }

 private:
  std::uint64_t skipped_;
};

}  // namespace weir

namespace weir::detail {

/// What both operations share: who waits, and the turn given up after a long run of operations done at once. `Owner` is
/// what it keeps alive while it is suspended, because the handle may go. Movable until it is attached.
template <class Owner>
class BroadcastOperation : public Cancellable {
 public:
  void attach(Promise& promise) {
    if (promise_) throw Error(Errc::task_consumed, "a broadcast's operation is awaited once");
    if (promise.scope().cancelled()) throw Error(Errc::cancelled);
    promise_ = &promise;
  }
  /// For who awaits it as one of several: what it operates on, once.
  [[nodiscard]] Owner& take_core() {
    if (promise_ || std::exchange(taken_, true))
      throw Error(Errc::task_consumed, "a broadcast's operation is awaited once");
    return owner_;
  }
  void await_suspend(std::coroutine_handle<>) noexcept {
    // Queued: a peer wakes it, and may have done so. Else it was done at once, and gives up its turn.
    if (!queued_) wake_here();
  }

 protected:
  BroadcastOperation(Owner& owner, const Kind& kind) noexcept : Cancellable(kind), owner_(owner) {}
  ~BroadcastOperation() {
    if (held_) owner_.release();
  }

  void prepare(Waiter& waiter) noexcept { waiter.belongs_to(*promise_); }
  [[nodiscard]] bool spend() noexcept { return promise_->home().spend(); }
  /// It suspends: in a queue of the broadcast, or only for the others' sake.
  void hold(bool queued) noexcept {
    owner_.retain();
    held_ = true;
    queued_ = queued;
    if (queued) promise_->scope().link(*this);
  }
  [[nodiscard]] bool held() const noexcept { return held_; }
  void wake_here() noexcept { promise_->home().resume_here(promise_->resumable()); }
  /// On resumption, which does not come when the frame is destroyed before.
  void resumed() noexcept {
    unlink();
    resumed_ = true;
  }
  [[nodiscard]] bool destroyed_waiting() const noexcept { return held_ && !resumed_; }

  Owner& owner_;

 private:
  Promise* promise_ = nullptr;
  bool queued_ = false;
  bool held_ = false;
  bool resumed_ = false;
  bool taken_ = false;
};

/// The caller's value, or the operation's own.
template <class T>
struct BorrowedValue {
  T& operator*() const noexcept { return *value; }
  T* value;
};
template <class T>
struct OwnedValue {
  template <class... Args>
  explicit OwnedValue(std::in_place_t, Args&&... args) : value(static_cast<Args&&>(args)...) {}
  T& operator*() noexcept { return value; }
  T value;
};

template <class T, class Value>
class [[nodiscard("co_await it: nothing is sent before")]] BroadcastSend : public BroadcastOperation<BroadcastCore<T>>,
                                                                           public SendWaiter {
  using Core = BroadcastCore<T>;
  using Base = BroadcastOperation<Core>;

 public:
  BroadcastSend(BroadcastSend&& other) : BroadcastSend(other.owner_, std::move(other.value_)) {}
  BroadcastSend(Core& core, Value value) : Base(core, kind), SendWaiter(&move_out), value_(std::move(value)) {}
  /// For who awaits it as one of several: where the value comes from.
  struct Source {
    void operator()(void* slot) { ::new (slot) T(std::move(*value)); }
    Value value;
  };
  [[nodiscard]] std::tuple<Source> parts() { return std::tuple<Source>(Source{std::move(value_)}); }
  ~BroadcastSend() {
    if (this->destroyed_waiting()) this->owner_.cancel_send(*this);
  }

  [[nodiscard]] bool await_ready() {
    this->prepare(*this);
    const auto attempt = this->owner_.send([this](void* slot) { move_out(*this, slot); }, Known<SendWaiter>{this});
    // Queued, it may have been completed since: then its state is the peer's word.
    const bool queued = attempt == WaitState::queued;
    if (!queued) {
      state = attempt;
      if (this->spend()) return true;
    }
    this->hold(queued);
    return false;
  }
  void await_resume() {
    this->resumed();
    if (state == WaitState::done) return;
    if (error) std::rethrow_exception(std::move(error));
    throw Error(state == WaitState::closed ? Errc::channel_closed : Errc::cancelled);
  }

 private:
  static bool move_out(SendWaiter& self, void* slot) {
    ::new (slot) T(std::move(*static_cast<BroadcastSend&>(self).value_));
    return true;
  }
  static void cancel(Cancellable& self) noexcept {
    auto& me = static_cast<BroadcastSend&>(self);
    if (me.owner_.cancel_send(me)) me.wake_here();
  }
  static void describe(const Cancellable& self, std::string& text) {
    static_cast<const BroadcastSend&>(self).owner_.describe(text);
  }
  static constexpr Cancellable::Kind kind{&cancel, nullptr, "send", &describe};

  Value value_;
};

/// `Sink` is what the values go to, and what the operation then gives.
template <class T, class Sink>
class [[nodiscard("co_await it: nothing is received before")]] BroadcastReceive
    : public BroadcastOperation<BroadcastSubscription<T>>,
      public BroadcastWaiter<T> {
  using Subscription = BroadcastSubscription<T>;
  using Base = BroadcastOperation<Subscription>;

 public:
  BroadcastReceive(BroadcastReceive&& other)
      : BroadcastReceive(other.owner_, std::move(other.sink_), other.run_.max, other.run_.skipped) {}
  BroadcastReceive(Subscription& place, Sink sink, std::size_t max, std::uint64_t* skipped)
      : Base(place, kind), sink_(std::move(sink)) {
    run_.max = max;
    run_.skipped = skipped;
  }
  /// For who awaits it as one of several: the sink, and what the run begins with.
  [[nodiscard]] std::tuple<Sink, BroadcastRun<T>> parts() { return {std::move(sink_), run_}; }
  ~BroadcastReceive() {
    if (!this->destroyed_waiting() || core().cancel_receive(*this)) return;
    core().abandon_receive(this->owner_);
  }

  [[nodiscard]] bool await_ready() {
    this->prepare(*this);
    bool later = false;
    found_ = core().receive(this->owner_, run_, this, later);
    if (found_ != Found::nothing && !later) return true;
    this->hold(found_ == Found::nothing);
    return false;
  }
  auto await_resume() {
    this->resumed();
    if (this->held()) {
      if (this->state == WaitState::cancelled) throw Error(Errc::cancelled);
      found_ = core().resume(this->owner_, run_);
    }
    return sink_.take(core(), this->owner_, run_, found_);
  }

 private:
  BroadcastCore<T>& core() const noexcept { return this->owner_.core; }
  static void cancel(Cancellable& self) noexcept {
    auto& me = static_cast<BroadcastReceive&>(self);
    if (me.core().cancel_receive(me)) me.wake_here();
  }
  static void describe(const Cancellable& self, std::string& text) {
    static_cast<const BroadcastReceive&>(self).core().describe(text);
  }
  static constexpr Cancellable::Kind kind{&cancel, nullptr, "receive", &describe};

  BroadcastRun<T> run_;
  Found found_ = Found::nothing;
  Sink sink_;
};

/// False: there is no value, and nothing to throw.
template <class T>
[[nodiscard]] bool has_value_or_throw(BroadcastRun<T>& run, Found found) {
  switch (found) {
    case Found::value:
      return true;
    case Found::lagged:
      throw Lagged(run.lag);
    case Found::disconnected:
      throw Error(Errc::disconnected);
    case Found::end:
      if (run.reason) std::rethrow_exception(std::move(run.reason));
      break;
    case Found::nothing:
      break;
  }
  return false;
}

template <class T>
struct BroadcastOne {
  using Result = std::optional<T>;
  static std::optional<T> take(BroadcastCore<T>& core, BroadcastSubscription<T>& s, BroadcastRun<T>& run, Found found) {
    std::optional<T> value;
    if (has_value_or_throw(run, found)) {
      core.finish(s, run, [&value](auto&& v) { value.emplace(static_cast<decltype(v)>(v)); });
    }
    return value;
  }
};

template <class T, class Out>
struct BroadcastSome {
  using Result = std::size_t;
  std::size_t take(BroadcastCore<T>& core, BroadcastSubscription<T>& s, BroadcastRun<T>& run, Found found) {
    if (!has_value_or_throw(run, found)) return 0;
    return core.finish(s, run, [this](auto&& v) {
      *out = static_cast<decltype(v)>(v);
      ++out;
    });
  }
  Out out;
};

}  // namespace weir::detail
