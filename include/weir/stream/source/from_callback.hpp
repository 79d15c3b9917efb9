/// What is called back with, from any thread, as the sender of a stream.
///
/// Protocol (tests/stream/from_callback_test.cpp breaks when one of these is broken):
///  1. `out_` and `closed_` are guarded by `mutex_`, and so is the use of the emitter: it is there from the start of
///  the
///     sender's coroutine to its end, and one party uses it at a time.
///  2. Emitting under the lock never calls back: it puts the value into the stream's channel, and wakes by posting.
///  3. The last copy of `CallbackEmitter` that goes closes; closing wakes the sender by closing `ended_`, once. Like
///     `out_` it is there only as long as the sender's coroutine is.
#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include <weir/channel/channel.hpp>
#include <weir/core/error.hpp>
#include <weir/core/task.hpp>
#include <weir/core/this_task.hpp>
#include <weir/stream/emitter.hpp>

namespace weir {

/// What becomes of a value that is emitted while the stream is full.
enum class WhenFull : std::uint8_t {
  refuse,  ///< it stays with the caller, who is told
  drop,    ///< it is destroyed, and counted
};

namespace detail {

template <class T>
class CallbackBridge {
 public:
  CallbackBridge(Emitter<T>& out, ChannelSender<char> ended, WhenFull when_full)
      : out_(&out), ended_(std::move(ended)), when_full_(when_full) {}

  bool emit(T&& value) {
    const std::lock_guard lock(mutex_);
    if (!out_ || closed_) return false;
    if (out_->try_emit(std::move(value))) return true;
    if (when_full_ == WhenFull::refuse || out_->stopping()) {
      refused_.fetch_add(1, std::memory_order_relaxed);
      return false;
    }
    [[maybe_unused]] const T dropped(std::move(value));
    dropped_.fetch_add(1, std::memory_order_relaxed);
    return true;
  }
  void close() noexcept {
    const std::lock_guard lock(mutex_);
    if (std::exchange(closed_, true) || !ended_) return;
    ended_->close();
  }
  /// The sender's coroutine ends. Nothing of the stream's context is held any longer.
  void leave() noexcept {
    const std::lock_guard lock(mutex_);
    out_ = nullptr;
    ended_.reset();
  }
  [[nodiscard]] bool open() const noexcept {
    const std::lock_guard lock(mutex_);
    return out_ && !closed_ && !out_->stopping();
  }
  [[nodiscard]] std::uint64_t refused() const noexcept { return refused_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t dropped() const noexcept { return dropped_.load(std::memory_order_relaxed); }

 private:
  mutable std::mutex mutex_;
  Emitter<T>* out_;
  bool closed_ = false;
  std::optional<ChannelSender<char>> ended_;
  WhenFull when_full_;
  std::atomic<std::uint64_t> refused_{0};
  std::atomic<std::uint64_t> dropped_{0};
};

}  // namespace detail

/// Emits into the stream of a `from_callback`. Copy it freely; every function may be called from any thread, also when
/// the stream has ended, and none waits or allocates. The stream's sender ends when the last copy is gone, or somebody
/// closed it.
template <class T>
class CallbackEmitter {
 public:
  using value_type = T;

  explicit CallbackEmitter(std::shared_ptr<detail::CallbackBridge<T>> bridge)
      : bridge_(std::shared_ptr<detail::CallbackBridge<T>>(bridge.get(), Closer{bridge})) {}

  /// True: it was emitted, or dropped where that is the policy. False, and the value is still the caller's: there is no
  /// room, or the stream is being stopped, or has ended (`open()` tells).
  bool emit(T&& value) const { return bridge_->emit(std::move(value)); }
  bool emit(const T& value) const
    requires std::copy_constructible<T>
  {
    return bridge_->emit(T(value));
  }
  bool operator()(T&& value) const { return emit(std::move(value)); }
  bool operator()(const T& value) const
    requires std::copy_constructible<T>
  {
    return emit(value);
  }

  /// Nothing is emitted any more; the stream completes when what was has been processed.
  void close() const noexcept { bridge_->close(); }
  /// Whether emitting has a purpose: not once the stream is being stopped, or this was closed.
  [[nodiscard]] bool open() const noexcept { return bridge_->open(); }
  /// How many values found no room: refused, or dropped.
  [[nodiscard]] std::uint64_t refused() const noexcept { return bridge_->refused(); }
  [[nodiscard]] std::uint64_t dropped() const noexcept { return bridge_->dropped(); }

 private:
  struct Closer {
    std::shared_ptr<detail::CallbackBridge<T>> bridge;
    void operator()(detail::CallbackBridge<T>* last) const noexcept { last->close(); }
  };

  std::shared_ptr<detail::CallbackBridge<T>> bridge_;
};

/// Made by `from_callback`.
template <class T, class F>
class FromCallback {
 public:
  explicit FromCallback(F function) : function_(std::move(function)) {}

  /// See `WhenFull`; `WhenFull::refuse` unless said.
  [[nodiscard]] FromCallback when_full(WhenFull policy) && {
    when_full_ = policy;
    return std::move(*this);
  }

  /// For pictures of the stream.
  [[nodiscard]] std::string describe() const { return "callbacks"; }

  Task<> operator()(Emitter<T>& out) {
    auto [closes, ended] = make_channel<char>(co_await this_task::executor(), {.capacity = 1});
    auto bridge = std::make_shared<detail::CallbackBridge<T>>(out, std::move(closes), when_full_);
    const Leave leave{*bridge};
    using Kept = std::invoke_result_t<F&, CallbackEmitter<T>>;
    if constexpr (std::is_void_v<Kept>) {
      std::invoke(function_, CallbackEmitter<T>(bridge));
      co_await ended.receive();
    } else {
      [[maybe_unused]] const Kept kept = std::invoke(function_, CallbackEmitter<T>(bridge));
      co_await ended.receive();
    }
  }

 private:
  struct Leave {
    detail::CallbackBridge<T>& bridge;
    ~Leave() { bridge.leave(); }
  };

  F function_;
  WhenFull when_full_ = WhenFull::refuse;
};

/// A sender for what calls back: a device, a signal handler's thread, another library.
///
///     .sender(weir::from_callback<Reading>([&sensor](auto emit) {
///       return sensor.subscribe([emit](const Reading& reading) { emit(reading); });
///     }))
///
/// `function` is called once, when the stream starts, on its executor, with a `CallbackEmitter<T>` to keep and to call
/// from any thread. What it returns, if anything, is kept until the sender ends: a subscription, a joining thread. Who
/// calls back can't be held up, so `when_full` says what becomes of a value for which there is no room. The sender ends
/// when the last copy of the emitter is gone, by `close()`, or when the stream is stopped.
///
/// What the function returns must not wait, in its destructor, for the stream. Emitting takes a lock, and allocates
/// nothing.
template <class T, class F>
  requires std::invocable<F&, CallbackEmitter<T>>
[[nodiscard]] FromCallback<T, F> from_callback(F function) {
  return FromCallback<T, F>(std::move(function));
}

}  // namespace weir
