/// The awaited operations of a sender.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <exception>
#include <iterator>
#include <limits>
#include <memory>
#include <new>
#include <ranges>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include <weir/channel/detail/suspension.hpp>
#include <weir/channel/detail/sync.hpp>
#include <weir/channel/permit.hpp>
#include <weir/core/always_inline.hpp>

namespace weir {

/// Thrown by `send_all` when the channel closed, the wait was cancelled, or its time was up, before all had gone.
class PartialSend : public Error {
 public:
  PartialSend(Errc e, std::size_t sent) : Error(e, std::to_string(sent) + " values were sent before"), sent_(sent) {}
  [[nodiscard]] std::size_t sent() const noexcept { return sent_; }

 private:
  std::size_t sent_;
};

}  // namespace weir

namespace weir::detail {

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
  SendSuspension(Core& core, Promise& promise, void* operation, SendWaiter::Transfer transfer_one,
                 SendWaiter::Fill fill_many = nullptr) noexcept
      : Suspension<Core, SendWaiter>(core, promise, kind, transfer_one, fill_many), operation_(operation) {}
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

  [[nodiscard]] WEIR_ALWAYS_INLINE bool await_ready() {
    const bool has_turn = this->core().spend_sending(this->home());
    if (has_turn && this->core().send_at_once(source_) == WaitState::done) [[likely]]
      return true;
    return start(has_turn);
  }
  WEIR_ALWAYS_INLINE void await_resume() {
    if (!this->slow()) [[likely]]
      return;
    this->slow()->resumed();
    this->slow()->throw_if_failed();
  }

 private:
  [[gnu::noinline]] bool start(bool has_turn) {
    Core& core = this->core();
    while (has_turn && core.waits_when_full() &&
           this->linger([&core](std::uint32_t n) { return core.linger_for_room(n); })) {
      if (core.send_at_once(source_) == WaitState::done) return true;
    }
    const auto waiter = [this]() -> Slow& { return this->suspension(this, &transfer); };
    WaitState how = has_turn ? WaitState::idle : core.send_at_once(source_);
    if (how != WaitState::done) how = core.send(source_, Lazily{&this->home(), waiter});
    if (how == WaitState::done && has_turn) return true;
    if (how != WaitState::queued) return waiter().goes_on(how, has_turn);
    this->slow()->wait();
    return false;
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

  [[nodiscard]] WEIR_ALWAYS_INLINE bool await_ready() {
    const bool has_turn = this->core().spend_sending(this->home());
    if (has_turn && send_at_once()) [[likely]]
      return true;
    return start(has_turn);
  }
  std::size_t await_resume() {
    if (!this->slow()) [[likely]]
      return sent_;
    Slow& slow = *this->slow();
    slow.resumed();
    if (slow.state != WaitState::done && !slow.error) fail_with(failure_of(slow.state));
    slow.throw_if_failed();
    return sent_;
  }

 protected:
  [[noreturn]] void fail_with(Errc e) const { throw PartialSend(e, sent_); }

 private:
  /// True: all went.
  bool send_at_once() {
    if (next_ == last_) return true;
    this->core().send_some_at_once(
        std::numeric_limits<std::size_t>::max(),
        [this](T* slots, std::size_t n, std::size_t& built) { fill_slots(slots, n, built); });
    return next_ == last_;
  }
  [[gnu::noinline]] bool start(bool has_turn) {
    Core& core = this->core();
    while (has_turn && core.waits_when_full() &&
           this->linger([&core](std::uint32_t n) { return core.linger_for_room(n); })) {
      if (send_at_once()) return true;
    }
    Slow& slow = this->suspension(this, &put_next, &fill);
    const WaitState how = !has_turn && send_at_once() ? WaitState::done : core.send_run(slow);
    if (how != WaitState::queued) return slow.goes_on(how, has_turn);
    slow.wait();
    return false;
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
    const bool has_turn = this->home().spend();
    const auto waiter = [this]() -> Slow& { return this->suspension(this, nullptr); };
    const WaitState how = this->core().reserve(Lazily{&this->home(), waiter});
    if (how == WaitState::done && has_turn) return true;
    if (how != WaitState::queued) return waiter().goes_on(how, has_turn);
    this->slow()->wait();
    return false;
  }
  Permit<T, Sync> await_resume() {
    if (Slow* const slow = this->slow()) {
      slow->resumed();
      slow->throw_if_failed();
    }
    return Permit<T, Sync>(CoreRef<Core>(this->core()));
  }
};

}  // namespace weir::detail
