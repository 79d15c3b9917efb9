/// The broadcast: every receiver gets every value that is sent after it subscribed, in one order for all.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <weir/asio.hpp>
#include <weir/channel/broadcast_options.hpp>
#include <weir/channel/channel.hpp>
#include <weir/channel/detail/broadcast_async.hpp>
#include <weir/channel/detail/broadcast_cases.hpp>
#include <weir/channel/detail/broadcast_core.hpp>
#include <weir/channel/detail/broadcast_operations.hpp>

namespace weir {

template <class T>
class BroadcastSender;

/// A receiving end: one place in the sequence of values. Move-only: a further receiver subscribes for itself, by
/// `subscribe()` here or at a sender. Use it from one coroutine (or thread) at a time, on any home; a receive that is
/// begun while another is under way throws `Error(Errc::invalid_argument)`.
///
/// A value is copied once for each receiver but the last one that takes it, which gets it by move if that cannot throw.
/// It is copied by the receiver, on its own thread and under no lock, at the same time as others may copy it: as with
/// the standard's types, copying a `const T` from several threads must be fine. For what is large or dear to copy, send
/// a `std::shared_ptr<const T>`. What a copy throws, the receive throws, and the value stays for the next one.
///
/// Every awaited operation: resumes on the coroutine's own home; is cancelled with the coroutine's scope, which throws
/// `Error(Errc::cancelled)`, also when it was cancelled before it began; what completed first stays completed, and what
/// was cancelled, or destroyed where it waited, has lost nothing. It allocates nothing. It is awaited once. O(1) a
/// value.
///
/// When the policy has taken values from a receiver that was too slow, it is told before it gets the next one: see
/// `receive`. Destroying the receiver gives its place up and lets in the senders that waited for it; O(values it had
/// not read).
template <class T>
class BroadcastReceiver {
 public:
  using value_type = T;

  BroadcastReceiver() noexcept = default;
  BroadcastReceiver(BroadcastReceiver&& other) noexcept : place_(std::exchange(other.place_, nullptr)) {}
  BroadcastReceiver& operator=(BroadcastReceiver&& other) noexcept {
    BroadcastReceiver taken(std::move(other));
    std::swap(place_, taken.place_);
    return *this;
  }
  ~BroadcastReceiver() { reset(); }

  /// The next value. Empty: the broadcast is closed, and this receiver has had every value; when it was closed with a
  /// reason, that is thrown instead. Throws `Lagged` once for each time that the policy `skip` took values away; the
  /// next call goes on with the oldest that is still there. Throws `Error(Errc::disconnected)` when the policy
  /// `disconnect` met this receiver, and so does every call from then on.
  [[nodiscard]] AwaitableOf<std::optional<T>> auto receive() const { return receive_one(nullptr); }
  /// The same for those that expect to miss some: adds their number to `skipped` and goes on, instead of throwing
  /// `Lagged`. The counter must outlive the wait.
  [[nodiscard]] AwaitableOf<std::optional<T>> auto receive(std::uint64_t& skipped) const {
    return receive_one(std::addressof(skipped));
  }

  /// Waits for one value and takes what is there, up to `max` (from 1), in one go: assigned to `*out++`, under no lock.
  /// Gives their number; 0: closed and drained. Throws as `receive` does. What `out` or a copy throws is thrown if it
  /// was the first; else the call ends there, and that value stays for the next one.
  template <std::output_iterator<const T&> Out>
  [[nodiscard]] AwaitableOf<std::size_t> auto receive_some(Out out, std::size_t max) const {
    if (max == 0) throw Error(Errc::invalid_argument, "receive_some: max must be at least 1");
    using Some = detail::BroadcastSome<T, Out>;
    return detail::BroadcastReceive<T, Some>(place(), Some{std::move(out)}, max, nullptr);
  }
  /// The same, appended to a vector that must outlive the wait. Reserve room in it to allocate nothing.
  [[nodiscard]] AwaitableOf<std::size_t> auto receive_some(std::vector<T>& out, std::size_t max) const {
    return receive_some(std::back_inserter(out), max);
  }

  /// The next value if one is there; it throws as `receive` does, but for the reason of a close. Any thread, coroutine
  /// or not.
  [[nodiscard]] std::optional<T> try_receive() const { return try_one(nullptr); }
  [[nodiscard]] std::optional<T> try_receive(std::uint64_t& skipped) const { return try_one(std::addressof(skipped)); }

  /// Receives by completion token, `void(std::error_code, std::optional<T>)`: no error and no value at the end, the
  /// code of the reason of a close (`channel_closed` if it had none), `lagged` and `disconnected` as `receive`, Asio's
  /// `operation_aborted` after a cancel by the token's slot, what a copy threw as its code (the value stays), and
  /// `invalid_argument` while another receive is under way. A value that is waited for is copied by the sender's
  /// thread, under no lock. It is queued before the call returns; the handler is never called inside it, and is
  /// destroyed uncalled when its execution context goes first. Allocates as the channel's `async_receive`.
  template <class Token>
  auto async_receive(Token&& token) const {
    using Place = detail::BroadcastSubscription<T>;
    auto initiate = [](auto handler, detail::CoreRef<Place> at) {
      detail::AsyncBroadcastReceive<T, decltype(handler)>::make(std::move(handler), *at)->start();
    };
    return asio::async_initiate<Token, void(std::error_code, std::optional<T>)>(std::move(initiate), token,
                                                                                detail::CoreRef<Place>(place()));
  }

  /// One more receiver, for what is sent from now on. One allocation. Any thread.
  [[nodiscard]] BroadcastReceiver subscribe() const { return BroadcastReceiver(place().core.subscribe()); }

  /// Gives this place up, as the destructor does. An operation that waits on it ends as if the broadcast were closed.
  void reset() noexcept {
    detail::BroadcastSubscription<T>* const place = std::exchange(place_, nullptr);
    if (!place) return;
    place->core.leave(*place);
    place->release();
  }

  /// How many values it has still to read. Any thread.
  [[nodiscard]] std::uint64_t lag() const { return stats().pending; }
  /// How many it has missed, whether it was told or not. Any thread.
  [[nodiscard]] std::uint64_t skipped() const { return stats().skipped; }
  /// A consistent snapshot. Any thread. O(1).
  [[nodiscard]] BroadcastReceiverStats stats() const { return place().core.stats(place()); }
  /// True when nothing more can be sent. What was sent stays receivable. Any thread.
  [[nodiscard]] bool closed() const { return place().core.closed(); }
  [[nodiscard]] std::size_t capacity() const { return place().core.capacity(); }

  /// False when it was moved from or reset: every operation then throws `Error(Errc::empty_handle)`.
  [[nodiscard]] explicit operator bool() const noexcept { return place_ != nullptr; }

 private:
  friend class BroadcastSender<T>;
  explicit BroadcastReceiver(detail::BroadcastSubscription<T>* place) noexcept : place_(place) {}

  [[nodiscard]] detail::BroadcastSubscription<T>& place() const {
    if (!place_) throw Error(Errc::empty_handle, "this broadcast receiver was moved from or reset");
    return *place_;
  }
  [[nodiscard]] auto receive_one(std::uint64_t* skipped) const {
    using One = detail::BroadcastOne<T>;
    return detail::BroadcastReceive<T, One>(place(), One(), 1, skipped);
  }
  [[nodiscard]] std::optional<T> try_one(std::uint64_t* skipped) const {
    auto& here = place();
    detail::BroadcastRun<T> run;
    run.skipped = skipped;
    bool later = false;
    const auto found = here.core.receive(here, run, nullptr, later);
    run.reason = nullptr;
    return detail::BroadcastOne<T>::take(here.core, here, run, found);
  }

  detail::BroadcastSubscription<T>* place_ = nullptr;
};

/// The sending end. Copy it for more senders, each used by one thread at a time; when the last is gone, the broadcast
/// closes. Keep the handle alive while an operation started on it waits.
///
/// What is said of `BroadcastReceiver` about resuming, cancelling and awaiting holds here too. A send that finds nobody
/// subscribed succeeds and is counted as unheard; its value is not touched. Values are moved in under the broadcast's
/// lock, where their move may not use the broadcast; a value that is copied or built is so before, without it. Values
/// are destroyed outside the lock. The first value allocates the ring (a pointer for each value of the capacity), and
/// each value a node, which is used again; so a send allocates only while more values are buffered than ever before.
template <class T>
class BroadcastSender {
 public:
  using value_type = T;

  BroadcastSender() noexcept = default;
  BroadcastSender(const BroadcastSender& other) noexcept : BroadcastSender(other.core_) {}
  BroadcastSender(BroadcastSender&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
  BroadcastSender& operator=(const BroadcastSender& other) noexcept { return *this = BroadcastSender(other); }
  BroadcastSender& operator=(BroadcastSender&& other) noexcept {
    BroadcastSender taken(std::move(other));
    std::swap(core_, taken.core_);
    return *this;
  }
  ~BroadcastSender() { reset(); }

  /// A receiver of every value that is sent from now on. Of a closed broadcast, it is at the end. One allocation. Any
  /// thread.
  [[nodiscard]] BroadcastReceiver<T> subscribe() const { return BroadcastReceiver<T>(core().subscribe()); }

  /// Sends `value` to all that are subscribed. Under the policy `wait` it waits, in turn, while the slowest receiver is
  /// `capacity` values behind. It is moved from only when there is a place for it: refused, cancelled or unheard, it is
  /// still the caller's. Keep it alive until then. Throws `Error(Errc::channel_closed)` when the broadcast is or
  /// becomes closed, and what the move throws; then nothing has changed. O(receivers that wait), and of all receivers
  /// when one is disconnected.
  [[nodiscard]] AwaitableOf<void> auto send(T&& value) const {
    using Value = detail::BorrowedValue<T>;
    return detail::BroadcastSend<T, Value>(core(), Value{std::addressof(value)});
  }
  /// The same with a copy, which is made at once, and kept in the operation.
  [[nodiscard]] AwaitableOf<void> auto send(const T& value) const { return send_emplace(value); }
  /// The same with a value that is built of `args` at once, and kept in the operation.
  template <class... Args>
    requires std::constructible_from<T, Args...>
  [[nodiscard]] AwaitableOf<void> auto send_emplace(Args&&... args) const {
    using Value = detail::OwnedValue<T>;
    return detail::BroadcastSend<T, Value>(core(), Value(std::in_place, static_cast<Args&&>(args)...));
  }

  /// Sends if that needs no waiting: `full()` under the policy `wait` when a receiver is `capacity` values behind.
  /// Moves from `value` only when it was sent to someone. Any thread, coroutine or not.
  TrySendResult try_send(T&& value) const {
    return TrySendResult(core().send([&value](void* slot) { ::new (slot) T(std::move(value)); }, detail::AtOnce()));
  }
  TrySendResult try_send(const T& value) const {
    T copy(value);
    return try_send(std::move(copy));
  }

  /// Sends by completion token, `void(std::error_code, std::optional<T> returned)`: `returned` holds the value when it
  /// was not sent (`channel_closed`, Asio's `operation_aborted` after a cancel by the token's slot, or what the value's
  /// move threw). As the channel's `async_send` in when the handler is called, and what it allocates.
  template <class Token>
  auto async_send(T value, Token&& token) const {
    auto initiate = [](auto handler, detail::CoreRef<Core> to, T v) {
      detail::AsyncSend<Core, T, decltype(handler)>::make(std::move(handler), *to, std::move(v))->start();
    };
    return asio::async_initiate<Token, void(std::error_code, std::optional<T>)>(
        std::move(initiate), token, detail::CoreRef<Core>(core()), std::move(value));
  }

  /// No new values from now on: sends fail with `Errc::channel_closed`, and those that wait keep their values. What was
  /// sent stays receivable, then receivers meet the end. A second close is nothing. Any thread.
  void close() const noexcept {
    if (core_) core_->close(nullptr);
  }
  /// The same with a reason, which receivers are thrown when they have read everything.
  void close(std::exception_ptr reason) const noexcept {
    if (core_) core_->close(std::move(reason));
  }
  void close(std::error_code reason) const { close(std::make_exception_ptr(std::system_error(reason))); }

  /// Gives this handle up, as its destructor does.
  void reset() noexcept {
    if (Core* const core = std::exchange(core_, nullptr)) core->drop_sender();
  }

  [[nodiscard]] bool closed() const { return core().closed(); }
  [[nodiscard]] std::size_t capacity() const { return core().capacity(); }
  /// Receivers that are subscribed and were not disconnected. Any thread.
  [[nodiscard]] std::size_t subscribers() const { return core().subscribers(); }
  /// A consistent snapshot. Any thread. O(receivers).
  [[nodiscard]] BroadcastStats stats() const { return core().stats(); }

  /// False when it was moved from or reset: every operation then throws `Error(Errc::empty_handle)`.
  [[nodiscard]] explicit operator bool() const noexcept { return core_ != nullptr; }
  [[nodiscard]] friend bool operator==(const BroadcastSender& a, const BroadcastSender& b) noexcept {
    return a.core_ == b.core_;
  }

 private:
  using Core = detail::BroadcastCore<T>;
  template <class U, ExecutorSource E>
  friend auto make_broadcast(E&& executor, BroadcastOptions options);

  explicit BroadcastSender(Core* core) noexcept : core_(core) {
    if (core_) core_->add_sender();
  }
  [[nodiscard]] Core& core() const {
    if (!core_) throw Error(Errc::empty_handle, "this broadcast sender was moved from or reset");
    return *core_;
  }

  Core* core_ = nullptr;
};

/// A broadcast for any threads: `auto tx = weir::make_broadcast<int>(pool, {.capacity = 64, .slow =
/// weir::SlowReceiver::skip})`, and `auto rx = tx.subscribe()` for each receiver, before what it is to hear is sent.
/// The executor (or context) is where handlers go that name none; coroutines resume on their own homes. One allocation.
/// Throws `Error(Errc::invalid_argument)` for a capacity of 0.
template <class T, ExecutorSource E>
[[nodiscard]] auto make_broadcast(E&& executor, BroadcastOptions options = {}) {
  static_assert(std::is_object_v<T> && std::copy_constructible<T>,
                "a broadcast copies its values: for what cannot be copied send a std::shared_ptr<const T>");
  if (options.capacity == 0) throw Error(Errc::invalid_argument, "a broadcast's capacity must be at least 1");
  return BroadcastSender<T>(new detail::BroadcastCore<T>(executor_of(executor), options));
}

}  // namespace weir
