/// The awaited operations of a channel. Each is tried at once, without the channel's lock; what it needs to wait
/// (`Suspension`) is built only when that failed, or when the coroutine has had its turn.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <exception>
#include <iterator>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <ranges>
#include <string>
#include <tuple>
#include <type_traits>
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

/// An operation while it is suspended: who waits, in which channel, or that it gave up its turn after a long run of
/// operations done at once. The handle that was called may be gone before the coroutine is resumed.
template <class Core, class Wait>
class Suspension : public Cancellable, public Wait {
 public:
  Suspension(Core& core, Promise& promise, const Kind& kind) noexcept
      : Cancellable(kind), core_(core), promise_(promise) {
    this->home = &promise.home();
    this->resumable = &promise.resumable();
  }
  ~Suspension() {
    if (retained_) core_.release();
  }

  /// After the attempt: whether the coroutine goes on at once.
  [[nodiscard]] bool settle(WaitState attempt) noexcept {
    if (attempt == WaitState::queued) {
      promise_.scope().link(*this);
    } else {
      this->state = attempt;
      gives_turn_ = true;
      if (promise_.home().spend()) return true;
    }
    core_.retain();
    suspended_ = retained_ = true;
    return false;
  }
  /// Queued: a peer wakes it, and may have done so. Else it was done at once, and gives up its turn.
  void suspend() noexcept {
    if (gives_turn_) wake_here();
  }
  void wake_here() noexcept { promise_.home().resume_here(promise_.resumable()); }
  /// On resumption, which does not come when the frame is destroyed before.
  void resumed() noexcept {
    unlink();
    suspended_ = false;
  }
  /// In the destructor: whether it was destroyed while it was suspended.
  [[nodiscard]] bool destroyed_waiting() const noexcept { return suspended_; }

 protected:
  Core& core_;

 private:
  Promise& promise_;
  bool gives_turn_ = false;
  bool suspended_ = false;
  bool retained_ = false;
};

/// What a handle returns: it becomes an awaiter where it is awaited, in place, and can be moved until then.
template <class Awaiter, class Core, class... Parts>
class [[nodiscard("co_await it: nothing happens before")]] Operation {
 public:
  using awaiter_type = Awaiter;

  explicit Operation(Core& core, Parts... parts) : core_(&core), parts_(static_cast<Parts&&>(parts)...) {}

  /// Once: again throws `Error(Errc::task_consumed)`.
  [[nodiscard, gnu::always_inline]] Awaiter operator co_await() && {
    Core* const core = std::exchange(core_, nullptr);
    if (!core) [[unlikely]]
      throw Error(Errc::task_consumed, "a channel operation is awaited once");
    return std::apply([core](Parts&... parts) { return Awaiter(*core, static_cast<Parts&&>(parts)...); }, parts_);
  }

  /// For who awaits it as one of several: gives up its parts, once.
  [[nodiscard]] Core& take_core() {
    if (!core_) throw Error(Errc::task_consumed, "a channel operation is awaited once");
    return *std::exchange(core_, nullptr);
  }
  [[nodiscard]] std::tuple<Parts...>& parts() noexcept { return parts_; }

 private:
  Core* core_;
  [[no_unique_address]] std::tuple<Parts...> parts_;
};

/// What the awaiters share.
template <class Core, class Slow>
class ChannelAwaiter {
 public:
  ChannelAwaiter(const ChannelAwaiter&) = delete;
  ChannelAwaiter& operator=(const ChannelAwaiter&) = delete;

  [[gnu::always_inline]] void attach(Promise& promise) {
    promise_ = &promise;
    if (promise.scope().cancelled()) [[unlikely]]
      throw Error(Errc::cancelled);
  }
  void await_suspend(std::coroutine_handle<>) noexcept { slow_->suspend(); }

 protected:
  explicit ChannelAwaiter(Core& core) noexcept : core_(core) {}
  ~ChannelAwaiter() {
    if (slow_) [[unlikely]]
      std::destroy_at(slow_);
  }

  [[nodiscard]] Core& core() const noexcept { return core_; }
  [[nodiscard]] Home& home() const noexcept { return promise_->home(); }
  template <class... Args>
  Slow& suspension(Args&&... args) noexcept {
    slow_ = ::new (static_cast<void*>(std::addressof(memory_))) Slow(core_, *promise_, static_cast<Args&&>(args)...);
    return *slow_;
  }
  [[nodiscard]] Slow* slow() const noexcept { return slow_; }
  /// Whether to look for the other side a little longer, on this thread, before it is left: `look(pauses)`.
  template <class Look>
  [[nodiscard]] bool linger(Look&& look) noexcept {
    const std::uint32_t pauses = home().patience();
    return pauses != 0 && home().spend() && look(pauses);
  }

 private:
  Core& core_;
  Promise* promise_ = nullptr;
  Slow* slow_ = nullptr;
  union {
    Slow memory_;
  };
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

/// A send that waits.
template <class Core>
class SendSuspension : public Suspension<Core, SendWaiter> {
 public:
  SendSuspension(Core& core, Promise& promise, void* operation, decltype(SendWaiter::transfer) transfer_one,
                 decltype(SendWaiter::fill) fill_many = nullptr) noexcept
      : Suspension<Core, SendWaiter>(core, promise, kind), operation_(operation) {
    this->transfer = transfer_one;
    this->fill = fill_many;
  }
  ~SendSuspension() {
    if (!this->destroyed_waiting() || this->core_.cancel_send(*this)) return;
    if (!this->transfer && this->state == WaitState::done) this->core_.release_permit();
  }

  template <class Op>
  [[nodiscard]] static Op& operation_of(SendWaiter& waiter) noexcept {
    return *static_cast<Op*>(static_cast<SendSuspension&>(waiter).operation_);
  }
  void throw_if_failed() {
    if (this->error) std::rethrow_exception(std::move(this->error));
    if (this->state != WaitState::done) throw Error(failure_of(this->state));
  }

 private:
  static void cancel(Cancellable& self) noexcept {
    auto& me = static_cast<SendSuspension&>(self);
    if (me.core_.cancel_send(me)) me.wake_here();
  }
  static void describe(const Cancellable& self, std::string& text) {
    static_cast<const SendSuspension&>(self).core_.describe(text);
  }
  static constexpr Cancellable::Kind kind{&cancel, nullptr, "send to a full channel", &describe};

  void* operation_;
};

template <class T, class Sync, class Source>
class SendAwaiter : public ChannelAwaiter<ChannelCore<T, Sync>, SendSuspension<ChannelCore<T, Sync>>> {
  using Core = ChannelCore<T, Sync>;
  using Slow = SendSuspension<Core>;

 public:
  SendAwaiter(Core& core, Source source) : ChannelAwaiter<Core, Slow>(core), source_(std::move(source)) {}

  [[nodiscard, gnu::always_inline]] bool await_ready() {
    const bool has_turn = this->home().spend();
    if (has_turn && this->core().send_at_once(source_) == WaitState::done) [[likely]]
      return true;
    return start(has_turn);
  }
  [[gnu::always_inline]] void await_resume() {
    if (!this->slow()) [[likely]]
      return;
    this->slow()->resumed();
    this->slow()->throw_if_failed();
  }

 private:
  [[gnu::noinline]] bool start(bool tried) {
    Core& core = this->core();
    while (core.waits_when_full() && this->linger([&core](std::uint32_t n) { return core.linger_for_room(n); })) {
      if (core.send_at_once(source_) == WaitState::done) return true;
    }
    Slow& slow = this->suspension(this, &transfer);
    if (!tried && core.send_at_once(source_) == WaitState::done) return slow.settle(WaitState::done);
    return slow.settle(core.send(source_, &slow));
  }
  static bool transfer(SendWaiter& waiter, void* slot) {
    Slow::template operation_of<SendAwaiter>(waiter).source_(slot);
    return true;
  }

  [[no_unique_address]] Source source_;
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
class SendAllAwaiter : public ChannelAwaiter<ChannelCore<T, Sync>, SendSuspension<ChannelCore<T, Sync>>> {
  using Core = ChannelCore<T, Sync>;
  using Slow = SendSuspension<Core>;

 public:
  SendAllAwaiter(Core& core, Iterator first, Sentinel last)
      : ChannelAwaiter<Core, Slow>(core), next_(std::move(first)), last_(std::move(last)) {}

  [[nodiscard, gnu::always_inline]] bool await_ready() {
    const bool has_turn = this->home().spend();
    if (has_turn && send_at_once()) [[likely]]
      return true;
    return start(has_turn);
  }
  std::size_t await_resume() {
    if (!this->slow()) [[likely]]
      return sent_;
    Slow& slow = *this->slow();
    slow.resumed();
    if (slow.state != WaitState::done && !slow.error) throw PartialSend(failure_of(slow.state), sent_);
    slow.throw_if_failed();
    return sent_;
  }

 private:
  /// True: all went.
  bool send_at_once() {
    if (next_ == last_) return true;
    this->core().send_some_at_once(
        std::numeric_limits<std::size_t>::max(),
        [this](T* slots, std::size_t n, std::size_t& built) { fill_slots(slots, n, built); });
    return next_ == last_;
  }
  [[gnu::noinline]] bool start(bool tried) {
    Core& core = this->core();
    while (core.waits_when_full() && this->linger([&core](std::uint32_t n) { return core.linger_for_room(n); })) {
      if (send_at_once()) return true;
    }
    Slow& slow = this->suspension(this, &put_next, &fill);
    return slow.settle(!tried && send_at_once() ? WaitState::done : core.send_run(slow));
  }

  void fill_slots(T* slots, std::size_t n, std::size_t& built) {
    if constexpr (std::contiguous_iterator<Iterator> && std::sized_sentinel_for<Sentinel, Iterator> &&
                  std::is_same_v<std::iter_value_t<Iterator>, T> && std::is_trivially_copyable_v<T>) {
      const std::size_t count = std::min(n, static_cast<std::size_t>(last_ - next_));
      std::memcpy(static_cast<void*>(slots), std::to_address(next_), count * sizeof(T));
      next_ += static_cast<std::iter_difference_t<Iterator>>(count);
      sent_ += count;
      built = count;
    } else {
      for (; built < n && next_ != last_; ++built) put(slots + built);
    }
  }
  void put(void* slot) {
    if constexpr (Move) {
      ::new (slot) T(std::ranges::iter_move(next_));
    } else {
      ::new (slot) T(*next_);
    }
    pass();
  }
  void pass() {
    ++next_;
    ++sent_;
  }
  static bool put_next(SendWaiter& waiter, void* slot) {
    auto& me = Slow::template operation_of<SendAllAwaiter>(waiter);
    if (slot) {
      me.put(slot);
    } else {
      me.pass();
    }
    return me.next_ == me.last_;
  }
  static bool fill(SendWaiter& waiter, void* slots, std::size_t n, std::size_t& built) {
    auto& me = Slow::template operation_of<SendAllAwaiter>(waiter);
    me.fill_slots(static_cast<T*>(slots), n, built);
    return me.next_ == me.last_;
  }

  Iterator next_;
  Sentinel last_;
  std::size_t sent_ = 0;
};

template <class T, class Sync>
class ReserveAwaiter : public ChannelAwaiter<ChannelCore<T, Sync>, SendSuspension<ChannelCore<T, Sync>>> {
  using Core = ChannelCore<T, Sync>;
  using Slow = SendSuspension<Core>;

 public:
  explicit ReserveAwaiter(Core& core) noexcept : ChannelAwaiter<Core, Slow>(core) {}

  [[nodiscard]] bool await_ready() {
    Slow& slow = this->suspension(this, nullptr);
    return slow.settle(this->core().reserve(&slow));
  }
  Permit<T, Sync> await_resume() {
    this->slow()->resumed();
    this->slow()->throw_if_failed();
    return Permit<T, Sync>(CoreRef<Core>(this->core()));
  }
};

/// A receive that waits.
template <class T, class Sync>
class ReceiveSuspension : public Suspension<ChannelCore<T, Sync>, ReceiveWaiter<T>> {
  using Core = ChannelCore<T, Sync>;

 public:
  ReceiveSuspension(Core& core, Promise& promise) noexcept : Suspension<Core, ReceiveWaiter<T>>(core, promise, kind) {}
  ~ReceiveSuspension() {
    if (!this->destroyed_waiting() || this->core_.cancel_receive(*this)) return;
    if (this->has_value) this->core_.count_undelivered();
  }

  /// Keeps a value until the coroutine is resumed.
  void keep(T& value) {
    ::new (this->slot()) T(std::move(value));
    this->has_value = true;
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
  /// The value was moved out, or its move threw.
  [[gnu::noinline]] void given(bool moved) noexcept {
    this->has_value = false;
    std::destroy_at(std::addressof(this->received));
    if (!moved) this->core_.count_undelivered();
  }
  void throw_if_failed() {
    if (this->state == WaitState::cancelled) throw Error(Errc::cancelled);
    if (this->reason) std::rethrow_exception(std::move(this->reason));
  }

 private:
  static void cancel(Cancellable& self) noexcept {
    auto& me = static_cast<ReceiveSuspension&>(self);
    if (me.core_.cancel_receive(me)) me.wake_here();
  }
  static void describe(const Cancellable& self, std::string& text) {
    static_cast<const ReceiveSuspension&>(self).core_.describe(text);
  }
  static constexpr Cancellable::Kind kind{&cancel, nullptr, "receive from an empty channel", &describe};
};

template <class T, class Sync>
class ReceiveAwaiter : public ChannelAwaiter<ChannelCore<T, Sync>, ReceiveSuspension<T, Sync>> {
  using Core = ChannelCore<T, Sync>;
  using Slow = ReceiveSuspension<T, Sync>;

 public:
  explicit ReceiveAwaiter(Core& core) noexcept : ChannelAwaiter<Core, Slow>(core) {}

  [[nodiscard, gnu::always_inline]] bool await_ready() {
    const bool has_turn = this->home().spend();
    if (has_turn && (front_ = this->core().front_at_once())) [[likely]]
      return true;
    return start(has_turn);
  }
  [[gnu::always_inline]] std::optional<T> await_resume() {
    T* const value = front_ ? front_ : kept(this->slow());
    if (!value) return std::nullopt;
    Rid rid{this->core(), front_ ? nullptr : this->slow()};
    return rid.moved(*value);
  }

  /// Moves the oldest value out, straight to where it is wanted; when that throws, it stays.
  static std::optional<T> take_front(Core& core, T& front) {
    Rid rid{core, nullptr};
    return rid.moved(front);
  }

 private:
  /// Moves a value out of the front of the ring, or out of a suspension, which is rid of it then.
  struct Rid {
    Core& core;
    Slow* slow;
    bool moved_out = std::is_nothrow_move_constructible_v<T>;

    [[gnu::always_inline]] std::optional<T> moved(T& value) {
      if constexpr (std::is_nothrow_move_constructible_v<T>) {
        return std::optional<T>(std::in_place, std::move(value));
      } else {
        std::optional<T> result(std::in_place, std::move(value));
        moved_out = true;
        return result;
      }
    }
    [[gnu::always_inline]] ~Rid() {
      if (slow) [[unlikely]] {
        slow->given(moved_out);
      } else if (moved_out) {
        core.took_front();
      } else {
        core.kept_front();
      }
    }
  };

  [[gnu::noinline]] bool start(bool tried) {
    Core& core = this->core();
    while (this->linger([&core](std::uint32_t n) { return core.linger_for_value(n); })) {
      if ((front_ = core.front_at_once())) return true;
    }
    Slow& slow = this->suspension();
    if (T* const front = tried ? nullptr : core.front_at_once()) {
      {
        Rid rid{core, nullptr, false};
        slow.keep(*front);
        rid.moved_out = true;
      }
      return slow.settle(WaitState::done);
    }
    return slow.settle(core.receive([&slow](T& value) { slow.keep(value); }, &slow, slow.reason));
  }
  /// What came while it was suspended; null: nothing, and nothing will.
  [[gnu::noinline]] static T* kept(Slow* slow) {
    slow->resumed();
    if (slow->has_value) return std::addressof(slow->received);
    slow->throw_if_failed();
    return nullptr;
  }

  T* front_ = nullptr;
};

template <class T, class Sync, class Out>
class ReceiveSomeAwaiter : public ChannelAwaiter<ChannelCore<T, Sync>, ReceiveSuspension<T, Sync>> {
  using Core = ChannelCore<T, Sync>;
  using Slow = ReceiveSuspension<T, Sync>;

 public:
  ReceiveSomeAwaiter(Core& core, Out out, std::size_t max)
      : ChannelAwaiter<Core, Slow>(core), out_(std::move(out)), max_(max) {}

  [[nodiscard, gnu::always_inline]] bool await_ready() {
    const bool has_turn = this->home().spend();
    if (has_turn && receive_at_once()) [[likely]]
      return true;
    return start(has_turn);
  }
  std::size_t await_resume() {
    if (!this->slow()) [[likely]]
      return taken_;
    Slow& slow = *this->slow();
    slow.resumed();
    if (slow.has_value) {
      slow.give_counted([this](T& value) {
        std::size_t used = 0;
        put_out(&value, 1, used);
      });
      taken_ = 1;
      if (max_ > 1) taken_ += take_more();
    }
    if (taken_ == 0) slow.throw_if_failed();
    return taken_;
  }

 private:
  bool receive_at_once() {
    // Those before the one that throws are in `out` already, and are to be told of.
    try {
      this->core().receive_some_at_once(max_, taker());
    } catch (...) {
      if (taken_ == 0) throw;
    }
    return taken_ != 0;
  }
  [[gnu::noinline]] bool start(bool tried) {
    Core& core = this->core();
    while (this->linger([&core](std::uint32_t n) { return core.linger_for_value(n); })) {
      if (receive_at_once()) return true;
    }
    Slow& slow = this->suspension();
    if (!tried && receive_at_once()) return slow.settle(WaitState::done);
    auto attempt = WaitState::idle;
    taken_ = core.receive_some(user(), max_, &slow, attempt, slow.reason);
    return slow.settle(attempt);
  }
  /// What has come since the value that woke us.
  std::size_t take_more() noexcept {
    auto attempt = WaitState::idle;
    try {
      return this->core().receive_some(user(), max_ - 1, nullptr, attempt, this->slow()->reason);
    } catch (...) {
      // That value stays in the channel, for the next call to meet.
      return 0;
    }
  }

  void put_out(T* values, std::size_t n, std::size_t& used) {
    if constexpr (std::contiguous_iterator<Out> && std::is_trivially_copyable_v<T>) {
      if constexpr (std::is_same_v<std::iter_value_t<Out>, T>) {
        std::memcpy(static_cast<void*>(std::to_address(out_)), values, n * sizeof(T));
        out_ += static_cast<std::iter_difference_t<Out>>(n);
        used = n;
        return;
      }
    }
    for (; used < n; ++used) {
      *out_ = std::move(values[used]);
      ++out_;
    }
  }
  [[nodiscard]] auto user() noexcept {
    return [this](T* values, std::size_t n, std::size_t& used) { put_out(values, n, used); };
  }
  /// The same, counted in `taken_`.
  [[nodiscard]] auto taker() noexcept {
    return [this](T* values, std::size_t n, std::size_t& used) {
      struct Count {
        std::size_t& total;
        std::size_t& used;
        ~Count() { total += used; }
      } const count{taken_, used};
      put_out(values, n, used);
    };
  }

  Out out_;
  std::size_t max_;
  std::size_t taken_ = 0;
};

}  // namespace weir::detail
