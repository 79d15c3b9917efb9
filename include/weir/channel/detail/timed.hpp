/// A channel's operation with a deadline.
///
/// The deadline is set only when the operation waits: one that is done at once
/// does not look at the clock. When its time comes, the context's time service
/// wakes `wake_` on the home of the one that waits, which then takes the waiter
/// back as its cancellation would; who had been served before stays served.
#pragma once

#include <chrono>
#include <exception>
#include <utility>

#include <weir/channel/detail/receive_operations.hpp>
#include <weir/channel/detail/send_operations.hpp>
#include <weir/core/time_service.hpp>
#include <weir/core/timer.hpp>

namespace weir::detail {

/// When: a time, or a delay from the moment at which the operation begins to
/// wait.
class Until {
 public:
  template <class Rep, class Period>
  explicit Until(std::chrono::duration<Rep, Period> delay) noexcept : delay_(clock_duration(delay)) {}
  explicit Until(TimeService::TimePoint when) noexcept : when_(when), absolute_(true) {}

  [[nodiscard]] TimeService::TimePoint of(const TimeService& service) const noexcept {
    return absolute_ ? when_ : service.after(delay_);
  }

 private:
  TimeService::Duration delay_{};
  TimeService::TimePoint when_{};
  bool absolute_ = false;
};

/// The time at which something happens on a home, unless it is disarmed before.
/// On that home.
class Alarm : private Resumable {
 public:
  using Ring = void (*)(void* owner) noexcept;

  Alarm() noexcept = default;
  Alarm(const Alarm&) = delete;
  Alarm& operator=(const Alarm&) = delete;
  ~Alarm() { disarm(); }

  /// False: the time has passed already. Throws what `TimeService::add` does.
  [[nodiscard]] bool arm(Home& home, const Until& until, void* owner, Ring ring) {
    service_ = &asio::use_service<TimeService>(home.context());
    deadline_.when = until.of(*service_);
    if (deadline_.when <= service_->now()) return false;
    deadline_.home = &home;
    deadline_.resumable = this;
    callback = &fire;
    owner_ = owner;
    ring_ = ring;
    service_->add(deadline_);
    armed_ = true;
    return true;
  }
  void disarm() noexcept {
    if (std::exchange(armed_, false) && !service_->remove(deadline_)) deadline_.home->forget(*this);
  }

 private:
  static void fire(Resumable& self, bool run) noexcept {
    if (!run) return;
    auto& me = static_cast<Alarm&>(self);
    me.armed_ = false;
    me.ring_(me.owner_);
  }

  bool armed_ = false;
  TimeService* service_ = nullptr;
  void* owner_ = nullptr;
  Ring ring_ = nullptr;
  TimeService::Deadline deadline_;
};

template <class Inner>
class TimedAwaiter final : public Inner {
 public:
  template <class Core, class... Parts>
  TimedAwaiter(Core& core, Until until, Parts&&... parts)
      : Inner(core, static_cast<Parts&&>(parts)...), until_(until) {}

  void await_suspend(std::coroutine_handle<> handle) noexcept {
    Inner::await_suspend(handle);
    if (!this->slow()->linked()) return;
    try {
      if (!alarm_.arm(this->home(), until_, this,
                      [](void* me) noexcept { static_cast<TimedAwaiter*>(me)->expire(); })) {
        expire();
      }
    } catch (...) {
      // Whatever it was served with counts; else the caller gets this.
      if (take_back()) error_ = std::current_exception();
    }
  }
  decltype(auto) await_resume() {
    alarm_.disarm();
    if (error_ || timed_out_) [[unlikely]]
      fail();
    return Inner::await_resume();
  }
  /// Asked before `await_resume`, by who expects it as often as not: true if its time was up first. Then that is all,
  /// and nothing is thrown.
  [[nodiscard]] bool gave_up() noexcept {
    if (!timed_out_) return false;
    alarm_.disarm();
    this->slow()->resumed();
    return true;
  }

 private:
  /// False: it was served before, or cancelled.
  bool take_back() noexcept {
    auto& slow = *this->slow();
    if (!slow.linked()) return false;
    Cancellable& wait = slow;
    wait.unlink();
    wait.kind().cancel(wait);
    return slow.state == WaitState::cancelled;
  }
  [[noreturn]] void fail() {
    this->slow()->resumed();
    if (error_) std::rethrow_exception(std::move(error_));
    if constexpr (requires { this->fail_with(Errc::timed_out); }) {
      this->fail_with(Errc::timed_out);
    } else {
      throw Error(Errc::timed_out);
    }
  }
  void expire() noexcept {
    if (take_back()) timed_out_ = true;
  }

  Until until_;
  bool timed_out_ = false;
  std::exception_ptr error_;
  Alarm alarm_;
};

}  // namespace weir::detail
