/// The channel: a bounded, first-in-first-out, awaitable queue with backpressure between any number of senders and
/// receivers, on any executors.
#pragma once

#include <chrono>
#include <concepts>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <weir/asio.hpp>
#include <weir/channel/detail/async_operations.hpp>
#include <weir/channel/detail/core.hpp>
#include <weir/channel/detail/receive_operations.hpp>
#include <weir/channel/detail/send_operations.hpp>
#include <weir/channel/detail/sync.hpp>
#include <weir/channel/detail/timed.hpp>
#include <weir/channel/options.hpp>
#include <weir/channel/permit.hpp>
#include <weir/core/always_inline.hpp>

namespace weir {

/// The outcome of a `try_send`: true when it was sent.
class [[nodiscard]] TrySendResult {
 public:
  explicit TrySendResult(detail::WaitState state) noexcept : state_(state) {}
  [[nodiscard]] explicit operator bool() const noexcept { return state_ == detail::WaitState::done; }
  [[nodiscard]] bool full() const noexcept { return state_ == detail::WaitState::full; }
  [[nodiscard]] bool closed() const noexcept { return state_ == detail::WaitState::closed; }

 private:
  detail::WaitState state_;
};

namespace detail {

/// What both handles are: an owner of the channel's core that is counted on its side.
template <class T, class Sync, bool Sender>
class ChannelHandle {
 public:
  using value_type = T;

  ChannelHandle() noexcept = default;
  ChannelHandle(const ChannelHandle& other) noexcept
    requires Sync::copyable
      : ChannelHandle(other.core_) {}
  ChannelHandle(ChannelHandle&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
  ChannelHandle& operator=(const ChannelHandle& other) noexcept
    requires Sync::copyable
  {
    return *this = ChannelHandle(other);
  }
  ChannelHandle& operator=(ChannelHandle&& other) noexcept {
    ChannelHandle taken(std::move(other));
    std::swap(core_, taken.core_);
    return *this;
  }
  ~ChannelHandle() { reset(); }

  /// Gives this handle up, as its destructor does. The last of a side ends that side.
  void reset() noexcept {
    Core* const core = std::exchange(core_, nullptr);
    if (!core) return;
    if constexpr (Sender) {
      core->drop_sender();
    } else {
      core->drop_receiver();
    }
  }

  /// No new values from now on. What is buffered, and what permits were granted for, stays receivable; senders that
  /// wait fail with `Errc::channel_closed` and keep their values; receivers that wait wake. A second close is nothing.
  /// Any thread.
  void close() const noexcept {
    if (core_) core_->close(nullptr);
  }
  /// The same with a reason, which receivers are thrown once they have drained the channel.
  void close(std::exception_ptr reason) const noexcept {
    if (core_) core_->close(std::move(reason));
  }
  void close(std::error_code reason) const { close(std::make_exception_ptr(std::system_error(reason))); }

  /// True when no value can be sent any more: it was closed, or the last receiver has gone. Any thread.
  [[nodiscard]] bool closed() const { return core().closed(); }
  [[nodiscard]] std::size_t capacity() const { return core().capacity(); }
  /// A consistent snapshot. Any thread.
  [[nodiscard]] ChannelStats stats() const { return core().stats(); }

  /// A name for `describe`; the last one given counts. Any thread. Allocates.
  void set_name(std::string name) const { core().set_name(std::move(name)); }
  /// One line for a log or a debugger: what `stats` counts, the handles at each end, whether and why it is closed, and
  /// who waits at each end, for how long (to the precision of a turn of its root, and of the system's tick): the number
  /// and the name of the root (`this_task::set_name`), or "a completion handler". The first eight are named. A stalled
  /// run of the simulator prints it for each wait. Any thread. Allocates, outside the channel's lock but for the names.
  [[nodiscard]] std::string describe() const {
    std::string text;
    core().describe(text);
    return text;
  }

  /// False when it was moved from or reset: every operation then throws `Error(Errc::empty_handle)`.
  [[nodiscard]] explicit operator bool() const noexcept { return core_ != nullptr; }
  [[nodiscard]] friend bool operator==(const ChannelHandle& a, const ChannelHandle& b) noexcept {
    return a.core_ == b.core_;
  }

 protected:
  using Core = ChannelCore<T, Sync>;

  explicit ChannelHandle(Core* core) noexcept : core_(core) {
    if (!core_) return;
    if constexpr (Sender) {
      core_->add_sender();
    } else {
      core_->add_receiver();
    }
  }
  [[nodiscard]] WEIR_ALWAYS_INLINE Core& core() const {
    if (!core_) [[unlikely]]
      throw_empty();
    return *core_;
  }
  [[noreturn, gnu::noinline]] static void throw_empty() {
    throw Error(Errc::empty_handle, "this channel handle was moved from or reset");
  }

 private:
  Core* core_ = nullptr;
};

template <class T, class Sync>
auto make_channel_of(asio::any_io_executor executor, const ChannelOptions& options);

}  // namespace detail

/// The sending end. Copy it for more senders; when the last is gone, the channel closes.
///
/// One handle is one sender: it sends, reserves and is copied by one thread at a time, as any object (closing, `stats`
/// and the like may come from anywhere). Give each coroutine that may run beside others its own copy: the channel
/// counts on it, and takes no lock and no atomic read-modify-write while there is one handle at an end. An operation by
/// a completion token that starts later (`asio::deferred`) uses its handle when it starts. Keep the handle alive while
/// an operation started on it waits.
///
/// Every awaited operation: resumes on the coroutine's own home, in the order in which the operations came; is
/// cancelled with the coroutine's scope, which throws `Error(Errc::cancelled)`, also when it was cancelled before it
/// began; what completed first stays completed. It throws `Error(Errc::channel_closed)` when the channel is or becomes
/// closed. It allocates nothing; the channel's first value allocates its ring (again after a `discard`). It is awaited
/// once; until then it can be moved, so that it can be given to what takes awaitables.
///
/// Values are moved, copied or built under the channel's lock, where what they were moved from is destroyed as well: in
/// neither may a value use the channel. It may do so when it is destroyed with its value, which happens outside. What a
/// constructor throws, the operation that it was for throws; the channel is then as it was before.
template <class T, class Sync = detail::SharedSync>
class ChannelSender : public detail::ChannelHandle<T, Sync, true> {
 public:
  ChannelSender() noexcept = default;

  /// Sends `value`: waits while the channel is full (see `Overflow` for what else it may do). It is moved from only
  /// when there is a place for it: refused or cancelled, it is still the caller's. Keep it alive until then. O(1).
  [[nodiscard]] auto send(T&& value) const { return send_from(detail::MoveFrom<T>{std::addressof(value)}); }
  [[nodiscard]] auto send(const T& value) const
    requires std::copy_constructible<T>
  {
    return send_from(detail::CopyFrom<T>{std::addressof(value)});
  }
  /// The same, built in place from `args`, which the operation keeps.
  template <class... Args>
    requires std::constructible_from<T, std::decay_t<Args>...>
  [[nodiscard]] auto send_emplace(Args&&... args) const {
    return send_from(detail::BuildFrom<T, std::decay_t<Args>...>{{static_cast<Args&&>(args)...}});
  }

  /// A send that waits for `duration` at most, from when it is awaited, by the clock of the coroutine's context. When
  /// that has passed, it throws `Error(Errc::timed_out)`, and `value` is still the caller's; a value that found a place
  /// before stays sent. Zero or less: it is tried once. A send that need not wait does not look at the clock. It costs
  /// a deadline besides, O(log n) in those that are set, and allocates as little as `send` (but see
  /// `TimeService::add`).
  template <class Rep, class Period>
  [[nodiscard]] auto send_for(T&& value, std::chrono::duration<Rep, Period> duration) const {
    return timed(detail::Until(detail::clock_duration(duration)), detail::MoveFrom<T>{std::addressof(value)});
  }
  template <class Rep, class Period>
    requires std::copy_constructible<T>
  [[nodiscard]] auto send_for(const T& value, std::chrono::duration<Rep, Period> duration) const {
    return timed(detail::Until(detail::clock_duration(duration)), detail::CopyFrom<T>{std::addressof(value)});
  }
  /// The same until a time of `TimeService::Clock`, as `this_task::now()` gives it.
  [[nodiscard]] auto send_until(T&& value, TimeService::TimePoint when) const {
    return timed(detail::Until(when), detail::MoveFrom<T>{std::addressof(value)});
  }
  [[nodiscard]] auto send_until(const T& value, TimeService::TimePoint when) const
    requires std::copy_constructible<T>
  {
    return timed(detail::Until(when), detail::CopyFrom<T>{std::addressof(value)});
  }

  /// Sends if that needs no waiting. Moves from `value` only when it was sent (under `drop_newest` also a dropped one
  /// counts as sent). Any thread, coroutine or not.
  TrySendResult try_send(T&& value) const { return try_send_from(detail::MoveFrom<T>{std::addressof(value)}); }
  TrySendResult try_send(const T& value) const
    requires std::copy_constructible<T>
  {
    return try_send_from(detail::CopyFrom<T>{std::addressof(value)});
  }

  /// Room for one value now, for a value that comes later: gives a `Permit`. Waits like a send; under the policies that
  /// drop the oldest it makes room, under the others it fails with `Errc::channel_full` instead of waiting.
  [[nodiscard]] auto reserve() const { return detail::Operation<detail::ReserveAwaiter<T, Sync>, Core>(this->core()); }

  /// Sends the elements of `range` in order, one critical section a run: copies them, or moves them when `range` is a
  /// container given as an rvalue. Gives their number. Throws `PartialSend`, which tells how many went, when closed or
  /// cancelled on the way. The range is walked under the channel's lock: let its elements be there already.
  template <detail::SendableRange<T> Range>
  [[nodiscard]] auto send_all(Range&& range) const {
    using Iterator = std::ranges::iterator_t<Range>;
    using Sentinel = std::ranges::sentinel_t<Range>;
    constexpr bool move = detail::moves_elements<Range>;
    using Awaiter = detail::SendAllAwaiter<T, Sync, Iterator, Sentinel, move>;
    return detail::Operation<Awaiter, Core, Iterator, Sentinel>(this->core(), std::ranges::begin(range),
                                                                std::ranges::end(range));
  }

  /// Sends by completion token, `void(std::error_code, std::optional<T> returned)`: `returned` holds the value when it
  /// was not sent (`channel_closed`, `channel_full`, Asio's `operation_aborted` after a cancel by the token's slot, or
  /// what the value's move threw). The operation is queued before the call returns; the handler is never called inside
  /// it, and is destroyed uncalled when its execution context goes first. One allocation for the operation and one for
  /// the post, with the handler's allocator (which the post of an `any_io_executor` ignores), and one for a value whose
  /// move may throw.
  template <class Token>
  auto async_send(T value, Token&& token) const {
    auto initiate = [](auto handler, detail::CoreRef<Core> core, T v) {
      detail::AsyncSend<T, Sync, decltype(handler)>::make(std::move(handler), *core, std::move(v))->start();
    };
    return asio::async_initiate<Token, void(std::error_code, std::optional<T>)>(
        std::move(initiate), token, detail::CoreRef<Core>(this->core()), std::move(value));
  }

 private:
  using Core = detail::ChannelCore<T, Sync>;
  template <class U, class S>
  friend auto detail::make_channel_of(asio::any_io_executor executor, const ChannelOptions& options);
  explicit ChannelSender(Core* core) noexcept : detail::ChannelHandle<T, Sync, true>(core) {}

  template <class Source>
  [[nodiscard]] auto send_from(Source source) const {
    return detail::Operation<detail::SendAwaiter<T, Sync, Source>, Core, Source>(this->core(), std::move(source));
  }
  template <class Source>
  [[nodiscard]] auto timed(detail::Until until, Source source) const {
    using Awaiter = detail::TimedAwaiter<detail::SendAwaiter<T, Sync, Source>>;
    return detail::Operation<Awaiter, Core, detail::Until, Source>(this->core(), until, std::move(source));
  }
  template <class Source>
  TrySendResult try_send_from(Source source) const {
    Core& core = this->core();
    const detail::WaitState attempt = core.send_at_once(source);
    return TrySendResult(attempt == detail::WaitState::idle ? core.send(source, nullptr) : attempt);
  }
};

/// The receiving end. Copy it for more receivers: each value goes to one of them. When the last is gone, what is
/// buffered is dropped and sends fail with `Errc::channel_closed`. What is said of `ChannelSender` about threads,
/// resuming, cancelling and allocating holds here too; a value that meets a cancelled receiver stays in the channel.
template <class T, class Sync = detail::SharedSync>
class ChannelReceiver : public detail::ChannelHandle<T, Sync, false> {
 public:
  ChannelReceiver() noexcept = default;

  /// The next value. Empty: closed and drained; when it was closed with a reason, that is thrown instead. O(1). A value
  /// that was handed to a receiver that waited, and whose move to it throws then, is counted as dropped.
  [[nodiscard]] AwaitableOf<std::optional<T>> auto receive() const {
    return detail::Operation<detail::ReceiveAwaiter<T, Sync>, Core>(this->core());
  }

  /// The next value, if it comes within `duration` from when it is awaited, by the clock of the coroutine's context;
  /// else it throws `Error(Errc::timed_out)`. Empty: closed and drained, as for `receive`. Zero or less: it is tried
  /// once. One that need not wait does not look at the clock. For its cost see `send_for`.
  template <class Rep, class Period>
  [[nodiscard]] AwaitableOf<std::optional<T>> auto receive_for(std::chrono::duration<Rep, Period> duration) const {
    return timed(detail::Until(detail::clock_duration(duration)));
  }
  /// The same until a time of `TimeService::Clock`, as `this_task::now()` gives it.
  [[nodiscard]] AwaitableOf<std::optional<T>> auto receive_until(TimeService::TimePoint when) const {
    return timed(detail::Until(when));
  }

  /// Waits for one value and takes what is there, up to `max` (from 1), in one critical section: assigned to `*out++`,
  /// which happens under the channel's lock. Gives their number; 0: closed and drained (or the reason is thrown). What
  /// `out` or a move throws is thrown if it was the first; else the call ends there, and that value stays in the
  /// channel.
  template <std::output_iterator<T> Out>
  [[nodiscard]] AwaitableOf<std::size_t> auto receive_some(Out out, std::size_t max) const {
    if (max == 0) throw Error(Errc::invalid_argument, "receive_some: max must be at least 1");
    return detail::Operation<detail::ReceiveSomeAwaiter<T, Sync, Out>, Core, Out, std::size_t>(this->core(),
                                                                                               std::move(out), max);
  }
  /// The same, appended to a vector that must outlive the wait. Reserve room in it to allocate nothing.
  [[nodiscard]] AwaitableOf<std::size_t> auto receive_some(std::vector<T>& out, std::size_t max) const {
    return receive_some(std::back_inserter(out), max);
  }

  /// The next value if one is there. Any thread, coroutine or not.
  [[nodiscard]] std::optional<T> try_receive() const {
    Core& core = this->core();
    if (T* const front = core.front_at_once()) return detail::ReceiveAwaiter<T, Sync>::take_front(core, *front);
    std::optional<T> value;
    std::exception_ptr reason;
    core.receive([&](T& v) { value.emplace(std::move(v)); }, nullptr, reason);
    return value;
  }

  /// Drops what is buffered, counts it as dropped, and lets waiting senders in; gives the number. Any thread.
  std::size_t discard() const { return this->core().discard(); }

  /// Receives by completion token, `void(std::error_code, std::optional<T>)`: no error and no value when it is closed
  /// and drained, the code of the reason if it was closed with one (`channel_closed` if that had no code), Asio's
  /// `operation_aborted` after a cancel by the token's slot. Allocates as `async_send`.
  template <class Token>
  auto async_receive(Token&& token) const {
    auto initiate = [](auto handler, detail::CoreRef<Core> core) {
      detail::AsyncReceive<T, Sync, decltype(handler)>::make(std::move(handler), *core)->start();
    };
    return asio::async_initiate<Token, void(std::error_code, std::optional<T>)>(std::move(initiate), token,
                                                                                detail::CoreRef<Core>(this->core()));
  }

 private:
  using Core = detail::ChannelCore<T, Sync>;
  template <class U, class S>
  friend auto detail::make_channel_of(asio::any_io_executor executor, const ChannelOptions& options);
  explicit ChannelReceiver(Core* core) noexcept : detail::ChannelHandle<T, Sync, false>(core) {}

  [[nodiscard]] auto timed(detail::Until until) const {
    using Awaiter = detail::TimedAwaiter<detail::ReceiveAwaiter<T, Sync>>;
    return detail::Operation<Awaiter, Core, detail::Until>(this->core(), until);
  }
};

/// The handles of the other two kinds of channel.
template <class T>
using LocalChannelSender = ChannelSender<T, detail::LocalSync>;
template <class T>
using LocalChannelReceiver = ChannelReceiver<T, detail::LocalSync>;
template <class T>
using SpscChannelSender = ChannelSender<T, detail::SpscSync>;
template <class T>
using SpscChannelReceiver = ChannelReceiver<T, detail::SpscSync>;

namespace detail {

template <class T, class Sync>
auto make_channel_of(asio::any_io_executor executor, const ChannelOptions& options) {
  static_assert(std::is_object_v<T> && std::move_constructible<T> && std::destructible<T>,
                "a channel carries movable objects: for a reference use a pointer or std::reference_wrapper");
  if (options.capacity == 0) throw Error(Errc::invalid_argument, "a channel's capacity must be at least 1");
  auto* const core = new ChannelCore<T, Sync>(std::move(executor), options);
  return std::pair(ChannelSender<T, Sync>(core), ChannelReceiver<T, Sync>(core));
}

}  // namespace detail

/// A channel for any threads: `auto [tx, rx] = weir::make_channel<int>(pool, {.capacity = 64})`. The executor (or
/// context) is where the handlers of `async_send` and `async_receive` go that name none; coroutines resume on their own
/// homes. One allocation, and the ring's with the first value. Throws `Error(Errc::invalid_argument)` for a capacity of
/// 0.
template <class T, ExecutorSource E>
[[nodiscard]] auto make_channel(E&& executor, ChannelOptions options = {}) {
  return detail::make_channel_of<T, detail::SharedSync>(executor_of(executor), options);
}

/// The same for one thread, without synchronisation: every handle and every coroutine that uses it must run on one
/// thread (or otherwise never at the same time).
template <class T, ExecutorSource E>
[[nodiscard]] auto make_local_channel(E&& executor, ChannelOptions options = {}) {
  return detail::make_channel_of<T, detail::LocalSync>(executor_of(executor), options);
}

/// The same with one handle at each end: the handles can be moved, not copied.
template <class T, ExecutorSource E>
[[nodiscard]] auto make_spsc_channel(E&& executor, ChannelOptions options = {}) {
  return detail::make_channel_of<T, detail::SpscSync>(executor_of(executor), options);
}

}  // namespace weir
