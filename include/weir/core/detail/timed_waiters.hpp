/// Coroutines of any homes that wait under one mutex for their turn, or for a time, whichever comes first.
///
/// Protocol:
///  1. Whether a waiter is in the list, and its `stage_`, change under the mutex of the list only. It leaves the list
///     when it is woken or cancelled; one whose time has come stays until it is resumed and leaves by itself.
///  2. A waiter is woken once. One that has a deadline belongs to the time service until `remove` gave it back: who
///  wants
///     to wake or cancel it takes the deadline back first, and leaves it alone if it has fired.
///  3. The mutex is taken before the time service's own, never after: a deadline only wakes.
///  4. The mutex outlives the waiter, which shares the list's owner while it waits.
#pragma once

#include <coroutine>
#include <mutex>
#include <utility>

#include <weir/core/cancel_scope.hpp>
#include <weir/core/error.hpp>
#include <weir/core/promise.hpp>
#include <weir/core/time_service.hpp>
#include <weir/core/wake_list.hpp>

namespace weir::detail {

class TimedWaiter;

/// First come, first served. Everything under the owner's mutex.
class TimedWaiters {
 public:
  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
  [[nodiscard]] TimedWaiter* first() const noexcept { return first_; }

 private:
  friend class TimedWaiter;
  TimedWaiter* first_ = nullptr;
  TimedWaiter* last_ = nullptr;
};

class TimedWaiter : public Cancellable {
 public:
  void attach(Promise& promise) {
    if (promise.scope().cancelled()) throw Error(Errc::cancelled);
    promise_ = &promise;
  }

  /// The one that came after it, or null. Under the mutex.
  [[nodiscard]] TimedWaiter* next() const noexcept { return next_; }
  /// Wakes it: false if its time has come before, and so it is being woken already. Under the mutex.
  bool wake_locked(WakeList& wakes) noexcept {
    if (!take_locked(Stage::woken)) return false;
    wakes.add(promise_->home(), promise_->resumable());
    return true;
  }
  /// Gives it a time, unless it has one. Under the mutex; throws what the time service throws.
  void arm_locked(TimeService& service, TimeService::TimePoint when) {
    if (service_ || stage_ != Stage::queued) return;
    deadline_.when = when;
    deadline_.home = &promise_->home();
    deadline_.resumable = &promise_->resumable();
    service.add(deadline_);
    service_ = &service;
  }

 protected:
  explicit TimedWaiter(const Kind& kind) noexcept : Cancellable(kind) {}
  ~TimedWaiter() = default;

  enum class Stage : unsigned char { idle, queued, woken, cancelled };

  [[nodiscard]] Promise& promise() const noexcept { return *promise_; }
  [[nodiscard]] Stage stage_locked() const noexcept { return stage_; }

  /// Begins to wait. Under the mutex, on the home; the scope is not cancelled.
  void wait_locked(TimedWaiters& list) noexcept {
    list_ = &list;
    stage_ = Stage::queued;
    prev_ = list.last_;
    next_ = nullptr;
    (list.last_ ? list.last_->next_ : list.first_) = this;
    list.last_ = this;
    promise_->scope().link(*this);
  }

  /// Under the mutex: takes it out of the list if it is to be told now. False: it does not wait, or its time has come.
  bool take_locked(Stage stage) noexcept {
    if (stage_ != Stage::queued) return false;
    if (service_ && !service_->remove(deadline_)) return false;
    service_ = nullptr;
    remove_locked();
    stage_ = stage;
    return true;
  }
  /// Under the mutex: leaves for good, on resumption or when it is destroyed. True if it was still in the list.
  bool leave_locked() noexcept {
    if (stage_ != Stage::queued) return false;
    if (service_) service_->remove(deadline_);
    service_ = nullptr;
    remove_locked();
    stage_ = Stage::idle;
    return true;
  }

 private:
  void remove_locked() noexcept {
    (prev_ ? prev_->next_ : list_->first_) = next_;
    (next_ ? next_->prev_ : list_->last_) = prev_;
  }

  Promise* promise_ = nullptr;
  TimedWaiters* list_ = nullptr;
  TimedWaiter* prev_ = nullptr;
  TimedWaiter* next_ = nullptr;
  /// Set while there is a deadline to be taken back.
  TimeService* service_ = nullptr;
  TimeService::Deadline deadline_;
  Stage stage_ = Stage::idle;
};

}  // namespace weir::detail
