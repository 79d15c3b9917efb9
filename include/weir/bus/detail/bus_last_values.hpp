/// The last values of a bus's topics, and how they get to handlers that come late.
///
/// Rules (tests/bus/last_value*_test.cpp break when one of these is broken):
///  1. Everything is under the lock of the bus; what the rules of bus_core.hpp say of it holds here.
///  2. A topic's last value is a record of its own, which shares the payload of the event that it stands for. It is
///     made when that is admitted and waits with it, so that nothing can fail any more when it takes its place: when
///     the event starts, or when its saga commits.
///  3. A handler that comes gets its place in the lists of its topics and a delivery of each of their values at once,
///     under one lock. An event that had started before is in the value; one that starts later finds the handler. One
///     of a saga that has pinned its handlers before gets a delivery that is queued when the saga commits.
///  4. A delivery keeps the number of the event, by which it is queued before what is younger, and no event starts
///  while
///     a delivery of its topic is queued: that starts in its stead, and with its place (`first_before`).
///  5. A delivery leaves the list of deliveries when it starts or ends, and holds its handler until it has ended.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <utility>

#include <weir/bus/bus_options.hpp>
#include <weir/bus/detail/bus_batch.hpp>
#include <weir/bus/detail/bus_order.hpp>
#include <weir/core/time_service.hpp>

namespace weir::detail {

template <class Order>
class BusCore;

template <class Order>
class BusLastValues {
  using Core = BusCore<Order>;
  using Record = RankedRecord<Order>;
  using TimePoint = TimeService::TimePoint;

 public:
  explicit BusLastValues(Core& core) noexcept : core_(core) {}
  BusLastValues(const BusLastValues&) = delete;
  BusLastValues& operator=(const BusLastValues&) = delete;

  // Events.

  /// It is about to be admitted. Strong guarantee, but that its payload may be in a block of its own.
  void attach(Event& event, TopicEntry& entry, const typename Order::Rank& rank) {
    LastValueRef& place = event.last_value();
    std::unique_ptr<void, void (*)(void*)> memory(::operator new(sizeof(Record)),
                                                  [](void* block) { ::operator delete(block); });
    Event twin = event.share();
    place = LastValueRef(::new (memory.get()) Record(std::move(twin), entry, nullptr, rank), [](RecordBase* record) {
      static_cast<Record*>(record)->~Record();
      ::operator delete(static_cast<void*>(static_cast<Record*>(record)));
    });
    memory.release();
  }
  /// It was not admitted, or nobody is to have it any more.
  static void detach(Event& event) noexcept { event.drop_last_value(); }
  /// It has its number.
  static void admitted(Record& record) noexcept {
    RecordBase* const value = record.event.last_value().get();
    if (value) become(value->event, record);
  }
  void started(Record& record, BusAfter& after) noexcept {
    if (!record.state || !record.state->batch || !record.state->batch->saga) keep_of(record, after);
  }
  /// The value of its topic is what stands for it, if anything does.
  void keep_of(RecordBase& record, BusAfter& after) noexcept {
    RecordBase* const value = record.event.last_value().release();
    if (!value) return;
    TopicEntry& entry = *value->entry;
    OwnedEvent* const owned = value->event.owned();
    if (core_.closed_ || (owned && owned->owner->ended)) {
      bury(*value, after);
      return;
    }
    if (entry.last_value) {
      remove(*entry.last_value, after);
    } else if (stats_.kept >= core_.options_.last_values) {
      remove(static_cast<Record&>(*values_.ends.next), after);
      ++stats_.evicted;
    }
    entry.last_value = value;
    ++entry.events;
    values_.insert_before(values_.ends, *value);
    ++stats_.kept;
  }
  /// Those for which `chosen(record)` is true go; says how many there were.
  template <class Chosen>
  std::size_t clear(BusAfter& after, Chosen&& chosen) noexcept {
    std::size_t count = 0;
    for (EventLink* link = values_.ends.next; link != &values_.ends;) {
      Record& value = static_cast<Record&>(*link);
      link = link->next;
      if (!chosen(value)) continue;
      remove(value, after);
      ++count;
    }
    return count;
  }
  /// Deliveries that are not queued yet.
  [[nodiscard]] std::size_t made() const noexcept { return made_; }
  [[nodiscard]] const LastValueStats& stats() const noexcept { return stats_; }

  // Deliveries.

  /// Those for a handler that is about to be subscribed. Made before anything is changed, and taken back if it fails.
  class Deliveries {
   public:
    Deliveries(BusLastValues& values, BusAfter& after) noexcept : values_(values), after_(after) {}
    Deliveries(const Deliveries&) = delete;
    Deliveries& operator=(const Deliveries&) = delete;
    ~Deliveries() {
      while (Made* const made = made_) {
        made_ = made->next;
        values_.unmake(*made->record, after_);
        delete made;
      }
    }

    void add_for(BusHandler& handler, TimePoint now) {
      values_.clear(after_, [now](const RecordBase& value) { return is_over(value.event, now); });
      for (EventLink* link = values_.values_.ends.next; link != &values_.values_.ends; link = link->next) {
        add(static_cast<Record&>(*link), handler, nullptr);
      }
      values_.core_.batches_.for_each_open([&](RecordBase& record, BusBatch& saga) {
        if (record.event.is_plain()) return;
        if (RecordBase* const value = record.event.last_value().get()) add(*value, handler, &saga);
      });
      values_.reserve(count_);
    }
    /// The handler is subscribed.
    void enqueue() noexcept {
      while (Made* const made = made_) {
        made_ = made->next;
        if (made->saga) {
          made->record->next = nullptr;
          *made->saga->late_end = made->record;
          made->saga->late_end = &made->record->next;
        } else {
          values_.enqueue(*made->record);
        }
        delete made;
      }
      values_.core_.wake_idle(after_);
    }

   private:
    struct Made {
      Record* record = nullptr;
      BusBatch* saga = nullptr;
      Made* next = nullptr;
    };

    void add(RecordBase& value, BusHandler& handler, BusBatch* saga) {
      if (!topic_matches(handler.pattern, value.entry->text->view())) return;
      auto made = std::make_unique<Made>();
      made->record = &values_.make(static_cast<Record&>(value), handler);
      made->saga = saga;
      *end_ = made.release();
      end_ = &(*end_)->next;
      ++count_;
    }

    BusLastValues& values_;
    BusAfter& after_;
    Made* made_ = nullptr;
    Made** end_ = &made_;
    std::size_t count_ = 0;
  };

  /// What has to start before the event does, or the event.
  [[nodiscard]] Record& first_before(Record& record) noexcept {
    for (EventDelivery* delivery = first_; delivery; delivery = delivery->next) {
      Record& other = static_cast<Record&>(*delivery->record);
      if (other.entry != record.entry) continue;
      if (!other.list->aside) return other;
      if (other.event.key() != record.event.key() || static_cast<KeyedEvents&>(*other.list).busy) continue;
      EventList::remove(other);
      core_.queue_.put_back(other);
      return other;
    }
    return record;
  }
  /// It starts.
  void deliver(EventState& state) noexcept {
    EventDelivery* const delivery = leave(state);
    // The worker has one of its own.
    --delivery->handlers->running;
    delete delivery;
  }
  /// It ends without having started.
  void drop(EventState& state, BusAfter& after) noexcept {
    EventDelivery* const delivery = leave(state);
    TopicTable::leave(*delivery->handlers, after.handlers);
    delete delivery;
  }
  /// The handler has gone: true if there was something for it.
  bool withdraw(const BusHandler& handler, BusAfter& after) noexcept {
    bool any = false;
    for (EventDelivery* next = first_; next;) {
      EventDelivery& delivery = *next;
      next = next->next;
      if (delivery.handlers->list.front() != &handler) continue;
      any = true;
      core_.end_queued(static_cast<Record&>(*delivery.record), EventOutcome::cancelled, after);
    }
    return any;
  }
  /// The saga has ended that it waited for.
  void settle_late(Record& record, bool committed, BusAfter& after) noexcept {
    const OwnedEvent* const owned = record.event.owned();
    const bool gone = record.state->delivery->handlers->list.front()->gone.load(std::memory_order_relaxed);
    if (!committed || gone || core_.closed_ || (owned && owned->owner->ended)) {
      unmake(record, after);
    } else {
      enqueue(record);
      core_.wake_idle(after);
    }
  }

 private:
  [[nodiscard]] static bool is_over(const Event& event, TimePoint now) noexcept {
    const auto time_to_live = event.time_to_live();
    return (time_to_live && now - event.timestamp() > *time_to_live) || event.token().cancelled();
  }
  /// Another one for the same.
  static void become(Event& twin, RecordBase& record) noexcept {
    twin.admit(record.event.id(), record.event.timestamp(), *record.entry->text);
    const OwnedEvent* const owned = record.event.owned();
    if (!owned) return;
    owned->owner->another();
    // It has room for that since it was made of one that has an owner.
    twin.own(*owned->owner);
  }
  static void bury(RecordBase& record, BusAfter& after) noexcept {
    record.next = after.dead;
    after.dead = &record;
  }
  void remove(RecordBase& value, BusAfter& after) noexcept {
    EventList::remove(value);
    value.entry->last_value = nullptr;
    --value.entry->events;
    --stats_.kept;
    bury(value, after);
  }

  [[nodiscard]] Record& make(Record& value, BusHandler& handler) {
    auto state = std::make_unique<EventState>();
    auto handlers = std::make_unique<TopicEntry::Handlers>();
    handlers->list.push_back(&handler);
    handlers->all_plain = handlers->plain();
    handlers->current = false;
    handlers->running = 1;
    auto delivery = std::make_unique<EventDelivery>();
    Event twin = value.event.share();
    if (const auto key = twin.key(); !key.empty()) core_.enter_key(key);
    void* memory = nullptr;
    try {
      memory = core_.blocks_.take();
    } catch (...) {
      if (const auto key = twin.key(); !key.empty()) core_.leave_key(core_.keys_.find(key)->second);
      throw;
    }
    become(twin, value);
    delivery->handlers = handlers.release();
    ++handler.refs;
    auto* const record = ::new (memory) Record(std::move(twin), *value.entry, state.get(), value.rank());
    delivery->record = record;
    state->record = record;
    state->id = record->number();
    state->delivery = delivery.release();
    state.release();
    ++record->entry->events;
    ++made_;
    return *record;
  }
  /// One that was never queued.
  void unmake(Record& record, BusAfter& after) noexcept {
    --made_;
    --record.entry->events;
    if (const auto key = record.event.key(); !key.empty()) core_.leave_key(core_.keys_.find(key)->second);
    EventDelivery* const delivery = std::exchange(record.state->delivery, nullptr);
    TopicTable::leave(*delivery->handlers, after.handlers);
    delete delivery;
    bury(record, after);
  }
  /// So that the made ones can be queued: those of a saga that is still to commit as well.
  void reserve(std::size_t count) {
    if (count == 0) return;
    // Where each may have a rank of its own, those that wait aside need theirs besides.
    core_.queue_.reserve_places(HasRank<Order> ? Order::classes + 1 : made_ + core_.keyed_events_ + 1);
  }
  void enqueue(Record& record) noexcept {
    --made_;
    core_.recall();
    core_.queue_.put_back(record);
    auto& stats = core_.classes_[Order::class_of(record.rank())].stats;
    ++stats.admitted;
    ++stats.queued;
    ++core_.pending_;
    if (OwnedEvent* const owned = record.event.owned()) owned->owner->enter(*owned, record);
    EventDelivery& delivery = *record.state->delivery;
    delivery.prev = last_;
    (last_ ? last_->next : first_) = &delivery;
    last_ = &delivery;
    ++record.entry->deliveries;
    ++stats_.delivered;
  }
  [[nodiscard]] EventDelivery* leave(EventState& state) noexcept {
    EventDelivery* const delivery = std::exchange(state.delivery, nullptr);
    (delivery->prev ? delivery->prev->next : first_) = delivery->next;
    (delivery->next ? delivery->next->prev : last_) = delivery->prev;
    --delivery->record->entry->deliveries;
    return delivery;
  }

  Core& core_;
  /// By the time at which they came, the oldest first.
  EventList values_;
  LastValueStats stats_;
  EventDelivery* first_ = nullptr;
  EventDelivery* last_ = nullptr;
  std::size_t made_ = 0;
};

}  // namespace weir::detail
