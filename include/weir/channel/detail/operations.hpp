/// The operations that a weir coroutine awaits. Each tries under the channel's lock in `await_ready` and, when it can't
/// be done, queues itself in the same critical section: a peer may complete it at once, on another thread, because the
/// coroutine is resumed by its home only, which is busy with it until it has suspended.
#pragma once

#include <cassert>
#include <coroutine>
#include <exception>
#include <iterator>
#include <new>
#include <optional>
#include <ranges>
#include <string>
#include <tuple>
#include <utility>

#include <weir/channel/detail/core.hpp>
#include <weir/channel/detail/sync.hpp>
#include <weir/channel/permit.hpp>
#include <weir/core/promise.hpp>

namespace weir {

/// Thrown by `send_all` when the channel closed, or the wait was cancelled, after some of the values had gone.
class PartialSend : public Error {
 public:
  PartialSend(Errc e, std::size_t sent) : Error(e, std::to_string(sent) + " values were sent before"), sent_(sent) {}
  [[nodiscard]] std::size_t sent() const noexcept { return sent_; }

 private:
  std::size_t sent_;
};

}  // namespace weir

namespace weir::detail {

/// What all operations share: who waits, in which channel, and the turn given up after a long run of operations done at
/// once.
template <class Core, class Derived>
class Operation : public Cancellable {
 public:
  void attach(Promise& promise) {
    if (promise.scope().cancelled()) throw Error(Errc::cancelled);
    promise_ = &promise;
  }

  void await_suspend(std::coroutine_handle<>) noexcept {
    // Queued: a peer wakes it, and may have done so. Else it was done at once, and gives up its turn.
    if (!held_) wake_here();
  }

 protected:
  Operation(Core& core, const Kind& kind) noexcept : Cancellable(kind), core_(core) {}
  ~Operation() {
    if (held_) core_.release();
  }

  /// Before the attempt: who is to be woken.
  void prepare() noexcept {
    waiter().home = &promise_->home();
    waiter().resumable = &promise_->resumable();
  }
  /// After the attempt: whether the coroutine goes on at once.
  [[nodiscard]] bool settle(WaitState attempt) noexcept {
    if (attempt == WaitState::queued) {
      // The handle that was called may be gone before the coroutine is resumed.
      core_.retain();
      held_ = true;
      promise_->scope().link(*this);
      return false;
    }
    waiter().state = attempt;
    return promise_->home().spend();
  }
  void wake_here() noexcept { promise_->home().resume_here(promise_->resumable()); }
  /// On resumption: false when the frame is destroyed before it.
  void resumed() noexcept {
    unlink();
    resumed_ = true;
  }

  Core& core_;
  bool held_ = false;
  bool resumed_ = false;

 private:
  Waiter& waiter() noexcept { return static_cast<Derived&>(*this); }

  Promise* promise_ = nullptr;
};

[[nodiscard]] inline Errc failure_of(WaitState state) noexcept {
  switch (state) {
    case WaitState::closed:
      return Errc::channel_closed;
    case WaitState::full:
      return Errc::channel_full;
    default:
      return Errc::cancelled;
  }
}

/// Where a value to be sent comes from: it is moved, copied or built only when there is a slot for it.
template <class T>
struct MoveFrom {
  void operator()(void* slot) const { ::new (slot) T(std::move(*source)); }
  T* source;
};
template <class T>
struct CopyFrom {
  void operator()(void* slot) const { ::new (slot) T(*source); }
  const T* source;
};
template <class T, class... Args>
struct BuildFrom {
  void operator()(void* slot) {
    std::apply([slot](Args&... a) { ::new (slot) T(std::move(a)...); }, args);
  }
  std::tuple<Args...> args;
};

template <class T, class Sync, class Source>
class [[nodiscard("co_await it: nothing is sent before")]] SendOperation
    : public Operation<ChannelCore<T, Sync>, SendOperation<T, Sync, Source>>,
      public SendWaiter {
  using Core = ChannelCore<T, Sync>;
  using Base = Operation<Core, SendOperation>;

 public:
  SendOperation(Core& core, Source source) : Base(core, kind), source_(std::move(source)) {
    transfer = [](SendWaiter& self, void* slot) {
      static_cast<SendOperation&>(self).source_(slot);
      return true;
    };
  }
  ~SendOperation() {
    if (this->held_ && !this->resumed_) this->core_.cancel_send(*this);
  }

  [[nodiscard]] bool await_ready() {
    this->prepare();
    return this->settle(this->core_.send(source_, this));
  }
  void await_resume() {
    this->resumed();
    if (state == WaitState::done) return;
    if (error) std::rethrow_exception(std::move(error));
    throw Error(failure_of(state));
  }

 private:
  static void cancel(Cancellable& self) noexcept {
    auto& me = static_cast<SendOperation&>(self);
    if (me.core_.cancel_send(me)) me.wake_here();
  }
  static constexpr Cancellable::Kind kind{&cancel, nullptr, "send to a full channel"};

  Source source_;
};

template <class T, class Sync, class Iterator, class Sentinel, bool Move>
class [[nodiscard("co_await it: nothing is sent before")]] SendAllOperation
    : public Operation<ChannelCore<T, Sync>, SendAllOperation<T, Sync, Iterator, Sentinel, Move>>,
      public SendWaiter {
  using Core = ChannelCore<T, Sync>;
  using Base = Operation<Core, SendAllOperation>;

 public:
  SendAllOperation(Core& core, Iterator first, Sentinel last)
      : Base(core, kind), next_(std::move(first)), last_(std::move(last)) {
    transfer = &put_next;
  }
  ~SendAllOperation() {
    if (this->held_ && !this->resumed_) this->core_.cancel_send(*this);
  }

  [[nodiscard]] bool await_ready() {
    if (next_ == last_) {
      state = WaitState::done;
      return true;
    }
    this->prepare();
    return this->settle(this->core_.send_run(*this, true));
  }
  std::size_t await_resume() {
    this->resumed();
    if (state == WaitState::done) return sent_;
    if (error) std::rethrow_exception(std::move(error));
    throw PartialSend(failure_of(state), sent_);
  }

 private:
  static bool put_next(SendWaiter& self, void* slot) {
    auto& me = static_cast<SendAllOperation&>(self);
    if (slot) {
      if constexpr (Move) {
        ::new (slot) T(std::ranges::iter_move(me.next_));
      } else {
        ::new (slot) T(*me.next_);
      }
    }
    ++me.next_;
    ++me.sent_;
    return me.next_ == me.last_;
  }
  static void cancel(Cancellable& self) noexcept {
    auto& me = static_cast<SendAllOperation&>(self);
    if (me.core_.cancel_send(me)) me.wake_here();
  }
  static constexpr Cancellable::Kind kind{&cancel, nullptr, "send to a full channel"};

  Iterator next_;
  Sentinel last_;
  std::size_t sent_ = 0;
};

template <class T, class Sync>
class [[nodiscard("co_await it: nothing is reserved before")]] ReserveOperation
    : public Operation<ChannelCore<T, Sync>, ReserveOperation<T, Sync>>,
      public SendWaiter {
  using Core = ChannelCore<T, Sync>;
  using Base = Operation<Core, ReserveOperation>;

 public:
  explicit ReserveOperation(Core& core) noexcept : Base(core, kind) {}
  ~ReserveOperation() {
    if (this->resumed_ || state == WaitState::idle) return;
    if (this->held_ && this->core_.cancel_send(*this)) return;
    if (state == WaitState::done) this->core_.release_permit();
  }

  [[nodiscard]] bool await_ready() {
    this->prepare();
    return this->settle(this->core_.reserve(this));
  }
  Permit<T, Sync> await_resume() {
    this->resumed();
    if (state != WaitState::done) throw Error(failure_of(state));
    return Permit<T, Sync>(CoreRef<Core>(this->core_));
  }

 private:
  static void cancel(Cancellable& self) noexcept {
    auto& me = static_cast<ReserveOperation&>(self);
    if (me.core_.cancel_send(me)) me.wake_here();
  }
  static constexpr Cancellable::Kind kind{&cancel, nullptr, "reserve in a full channel"};
};

template <class T, class Sync, class Derived>
class ReceiveBase : public Operation<ChannelCore<T, Sync>, Derived>, public ReceiveWaiter<T> {
  using Core = ChannelCore<T, Sync>;
  using Base = Operation<Core, Derived>;

 protected:
  explicit ReceiveBase(Core& core) noexcept : Base(core, kind) {}
  ~ReceiveBase() {
    if (this->resumed_ || this->state == WaitState::idle) return;
    if (this->held_ && this->core_.cancel_receive(*this)) return;
    if (this->has_value) this->core_.count_undelivered();
  }

  void throw_if_failed() {
    if (this->state == WaitState::cancelled) throw Error(Errc::cancelled);
    if (this->state == WaitState::closed && this->reason) std::rethrow_exception(std::move(this->reason));
  }

 private:
  static void cancel(Cancellable& self) noexcept {
    auto& me = static_cast<ReceiveBase&>(self);
    if (me.core_.cancel_receive(me)) me.wake_here();
  }
  static constexpr Cancellable::Kind kind{&cancel, nullptr, "receive from an empty channel"};
};

template <class T, class Sync>
class [[nodiscard("co_await it: nothing is received before")]] ReceiveOperation
    : public ReceiveBase<T, Sync, ReceiveOperation<T, Sync>> {
  using Base = ReceiveBase<T, Sync, ReceiveOperation>;

 public:
  explicit ReceiveOperation(ChannelCore<T, Sync>& core) noexcept : Base(core) {}

  [[nodiscard]] bool await_ready() {
    this->prepare();
    const auto take = [this](T& value) {
      ::new (this->slot()) T(std::move(value));
      this->has_value = true;
    };
    return this->settle(this->core_.receive(take, this, this->reason));
  }
  std::optional<T> await_resume() {
    this->resumed();
    if (this->has_value) return std::optional<T>(this->take());
    this->throw_if_failed();
    return std::nullopt;
  }
};

template <class T, class Sync, class Out>
class [[nodiscard("co_await it: nothing is received before")]] ReceiveSomeOperation
    : public ReceiveBase<T, Sync, ReceiveSomeOperation<T, Sync, Out>> {
  using Base = ReceiveBase<T, Sync, ReceiveSomeOperation>;

 public:
  ReceiveSomeOperation(ChannelCore<T, Sync>& core, Out out, std::size_t max)
      : Base(core), out_(std::move(out)), max_(max) {}

  [[nodiscard]] bool await_ready() {
    this->prepare();
    auto attempt = WaitState::idle;
    taken_ = this->core_.receive_some(taker(), max_, this, attempt, this->reason);
    return this->settle(attempt);
  }
  std::size_t await_resume() {
    this->resumed();
    if (this->has_value) {
      *out_ = this->take();
      ++out_;
      taken_ = 1;
      // More may have come since the value that woke us.
      if (max_ > 1) {
        auto attempt = WaitState::idle;
        taken_ += this->core_.receive_some(taker(), max_ - 1, nullptr, attempt, this->reason);
      }
    }
    if (taken_ == 0) this->throw_if_failed();
    return taken_;
  }

 private:
  [[nodiscard]] auto taker() noexcept {
    return [this](T& value) {
      *out_ = std::move(value);
      ++out_;
    };
  }

  Out out_;
  std::size_t max_;
  std::size_t taken_ = 0;
};

}  // namespace weir::detail
