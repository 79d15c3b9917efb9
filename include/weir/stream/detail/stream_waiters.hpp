/// Coroutines of any homes that wait for something that is guarded by one mutex.
///
/// Protocol:
///  1. A waiter is in a list (`queued`), or its outcome stands in `state` and it was woken once. Both change under the
///     mutex of the list's owner only.
///  2. Who takes a waiter out of the list under the mutex wakes it: by `StreamWaitList::wake_*`, or by its own cancel.
///  3. The mutex outlives the waiter: what is awaited owns a share of the owner.
#pragma once

#include <coroutine>
#include <mutex>
#include <utility>

#include <weir/core/cancel_scope.hpp>
#include <weir/core/error.hpp>
#include <weir/core/promise.hpp>
#include <weir/core/wake_list.hpp>

namespace weir::detail {

class StreamWaitList;

class StreamWaiter : public Cancellable {
 public:
  void attach(Promise& promise) {
    if (promise.scope().cancelled()) throw Error(Errc::cancelled);
    promise_ = &promise;
  }
  /// Queued: somebody wakes it. Otherwise it was done at once, and gives up its turn.
  void await_suspend(std::coroutine_handle<>) noexcept {
    if (!waited_) promise_->home().resume_here(promise_->resumable());
  }

 protected:
  StreamWaiter(std::mutex& mutex, StreamWaitList& list, const Kind& kind) noexcept
      : Cancellable(kind), mutex_(mutex), list_(list) {}
  ~StreamWaiter() { leave(); }

  /// Leaves the list, if it is destroyed while it waits. Who owns a share of the list's owner does it before giving
  /// that up.
  void leave() noexcept;

  /// Under the mutex: waits for a wake.
  void wait_locked() noexcept;
  [[nodiscard]] bool spend() noexcept { return promise_->home().spend(); }
  /// On resumption: throws when it was cancelled.
  void resumed() {
    unlink();
    waited_ = false;
    if (state_ == Stage::cancelled) throw Error(Errc::cancelled);
  }
  static void cancel(Cancellable& self) noexcept;

 private:
  friend class StreamWaitList;
  enum class Stage : unsigned char { ready, queued, woken, cancelled };

  std::mutex& mutex_;
  StreamWaitList& list_;
  Promise* promise_ = nullptr;
  StreamWaiter* prev_ = nullptr;
  StreamWaiter* next_ = nullptr;
  Stage state_ = Stage::ready;
  // Its home's own: while it suspends, another thread may be writing `state_`.
  bool waited_ = false;
};

/// First come, first served. Everything under the owner's mutex.
class StreamWaitList {
 public:
  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }

  /// Wakes the one that waits longest: false if there is none.
  bool wake_one(WakeList& wakes) noexcept {
    StreamWaiter* const waiter = first_;
    if (!waiter) return false;
    remove(*waiter);
    waiter->state_ = StreamWaiter::Stage::woken;
    wakes.add(waiter->promise_->home(), waiter->promise_->resumable());
    return true;
  }
  void wake_all(WakeList& wakes) noexcept {
    while (wake_one(wakes)) {
    }
  }

 private:
  friend class StreamWaiter;

  void push(StreamWaiter& waiter) noexcept {
    waiter.prev_ = last_;
    waiter.next_ = nullptr;
    (last_ ? last_->next_ : first_) = &waiter;
    last_ = &waiter;
  }
  void remove(StreamWaiter& waiter) noexcept {
    (waiter.prev_ ? waiter.prev_->next_ : first_) = waiter.next_;
    (waiter.next_ ? waiter.next_->prev_ : last_) = waiter.prev_;
  }

  StreamWaiter* first_ = nullptr;
  StreamWaiter* last_ = nullptr;
};

inline void StreamWaiter::leave() noexcept {
  if (!std::exchange(waited_, false)) return;
  const std::lock_guard lock(mutex_);
  if (state_ == Stage::queued) list_.remove(*this);
}

inline void StreamWaiter::wait_locked() noexcept {
  waited_ = true;
  state_ = Stage::queued;
  list_.push(*this);
  promise_->scope().link(*this);
}

inline void StreamWaiter::cancel(Cancellable& self) noexcept {
  auto& waiter = static_cast<StreamWaiter&>(self);
  {
    const std::lock_guard lock(waiter.mutex_);
    if (waiter.state_ != Stage::queued) return;
    waiter.list_.remove(waiter);
    waiter.state_ = Stage::cancelled;
  }
  waiter.promise_->home().resume_here(waiter.promise_->resumable());
}

}  // namespace weir::detail
