/// Handlers that come and go, those that wait for their end, and what belongs to an owner. Parts of `BusCore`: see
/// bus_core.hpp, whose rules they keep.
#pragma once

#include <weir/bus/detail/bus_core.hpp>

namespace weir::detail {

template <class Order>
void BusCore<Order>::subscribe(std::unique_ptr<BusHandler> handler, TimePoint now) {
  BusAfter after;
  prepare(after);
  const std::lock_guard lock(mutex);
  recall();
  handler->order = ++last_order_;
  typename BusLastValues<Order>::Deliveries deliveries(last_values_, after);
  if (handler->wants_last_value && !closed_) deliveries.add_for(*handler, now);
  table_.add(*handler, after.handlers);
  // Counted by the table, and by the subscription that it was made for.
  handler.release();
  deliveries.enqueue();
}

template <class Order>
std::size_t BusCore<Order>::clear_last_values(std::string_view pattern) {
  check_pattern(pattern);
  BusAfter after;
  prepare(after);
  const std::lock_guard lock(mutex);
  return last_values_.clear(
      after, [pattern](const RecordBase& value) { return topic_matches(pattern, value.entry->text->view()); });
}

template <class Order>
void BusCore<Order>::unsubscribe(BusHandler& handler) noexcept {
  BusAfter after;
  prepare(after);
  const std::lock_guard lock(mutex);
  remove_handler(handler, after);
}

template <class Order>
void BusCore<Order>::release(BusHandler& handler) noexcept {
  BusAfter after;
  prepare(after);
  const std::lock_guard lock(mutex);
  remove_handler(handler, after);
  after.handlers.release(handler);
}

template <class Order>
BusWait BusCore<Order>::wait(JoinWaiter& waiter, bool worker_made) {
  BusAfter after;
  prepare(after);
  const std::lock_guard lock(mutex);
  bool called = false;
  for (const BusWorker* worker = workers_; worker; worker = worker->next) {
    if (!may_call(*worker, *waiter.handler)) continue;
    if (worker->home != waiter.home) {
      called = true;
    } else if (runs_there(*worker, *waiter.handler)) {
      throw Error(Errc::would_deadlock, "a handler cannot wait for its own end: another task has to join it");
    }
  }
  batches_.check_join(waiter);
  if (!called && waiter.handler->pins == 0) return BusWait::done;
  if (const BusWait refused = lend(waiter, worker_made); refused != BusWait::waits) return refused;
  waiter.next_waiter = joiners_;
  joiners_ = &waiter;
  waiter.waiting = true;
  joining_.fetch_add(1, std::memory_order_seq_cst);
  if (waiter.lender) distribute(after);
  return BusWait::waits;
}

template <class Order>
bool BusCore<Order>::stop_waiting(JoinWaiter& waiter) noexcept {
  BusAfter after;
  const std::lock_guard lock(mutex);
  if (!unlink(waiter)) return false;
  tell(waiter, after);
  return true;
}

template <class Order>
void BusCore<Order>::forget(JoinWaiter& waiter) noexcept {
  const std::lock_guard lock(mutex);
  unlink(waiter);
  forget_place(waiter);
}

template <class Order>
std::size_t BusCore<Order>::remove_handlers(const EventOwner& owner, BusAfter& after) noexcept {
  std::size_t count = 0;
  for (; BusHandler* const handler = table_.find(owner); ++count) remove_handler(*handler, after);
  return count;
}

template <class Order>
std::size_t BusCore<Order>::withdraw(EventOwner& owner, BusAfter& after) noexcept {
  owner.ended = true;
  for (Class& c : classes_) {
    for (BusWaiter* next = c.publishers.first; next;) {
      auto& p = static_cast<Publisher&>(*next);
      next = next->next;
      if (p.batch) {
        const OwnedEvent* const first = p.batch->events.front().owned();
        if (!first || first->owner != &owner) continue;
        batches_.stop_waiting(*p.batch, Errc::bus_closed, after);
        next = c.publishers.first;
        continue;
      }
      const OwnedEvent* const owned = p.draft->event->owned();
      if (!owned || owned->owner != &owner) continue;
      c.publishers.remove(p);
      p.for_room = false;
      p.error = Errc::bus_closed;
      tell(p, after);
    }
  }
  std::size_t count = 0;
  for (; OwnedEvent* const owned = owner.first_event; ++count) {
    end_queued(static_cast<Record&>(*owned->record), EventOutcome::discarded, after);
  }
  last_values_.clear(after, [&owner](RecordBase& value) {
    const OwnedEvent* const owned = value.event.owned();
    return owned && owned->owner == &owner;
  });
  distribute(after);
  return count;
}

template <class Order>
template <class Visit>
void BusCore<Order>::for_each_running(Visit&& visit) const {
  for (const BusWorker* worker = workers_; worker; worker = worker->next) {
    if (worker->record) visit(*worker);
  }
}

template <class Order>
template <class Visit>
void BusCore<Order>::for_each_running(const EventOwner& owner, Visit&& visit) const {
  for_each_running([&](const BusWorker& worker) {
    if (worker.event_owner == &owner) visit(worker.id, worker.entry->text->view(), worker.started);
  });
}

template <class Order>
void BusCore<Order>::interrupt(const EventOwner& owner) noexcept {
  {
    BusAfter after;
    const std::lock_guard lock(mutex);
    for (BusWorker* worker = workers_; worker; worker = worker->next) {
      if (worker->record && worker->event_owner == &owner) interrupt(*worker, after);
    }
  }
  tell_running(&owner);
}

template <class Order>
bool BusCore<Order>::unlink(JoinWaiter& waiter) noexcept {
  if (!std::exchange(waiter.waiting, false)) return false;
  joining_.fetch_sub(1, std::memory_order_relaxed);
  JoinWaiter** link = &joiners_;
  while (*link != &waiter) link = &(*link)->next_waiter;
  *link = waiter.next_waiter;
  return true;
}

template <class Order>
void BusCore<Order>::remove_handler(BusHandler& handler, BusAfter& after) noexcept {
  if (handler.gone.exchange(true, std::memory_order_seq_cst)) return;
  recall();
  table_.remove(handler, after.handlers);
  if (handler.wants_last_value && last_values_.withdraw(handler, after)) distribute(after);
}

template <class Order>
bool BusCore<Order>::may_call(const BusWorker& worker, const BusHandler& handler) noexcept {
  if (!worker.record) return false;
  const auto& list = worker.handlers->list;
  const auto found = std::find(list.begin(), list.end(), &handler);
  if (found == list.end()) return false;
  const auto place = static_cast<std::size_t>(found - list.begin());
  const std::size_t position = worker.position.load(std::memory_order_seq_cst);
  if (position >= place) return position == place;
  return !list[position]->is_coroutine || list[position]->runs_beside(handler);
}

template <class Order>
bool BusCore<Order>::runs_there(const BusWorker& worker, const BusHandler& handler) noexcept {
  const BusHandler* const running = worker.handlers->list[worker.position.load(std::memory_order_relaxed)];
  return running == &handler || running->runs_beside(handler);
}

template <class Order>
void BusCore<Order>::wake_joiners(BusAfter& after) noexcept {
  JoinWaiter** link = &joiners_;
  while (JoinWaiter* const waiter = *link) {
    bool called = waiter->handler->pins != 0;
    for (const BusWorker* worker = workers_; worker && !called; worker = worker->next) {
      called = worker->home != waiter->home && may_call(*worker, *waiter->handler);
    }
    if (called) {
      link = &waiter->next_waiter;
      continue;
    }
    *link = waiter->next_waiter;
    waiter->waiting = false;
    joining_.fetch_sub(1, std::memory_order_relaxed);
    tell(*waiter, after);
  }
}

template <class Order>
void BusCore<Order>::interrupt(BusWorker& worker, BusAfter& after) noexcept {
  if (!worker.cut_off(Errc::cancelled)) return;
  worker.interrupt_pending = true;
  after.wakes.add(*worker.home, worker.interrupt);
}

}  // namespace weir::detail
