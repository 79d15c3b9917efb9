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
#include <weir/channel/detail/handle.hpp>
#include <weir/channel/detail/receive_operations.hpp>
#include <weir/channel/detail/send_operations.hpp>
#include <weir/channel/detail/sync.hpp>
#include <weir/channel/detail/timed.hpp>
#include <weir/channel/options.hpp>
#include <weir/channel/permit.hpp>

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

template <class T, class Sync, class Executor>
auto make_channel_of(const Executor& executor, const ChannelOptions& options);

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
    return send_from(built_from(static_cast<Args&&>(args)...));
  }

  /// A send that waits for `duration` at most, from when it is awaited, by the clock of the coroutine's context. When
  /// that has passed, it throws `Error(Errc::timed_out)`, and `value` is still the caller's; a value that found a place
  /// before stays sent. Zero or less: it is tried once. A send that need not wait does not look at the clock. It costs
  /// a deadline besides, O(log n) in those that are set, and allocates as little as `send` (but see
  /// `TimeService::add`, and what it throws).
  template <class Rep, class Period>
  [[nodiscard]] auto send_for(T&& value, std::chrono::duration<Rep, Period> duration) const {
    return send_within(detail::Until(duration), detail::MoveFrom<T>{std::addressof(value)});
  }
  template <class Rep, class Period>
    requires std::copy_constructible<T>
  [[nodiscard]] auto send_for(const T& value, std::chrono::duration<Rep, Period> duration) const {
    return send_within(detail::Until(duration), detail::CopyFrom<T>{std::addressof(value)});
  }
  /// The same until a time of `TimeService::Clock`, as `this_task::now()` gives it.
  [[nodiscard]] auto send_until(T&& value, TimeService::TimePoint when) const {
    return send_within(detail::Until(when), detail::MoveFrom<T>{std::addressof(value)});
  }
  [[nodiscard]] auto send_until(const T& value, TimeService::TimePoint when) const
    requires std::copy_constructible<T>
  {
    return send_within(detail::Until(when), detail::CopyFrom<T>{std::addressof(value)});
  }
  /// The same, built in place from `args`, which the operation keeps: the time comes first.
  template <class Rep, class Period, class... Args>
    requires std::constructible_from<T, std::decay_t<Args>...>
  [[nodiscard]] auto send_emplace_for(std::chrono::duration<Rep, Period> duration, Args&&... args) const {
    return send_within(detail::Until(duration), built_from(static_cast<Args&&>(args)...));
  }
  template <class... Args>
    requires std::constructible_from<T, std::decay_t<Args>...>
  [[nodiscard]] auto send_emplace_until(TimeService::TimePoint when, Args&&... args) const {
    return send_within(detail::Until(when), built_from(static_cast<Args&&>(args)...));
  }

  /// Sends if that needs no waiting. Moves from `value` only when it was sent (under `drop_newest` also a dropped one
  /// counts as sent). Any thread, coroutine or not.
  TrySendResult try_send(T&& value) const { return try_send_from(detail::MoveFrom<T>{std::addressof(value)}); }
  TrySendResult try_send(const T& value) const
    requires std::copy_constructible<T>
  {
    return try_send_from(detail::CopyFrom<T>{std::addressof(value)});
  }

  /// The same for a value that is built from `args` when there is room; otherwise what was moved into the call is gone.
  template <class... Args>
    requires std::constructible_from<T, std::decay_t<Args>...>
  TrySendResult try_send_emplace(Args&&... args) const {
    return try_send_from(built_from(static_cast<Args&&>(args)...));
  }

  /// Room for one value now, for a value that comes later: gives a `Permit`. Waits like a send; under the policies that
  /// drop the oldest it makes room, under the others it fails with `Errc::channel_full` instead of waiting.
  [[nodiscard]] auto reserve() const { return this->template operation<detail::ReserveAwaiter<T, Sync>>(); }
  /// The same with a limit on the wait, as `send_for` and `send_until`.
  template <class Rep, class Period>
  [[nodiscard]] auto reserve_for(std::chrono::duration<Rep, Period> duration) const {
    return this->template timed<detail::ReserveAwaiter<T, Sync>>(detail::Until(duration));
  }
  [[nodiscard]] auto reserve_until(TimeService::TimePoint when) const {
    return this->template timed<detail::ReserveAwaiter<T, Sync>>(detail::Until(when));
  }

  /// Sends the elements of `range` in order, one critical section a run: copies them, or moves them when `range` is a
  /// container given as an rvalue. Gives their number. Throws `PartialSend`, which tells how many went, when closed or
  /// cancelled on the way. The range is walked under the channel's lock: let its elements be there already.
  template <detail::SendableRange<T> Range>
  [[nodiscard]] auto send_all(Range&& range) const {
    return this->template operation<SendAll<Range>>(std::ranges::begin(range), std::ranges::end(range));
  }
  /// The same with a limit on the whole of it, from when it begins to wait: when that has passed, what has gone stays
  /// sent, and `PartialSend` with the code `timed_out` tells how many.
  template <detail::SendableRange<T> Range, class Rep, class Period>
  [[nodiscard]] auto send_all_for(Range&& range, std::chrono::duration<Rep, Period> duration) const {
    return this->template timed<SendAll<Range>>(detail::Until(duration), std::ranges::begin(range),
                                                std::ranges::end(range));
  }
  template <detail::SendableRange<T> Range>
  [[nodiscard]] auto send_all_until(Range&& range, TimeService::TimePoint when) const {
    return this->template timed<SendAll<Range>>(detail::Until(when), std::ranges::begin(range),
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
      detail::AsyncSend<Core, T, decltype(handler)>::make(std::move(handler), *core, std::move(v))->start();
    };
    return asio::async_initiate<Token, void(std::error_code, std::optional<T>)>(
        std::move(initiate), token, detail::CoreRef<Core>(this->core()), std::move(value));
  }

 private:
  using Core = detail::ChannelCore<T, Sync>;
  template <class U, class S, class E>
  friend auto detail::make_channel_of(const E& executor, const ChannelOptions& options);
  explicit ChannelSender(Core* core) noexcept : detail::ChannelHandle<T, Sync, true>(core) {}

  template <class Range>
  using SendAll = detail::SendAllAwaiter<T, Sync, std::ranges::iterator_t<Range>, std::ranges::sentinel_t<Range>,
                                         detail::moves_elements<Range>>;

  template <class... Args>
  [[nodiscard]] static auto built_from(Args&&... args) {
    return detail::BuildFrom<T, std::decay_t<Args>...>{{static_cast<Args&&>(args)...}};
  }
  template <class Source>
  [[nodiscard]] auto send_from(Source source) const {
    return this->template operation<detail::SendAwaiter<T, Sync, Source>>(std::move(source));
  }
  template <class Source>
  [[nodiscard]] auto send_within(detail::Until until, Source source) const {
    return this->template timed<detail::SendAwaiter<T, Sync, Source>>(until, std::move(source));
  }
  template <class Source>
  TrySendResult try_send_from(Source source) const {
    Core& core = this->core();
    const detail::WaitState attempt = core.send_at_once(source);
    return TrySendResult(attempt == detail::WaitState::idle ? core.send(source, detail::AtOnce()) : attempt);
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
    return this->template operation<detail::ReceiveAwaiter<T, Sync>>();
  }

  /// The next value, if it comes within `duration` from when it is awaited, by the clock of the coroutine's context;
  /// else it throws `Error(Errc::timed_out)`. Empty: closed and drained, as for `receive`. Zero or less: it is tried
  /// once. One that need not wait does not look at the clock. For its cost see `send_for`.
  template <class Rep, class Period>
  [[nodiscard]] AwaitableOf<std::optional<T>> auto receive_for(std::chrono::duration<Rep, Period> duration) const {
    return this->template timed<detail::ReceiveAwaiter<T, Sync>>(detail::Until(duration));
  }
  /// The same until a time of `TimeService::Clock`, as `this_task::now()` gives it.
  [[nodiscard]] AwaitableOf<std::optional<T>> auto receive_until(TimeService::TimePoint when) const {
    return this->template timed<detail::ReceiveAwaiter<T, Sync>>(detail::Until(when));
  }

  /// Waits for one value and takes what is there, up to `max` (from 1), in one critical section: assigned to `*out++`,
  /// which happens under the channel's lock. Gives their number; 0: closed and drained (or the reason is thrown). What
  /// `out` or a move throws is thrown if it was the first; else the call ends there, and that value stays in the
  /// channel.
  template <std::output_iterator<T> Out>
  [[nodiscard]] AwaitableOf<std::size_t> auto receive_some(Out out, std::size_t max) const {
    return this->template operation<Some<Out>>(std::move(out), at_least_one(max));
  }
  /// The same, appended to a vector that must outlive the wait. Reserve room in it to allocate nothing.
  [[nodiscard]] AwaitableOf<std::size_t> auto receive_some(std::vector<T>& out, std::size_t max) const {
    return receive_some(std::back_inserter(out), max);
  }

  /// The same, if something comes within `duration`, as `receive_for`: else it throws `Error(Errc::timed_out)`, and
  /// nothing was taken. It does not wait for `max`: what is there with the first value is what it gives.
  template <std::output_iterator<T> Out, class Rep, class Period>
  [[nodiscard]] AwaitableOf<std::size_t> auto receive_some_for(Out out, std::size_t max,
                                                               std::chrono::duration<Rep, Period> duration) const {
    return this->template timed<Some<Out>>(detail::Until(duration), std::move(out), at_least_one(max));
  }
  template <class Rep, class Period>
  [[nodiscard]] AwaitableOf<std::size_t> auto receive_some_for(std::vector<T>& out, std::size_t max,
                                                               std::chrono::duration<Rep, Period> duration) const {
    return receive_some_for(std::back_inserter(out), max, duration);
  }
  template <std::output_iterator<T> Out>
  [[nodiscard]] AwaitableOf<std::size_t> auto receive_some_until(Out out, std::size_t max,
                                                                 TimeService::TimePoint when) const {
    return this->template timed<Some<Out>>(detail::Until(when), std::move(out), at_least_one(max));
  }
  [[nodiscard]] AwaitableOf<std::size_t> auto receive_some_until(std::vector<T>& out, std::size_t max,
                                                                 TimeService::TimePoint when) const {
    return receive_some_until(std::back_inserter(out), max, when);
  }

  /// The next value if one is there. Any thread, coroutine or not.
  [[nodiscard]] std::optional<T> try_receive() const {
    Core& core = this->core();
    if (T* const front = core.front_at_once()) return detail::ReceiveAwaiter<T, Sync>::take_front(core, *front);
    std::optional<T> value;
    core.receive([&](T& v) { value.emplace(std::move(v)); }, detail::AtOnce());
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
  template <class U, class S, class E>
  friend auto detail::make_channel_of(const E& executor, const ChannelOptions& options);
  explicit ChannelReceiver(Core* core) noexcept : detail::ChannelHandle<T, Sync, false>(core) {}

  template <class Out>
  using Some = detail::ReceiveSomeAwaiter<T, Sync, Out>;

  [[nodiscard]] static std::size_t at_least_one(std::size_t max) {
    if (max == 0) throw Error(Errc::invalid_argument, "receive_some: max must be at least 1");
    return max;
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

template <class T, class Sync, class Executor>
auto make_channel_of(const Executor& executor, const ChannelOptions& options) {
  static_assert(std::is_object_v<T> && std::move_constructible<T> && std::destructible<T>,
                "a channel carries movable objects: for a reference use a pointer or std::reference_wrapper");
  if (options.capacity == 0) throw Error(Errc::invalid_argument, "a channel's capacity must be at least 1");
  ChannelCore<T, Sync>* const core = new ChannelBlock<T, Sync, Executor>(executor, options);
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
