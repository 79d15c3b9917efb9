/// `WakeList`: what is woken under a lock, and posted after it.
#pragma once

#include <weir/core/home.hpp>

namespace weir {

/// What is woken under a lock and posted after it: declare it before the lock, so that it is destroyed after. Waking
/// under the lock means that who is destroyed under the same lock knows whether it is still waited for; posting after
/// it keeps the executor's own locks out. Homes are posted in the order in which they were woken, then what was
/// deferred fires. Allocates nothing. One thread.
class WakeList {
 public:
  /// Something else to be done after the lock: linked in by `add`, called once by the destructor.
  struct Deferred {
    Deferred* next = nullptr;
    void (*fire)(Deferred& self) noexcept = nullptr;
  };

  WakeList() = default;
  /// What is woken may be run right after `by`, which runs the waking operation, if it is not null.
  explicit WakeList(Home* by) noexcept : by_(by) {}
  WakeList(const WakeList&) = delete;
  WakeList& operator=(const WakeList&) = delete;
  ~WakeList() {
    if (homes_ || deferred_) [[unlikely]]
      flush();
  }

  void add(Home& home, Resumable& r) noexcept {
    if (by_ && by_->wake_along(home, r)) return;
    if (!home.enqueue(r)) return;
    home.wake_next_ = nullptr;
    *homes_end_ = &home;
    homes_end_ = &home.wake_next_;
  }
  void add(Deferred& d) noexcept {
    d.next = nullptr;
    *deferred_end_ = &d;
    deferred_end_ = &d.next;
  }
  void flush() noexcept;

 private:
  Home* by_ = nullptr;
  Home* homes_ = nullptr;
  Home** homes_end_ = &homes_;
  Deferred* deferred_ = nullptr;
  Deferred** deferred_end_ = &deferred_;
};

inline void WakeList::flush() noexcept {
  while (homes_) {
    Home* const home = homes_;
    homes_ = home->wake_next_;
    home->submit();
  }
  homes_end_ = &homes_;
  while (deferred_) {
    Deferred* const d = deferred_;
    deferred_ = d->next;
    d->fire(*d);
  }
  deferred_end_ = &deferred_;
}

}  // namespace weir
