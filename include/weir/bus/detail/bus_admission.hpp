/// Admitting events: room, records, keys. Parts of `BusCore`: see bus_core.hpp, whose rules they keep.
#pragma once

#include <weir/bus/detail/bus_core.hpp>

namespace weir::detail {

template <class Order>
auto BusCore<Order>::admit(Draft& draft, TimePoint now, Home* by, BusAfter& after, Publisher& p) -> Admission {
  const OwnedEvent* const owned = draft.event->owned();
  if (!takes_from(by, draft.held_back) || (owned && owned->owner->ended)) {
    p.error = Errc::bus_closed;
    return Admission::refused;
  }
  p.class_index = Order::class_of(draft.rank);
  Class& c = classes_[p.class_index];
  TopicEntry& entry = find_entry(draft, after);
  const Overflow overflow =
      Order::precious(p.class_index) && c.overflow != Overflow::reject ? Overflow::wait : c.overflow;
  if (overflow == Overflow::latest) drop_same(entry, p.class_index, after);
  if (c.stats.queued >= c.capacity || c.publishers.first) {
    if (overflow == Overflow::wait) return Admission::full;
    if (overflow == Overflow::reject) {
      p.error = Errc::queue_full;
      return Admission::refused;
    }
    Record* const oldest = overflow == Overflow::drop_newest ? nullptr : oldest_of(p.class_index);
    if (!oldest) {
      drop_new(draft, c, p, after);
      return Admission::admitted;
    }
    end_queued(*oldest, EventOutcome::dropped, after);
  }
  p.id = put(draft, entry, p.class_index, now, after);
  return Admission::admitted;
}

template <class Order>
BusWait BusCore<Order>::wait_for_room(Publisher& p, bool worker_made, BusAfter& after) noexcept {
  if (const BusWait refused = lend(p, worker_made); refused != BusWait::waits) return refused;
  p.for_room = true;
  classes_[p.class_index].publishers.push(p);
  distribute(after);
  return BusWait::waits;
}

template <class Order>
bool BusCore<Order>::stop_waiting(Publisher& p, std::error_code why, BusAfter& after) noexcept {
  if (!std::exchange(p.for_room, false)) return false;
  classes_[p.class_index].publishers.remove(p);
  p.error = why;
  tell(p, after);
  distribute(after);
  return true;
}

template <class Order>
void BusCore<Order>::forget(Publisher& p) noexcept {
  if (std::exchange(p.for_room, false)) classes_[p.class_index].publishers.remove(p);
  forget_place(p);
}

template <class Order>
void BusCore<Order>::limit(std::size_t index, std::size_t capacity, Overflow overflow) {
  if (capacity == 0) throw Error(Errc::invalid_argument, "the room of a priority is at least 1");
  BusAfter after;
  prepare(after);
  const std::lock_guard lock(mutex);
  recall();
  classes_[index].capacity = capacity;
  classes_[index].overflow = overflow;
  distribute(after);
}

template <class Order>
EventId BusCore<Order>::put(Draft& draft, TopicEntry& entry, std::size_t index, TimePoint now, BusAfter& after) {
  const std::string_view key = draft.event->key();
  KeyedEvents* const keyed = key.empty() ? nullptr : &enter_key(key);
  Record* record = nullptr;
  try {
    queue_.reserve(1);
    if (entry.keeps) last_values_.attach(*draft.event, entry, draft.rank);
    void* const memory = blocks_.take();
    record = ::new (memory) Record(std::move(*draft.event), entry, draft.state.get(), draft.rank);
  } catch (...) {
    if (entry.keeps) last_values_.detach(*draft.event);
    if (keyed) leave_key(*keyed);
    throw;
  }
  ++entry.events;
  link(*record, index, now);
  wake_idle(after);
  return record->number();
}

template <class Order>
void BusCore<Order>::link(Record& record, std::size_t index, TimePoint now) noexcept {
  if (inbox_is_open) close_inbox();
  if (runner_ && Before()(record.rank(), runner_rank_)) recall();
  record.event.admit(inbox_.next_id(), now, *record.entry->text);
  if (record.state) {
    record.state->retain();
    record.state->record = &record;
    record.state->id = record.number();
  }
  enqueue(record, index);
  if (!record.event.is_plain()) last_values_.admitted(record);
  if (OwnedEvent* const owned = record.event.owned()) owned->owner->enter(*owned, record);
}

template <class Order>
void BusCore<Order>::enqueue(Record& record, std::size_t index) noexcept {
  queue_.push(record);
  ++pending_;
  Class& c = classes_[index];
  ++c.stats.admitted;
  ++c.stats.queued;
}

template <class Order>
TopicEntry& BusCore<Order>::find_entry(const Draft& draft, BusAfter& after) {
  if (inbox_is_open) close_inbox();
  TopicEntry& entry = table_.entry(draft.topic.empty() ? draft.event->type() : draft.topic, after.handlers);
  // A value that is kept needs memory.
  if (has_inbox && !entry.keeps) inbox_.remember(entry, table_.changes());
  return entry;
}

template <class Order>
void BusCore<Order>::drop_new(Draft& draft, Class& c, Publisher& p, BusAfter& after) noexcept {
  if (inbox_is_open) close_inbox();
  p.id = inbox_.next_id();
  ++c.stats.admitted;
  ++c.stats.dropped;
  if (!draft.state) return;
  draft.state->id = p.id;
  settle(*draft.state.get(), EventOutcome::dropped, after);
}

template <class Order>
void BusCore<Order>::drop_same(TopicEntry& entry, std::size_t index, BusAfter& after) noexcept {
  if (entry.events == 0) return;
  Record* same = nullptr;
  do {
    same = nullptr;
    queue_.for_each([&](Record& r) {
      if (r.entry == &entry && Order::class_of(r.rank()) == index) same = &r;
    });
    if (same) end_queued(*same, EventOutcome::dropped, after);
  } while (same);
}

template <class Order>
KeyedEvents& BusCore<Order>::enter_key(std::string_view key) {
  // So that one that waited aside can always get its place back.
  const std::size_t places = keyed_events_ + last_values_.made() + 2;
  queue_.reserve_places(std::min<std::size_t>(places, Order::classes == 1 ? places : 5));
  const auto place = keys_.try_emplace(std::string(key)).first;
  place->second.name = &place->first;
  ++place->second.events;
  ++keyed_events_;
  return place->second;
}

template <class Order>
void BusCore<Order>::leave_key(KeyedEvents& keyed) noexcept {
  --keyed_events_;
  if (--keyed.events == 0) keys_.erase(keys_.find(*keyed.name));
}

template <class Order>
void BusCore<Order>::give_room(std::size_t index, TimePoint now, BusAfter& after) noexcept {
  give_room_of(index, now, after);
  // A batch that went was before others in other lines, too.
  while (batches_.took_places()) {
    for (std::size_t i = 0; i < Order::classes; ++i) give_room_of(i, now, after);
  }
}

template <class Order>
void BusCore<Order>::give_room_of(std::size_t index, TimePoint now, BusAfter& after) noexcept {
  Class& c = classes_[index];
  while (c.publishers.first && c.stats.queued < c.capacity) {
    auto& p = static_cast<Publisher&>(*c.publishers.first);
    if (p.batch) {
      if (!batches_.give_room(*p.batch, now, after)) return;
      continue;
    }
    c.publishers.remove(p);
    p.for_room = false;
    try {
      Draft& draft = *p.draft;
      TopicEntry& entry = find_entry(draft, after);
      p.id = put(draft, entry, index, now == TimePoint() ? p.home->report_time() : now, after);
    } catch (...) {
      p.exception = std::current_exception();
    }
    tell(p, after);
  }
}

template <class Order>
void BusCore<Order>::refuse(Publisher& p, std::error_code why, BusAfter& after) noexcept {
  if (p.batch) {
    batches_.stop_waiting(*p.batch, why, after);
  } else {
    stop_waiting(p, why, after);
  }
}

}  // namespace weir::detail
