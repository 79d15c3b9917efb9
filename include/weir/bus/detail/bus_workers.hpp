/// The workers of a bus: places that are lent and given back, those that are idle, and who is told. Parts of `BusCore`:
/// see bus_core.hpp, whose rules they keep.
#pragma once

#include <weir/bus/detail/bus_core.hpp>

namespace weir::detail {

template <class Order>
void BusCore<Order>::add(BusWorker& worker) noexcept {
  const std::lock_guard lock(mutex);
  worker.next = workers_;
  if (workers_) workers_->prev = &worker;
  workers_ = &worker;
}

template <class Order>
void BusCore<Order>::remove(BusWorker& worker) noexcept {
  BusAfter after;
  prepare(after);
  const std::lock_guard lock(mutex);
  (worker.prev ? worker.prev->next : workers_) = worker.next;
  if (worker.next) worker.next->prev = worker.prev;
  if (worker.idle) leave_idle(worker);
  if (worker.waking) --waking_;
  if (runner_ == &worker) recall();
  if (worker.record) end(worker, EventOutcome::discarded, after);
  distribute(after);
}

template <class Order>
BusWait BusCore<Order>::begin_wait(BusWaiter& waiter, bool worker_made, BusAfter& after) noexcept {
  const BusWait wait = lend(waiter, worker_made);
  if (wait == BusWait::waits && waiter.lender) distribute(after);
  return wait;
}

template <class Order>
void BusCore<Order>::distribute(BusAfter& after) noexcept {
  for (std::size_t i = 0; i < Order::classes; ++i) {
    if (classes_[i].publishers.first) give_room(i, {}, after);
  }
  grant_places(after);
  wake_idle(after);
}

template <class Order>
BusWait BusCore<Order>::lend(BusWaiter& waiter, bool worker_made) noexcept {
  waiter.lender = BusWorker::at(*waiter.home, this);
  if (!waiter.lender || waiter.lender->lent) return BusWait::waits;
  if (lent_ >= options_.nested && waiter.lender->batches == 0) return BusWait::refused;
  if (!idle_ && !worker_made) return BusWait::needs_worker;
  ++lent_;
  waiter.lender->lent = true;
  give_place(*waiter.lender);
  return BusWait::waits;
}

template <class Order>
void BusCore<Order>::tell(BusWaiter& waiter, BusAfter& after) noexcept {
  if (!waiter.lender) {
    after.wakes.add(*waiter.home, *waiter.resumable);
    return;
  }
  waiter.for_place = true;
  returning_.push(waiter);
  grant_places(after);
}

template <class Order>
void BusCore<Order>::grant_places(BusAfter& after) noexcept {
  BusWaiter* next = returning_.first;
  while (BusWaiter* const waiter = next) {
    next = waiter->next;
    // Another branch of the same handler may have it already.
    if (waiter->lender->lent) {
      if (!has_place_for(waiter->lender->place_index)) continue;
      take_place(*waiter->lender);
      waiter->lender->lent = false;
      --lent_;
    }
    forget_place(*waiter);
    after.wakes.add(*waiter->home, *waiter->resumable);
  }
}

template <class Order>
void BusCore<Order>::wake_idle(BusAfter& after) noexcept {
  while (idle_ && waking_ < queue_.size() && places_.taken() + waking_ < places_.count()) {
    BusWorker& worker = *idle_;
    leave_idle(worker);
    worker.waking = true;
    ++waking_;
    after.wakes.add(*worker.home, *worker.resumable);
  }
}

template <class Order>
void BusCore<Order>::wake_all_idle(BusAfter& after) noexcept {
  while (BusWorker* const worker = idle_) {
    leave_idle(*worker);
    after.wakes.add(*worker->home, *worker->resumable);
  }
}

template <class Order>
void BusCore<Order>::leave_idle(BusWorker& worker) noexcept {
  BusWorker** link = &idle_;
  while (*link != &worker) link = &(*link)->next_idle;
  *link = worker.next_idle;
  worker.idle = false;
  --idle_count_;
}

template <class Order>
std::size_t BusCore<Order>::waiting_publishers() const noexcept {
  std::size_t count = 0;
  for (const Class& c : classes_) count += c.publishers.first != nullptr;
  return count;
}

}  // namespace weir::detail
