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
/// once. Each is movable until it is attached.
template <class Core, class Derived>
class Operation : public Cancellable {
 public:
  void attach(Promise& promise) {
    if (promise_) throw Error(Errc::task_consumed, "a channel operation is awaited once");
    if (promise.scope().cancelled()) throw Error(Errc::cancelled);
    promise_ = &promise;
  }

  void await_suspend(std::coroutine_handle<>) noexcept {
    // Queued: a peer wakes it, and may have done so. Else it was done at once, and gives up its turn.
    if (!queued_) wake_here();
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
      queued_ = true;
      promise_->scope().link(*this);
    } else {
      waiter().state = attempt;
      if (promise_->home().spend()) return true;
    }
    // The handle that was called may be gone before the coroutine is resumed.
    core_.retain();
    held_ = true;
    return false;
  }
  void wake_here() noexcept { promise_->home().resume_here(promise_->resumable()); }
  /// On resumption, which does not come when the frame is destroyed before.
  void resumed() noexcept {
    unlink();
    resumed_ = true;
  }
  /// In the destructor: whether it was destroyed while it was suspended.
  [[nodiscard]] bool destroyed_waiting() const noexcept { return held_ && !resumed_; }

  Core& core_;

 private:
  Waiter& waiter() noexcept { return static_cast<Derived&>(*this); }

  Promise* promise_ = nullptr;
  bool queued_ = false;
  bool held_ = false;
  bool resumed_ = false;
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
  SendOperation(SendOperation&& other) : SendOperation(other.core_, std::move(other.source_)) {}
  SendOperation(Core& core, Source source) : Base(core, kind), source_(std::move(source)) {
    transfer = [](SendWaiter& self, void* slot) {
      static_cast<SendOperation&>(self).source_(slot);
      return true;
    };
  }
  ~SendOperation() {
    if (this->destroyed_waiting()) this->core_.cancel_send(*this);
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

/// Whether the elements are the sender's to move: of a container that is given away, but not of a view.
template <class Range>
inline constexpr bool moves_elements =
    !std::is_lvalue_reference_v<Range> && !std::ranges::view<std::remove_cvref_t<Range>> &&
    !std::is_const_v<std::remove_reference_t<Range>>;

template <class Range>
using element_of = std::conditional_t<moves_elements<Range>, std::ranges::range_rvalue_reference_t<Range>,
                                      std::ranges::range_reference_t<Range>>;

/// What `send_all` takes: elements that stand somewhere, and that a `T` can be made of.
template <class Range, class T>
concept SendableRange =
    std::ranges::forward_range<Range> && std::is_reference_v<std::ranges::range_reference_t<Range>> &&
    std::constructible_from<T, element_of<Range>>;

template <class T, class Sync, class Iterator, class Sentinel, bool Move>
class [[nodiscard("co_await it: nothing is sent before")]] SendAllOperation
    : public Operation<ChannelCore<T, Sync>, SendAllOperation<T, Sync, Iterator, Sentinel, Move>>,
      public SendWaiter {
  using Core = ChannelCore<T, Sync>;
  using Base = Operation<Core, SendAllOperation>;

 public:
  SendAllOperation(SendAllOperation&& other)
      : SendAllOperation(other.core_, std::move(other.next_), std::move(other.last_)) {}
  SendAllOperation(Core& core, Iterator first, Sentinel last)
      : Base(core, kind), next_(std::move(first)), last_(std::move(last)) {
    transfer = &put_next;
  }
  ~SendAllOperation() {
    if (this->destroyed_waiting()) this->core_.cancel_send(*this);
  }

  [[nodiscard]] bool await_ready() {
    this->prepare();
    return this->settle(next_ == last_ ? WaitState::done : this->core_.send_run(*this));
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
  ReserveOperation(ReserveOperation&& other) noexcept : ReserveOperation(other.core_) {}
  explicit ReserveOperation(Core& core) noexcept : Base(core, kind) {}
  ~ReserveOperation() {
    if (!this->destroyed_waiting() || this->core_.cancel_send(*this)) return;
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
    if (!this->destroyed_waiting() || this->core_.cancel_receive(*this)) return;
    if (this->has_value) this->core_.count_undelivered();
  }

  /// Gives the value that was handed over to `use(T&)`. When its move throws, the receiver gets that instead of it.
  template <class Use>
  void give_counted(Use&& use) {
    try {
      this->give(use);
    } catch (...) {
      this->core_.count_undelivered();
      throw;
    }
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
  ReceiveOperation(ReceiveOperation&& other) noexcept : ReceiveOperation(other.core_) {}
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
    std::optional<T> value;
    if (this->has_value) {
      this->give_counted([&value](T& v) { value.emplace(std::move(v)); });
    } else {
      this->throw_if_failed();
    }
    return value;
  }
};

template <class T, class Sync, class Out>
class [[nodiscard("co_await it: nothing is received before")]] ReceiveSomeOperation
    : public ReceiveBase<T, Sync, ReceiveSomeOperation<T, Sync, Out>> {
  using Base = ReceiveBase<T, Sync, ReceiveSomeOperation>;

 public:
  ReceiveSomeOperation(ReceiveSomeOperation&& other)
      : ReceiveSomeOperation(other.core_, std::move(other.out_), other.max_) {}
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
      this->give_counted(taker());
      taken_ = 1;
      if (max_ > 1) taken_ += take_more();
    }
    if (taken_ == 0) this->throw_if_failed();
    return taken_;
  }

 private:
  /// What has come since the value that woke us.
  std::size_t take_more() noexcept {
    auto attempt = WaitState::idle;
    try {
      return this->core_.receive_some(taker(), max_ - 1, nullptr, attempt, this->reason);
    } catch (...) {
      // That value stays in the channel, for the next call to meet.
      return 0;
    }
  }
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
