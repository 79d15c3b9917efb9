/// What a flow waits with that waits for several things at once: its children and the time.
#pragma once

#include <coroutine>
#include <utility>

#include <weir/core/promise.hpp>
#include <weir/core/time_service.hpp>

namespace weir::detail {

/// A flag that one coroutine waits for, until a time at most. All of it happens on one home.
///
/// Protocol: `waiter_` is the one that waits and has not been woken. Who wakes it, takes it out; a time that has come
/// wakes it by itself, and who wakes it after that, finds its deadline gone and leaves the waking to that.
class FlowSignal {
 public:
  class Wait;

  FlowSignal() = default;
  FlowSignal(FlowSignal&& other) noexcept : raised_(other.raised_) {}
  FlowSignal& operator=(FlowSignal&&) = delete;

  void raise() noexcept;
  void lower() noexcept { raised_ = false; }

  /// Suspends until it is raised, or until `when`; not at all if either is so already. Throws `Errc::cancelled`.
  [[nodiscard]] Wait wait_until(TimeService::TimePoint when) noexcept;
  [[nodiscard]] Wait wait() noexcept;

 private:
  bool raised_ = false;
  Wait* waiter_ = nullptr;
};

class [[nodiscard]] FlowSignal::Wait final : public Cancellable {
 public:
  Wait(FlowSignal& signal, TimeService::TimePoint when) noexcept : Cancellable(kind), signal_(signal) {
    deadline_.when = when;
  }
  ~Wait() {
    if (signal_.waiter_ == this) signal_.waiter_ = nullptr;
    if (armed_) service_->remove(deadline_);
  }

  void attach(Promise& promise) {
    if (promise.scope().cancelled()) throw Error(Errc::cancelled);
    promise_ = &promise;
  }
  [[nodiscard]] bool await_ready() {
    if (signal_.raised_) return true;
    if (deadline_.when == TimeService::TimePoint::max()) return false;
    service_ = &asio::use_service<TimeService>(promise_->home().context());
    return deadline_.when <= service_->now();
  }
  void await_suspend(std::coroutine_handle<>) {
    if (service_) {
      deadline_.home = &promise_->home();
      deadline_.resumable = &promise_->resumable();
      service_->add(deadline_);
      armed_ = true;
    }
    promise_->scope().link(*this);
    signal_.waiter_ = this;
  }
  void await_resume() {
    unlink();
    if (signal_.waiter_ == this) signal_.waiter_ = nullptr;
    if (std::exchange(armed_, false)) service_->remove(deadline_);
    if (cancelled_) throw Error(Errc::cancelled);
  }

 private:
  friend class FlowSignal;

  /// False: its time has come, which wakes it.
  bool wake() noexcept {
    signal_.waiter_ = nullptr;
    if (std::exchange(armed_, false) && !service_->remove(deadline_)) return false;
    promise_->home().resume_here(promise_->resumable());
    return true;
  }

  static void cancel(Cancellable& self) noexcept {
    auto& wait = static_cast<Wait&>(self);
    if (wait.signal_.waiter_ == &wait) wait.cancelled_ = wait.wake();
  }
  static constexpr Kind kind{&cancel, nullptr, "a flow's next value"};

  FlowSignal& signal_;
  Promise* promise_ = nullptr;
  TimeService* service_ = nullptr;
  TimeService::Deadline deadline_;
  bool armed_ = false;
  bool cancelled_ = false;
};

inline void FlowSignal::raise() noexcept {
  raised_ = true;
  if (waiter_) waiter_->wake();
}
inline FlowSignal::Wait FlowSignal::wait_until(TimeService::TimePoint when) noexcept { return Wait(*this, when); }
inline FlowSignal::Wait FlowSignal::wait() noexcept { return wait_until(TimeService::TimePoint::max()); }

}  // namespace weir::detail
