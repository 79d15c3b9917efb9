/// The awaited operations of a receiver.
#pragma once

#include <cstddef>
#include <cstring>
#include <exception>
#include <iterator>
#include <memory>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

#include <weir/channel/detail/suspension.hpp>
#include <weir/core/always_inline.hpp>

namespace weir::detail {

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

  [[nodiscard]] WEIR_ALWAYS_INLINE bool await_ready() {
    const bool has_turn = this->home().spend();
    if (has_turn && (front_ = this->core().front_at_once())) [[likely]]
      return true;
    return start(has_turn);
  }
  WEIR_ALWAYS_INLINE std::optional<T> await_resume() {
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

    WEIR_ALWAYS_INLINE std::optional<T> moved(T& value) {
      if constexpr (std::is_nothrow_move_constructible_v<T>) {
        return std::optional<T>(std::in_place, std::move(value));
      } else {
        std::optional<T> result(std::in_place, std::move(value));
        moved_out = true;
        return result;
      }
    }
    WEIR_ALWAYS_INLINE ~Rid() {
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

  [[nodiscard]] WEIR_ALWAYS_INLINE bool await_ready() {
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
