/// How events and the bus are brought to an end: tickets, the drain, the abort. Parts of `BusCore`: see bus_core.hpp,
/// whose rules they keep.
#pragma once

#include <weir/bus/detail/bus_core.hpp>

namespace weir::detail {

template <class Order>
void BusCore<Order>::passed_handler(BusAfter& after) noexcept {
  if (joining_.load(std::memory_order_seq_cst) == 0) return;
  const std::lock_guard lock(mutex);
  wake_joiners(after);
}

template <class Order>
CancelResult BusCore<Order>::cancel(EventState& state) {
  std::optional<CancellationSource> source;
  {
    BusAfter after;
    prepare(after);
    const std::lock_guard lock(mutex);
    if (state.batch && state.batch->rolling_back) return {CancelAnswer::refused, {}};
    if (!state.record) {
      if (!state.outcome) return {CancelAnswer::not_found, {}};
      return {CancelAnswer::too_late, state.outcome};
    }
    if (!state.worker) {
      end_queued(static_cast<Record&>(*state.record), EventOutcome::cancelled, after);
      distribute(after);
      return {CancelAnswer::cancelled, EventOutcome::cancelled};
    }
    interrupt(*state.worker, after);
    source = state.worker->token_source();
  }
  if (source) source->cancel();
  return {CancelAnswer::signalled, {}};
}

template <class Order>
EventStateRef BusCore<Order>::find(const CancellationToken& token) {
  const std::lock_guard lock(mutex);
  EventState* found = nullptr;
  const auto look = [&](EventState* state) {
    if (state && state->source && state->source->token() == token) found = state;
  };
  queue_.for_each([&](Record& record) { look(record.state); });
  for (auto& [name, keyed] : keys_) {
    for (EventLink* link = keyed.ends.next; link != &keyed.ends; link = link->next) look(as_record(*link).state);
  }
  for (const BusWorker* worker = workers_; worker; worker = worker->next) look(worker->state);
  if (!found) return {};
  found->retain();
  return EventStateRef(found);
}

template <class Order>
BusWait BusCore<Order>::wait(EventState& state, OutcomeWaiter& waiter, bool worker_made) {
  BusAfter after;
  prepare(after);
  const std::lock_guard lock(mutex);
  if (state.outcome || (waiter.for_reply && state.answered)) return BusWait::done;
  if (const BusWait refused = lend(waiter, worker_made); refused != BusWait::waits) return refused;
  waiter.next_waiter = state.waiters;
  state.waiters = &waiter;
  waiter.waiting = true;
  if (waiter.lender) distribute(after);
  return BusWait::waits;
}

template <class Order>
void BusCore<Order>::answer(EventState& state) noexcept {
  BusAfter after;
  const std::lock_guard lock(mutex);
  state.answered = true;
  for (OutcomeWaiter** link = &state.waiters; *link;) {
    OutcomeWaiter* const waiter = *link;
    if (!waiter->for_reply) {
      link = &waiter->next_waiter;
      continue;
    }
    *link = waiter->next_waiter;
    waiter->waiting = false;
    tell(*waiter, after);
  }
}

template <class Order>
bool BusCore<Order>::stop_waiting(EventState& state, OutcomeWaiter& waiter) noexcept {
  BusAfter after;
  const std::lock_guard lock(mutex);
  if (!unlink(state, waiter)) return false;
  tell(waiter, after);
  return true;
}

template <class Order>
void BusCore<Order>::forget(EventState& state, OutcomeWaiter& waiter) noexcept {
  const std::lock_guard lock(mutex);
  unlink(state, waiter);
  forget_place(waiter);
}

template <class Order>
void BusCore<Order>::begin_drain() noexcept {
  const std::lock_guard lock(mutex);
  draining_ = true;
}

template <class Order>
bool BusCore<Order>::wait(DrainWaiter& waiter) noexcept {
  const std::lock_guard lock(mutex);
  if (quiet()) return false;
  waiter.next = drainers_;
  if (drainers_) drainers_->prev = &waiter;
  drainers_ = &waiter;
  waiter.waiting = true;
  return true;
}

template <class Order>
bool BusCore<Order>::forget(DrainWaiter& waiter) noexcept {
  const std::lock_guard lock(mutex);
  if (!waiter.waiting) return false;
  unlink(waiter);
  return true;
}

template <class Order>
void BusCore<Order>::close() noexcept {
  BusAfter after;
  prepare(after);
  const std::lock_guard lock(mutex);
  close(after);
}

template <class Order>
DrainReport BusCore<Order>::abort() noexcept {
  DrainReport report;
  {
    BusAfter after;
    prepare(after);
    const std::lock_guard lock(mutex);
    report.complete = quiet();
    close(after);
    for (Class& c : classes_) {
      while (BusWaiter* const p = c.publishers.first) refuse(static_cast<Publisher&>(*p), Errc::bus_closed, after);
    }
    while (Record* const record = queue_.top()) {
      end_queued(*record, EventOutcome::discarded, after);
      ++report.discarded;
    }
    for (auto key = keys_.begin(); key != keys_.end();) {
      KeyedEvents& keyed = key->second;
      ++key;
      // The key goes with its last event, usually the one that runs.
      for (bool last = false; !last && !keyed.empty(); ++report.discarded) {
        last = keyed.events == 1;
        end_queued(static_cast<Record&>(*keyed.ends.next), EventOutcome::discarded, after);
      }
    }
    for (BusWorker* worker = workers_; worker; worker = worker->next) {
      if (!worker->record) continue;
      ++report.running;
      interrupt(*worker, after);
    }
    distribute(after);
  }
  tell_running();
  return report;
}

template <class Order>
BusStats BusCore<Order>::stats(std::size_t index) const {
  const std::lock_guard lock(mutex);
  return classes_[index].stats;
}

template <class Order>
BusStats BusCore<Order>::stats() const {
  const std::lock_guard lock(mutex);
  BusStats all;
  for (const Class& c : classes_) all.add(c.stats);
  all.batches = batches_.stats();
  all.last_values = last_values_.stats();
  return all;
}

template <class Order>
bool BusCore<Order>::unlink(EventState& state, OutcomeWaiter& waiter) noexcept {
  if (!std::exchange(waiter.waiting, false)) return false;
  OutcomeWaiter** link = &state.waiters;
  while (*link != &waiter) link = &(*link)->next_waiter;
  *link = waiter.next_waiter;
  return true;
}

template <class Order>
void BusCore<Order>::close(BusAfter& after) noexcept {
  recall();
  closed_ = true;
  last_values_.clear(after, [](const RecordBase&) { return true; });
  wake_all_idle(after);
}

template <class Order>
void BusCore<Order>::unlink(DrainWaiter& waiter) noexcept {
  waiter.waiting = false;
  (waiter.prev ? waiter.prev->next : drainers_) = waiter.next;
  if (waiter.next) waiter.next->prev = waiter.prev;
}

template <class Order>
void BusCore<Order>::wake_drainers(BusAfter& after) noexcept {
  if (!quiet()) return;
  while (DrainWaiter* const waiter = drainers_) {
    unlink(*waiter);
    after.wakes.add(*waiter->home, *waiter->resumable);
  }
}

template <class Order>
void BusCore<Order>::tell_running(const EventOwner* owner) noexcept {
  for (;;) {
    std::optional<CancellationSource> source;
    {
      const std::lock_guard lock(mutex);
      BusWorker* worker = workers_;
      const auto is_told = [owner](const BusWorker& w) {
        return !w.record || w.told || (owner && w.event_owner != owner);
      };
      while (worker && is_told(*worker)) worker = worker->next;
      if (!worker) return;
      worker->told = true;
      source = worker->token_source();
    }
    if (source) source->cancel();
  }
}

}  // namespace weir::detail
