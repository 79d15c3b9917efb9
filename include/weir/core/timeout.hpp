/// `with_timeout` and `with_deadline`: a task that is cancelled when its time is up.
#pragma once

#include <chrono>
#include <optional>
#include <system_error>
#include <utility>

#include <weir/core/task.hpp>
#include <weir/core/timer.hpp>

namespace weir {
namespace detail {

/// Runs a task in a scope of its own that a deadline cancels. Movable until it is attached.
template <class T>
class TimeoutAwaiter final {
 public:
  TimeoutAwaiter(TimeService::Duration delay, Task<T>&& task) noexcept : delay_(delay), task_(std::move(task)) {}
  TimeoutAwaiter(TimeService::TimePoint when, Task<T>&& task) noexcept
      : when_(when), absolute_(true), task_(std::move(task)) {}
  TimeoutAwaiter(TimeoutAwaiter&& other) noexcept
      : delay_(other.delay_), when_(other.when_), absolute_(other.absolute_), task_(std::move(other.task_)) {}
  TimeoutAwaiter& operator=(TimeoutAwaiter&&) = delete;
  ~TimeoutAwaiter() { disarm(); }

  void attach(Promise& parent) {
    if (!task_) throw Error(Errc::task_consumed);
    scope_.emplace(parent.scope());
    service_ = &asio::use_service<TimeService>(parent.home().context());
    wake_.awaiter = this;
    wake_.callback = &on_time;
    deadline_.home = &parent.home();
    deadline_.resumable = &wake_;
    deadline_.when = absolute_ ? when_ : service_->after(delay_);
    if (deadline_.when <= service_->now()) {
      expire();
    } else if (!scope_->cancelled()) {
      service_->add(deadline_);
      armed_ = true;
    }
    task_.handle().promise().place(parent.home(), *scope_, &parent.resumable());
  }
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<>) noexcept {
    Promise& child = task_.handle().promise();
    child.home().resume_next(child.resumable());
  }
  T await_resume() {
    disarm();
    if (!expired_) return task_.handle().promise().result().get();
    try {
      return task_.handle().promise().result().get();
    } catch (const std::system_error& error) {
      if (!is_cancellation(error.code())) throw;
    }
    throw Error(Errc::timed_out);
  }

 private:
  struct Wake : Resumable {
    TimeoutAwaiter* awaiter = nullptr;
  };

  static void on_time(Resumable& self, bool run) noexcept {
    if (run) static_cast<Wake&>(self).awaiter->expire();
  }

  void expire() noexcept {
    armed_ = false;
    // Cancelled from above before: then that is what happened to the task.
    if (scope_->cancelled()) return;
    expired_ = true;
    scope_->cancel(Errc::timed_out);
  }

  void disarm() noexcept {
    if (!std::exchange(armed_, false)) return;
    if (!service_->remove(deadline_)) deadline_.home->forget(wake_);
  }

  TimeService::Duration delay_{};
  TimeService::TimePoint when_{};
  bool absolute_ = false;
  bool armed_ = false;
  bool expired_ = false;
  TimeService* service_ = nullptr;
  TimeService::Deadline deadline_;
  Wake wake_;
  std::optional<CancelScope> scope_;
  Task<T> task_;
};

}  // namespace detail

/// Runs `task` (or anything awaitable) and gives what it gives. When `duration` has passed since it was awaited, the
/// task is cancelled, and joined: what it does about that is waited for. Then:
///  - it completed all the same: its value, as completed beats timed out;
///  - it threw a cancellation, its own or Asio's: `Error(Errc::timed_out)`;
///  - it threw something else: that.
/// A task that is cancelled from above before its time throws its cancellation. Zero or less: the task starts, in a
/// scope that is cancelled already. Resumes on the home of the one that awaits. Allocates nothing but the task (a frame
/// for an awaitable that is no task).
template <class Rep, class Period, Awaitable A>
  requires(!std::is_lvalue_reference_v<A>)
[[nodiscard]] auto with_timeout(std::chrono::duration<Rep, Period> duration, A&& task) {
  auto owned = into_task(std::move(task));
  using T = typename decltype(owned)::value_type;
  return detail::TimeoutAwaiter<T>(detail::clock_duration(duration), std::move(owned));
}

/// The same with a time of `TimeService::Clock`, as `this_task::now()` gives it: for several tasks that share one.
template <Awaitable A>
  requires(!std::is_lvalue_reference_v<A>)
[[nodiscard]] auto with_deadline(TimeService::TimePoint when, A&& task) {
  auto owned = into_task(std::move(task));
  using T = typename decltype(owned)::value_type;
  return detail::TimeoutAwaiter<T>(when, std::move(owned));
}

}  // namespace weir
