/// Waiting for a time: `sleep_for`, `sleep_until`, `Timer`; and `yield` and `yield_when_due`, which wait for nothing
/// but their turn.
///
/// All of it goes through the `TimeService` of the execution context, and so follows the simulator's clock. A wait
/// allocates nothing; it costs one lock and a place in the queue of deadlines, O(log n) amortised.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <utility>

#include <weir/core/promise.hpp>
#include <weir/core/time_service.hpp>

namespace weir {
namespace detail {

/// `duration` in the clock's ticks, rounded up, and no further than a deadline that never comes.
template <class Rep, class Period>
[[nodiscard]] constexpr TimeService::Duration clock_duration(std::chrono::duration<Rep, Period> duration) noexcept {
  using Limit = std::chrono::duration<double, TimeService::Duration::period>;
  if (Limit(duration) >= Limit(TimeService::Duration::max())) return TimeService::Duration::max();
  if (Limit(duration) <= Limit(TimeService::Duration::zero())) return TimeService::Duration::zero();
  return std::chrono::ceil<TimeService::Duration>(duration);
}

/// One suspension until a time, or until it is cancelled. Movable until it is attached.
class TimeWait : public Cancellable {
 public:
  explicit TimeWait(const Kind& kind) noexcept : Cancellable(kind) {}
  TimeWait(const TimeWait&) = delete;
  TimeWait& operator=(const TimeWait&) = delete;
  ~TimeWait() { settle(); }

  void attach(Promise& promise) {
    if (promise.scope().cancelled()) throw Error(Errc::cancelled);
    promise_ = &promise;
    service_ = &asio::use_service<TimeService>(promise.home().context());
  }
  [[nodiscard]] bool await_ready() const noexcept { return false; }

  [[nodiscard]] TimeService& service() const noexcept { return *service_; }
  [[nodiscard]] Promise& promise() const noexcept { return *promise_; }

  /// Suspended: wakes at `when`, and lets others run first even if that has passed.
  void start(TimeService::TimePoint when) {
    if (when <= service_->now()) {
      promise_->home().resume_later(promise_->resumable());
      return;
    }
    deadline_.when = when;
    deadline_.home = &promise_->home();
    deadline_.resumable = &promise_->resumable();
    service_->add(deadline_);
    waiting_ = true;
    promise_->scope().link(*this);
  }

  /// Wakes it now, to throw. False: its time had come before, or it does not wait.
  bool abort() noexcept {
    if (!waiting_ || !service_->remove(deadline_)) return false;
    waiting_ = false;
    aborted_ = true;
    promise_->home().resume_here(promise_->resumable());
    return true;
  }

  /// Moves the time of one that still waits.
  void move_to(TimeService::TimePoint when) {
    if (!waiting_ || !service_->remove(deadline_)) return;
    waiting_ = false;
    unlink();
    start(when);
  }

  void finish() {
    settle();
    unlink();
    if (aborted_) throw Error(Errc::cancelled);
  }

 private:
  void settle() noexcept {
    // Not linked any more: it fired, and the home has woken the coroutine, or is dead and never will.
    if (std::exchange(waiting_, false)) service_->remove(deadline_);
  }

  Promise* promise_ = nullptr;
  TimeService* service_ = nullptr;
  TimeService::Deadline deadline_;
  bool waiting_ = false;
  bool aborted_ = false;
};

class SleepAwaiter final : public TimeWait {
 public:
  explicit SleepAwaiter(TimeService::Duration delay) noexcept : TimeWait(sleep_kind()), delay_(delay) {}
  explicit SleepAwaiter(TimeService::TimePoint when) noexcept : TimeWait(sleep_kind()), when_(when), absolute_(true) {}
  SleepAwaiter(SleepAwaiter&& other) noexcept
      : TimeWait(sleep_kind()), delay_(other.delay_), when_(other.when_), absolute_(other.absolute_) {}

  void await_suspend(std::coroutine_handle<>) { start(absolute_ ? when_ : service().after(delay_)); }
  void await_resume() { finish(); }

 private:
  static const Kind& sleep_kind() noexcept {
    static constexpr Kind kind{[](Cancellable& self) noexcept { static_cast<SleepAwaiter&>(self).abort(); }, nullptr,
                               "sleep"};
    return kind;
  }

  TimeService::Duration delay_{};
  TimeService::TimePoint when_{};
  bool absolute_ = false;
};

class YieldAwaiter {
 public:
  YieldAwaiter() = default;

  void attach(Promise& promise) {
    if (promise.scope().cancelled()) throw Error(Errc::cancelled);
    promise_ = &promise;
  }
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<>) noexcept {
    Home& home = promise_->home();
    home.look_at_time();
    // `resume_here` would go ahead of what was posted to the home before.
    home.resume_later(promise_->resumable());
  }
  void await_resume() const noexcept {}

 protected:
  Promise* promise_ = nullptr;
};

class YieldWhenDueAwaiter : public YieldAwaiter {
 public:
  [[nodiscard]] bool await_ready() const noexcept {
    Home& home = promise_->home();
    home.look_at_time();
    return home.spend();
  }
};

}  // namespace detail

/// Suspends for at least `duration` from when it is awaited; zero or less lets others run once. Resumes on the home of
/// the coroutine that awaits. Throws `Error(Errc::cancelled)` when its scope is cancelled before the time has come.
template <class Rep, class Period>
[[nodiscard]] AwaitableOf<void> auto sleep_for(std::chrono::duration<Rep, Period> duration) noexcept {
  return detail::SleepAwaiter(detail::clock_duration(duration));
}

/// The same until a time of `TimeService::Clock`, as `this_task::now()` gives it.
[[nodiscard]] inline AwaitableOf<void> auto sleep_until(TimeService::TimePoint when) noexcept {
  return detail::SleepAwaiter(when);
}

/// Lets everything else that is ready on this home run first, and, when the home has had its turn (see `TurnOptions`),
/// other homes too. Throws `Error(Errc::cancelled)` if the scope is cancelled already: a loop that yields can be
/// cancelled.
[[nodiscard]] inline AwaitableOf<void> auto yield() noexcept { return detail::YieldAwaiter(); }

/// The same, but only when the home has had its turn; otherwise it goes on at once, for some 10 ns: for loops that
/// compute, each time round.
[[nodiscard]] inline AwaitableOf<void> auto yield_when_due() noexcept { return detail::YieldWhenDueAwaiter(); }

/// A time that can be moved while others wait for it. It belongs to one root: all of its functions, its destructor
/// included, are called by the coroutines of the root that waits, which run one at a time; to stop a wait from
/// elsewhere, cancel a token (`with_cancellation`). A new timer has expired already.
class Timer {
 public:
  class WaitAwaiter;

  /// A timer of the context behind `source`, such as `co_await this_task::executor()`.
  template <ExecutorSource E>
    requires(!std::same_as<std::remove_cvref_t<E>, Timer>)
  explicit Timer(E&& source)
      : service_(asio::use_service<TimeService>(context_of(executor_of(static_cast<E&&>(source))))) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  /// Wakes those that wait, with `Errc::cancelled`.
  ~Timer();

  /// Moves the expiry. Those that wait go on waiting, for the new time; one whose time had come already is not held
  /// back.
  void expires_at(TimeService::TimePoint when);
  template <class Rep, class Period>
  void expires_after(std::chrono::duration<Rep, Period> duration) {
    expires_at(service_.after(detail::clock_duration(duration)));
  }
  [[nodiscard]] TimeService::TimePoint expiry() const noexcept { return expiry_; }

  /// Wakes those that wait, with `Errc::cancelled`, and says how many. The expiry stays.
  std::size_t cancel() noexcept;

  /// Suspends until the expiry; if that has passed, only lets others run. Any number of coroutines of one root may
  /// wait; `Error(Errc::invalid_argument)` for one of a second root. Throws `Error(Errc::cancelled)` when the timer or
  /// the scope is cancelled first.
  [[nodiscard]] WaitAwaiter wait() noexcept;

 private:
  void enlist(WaitAwaiter& waiter) noexcept;
  void delist(WaitAwaiter& waiter) noexcept;

  TimeService& service_;
  TimeService::TimePoint expiry_ = TimeService::TimePoint::min();
  WaitAwaiter* first_ = nullptr;
};

class Timer::WaitAwaiter final : public detail::TimeWait {
 public:
  explicit WaitAwaiter(Timer& timer) noexcept : TimeWait(wait_kind()), timer_(&timer) {}
  WaitAwaiter(WaitAwaiter&& other) noexcept : TimeWait(wait_kind()), timer_(other.timer_) {}
  ~WaitAwaiter() { leave(); }

  void attach(Promise& promise) {
    TimeWait::attach(promise);
    if (timer_->first_ && &timer_->first_->promise().home() != &promise.home()) {
      throw Error(Errc::invalid_argument, "a Timer is waited for by one root at a time");
    }
    if (&timer_->service_ != &service()) {
      throw Error(Errc::invalid_argument, "a Timer is waited for in the execution context that it was made for");
    }
  }
  void await_suspend(std::coroutine_handle<>) {
    start(timer_->expiry_);
    timer_->enlist(*this);
    listed_ = true;
  }
  void await_resume() {
    leave();
    finish();
  }

 private:
  friend class Timer;

  static const Kind& wait_kind() noexcept {
    static constexpr Kind kind{[](Cancellable& self) noexcept { static_cast<WaitAwaiter&>(self).abort(); }, nullptr,
                               "timer"};
    return kind;
  }

  void leave() noexcept {
    if (std::exchange(listed_, false)) timer_->delist(*this);
  }

  Timer* timer_;
  WaitAwaiter* prev_ = nullptr;
  WaitAwaiter* next_ = nullptr;
  bool listed_ = false;
};

inline Timer::~Timer() {
  cancel();
  for (WaitAwaiter* waiter = first_; waiter; waiter = waiter->next_) waiter->listed_ = false;
}

inline void Timer::expires_at(TimeService::TimePoint when) {
  expiry_ = when;
  for (WaitAwaiter* waiter = first_; waiter; waiter = waiter->next_) waiter->move_to(when);
}

inline std::size_t Timer::cancel() noexcept {
  std::size_t count = 0;
  for (WaitAwaiter* waiter = first_; waiter; waiter = waiter->next_) {
    if (!waiter->abort()) continue;
    waiter->unlink();
    ++count;
  }
  return count;
}

inline Timer::WaitAwaiter Timer::wait() noexcept { return WaitAwaiter(*this); }

inline void Timer::enlist(WaitAwaiter& waiter) noexcept {
  waiter.next_ = first_;
  if (first_) first_->prev_ = &waiter;
  first_ = &waiter;
}

inline void Timer::delist(WaitAwaiter& waiter) noexcept {
  if (waiter.prev_) {
    waiter.prev_->next_ = waiter.next_;
  } else {
    first_ = waiter.next_;
  }
  if (waiter.next_) waiter.next_->prev_ = waiter.prev_;
  waiter.prev_ = waiter.next_ = nullptr;
}

}  // namespace weir
