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
  /// The value was moved out, or its move threw.
  [[gnu::noinline]] void given(bool moved) noexcept {
    this->has_value = false;
    std::destroy_at(std::addressof(this->received));
    if (!moved) this->core_.count_undelivered();
  }
  void throw_if_failed() {
    if (this->state == WaitState::cancelled) throw Error(Errc::cancelled);
    if (this->state == WaitState::closed && this->core_.reason()) std::rethrow_exception(this->core_.reason());
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
    const bool has_turn = this->core().spend_receiving(this->home());
    if (has_turn && (front_ = this->core().front_at_once())) [[likely]]
      return true;
    return start(has_turn);
  }
  WEIR_ALWAYS_INLINE std::optional<T> await_resume() {
    T* const value = front_ ? front_ : kept(this->slow());
    if (!value) return std::nullopt;
    Rid rid{this->core(), front_ ? nullptr : this->slow(), &this->home()};
    return rid.moved(*value);
  }

  /// Moves the oldest value out, straight to where it is wanted; when that throws, it stays.
  static std::optional<T> take_front(Core& core, T& front) {
    Rid rid{core, nullptr, nullptr};
    return rid.moved(front);
  }

 private:
  /// Moves a value out of the front of the ring, or out of a suspension, which is rid of it then.
  struct Rid {
    Core& core;
    Slow* slow;
    Home* by;
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
        core.took_front(by);
      } else {
        core.kept_front();
      }
    }
  };

  [[gnu::noinline]] bool start(bool has_turn) {
    Core& core = this->core();
    while (has_turn && this->linger([&core](std::uint32_t n) { return core.linger_for_value(n); })) {
      if ((front_ = core.front_at_once())) return true;
    }
    if (T* const front = has_turn ? nullptr : core.front_at_once()) {
      Slow& slow = this->suspension();
      {
        Rid rid{core, nullptr, &this->home(), false};
        slow.keep(*front);
        rid.moved_out = true;
      }
      return slow.goes_on(WaitState::done, false);
    }
    const auto waiter = [this]() -> Slow& { return this->suspension(); };
    const WaitState how = core.receive([&waiter](T& value) { waiter().keep(value); }, Lazily{&this->home(), waiter});
    if (how != WaitState::queued) return waiter().goes_on(how, has_turn);
    this->slow()->wait();
    return false;
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

/// Where a run of values goes, and how many went.
template <class T, class Out>
class RunOut {
 public:
  RunOut(Out out, std::size_t max) : out_(std::move(out)), max_(max) {}

  [[nodiscard]] std::size_t taken() const noexcept { return taken_; }

  /// Without the channel's lock: false says nothing.
  template <class Core>
  [[nodiscard]] bool take_at_once(Core& core) {
    // Those before the one that throws are in `out` already, and are to be told of.
    try {
      core.receive_some_at_once(max_, [this](T* values, std::size_t n, std::size_t& used) {
        struct Count {
          std::size_t& total;
          std::size_t& used;
          ~Count() { total += used; }
        } const count{taken_, used};
        put(values, n, used);
      });
    } catch (...) {
      if (taken_ == 0) throw;
    }
    return taken_ != 0;
  }
  template <class Core, class Asks>
  WaitState take_or_wait(Core& core, Asks asks) {
    auto attempt = WaitState::idle;
    taken_ = core.receive_some(user(), max_, asks, attempt);
    return attempt;
  }
  /// The value that woke the receiver, and what has come since.
  template <class Core>
  void take_woken(Core& core, ReceiveWaiter<T>& waiter) {
    try {
      waiter.give([this](T& value) {
        std::size_t used = 0;
        put(&value, 1, used);
      });
    } catch (...) {
      core.count_undelivered();
      throw;
    }
    taken_ = 1;
    if (max_ == 1) return;
    auto attempt = WaitState::idle;
    try {
      taken_ += core.receive_some(user(), max_ - 1, AtOnce{waiter.home()}, attempt);
    } catch (...) {
      // It stays in the channel, for the next call to meet.
    }
  }

 private:
  void put(T* values, std::size_t n, std::size_t& used) {
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
    return [this](T* values, std::size_t n, std::size_t& used) { put(values, n, used); };
  }

  Out out_;
  std::size_t max_;
  std::size_t taken_ = 0;
};

template <class T, class Sync, class Out>
class ReceiveSomeAwaiter : public ChannelAwaiter<ChannelCore<T, Sync>, ReceiveSuspension<T, Sync>> {
  using Core = ChannelCore<T, Sync>;
  using Slow = ReceiveSuspension<T, Sync>;

 public:
  ReceiveSomeAwaiter(Core& core, Out out, std::size_t max)
      : ChannelAwaiter<Core, Slow>(core), run_(std::move(out), max) {}

  [[nodiscard]] WEIR_ALWAYS_INLINE bool await_ready() {
    const bool has_turn = this->core().spend_receiving(this->home());
    if (has_turn && run_.take_at_once(this->core())) [[likely]]
      return true;
    return start(has_turn);
  }
  std::size_t await_resume() {
    if (!this->slow()) [[likely]]
      return run_.taken();
    Slow& slow = *this->slow();
    slow.resumed();
    if (slow.has_value) run_.take_woken(this->core(), slow);
    if (run_.taken() == 0) slow.throw_if_failed();
    return run_.taken();
  }

 private:
  [[gnu::noinline]] bool start(bool has_turn) {
    Core& core = this->core();
    while (has_turn && this->linger([&core](std::uint32_t n) { return core.linger_for_value(n); })) {
      if (run_.take_at_once(core)) return true;
    }
    const auto waiter = [this]() -> Slow& { return this->suspension(); };
    auto how = WaitState::done;
    if (has_turn || !run_.take_at_once(core)) {
      how = run_.take_or_wait(core, Lazily{&this->home(), waiter});
      if (how == WaitState::done && has_turn) return true;
    }
    if (how != WaitState::queued) return waiter().goes_on(how, has_turn);
    this->slow()->wait();
    return false;
  }

  RunOut<T, Out> run_;
};

}  // namespace weir::detail
