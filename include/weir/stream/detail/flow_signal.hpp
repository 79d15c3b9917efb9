/// What a flow waits with that waits for several things at once: its children and the time.
#pragma once

#include <cassert>
#include <coroutine>
#include <utility>

#include <weir/core/promise.hpp>
#include <weir/core/time_service.hpp>

namespace weir::detail {

/// A flag that one coroutine waits for. All of it happens on one home. `waiter_` is the one that waits and has not been
/// woken: who wakes it, takes it out.
class FlowSignal {
 public:
  class Wait;

  FlowSignal() = default;
  FlowSignal(FlowSignal&& other) noexcept : raised_(other.raised_) {}
  FlowSignal& operator=(FlowSignal&&) = delete;

  void raise() noexcept;
  void lower() noexcept { raised_ = false; }

  /// Suspends until it is raised; not at all if it is. Throws `Errc::cancelled`.
  [[nodiscard]] Wait wait() noexcept;

 private:
  bool raised_ = false;
  Wait* waiter_ = nullptr;
};

class [[nodiscard]] FlowSignal::Wait final : public Cancellable {
 public:
  explicit Wait(FlowSignal& signal) noexcept : Cancellable(kind), signal_(signal) {}
  ~Wait() {
    if (signal_.waiter_ == this) signal_.waiter_ = nullptr;
  }

  void attach(Promise& promise) {
    if (promise.scope().cancelled()) throw Error(Errc::cancelled);
    promise_ = &promise;
  }
  [[nodiscard]] bool await_ready() const noexcept { return signal_.raised_; }
  void await_suspend(std::coroutine_handle<>) noexcept {
    promise_->scope().link(*this);
    signal_.waiter_ = this;
  }
  void await_resume() {
    unlink();
    if (cancelled_) throw Error(Errc::cancelled);
  }

 private:
  friend class FlowSignal;

  void wake() noexcept {
    signal_.waiter_ = nullptr;
    promise_->home().resume_here(promise_->resumable());
  }
  static void cancel(Cancellable& self) noexcept {
    auto& wait = static_cast<Wait&>(self);
    if (wait.signal_.waiter_ != &wait) return;
    wait.cancelled_ = true;
    wait.wake();
  }
  static constexpr Kind kind{&cancel, nullptr, "a flow's next value"};

  FlowSignal& signal_;
  Promise* promise_ = nullptr;
  bool cancelled_ = false;
};

inline void FlowSignal::raise() noexcept {
  raised_ = true;
  if (waiter_) waiter_->wake();
}
inline FlowSignal::Wait FlowSignal::wait() noexcept { return Wait(*this); }

/// A signal that a time raises, too. Its deadline stays set from one wait to the next, and also when the time is put
/// off: it wakes in vain then, once, which costs less than to move it for each value. Movable until it is opened.
class FlowAlarm : public FlowSignal {
 public:
  using TimePoint = TimeService::TimePoint;

  FlowAlarm() = default;
  FlowAlarm(FlowAlarm&& other) noexcept : FlowSignal(std::move(other)) { assert(!other.service_); }
  FlowAlarm& operator=(FlowAlarm&&) = delete;
  ~FlowAlarm() { disarm(); }

  void open(Home& home) {
    service_ = &asio::use_service<TimeService>(home.context());
    wake_.alarm = this;
    wake_.callback = &on_time;
    deadline_.home = &home;
    deadline_.resumable = &wake_;
  }
  [[nodiscard]] TimeService& time() const noexcept { return *service_; }

  /// Raised at `when` or before.
  [[nodiscard]] Wait wait_until(TimePoint when) {
    if (when < (armed_ ? deadline_.when : TimePoint::max())) {
      disarm();
      deadline_.when = when;
      service_->add(deadline_);
      armed_ = true;
    }
    return wait();
  }
  void disarm() noexcept {
    if (std::exchange(armed_, false) && !service_->remove(deadline_)) deadline_.home->forget(wake_);
  }

 private:
  struct Wake : Resumable {
    FlowAlarm* alarm = nullptr;
  };

  static void on_time(Resumable& self, bool run) noexcept {
    if (!run) return;
    FlowAlarm& alarm = *static_cast<Wake&>(self).alarm;
    alarm.armed_ = false;
    alarm.raise();
  }

  TimeService* service_ = nullptr;
  bool armed_ = false;
  TimeService::Deadline deadline_;
  Wake wake_;
};

}  // namespace weir::detail
