/// `from<T>(sender)`: a flow of what a coroutine emits.
#pragma once

#include <concepts>
#include <coroutine>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include <weir/core/task.hpp>
#include <weir/stream/detail/flow_child.hpp>
#include <weir/stream/flow/flow.hpp>

namespace weir {
namespace detail {

template <class T, class S>
class EmittedFlow;

}  // namespace detail

/// Given to the function of `from<T>` by reference, to emit values with: from that coroutine and those below it, one at
/// a time. It must not be used after the function has ended.
template <class T>
class FlowEmitter {
 public:
  using value_type = T;
  class Emit;

  FlowEmitter() = default;
  FlowEmitter(const FlowEmitter&) = delete;
  FlowEmitter& operator=(const FlowEmitter&) = delete;

  /// Waits until the value has been taken and the next one is asked for: the function is never ahead of the flow. The
  /// value is moved from when it is taken; when this throws before, it is the caller's. Throws `Error(Errc::cancelled)`
  /// when the flow is closed: tidy up and return, or let it pass. Allocates nothing.
  [[nodiscard]] Emit emit(T&& value) { return Emit(*this, std::addressof(value), nullptr); }
  [[nodiscard]] Emit emit(const T& value)
    requires std::copy_constructible<T>
  {
    return Emit(*this, nullptr, std::addressof(value));
  }

 private:
  template <class U, class S>
  friend class detail::EmittedFlow;

  Emit* waiting_ = nullptr;
  detail::FlowSignal signal_;
};

template <class T>
class [[nodiscard("co_await it: nothing is emitted before")]] FlowEmitter<T>::Emit final : public Cancellable {
 public:
  Emit(FlowEmitter& emitter, T* moved, const T* copied) noexcept
      : Cancellable(kind), emitter_(emitter), moved_(moved), copied_(copied) {}
  Emit(const Emit&) = delete;
  Emit& operator=(const Emit&) = delete;
  ~Emit() {
    if (emitter_.waiting_ == this) emitter_.waiting_ = nullptr;
  }

  void attach(Promise& promise) {
    if (promise.scope().cancelled()) throw Error(Errc::cancelled);
    if (emitter_.waiting_) throw Error(Errc::invalid_argument, "a flow's emitter emits one value at a time");
    promise_ = &promise;
  }
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<>) noexcept {
    promise_->scope().link(*this);
    emitter_.waiting_ = this;
    emitter_.signal_.raise();
  }
  void await_resume() {
    unlink();
    if (cancelled_) throw Error(Errc::cancelled);
  }

 private:
  template <class U, class S>
  friend class detail::EmittedFlow;

  void take(std::optional<T>& out) {
    if constexpr (std::copy_constructible<T>) {
      if (copied_) {
        out.emplace(*copied_);
        taken_ = true;
        return;
      }
    }
    out.emplace(std::move(*moved_));
    taken_ = true;
  }
  void resume() noexcept {
    emitter_.waiting_ = nullptr;
    promise_->home().resume_here(promise_->resumable());
  }

  static void cancel(Cancellable& self) noexcept {
    auto& emit = static_cast<Emit&>(self);
    if (emit.emitter_.waiting_ != &emit) return;
    emit.cancelled_ = !emit.taken_;
    emit.resume();
  }
  static constexpr Kind kind{&cancel, nullptr, "a flow's next value to be asked for"};

  FlowEmitter& emitter_;
  T* moved_;
  const T* copied_;
  Promise* promise_ = nullptr;
  bool taken_ = false;
  bool cancelled_ = false;
};

namespace detail {

template <class T, class S>
class EmittedFlow {
 public:
  using value_type = T;
  static constexpr bool synchronous = false;

  explicit EmittedFlow(S sender) : sender_(std::move(sender)) {}
  /// Before it is opened.
  EmittedFlow(EmittedFlow&& other) : sender_(std::move(other.sender_)) {}
  EmittedFlow& operator=(EmittedFlow&&) = delete;

  void open(const FlowSite& site) { child_.open(site, emitter_.signal_); }
  [[nodiscard]] Pull pull(std::optional<T>& out) {
    emitter_.signal_.lower();
    if (auto* const emit = emitter_.waiting_) {
      if (!emit->taken_) {
        emit->take(out);
        return Pull::value;
      }
      emit->resume();
    } else if (child_.ended()) {
      at_end_ = true;
      child_.take();
    } else if (!child_.running() && !at_end_) {
      child_.start(into_task(std::invoke(sender_, emitter_)));
    }
    return at_end_ ? Pull::end : Pull::wait;
  }
  [[nodiscard]] FlowSignal::Wait ready() { return emitter_.signal_.wait(); }
  [[nodiscard]] Task<> close() {
    child_.cancel();
    co_await child_.join();
  }

 private:
  S sender_;
  bool at_end_ = false;
  FlowEmitter<T> emitter_;
  FlowChild child_;
};

}  // namespace detail

/// A flow of what a coroutine emits: `from<T>([](weir::FlowEmitter<T>& out) -> weir::Task<> { ... })`, in the way of a
/// stream's sender. It starts when the first value is asked for, as a child of the one who runs the flow, on the same
/// home, and goes on when the next one is. What it throws ends the flow. When downstream has enough, it is cancelled
/// where it waits, and joined.
template <class T, class S>
  requires std::invocable<std::decay_t<S>&, FlowEmitter<T>&> &&
           Awaitable<std::invoke_result_t<std::decay_t<S>&, FlowEmitter<T>&>>
[[nodiscard]] auto from(S&& sender) {
  return detail::EmittedFlow<T, std::decay_t<S>>(static_cast<S&&>(sender));
}

}  // namespace weir
