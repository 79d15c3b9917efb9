/// Starting events and ending them. Parts of `BusCore`: see bus_core.hpp, whose rules they keep.
#pragma once

#include <weir/bus/detail/bus_core.hpp>

namespace weir::detail {

template <class Order>
auto BusCore<Order>::take(BusWorker& worker, EventOutcome outcome, TimePoint now, BusAfter& after) noexcept -> Next {
  if (std::exchange(worker.waking, false)) --waking_;
  const std::size_t ended = worker.class_index;
  if (!worker.run.empty()) {
    end_run(worker, after, now);
  } else if (worker.record) {
    end(worker, outcome, after, now);
  }
  grant_places(after);
  bool found = start_next(worker, now, after);
  if (inbox_is_open) {
    if (found) {
      keep_inbox_open(ended, worker.class_index, after);
    } else {
      close_inbox();
      found = start_next(worker, now, after);
    }
  }
  if (found) {
    wake_idle(after);
    return Next::event;
  }
  if (closed_ || idle_count_ >= options_.workers) return Next::stop;
  worker.idle = true;
  worker.next_idle = idle_;
  idle_ = &worker;
  ++idle_count_;
  return Next::none;
}

template <class Order>
void BusCore<Order>::bury(Event& event, const std::exception_ptr& error) noexcept {
  if (!dead_letters_) return;
  last_values_.detach(event);
  if (EventOwner* const owner = event.disown()) {
    // What is a plugin's does not get into the hands of those who do not know when that goes.
    event.payload().reset();
    event.token(CancellationToken());
    event.reply_to(nullptr);
    owner->gone();
  }
  try {
    event.detach();
    DeadEvent dead(std::move(event), error);
    if (dead_letters_->try_send(std::move(dead))) return;
  } catch (...) {
  }
  lose_letter();
}

template <class Order>
void BusCore<Order>::prepare(BusAfter& after) noexcept {
  after.destroy = [](RecordBase& record) noexcept {
    EventState* const state = record.state;
    static_cast<Record&>(record).~Record();
    ::operator delete(static_cast<void*>(static_cast<Record*>(&record)));
    if (state) state->release();
  };
}

template <class Order>
std::uint64_t& BusCore<Order>::counter(BusStats& stats, EventOutcome outcome) noexcept {
  switch (outcome) {
    case EventOutcome::completed:
      return stats.completed;
    case EventOutcome::failed:
      return stats.failed;
    case EventOutcome::cancelled:
      return stats.cancelled;
    case EventOutcome::timed_out:
      return stats.timed_out;
    case EventOutcome::expired:
      return stats.expired;
    case EventOutcome::dropped:
      return stats.dropped;
    case EventOutcome::discarded:
      break;
  }
  return stats.discarded;
}

template <class Order>
void BusCore<Order>::settle(EventState& state, EventOutcome outcome, BusAfter& after) noexcept {
  state.record = nullptr;
  state.worker = nullptr;
  state.outcome = outcome;
  while (OutcomeWaiter* const waiter = state.waiters) {
    state.waiters = waiter->next_waiter;
    waiter->waiting = false;
    tell(*waiter, after);
  }
  if (state.batch) batches_.event_ended(static_cast<BatchMember&>(state), outcome, after);
}

template <class Order>
void BusCore<Order>::end_queued(Record& record, EventOutcome outcome, BusAfter& after) noexcept {
  if (record.list->aside) {
    EventList::remove(record);
  } else {
    queue_.remove(record);
  }
  end_removed(record, outcome, after);
}

template <class Order>
void BusCore<Order>::end_removed(Record& record, EventOutcome outcome, BusAfter& after) noexcept {
  Class& c = classes_[Order::class_of(record.rank())];
  --c.stats.queued;
  ++counter(c.stats, outcome);
  --record.entry->events;
  if (const auto key = record.event.key(); !key.empty()) leave_key(keys_.find(key)->second);
  if (record.state && record.state->delivery) last_values_.drop(*record.state, after);
  if (record.state) settle(*record.state, outcome, after);
  if (OwnedEvent* const owned = record.event.owned()) owned->owner->leave(*owned, after);
  record.next = after.dead;
  after.dead = &record;
  if (--pending_ == 0) wake_drainers(after);
}

template <class Order>
bool BusCore<Order>::start_next(BusWorker& worker, TimePoint now, BusAfter& after) noexcept {
  while (places_.has(false) && !queue_.empty()) {
    const auto takes = [this](const Record& r) { return has_place_for(Order::class_of(r.rank())); };
    Record* record = queue_.top();
    if (options_.quota != 0 && since_oldest_ >= options_.quota) {
      record = queue_.find_oldest(takes);
    } else if (!takes(*record)) {
      record = queue_.find(takes);
    }
    if (!record) return false;
    const std::size_t place = Order::class_of(record->rank());
    Record* const chosen = record;
    if (record->entry->deliveries != 0) record = &last_values_.first_before(*record);
    queue_.remove(*record);
    if (!record->event.key().empty() && !claim_key(*record)) continue;
    const std::size_t index = Order::class_of(record->rank());
    if (is_over(*record, now, after)) {
      give_room(index, now, after);
      continue;
    }
    if (record == chosen) {
      since_oldest_ = options_.quota != 0 && since_oldest_ >= options_.quota ? 0 : since_oldest_ + 1;
    }
    start(worker, *record, place, now, after);
    if (is_plain(*record)) begin_run(worker, *record, now);
    give_room(index, now, after);
    return true;
  }
  return false;
}

template <class Order>
bool BusCore<Order>::claim_key(Record& record) noexcept {
  KeyedEvents& keyed = keys_.find(record.event.key())->second;
  if (!std::exchange(keyed.busy, true)) return true;
  const Before before;
  keyed.insert(record, [&](EventLink& link) {
    const Record& other = as_record(link);
    if (before(record.rank(), other.rank())) return true;
    return !before(other.rank(), record.rank()) && record.number() < other.number();
  });
  return false;
}

template <class Order>
bool BusCore<Order>::is_over(Record& record, TimePoint now, BusAfter& after) noexcept {
  const auto time_to_live = record.event.time_to_live();
  const bool expired = time_to_live && now - record.event.timestamp() > *time_to_live;
  const bool withdrawn = record.state && record.state->batch && record.state->batch->rolling_back;
  if (!expired && !withdrawn && !record.event.token().cancelled()) return false;
  if (!record.event.key().empty()) release_key(keys_.find(record.event.key())->second);
  end_removed(record, expired ? EventOutcome::expired : EventOutcome::cancelled, after);
  return true;
}

template <class Order>
void BusCore<Order>::start(BusWorker& worker, Record& record, std::size_t place, TimePoint now,
                           BusAfter& after) noexcept {
  worker.record = &record;
  worker.id = record.number();
  worker.priority = record.event.priority();
  worker.entry = record.entry;
  worker.state = record.state;
  worker.class_index = Order::class_of(record.rank());
  worker.place_index = place;
  worker.handlers = batches_.handlers_of(record);
  ++worker.handlers->running;
  worker.is_last_value = record.state && record.state->delivery;
  worker.key = record.event.key().empty() ? nullptr : &keys_.find(record.event.key())->second;
  worker.started = now;
  worker.told = false;
  worker.cut.store(false, std::memory_order_relaxed);
  worker.cut_reason.store(Errc{}, std::memory_order_relaxed);
  worker.position.store(0, std::memory_order_relaxed);
  if (record.state) record.state->worker = &worker;
  OwnedEvent* const owned = record.event.owned();
  worker.event_owner = owned ? owned->owner : nullptr;
  if (owned) owned->owner->leave(*owned, after);
  take_place(worker);
  BusStats& stats = classes_[worker.class_index].stats;
  --stats.queued;
  ++stats.running;
  if (worker.is_last_value) {
    last_values_.deliver(*record.state);
  } else {
    note_wait(stats, record, now);
    if (!record.event.is_plain()) last_values_.started(record, after);
  }
}

template <class Order>
void BusCore<Order>::note_wait(BusStats& stats, const Record& record, TimePoint now) noexcept {
  const auto waited = now - record.event.timestamp();
  stats.waited += waited;
  stats.longest_wait = std::max(stats.longest_wait, waited);
}

template <class Order>
void BusCore<Order>::begin_run(BusWorker& worker, Record& first, TimePoint now) noexcept {
  worker.run.begin(first);
  Class& c = classes_[worker.class_index];
  // What drops or rejects goes by how many are queued, to the one.
  if (!takes_along() || c.overflow != Overflow::wait) return;
  std::size_t more = std::min<std::size_t>(BusRun::longest - 1, c.capacity / 4);
  if (options_.quota != 0) more = std::min<std::size_t>(more, options_.quota - std::min(since_oldest_, options_.quota));
  for (; more != 0; --more) {
    Record* const record = queue_.top();
    if (record) prefetch(*record->next->next);
    if (!record || record->entry != first.entry || !same(record->rank(), first.rank()) || !is_plain(*record)) break;
    queue_.remove(*record);
    worker.run.add(*record);
    note_wait(c.stats, *record, now);
    ++since_oldest_;
    runner_ = &worker;
  }
  if (runner_ == &worker) runner_rank_ = first.rank();
  worker.run.publish();
}

template <class Order>
void BusCore<Order>::recall() noexcept {
  BusWorker* const worker = std::exchange(runner_, nullptr);
  if (!worker) return;
  worker->run.recall([this](RecordBase& record) {
    queue_.put_back(static_cast<Record&>(record));
    if (since_oldest_ != 0) --since_oldest_;
  });
}

template <class Order>
void BusCore<Order>::end_run(BusWorker& worker, BusAfter& after, TimePoint now) noexcept {
  recall();
  forget_interrupt(worker);
  give_place(worker);
  BusStats& stats = classes_[worker.class_index].stats;
  --stats.running;
  stats.queued -= worker.run.done() - 1;
  const std::size_t index = worker.class_index;
  worker.run.for_each_done([&](RecordBase& record, EventOutcome outcome) {
    ++counter(stats, outcome);
    blocks_.give(static_cast<void*>(static_cast<Record*>(&record)));
  });
  note_run(stats, worker, now);
  worker.record = nullptr;
  TopicTable::leave(*std::exchange(worker.handlers, nullptr), after.handlers);
  worker.entry->events -= worker.run.done();
  pending_ -= worker.run.done();
  worker.run.clear();
  if (joiners_) wake_joiners(after);
  give_room(index, now, after);
  if (pending_ == 0) wake_drainers(after);
}

template <class Order>
void BusCore<Order>::note_run(BusStats& stats, const BusWorker& worker, TimePoint now) noexcept {
  if (now <= worker.started) return;
  stats.ran += now - worker.started;
  stats.longest_run = std::max(stats.longest_run, now - worker.started);
}

template <class Order>
void BusCore<Order>::end(BusWorker& worker, EventOutcome outcome, BusAfter& after, TimePoint now) noexcept {
  Record& record = static_cast<Record&>(*worker.record);
  forget_interrupt(worker);
  if (std::exchange(worker.lent, false)) {
    --lent_;
  } else {
    give_place(worker);
  }
  BusStats& stats = classes_[worker.class_index].stats;
  --stats.running;
  ++counter(stats, outcome);
  note_run(stats, worker, now);
  worker.record = nullptr;
  worker.run.clear();
  TopicTable::leave(*std::exchange(worker.handlers, nullptr), after.handlers);
  const bool kept = batches_.keep(worker, record);
  if (!kept) --record.entry->events;
  if (EventState* const state = std::exchange(worker.state, nullptr)) {
    settle(*state, outcome, after);
  }
  if (!kept && (record.state || record.event.owned())) {
    // The source, whose end may tell others, and what is a plugin's, are released after the lock.
    record.next = after.dead;
    after.dead = &record;
  }
  if (KeyedEvents* const key = std::exchange(worker.key, nullptr)) {
    release_key(*key);
    leave_key(*key);
  }
  if (after.dead != &record && !kept) {
    record.~Record();
    blocks_.give(&record);
  }
  if (joiners_) wake_joiners(after);
  if (--pending_ == 0) wake_drainers(after);
}

template <class Order>
void BusCore<Order>::release_key(KeyedEvents& keyed) noexcept {
  keyed.busy = false;
  if (keyed.empty()) return;
  Record& next = as_record(*keyed.ends.next);
  EventList::remove(next);
  queue_.put_back(next);
}

}  // namespace weir::detail
