/// What the awaited operations of a channel are made of. Each is tried at once, without the channel's lock; what it
/// needs to wait (`Suspension`) is built only when that failed, or when the coroutine has had its turn.
#pragma once

#include <coroutine>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <tuple>
#include <utility>

#include <weir/channel/detail/core.hpp>
#include <weir/core/always_inline.hpp>
#include <weir/core/promise.hpp>

namespace weir::detail {

/// An operation while it is suspended: who waits, in which channel, or that it gave up its turn after a long run of
/// operations done at once. The handle that was called may be gone before the coroutine is resumed.
template <class Core, class Wait>
class Suspension : public Cancellable, public Wait {
 public:
  template <class... Args>
  Suspension(Core& core, Promise& promise, const Kind& kind, Args... args) noexcept
      : Cancellable(kind), Wait(promise, args...), core_(core) {}
  ~Suspension() {
    if (this->retains) core_.release();
  }

  /// After the attempt: it waits in the channel. A peer wakes it, and may have done so.
  void wait() noexcept {
    this->coroutine->scope().link(*this);
    hold();
  }
  /// After the attempt, which said `how`: whether the coroutine goes on at once. If not, it gives up its turn.
  [[nodiscard]] bool goes_on(WaitState how, bool has_turn) noexcept {
    this->state = how;
    if (has_turn) return true;
    hold();
    return false;
  }
  void suspend() noexcept {
    if (!linked()) wake_here();
  }
  void wake_here() noexcept { this->coroutine->home().resume_here(this->coroutine->resumable()); }
  /// On resumption, which does not come when the frame is destroyed before.
  void resumed() noexcept {
    unlink();
    this->suspended = false;
  }
  /// In the destructor: whether it was destroyed while it was suspended.
  [[nodiscard]] bool destroyed_waiting() const noexcept { return this->suspended; }

 protected:
  Core& core_;

 private:
  /// The handle may go before the coroutine is resumed.
  void hold() noexcept {
    core_.retain();
    this->suspended = this->retains = true;
  }
};

/// What a handle returns: it becomes an awaiter where it is awaited, in place, and can be moved until then.
template <class Awaiter, class Core, class... Parts>
class [[nodiscard("co_await it: nothing happens before")]] Operation {
 public:
  using awaiter_type = Awaiter;

  explicit Operation(Core& core, Parts... parts) : core_(&core), parts_(static_cast<Parts&&>(parts)...) {}

  /// Once: again throws `Error(Errc::task_consumed)`.
  [[nodiscard]] WEIR_ALWAYS_INLINE Awaiter operator co_await() && {
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

  WEIR_ALWAYS_INLINE void attach(Promise& promise) {
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
  /// Builds it, unless it is there.
  template <class... Args>
  Slow& suspension(Args... args) noexcept {
    if (slow_) return *slow_;
    slow_ = ::new (static_cast<void*>(std::addressof(memory_))) Slow(core_, *promise_, args...);
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

}  // namespace weir::detail
