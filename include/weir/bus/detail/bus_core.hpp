/// What a bus, its workers, its tickets and its subscriptions share.
///
/// Rules (the tests of tests/bus break when one of these is broken):
///  1. Everything is under one mutex, if nothing else is said. Under it nothing of the users' runs, not even a
///     destructor: what is destroyed or told goes into an `After`, which is declared before the lock. No home is posted
///     under it.
///  2. An event is queued (in the queue, or aside in the list of its key), or runs (a worker has it), or has ended.
///     Each step is taken by `start`, `end` and `end_queued` alone, which keep the counters; so each event ends once.
///  3. A worker takes an event when it holds one of the `workers` places. A handler that waits for its own bus gives
///     its place away and waits for one again before it goes on; those come before new events.
///  4. Room goes to those that wait for it, in their order, before it goes to who comes.
///  5. A worker that is the only one takes plain events along (bus_run.hpp). Whatever changes what it should do next
///     recalls them first: a more urgent event, an overflow policy that drops, a subscription, the end.
///  6. A worker stores `position` and then looks whether the handler is `gone`; who unsubscribes marks it gone and then
///     looks at `position`, both sequentially consistent where a handler can have taken long before: one of the two
///     sees the other. Where the handler before was a plain function, `join` waits for it, too.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include <weir/bus/bus_options.hpp>
#include <weir/bus/dead_event.hpp>
#include <weir/bus/detail/bus_base.hpp>
#include <weir/bus/detail/bus_batches.hpp>
#include <weir/bus/detail/bus_blocks.hpp>
#include <weir/bus/detail/bus_handler.hpp>
#include <weir/bus/detail/bus_linger.hpp>
#include <weir/bus/detail/bus_order.hpp>
#include <weir/bus/detail/bus_places.hpp>
#include <weir/bus/detail/bus_record.hpp>
#include <weir/bus/detail/bus_worker.hpp>
#include <weir/channel/channel.hpp>
#include <weir/core/error.hpp>
#include <weir/core/spawn.hpp>
#include <weir/core/wake_list.hpp>

namespace weir::detail {

template <class Order>
class BusCore;

/// A worker's root.
template <class Order>
Task<> run_bus_worker(std::shared_ptr<BusCore<Order>> core);
/// What a handler publishes by its context.
template <class Order>
Task<EventId> publish_in_handler(std::shared_ptr<BusCore<Order>> core, BusWorker& worker, Event event);
template <class Order>
PublishResult try_publish_in_handler(BusCore<Order>& core, BusWorker& worker, Event&& event);

template <class Order>
class BusCore final : public BusBase {
 public:
  using Rank = typename Order::Rank;
  using Draft = EventDraft<Order>;
  using Clock = TimeService::Clock;
  using TimePoint = TimeService::TimePoint;

  using Record = RankedRecord<Order>;

  /// A publisher that waits for room, and then, if it is a handler of this bus, for a place to go on in.
  struct Publisher : BusWaiter {
    Draft* draft = nullptr;
    std::size_t class_index = 0;
    EventId id = 0;
    std::error_code error;
    std::exception_ptr exception;
    bool for_room = false;
    /// Of which this is one of the places in line, instead.
    BatchPublisher<Order>* batch = nullptr;
  };
  /// Waits until nothing is queued and nothing runs.
  struct DrainWaiter {
    DrainWaiter* prev = nullptr;
    DrainWaiter* next = nullptr;
    Home* home = nullptr;
    Resumable* resumable = nullptr;
    bool waiting = false;
  };
  enum class Admission : std::uint8_t { admitted, full, refused };
  /// `soon`: none, but it may look again before it says that it is idle.
  enum class Next : std::uint8_t { event, soon, none, stop };

  explicit BusCore(const BusOptions& options) : options_(options), places_(options.workers) {
    const auto check = [](bool good, const char* what) {
      if (!good) throw Error(Errc::invalid_argument, std::string("BusOptions::") + what + " is at least 1");
    };
    check(options.workers != 0, "workers");
    check(options.capacity != 0, "capacity");
    for (Class& c : classes_) {
      c.capacity = options.capacity;
      c.overflow = options.overflow;
    }
    // So that what is recalled always gets its place back.
    if (takes_along()) queue_.reserve_places(1);
  }

  [[nodiscard]] const BusOptions& options() const noexcept { return options_; }

  // For those who wait on their thread for another: what changes when an event is admitted, and when room is made. Any
  // thread, without the lock.
  [[nodiscard]] EventId admitted() const noexcept { return last_id_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t freed() const noexcept { return freed_.load(std::memory_order_relaxed); }
  /// How often they look, in pauses.
  [[nodiscard]] std::uint32_t pauses_between() const noexcept {
    return static_cast<std::uint32_t>(std::clamp<std::size_t>(options_.capacity / 32, 1, 32));
  }
  BusLinger room_linger;

  // Publishing. With the lock held, where it takes an `After`.

  /// Admits the event, or says why not in `p`. `by`: where the publisher runs, if that is known; a handler of this bus
  /// may publish while it is drained. Strong guarantee.
  Admission admit(Draft& draft, TimePoint now, Home* by, BusAfter& after, Publisher& p) {
    const OwnedEvent* const owned = draft.event->owned();
    if (!takes_from(by, draft.held_back) || (owned && owned->owner->ended)) {
      p.error = Errc::bus_closed;
      return Admission::refused;
    }
    p.class_index = Order::class_of(draft.rank);
    Class& c = classes_[p.class_index];
    TopicEntry& entry = table_.entry(draft.topic.empty() ? draft.event->type() : draft.topic, after.handlers);
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

  /// After `full`: whether nobody waits before it, and what makes room is not its own worker.
  [[nodiscard]] bool is_next_for_room(const Publisher& p) const noexcept {
    return !classes_[p.class_index].publishers.first && !BusWorker::at(*p.home, this);
  }
  /// After `full`: it waits, and gives its place away if it is a handler's.
  BusWait wait_for_room(Publisher& p, bool worker_made, BusAfter& after) noexcept {
    if (const BusWait refused = lend(p, worker_made); refused != BusWait::waits) return refused;
    p.for_room = true;
    classes_[p.class_index].publishers.push(p);
    distribute(after);
    return BusWait::waits;
  }
  /// It does not want to wait any more. False: it is on its way already.
  bool stop_waiting(Publisher& p, std::error_code why, BusAfter& after) noexcept {
    if (!std::exchange(p.for_room, false)) return false;
    classes_[p.class_index].publishers.remove(p);
    p.error = why;
    tell(p, after);
    distribute(after);
    return true;
  }
  /// Its frame goes.
  void forget(Publisher& p) noexcept {
    if (std::exchange(p.for_room, false)) classes_[p.class_index].publishers.remove(p);
    forget_place(p);
  }
  // Workers.

  void add(BusWorker& worker) noexcept {
    const std::lock_guard lock(mutex);
    worker.next = workers_;
    if (workers_) workers_->prev = &worker;
    workers_ = &worker;
  }
  /// Its frame goes, perhaps with an event half run: the execution context is being destroyed.
  void remove(BusWorker& worker) noexcept {
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

  /// On the worker's home, without the lock: destroys the events of a run that has ended.
  static void destroy_run(BusWorker& worker) noexcept {
    worker.run.for_each_done([](RecordBase& record, EventOutcome) { static_cast<Record&>(record).~Record(); });
  }
  /// Ends what the worker ran, if it ran something, and gives it the next event; if there is none it is idle.
  Next take(BusWorker& worker, EventOutcome outcome, TimePoint now, bool looks_again, BusAfter& after) noexcept {
    if (std::exchange(worker.waking, false)) --waking_;
    if (!worker.run.empty()) {
      end_run(worker, after, now);
    } else if (worker.record) {
      end(worker, outcome, after, now);
    }
    grant_places(after);
    if (start_next(worker, now, after)) {
      wake_idle(after);
      return Next::event;
    }
    if (closed_ || idle_count_ >= options_.workers) return Next::stop;
    if (looks_again && places_.taken() == 0) {
      worker.seen = admitted();
      return Next::soon;
    }
    worker.idle = true;
    worker.next_idle = idle_;
    idle_ = &worker;
    ++idle_count_;
    return Next::none;
  }

  /// On the worker's home, between two handlers, of which the first was a coroutine.
  void passed_handler(BusAfter& after) noexcept {
    if (joining_.load(std::memory_order_seq_cst) == 0) return;
    const std::lock_guard lock(mutex);
    wake_joiners(after);
  }

  /// Before anything is published.
  void set_dead_letters(ChannelSender<DeadEvent>&& sender) { dead_letters_ = std::move(sender); }
  [[nodiscard]] std::uint64_t lost_dead_letters() const noexcept {
    return lost_letters_.load(std::memory_order_relaxed);
  }
  /// No lock is held. What does not fit into the channel is only counted.
  void bury(Event& event, const std::exception_ptr& error) noexcept {
    if (!dead_letters_) return;
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
    lost_letters_.fetch_add(1, std::memory_order_relaxed);
  }

  [[nodiscard]] BusBatches<Order>& batches() noexcept { return batches_; }
  /// Whether the compensators of a saga run there.
  [[nodiscard]] bool undoes_at(const Home& home) const noexcept {
    const std::lock_guard lock(mutex);
    return batches_.undoes_at(home);
  }

  // Tickets.

  CancelResult cancel(EventState& state) override {
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

  /// The event that has this token for its own, and has not ended; or nothing. O(events).
  [[nodiscard]] EventStateRef find(const CancellationToken& token) {
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

  BusWait wait(EventState& state, OutcomeWaiter& waiter, bool worker_made) override {
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
  void answer(EventState& state) noexcept override {
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
  bool stop_waiting(EventState& state, OutcomeWaiter& waiter) noexcept override {
    BusAfter after;
    const std::lock_guard lock(mutex);
    if (!unlink(state, waiter)) return false;
    tell(waiter, after);
    return true;
  }
  void forget(EventState& state, OutcomeWaiter& waiter) noexcept override {
    const std::lock_guard lock(mutex);
    unlink(state, waiter);
    forget_place(waiter);
  }

  // Subscriptions.

  void subscribe(std::unique_ptr<BusHandler> handler) {
    BusAfter after;
    const std::lock_guard lock(mutex);
    recall();
    handler->order = ++last_order_;
    table_.add(*handler, after.handlers);
    // Counted by the table, and by the subscription that it was made for.
    handler.release();
  }
  void unsubscribe(BusHandler& handler) noexcept override {
    BusAfter after;
    const std::lock_guard lock(mutex);
    remove_handler(handler, after);
  }
  /// The subscription's own share.
  void release(BusHandler& handler) noexcept override {
    BusAfter after;
    const std::lock_guard lock(mutex);
    remove_handler(handler, after);
    after.handlers.release(handler);
  }
  BusWait wait(JoinWaiter& waiter, bool worker_made) override {
    BusAfter after;
    prepare(after);
    const std::lock_guard lock(mutex);
    bool called = false;
    for (const BusWorker* worker = workers_; worker; worker = worker->next) {
      if (!may_call(*worker, *waiter.handler)) continue;
      if (worker->home != waiter.home) {
        called = true;
      } else if (worker->handlers->list[worker->position.load(std::memory_order_relaxed)] == waiter.handler) {
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
  bool stop_waiting(JoinWaiter& waiter) noexcept override {
    BusAfter after;
    const std::lock_guard lock(mutex);
    if (!unlink(waiter)) return false;
    tell(waiter, after);
    return true;
  }
  void forget(JoinWaiter& waiter) noexcept override {
    const std::lock_guard lock(mutex);
    unlink(waiter);
    forget_place(waiter);
  }

  // What belongs to an owner, such as a plugin. With the lock held.

  /// Takes out its handlers; says how many there were. O(its own, and topics and handlers for each).
  std::size_t remove_handlers(const EventOwner& owner, BusAfter& after) noexcept {
    std::size_t count = 0;
    for (; BusHandler* const handler = table_.find(owner); ++count) remove_handler(*handler, after);
    return count;
  }
  /// Ends its queued events, and refuses those of its that wait for room or are still to come; says how many events
  /// there were. O(its own, and publishers that wait).
  std::size_t withdraw(EventOwner& owner, BusAfter& after) noexcept {
    owner.ended = true;
    for (Class& c : classes_) {
      for (BusWaiter* next = c.publishers.first; next;) {
        auto& p = static_cast<Publisher&>(*next);
        next = next->next;
        if (p.batch) continue;
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
    distribute(after);
    return count;
  }
  /// Calls `visit(worker)` for each that runs an event.
  template <class Visit>
  void for_each_running(Visit&& visit) const {
    for (const BusWorker* worker = workers_; worker; worker = worker->next) {
      if (worker->record) visit(*worker);
    }
  }
  /// Calls `visit(id, topic, started)` for each of its events that runs.
  template <class Visit>
  void for_each_running(const EventOwner& owner, Visit&& visit) const {
    for_each_running([&](const BusWorker& worker) {
      if (worker.event_owner == &owner) visit(worker.id, worker.entry->text->view(), worker.started);
    });
  }
  /// Cancels its events that run. Takes the lock itself.
  void interrupt(const EventOwner& owner) noexcept {
    {
      BusAfter after;
      const std::lock_guard lock(mutex);
      for (BusWorker* worker = workers_; worker; worker = worker->next) {
        if (worker->record && worker->event_owner == &owner) interrupt(*worker, after);
      }
    }
    tell_running(&owner);
  }

  // Waits that others end. With the lock held.

  /// A handler that waits gives its place to another, unless the answer is not `waits`.
  BusWait begin_wait(BusWaiter& waiter, bool worker_made, BusAfter& after) noexcept {
    const BusWait wait = lend(waiter, worker_made);
    if (wait == BusWait::waits && waiter.lender) distribute(after);
    return wait;
  }
  void end_wait(BusWaiter& waiter, BusAfter& after) noexcept { tell(waiter, after); }
  /// Its frame goes, perhaps before it got its place back.
  void forget_wait(BusWaiter& waiter) noexcept { forget_place(waiter); }

  [[nodiscard]] bool closed() const noexcept { return closed_; }
  /// The same, taking the lock.
  [[nodiscard]] bool is_closed() const noexcept {
    const std::lock_guard lock(mutex);
    return closed_;
  }

  Task<EventId> publish_from(BusWorker& worker, Event&& event) override {
    return publish_in_handler(std::static_pointer_cast<BusCore>(shared_from_this()), worker, std::move(event));
  }
  PublishResult try_publish_from(BusWorker& worker, Event&& event) override {
    return try_publish_in_handler(*this, worker, std::move(event));
  }

  void add_worker(Home& home) override {
    spawn(home.base_executor(), run_bus_worker(std::static_pointer_cast<BusCore>(shared_from_this())), asio::detached);
  }

  // The end.

  /// No more events, but those of handlers.
  void begin_drain() noexcept {
    const std::lock_guard lock(mutex);
    draining_ = true;
  }
  /// True: there is something to wait for, and the waiter is told when it is over.
  [[nodiscard]] bool wait(DrainWaiter& waiter) noexcept {
    const std::lock_guard lock(mutex);
    if (quiet()) return false;
    waiter.next = drainers_;
    if (drainers_) drainers_->prev = &waiter;
    drainers_ = &waiter;
    waiter.waiting = true;
    return true;
  }
  bool forget(DrainWaiter& waiter) noexcept {
    const std::lock_guard lock(mutex);
    if (!waiter.waiting) return false;
    unlink(waiter);
    return true;
  }
  /// Nothing is left to do: the workers go home.
  void close() noexcept {
    BusAfter after;
    const std::lock_guard lock(mutex);
    close(after);
  }
  /// Discards what is queued, and cancels what runs. Again is nothing.
  DrainReport abort() noexcept {
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

  // Figures. Take the lock themselves.

  void limit(std::size_t index, std::size_t capacity, Overflow overflow) {
    if (capacity == 0) throw Error(Errc::invalid_argument, "the room of a priority is at least 1");
    BusAfter after;
    prepare(after);
    const std::lock_guard lock(mutex);
    recall();
    classes_[index].capacity = capacity;
    classes_[index].overflow = overflow;
    distribute(after);
  }
  [[nodiscard]] BusStats stats(std::size_t index) const {
    const std::lock_guard lock(mutex);
    return classes_[index].stats;
  }
  [[nodiscard]] BusStats stats() const {
    const std::lock_guard lock(mutex);
    BusStats all;
    for (const Class& c : classes_) all.add(c.stats);
    all.batches = batches_.stats();
    return all;
  }

  /// Gives an `After` what it needs to destroy events of this bus.
  static void prepare(BusAfter& after) noexcept {
    after.destroy = [](RecordBase& record) noexcept {
      EventState* const state = record.state;
      static_cast<Record&>(record).~Record();
      ::operator delete(static_cast<void*>(static_cast<Record*>(&record)));
      if (state) state->release();
    };
  }

 private:
  friend class BatchAdmission<Order>;
  friend class BusBatches<Order>;

  struct Class {
    BusStats stats;
    std::size_t capacity = 0;
    Overflow overflow = Overflow::wait;
    BusWaiters publishers;
  };

  // Records.

  [[nodiscard]] static Record& as_record(EventLink& link) noexcept { return static_cast<Record&>(link); }

  EventId put(Draft& draft, TopicEntry& entry, std::size_t index, TimePoint now, BusAfter& after) {
    const std::string_view key = draft.event->key();
    KeyedEvents* const keyed = key.empty() ? nullptr : &enter_key(key);
    Record* record = nullptr;
    try {
      queue_.reserve(1);
      void* const memory = blocks_.take();
      record = ::new (memory) Record(std::move(*draft.event), entry, draft.state.get(), draft.rank);
    } catch (...) {
      if (keyed) leave_key(*keyed);
      throw;
    }
    ++entry.events;
    link(*record, index, now);
    wake_idle(after);
    return record->number();
  }
  /// What an admission does at its end. Room in the queue has been reserved.
  void link(Record& record, std::size_t index, TimePoint now) noexcept {
    if (runner_ && Before()(record.rank(), runner_rank_)) recall();
    record.event.admit(next_id(), now, *record.entry->text);
    if (record.state) {
      record.state->retain();
      record.state->record = &record;
      record.state->id = record.number();
    }
    queue_.push(record);
    if (OwnedEvent* const owned = record.event.owned()) owned->owner->enter(*owned, record);
    ++pending_;
    Class& c = classes_[index];
    ++c.stats.admitted;
    ++c.stats.queued;
  }
  /// Whether anything is admitted of who publishes at `by`, if that is known.
  [[nodiscard]] bool takes_from(Home* by, bool held_back) const noexcept {
    return !closed_ && (!draining_ || held_back || (by && BusWorker::at(*by, this)));
  }
  EventId next_id() noexcept {
    const EventId id = last_id_.load(std::memory_order_relaxed) + 1;
    last_id_.store(id, std::memory_order_relaxed);
    return id;
  }

  void drop_new(Draft& draft, Class& c, Publisher& p, BusAfter& after) noexcept {
    p.id = next_id();
    ++c.stats.admitted;
    ++c.stats.dropped;
    if (!draft.state) return;
    draft.state->id = p.id;
    settle(*draft.state.get(), EventOutcome::dropped, after);
  }
  [[nodiscard]] Record* oldest_of(std::size_t index) noexcept {
    return queue_.find_oldest([index](const Record& r) { return Order::class_of(r.rank()) == index; });
  }
  void drop_same(TopicEntry& entry, std::size_t index, BusAfter& after) noexcept {
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

  static std::uint64_t& counter(BusStats& stats, EventOutcome outcome) noexcept {
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

  void settle(EventState& state, EventOutcome outcome, BusAfter& after) noexcept {
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
  static bool unlink(EventState& state, OutcomeWaiter& waiter) noexcept {
    if (!std::exchange(waiter.waiting, false)) return false;
    OutcomeWaiter** link = &state.waiters;
    while (*link != &waiter) link = &(*link)->next_waiter;
    *link = waiter.next_waiter;
    return true;
  }
  bool unlink(JoinWaiter& waiter) noexcept {
    if (!std::exchange(waiter.waiting, false)) return false;
    joining_.fetch_sub(1, std::memory_order_relaxed);
    JoinWaiter** link = &joiners_;
    while (*link != &waiter) link = &(*link)->next_waiter;
    *link = waiter.next_waiter;
    return true;
  }

  /// An event that has not started ends. What it leaves is given on by `distribute`.
  void end_queued(Record& record, EventOutcome outcome, BusAfter& after) noexcept {
    if (record.list->aside) {
      EventList::remove(record);
    } else {
      queue_.remove(record);
    }
    end_removed(record, outcome, after);
  }
  void end_removed(Record& record, EventOutcome outcome, BusAfter& after) noexcept {
    Class& c = classes_[Order::class_of(record.rank())];
    --c.stats.queued;
    ++counter(c.stats, outcome);
    --record.entry->events;
    if (const auto key = record.event.key(); !key.empty()) leave_key(keys_.find(key)->second);
    if (record.state) settle(*record.state, outcome, after);
    if (OwnedEvent* const owned = record.event.owned()) owned->owner->leave(*owned, after);
    record.next = after.dead;
    after.dead = &record;
    if (--pending_ == 0) wake_drainers(after);
  }
  KeyedEvents& enter_key(std::string_view key) {
    // So that one that waited aside can always get its place back.
    queue_.reserve_places(std::min<std::size_t>(keyed_events_ + 2, Order::classes == 1 ? keyed_events_ + 2 : 5));
    const auto place = keys_.try_emplace(std::string(key)).first;
    place->second.name = &place->first;
    ++place->second.events;
    ++keyed_events_;
    return place->second;
  }
  void leave_key(KeyedEvents& keyed) noexcept {
    --keyed_events_;
    if (--keyed.events == 0) keys_.erase(keys_.find(*keyed.name));
  }

  // Starting and ending.

  /// Whether its class may hold another place.
  [[nodiscard]] bool has_place_for(std::size_t index) const noexcept { return places_.has(Order::modest(index)); }
  void take_place(BusWorker& worker) noexcept { places_.take(Order::modest(worker.class_index)); }
  void give_place(BusWorker& worker) noexcept { places_.give(Order::modest(worker.class_index)); }

  bool start_next(BusWorker& worker, TimePoint now, BusAfter& after) noexcept {
    while (places_.has(false) && !queue_.empty()) {
      const auto takes = [this](const Record& r) { return has_place_for(Order::class_of(r.rank())); };
      Record* record = queue_.top();
      if (options_.quota != 0 && since_oldest_ >= options_.quota) {
        record = queue_.find_oldest(takes);
      } else if (!takes(*record)) {
        record = queue_.find(takes);
      }
      if (!record) return false;
      queue_.remove(*record);
      if (!record->event.key().empty() && !claim_key(*record)) continue;
      const std::size_t index = Order::class_of(record->rank());
      if (is_over(*record, now, after)) {
        give_room(index, now, after);
        continue;
      }
      since_oldest_ = options_.quota != 0 && since_oldest_ >= options_.quota ? 0 : since_oldest_ + 1;
      start(worker, *record, index, now, after);
      if (is_plain(*record)) begin_run(worker, *record, now);
      give_room(index, now, after);
      return true;
    }
    return false;
  }
  /// False: its key is busy, and it waits aside.
  bool claim_key(Record& record) noexcept {
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
  /// One that must not start any more: it ends here.
  bool is_over(Record& record, TimePoint now, BusAfter& after) noexcept {
    const auto time_to_live = record.event.time_to_live();
    const bool expired = time_to_live && now - record.event.timestamp() > *time_to_live;
    const bool withdrawn = record.state && record.state->batch && record.state->batch->rolling_back;
    if (!expired && !withdrawn && !record.event.token().cancelled()) return false;
    if (!record.event.key().empty()) release_key(keys_.find(record.event.key())->second);
    end_removed(record, expired ? EventOutcome::expired : EventOutcome::cancelled, after);
    return true;
  }
  void start(BusWorker& worker, Record& record, std::size_t index, TimePoint now, BusAfter& after) noexcept {
    worker.record = &record;
    worker.id = record.number();
    worker.priority = record.event.priority();
    worker.entry = record.entry;
    worker.state = record.state;
    worker.class_index = index;
    worker.handlers = batches_.handlers_of(record);
    ++worker.handlers->running;
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
    BusStats& stats = classes_[index].stats;
    --stats.queued;
    ++stats.running;
    note_wait(stats, record, now);
  }
  static void note_wait(BusStats& stats, const Record& record, TimePoint now) noexcept {
    const auto waited = now - record.event.timestamp();
    stats.waited += waited;
    stats.longest_wait = std::max(stats.longest_wait, waited);
  }

  // Runs: see bus_run.hpp. Those of a run that have not been claimed are counted as queued.

  [[nodiscard]] static bool is_plain(const Record& record) noexcept {
    return !record.state && record.event.is_plain() && record.entry->handlers->all_plain;
  }
  /// The worker takes along what it would start next anyway, if no other worker could.
  void begin_run(BusWorker& worker, Record& first, TimePoint now) noexcept {
    worker.run.begin(first);
    Class& c = classes_[worker.class_index];
    // What drops or rejects goes by how many are queued, to the one.
    if (!takes_along() || c.overflow != Overflow::wait) return;
    std::size_t more = std::min<std::size_t>(BusRun::longest - 1, c.capacity / 4);
    if (options_.quota != 0)
      more = std::min<std::size_t>(more, options_.quota - std::min(since_oldest_, options_.quota));
    for (; more != 0; --more) {
      Record* const record = queue_.top();
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
  /// Whether a worker does so at all.
  [[nodiscard]] bool takes_along() const noexcept { return HasRank<Order> && options_.workers == 1; }
  [[nodiscard]] static bool same(const Rank& a, const Rank& b) noexcept { return !Before()(a, b) && !Before()(b, a); }
  /// What a worker has taken along goes back, but for what it has claimed: something has changed.
  void recall() noexcept {
    BusWorker* const worker = std::exchange(runner_, nullptr);
    if (!worker) return;
    worker->run.recall([this](RecordBase& record) {
      queue_.put_back(static_cast<Record&>(record));
      if (since_oldest_ != 0) --since_oldest_;
    });
  }
  void end_run(BusWorker& worker, BusAfter& after, TimePoint now) noexcept {
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
  static void forget_interrupt(BusWorker& worker) noexcept {
    if (std::exchange(worker.interrupt_pending, false)) worker.home->forget(worker.interrupt);
  }
  static void note_run(BusStats& stats, const BusWorker& worker, TimePoint now) noexcept {
    if (now <= worker.started) return;
    stats.ran += now - worker.started;
    stats.longest_run = std::max(stats.longest_run, now - worker.started);
  }

  /// Ends what a worker runs. Its payload has been destroyed.
  void end(BusWorker& worker, EventOutcome outcome, BusAfter& after, TimePoint now = {}) noexcept {
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
  /// The next of its events gets its place in the queue back.
  void release_key(KeyedEvents& keyed) noexcept {
    keyed.busy = false;
    if (keyed.empty()) return;
    Record& next = as_record(*keyed.ends.next);
    EventList::remove(next);
    queue_.put_back(next);
  }

  [[nodiscard]] bool quiet() const noexcept {
    return pending_ == 0 && waiting_publishers() == 0 && batches_.sagas() == 0;
  }
  void close(BusAfter& after) noexcept {
    recall();
    closed_ = true;
    wake_all_idle(after);
  }
  void unlink(DrainWaiter& waiter) noexcept {
    waiter.waiting = false;
    (waiter.prev ? waiter.prev->next : drainers_) = waiter.next;
    if (waiter.next) waiter.next->prev = waiter.prev;
  }

  // Giving on.

  /// Room, places and events to those that wait for them.
  void distribute(BusAfter& after) noexcept {
    for (std::size_t i = 0; i < Order::classes; ++i) {
      if (classes_[i].publishers.first) give_room(i, {}, after);
    }
    grant_places(after);
    wake_idle(after);
  }
  void give_room(std::size_t index, TimePoint now, BusAfter& after) noexcept {
    give_room_of(index, now, after);
    // A batch that went was before others in other lines, too.
    while (batches_.took_places()) {
      for (std::size_t i = 0; i < Order::classes; ++i) give_room_of(i, now, after);
    }
  }
  void give_room_of(std::size_t index, TimePoint now, BusAfter& after) noexcept {
    Class& c = classes_[index];
    freed_.store(freed_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    while (c.publishers.first && c.stats.queued < c.capacity) {
      auto& p = static_cast<Publisher&>(*c.publishers.first);
      if constexpr (HasRank<Order>) {
        if (p.batch) {
          if (!batches_.give_room(*p.batch, now, after)) return;
          continue;
        }
      }
      c.publishers.remove(p);
      p.for_room = false;
      try {
        Draft& draft = *p.draft;
        TopicEntry& entry = table_.entry(draft.topic.empty() ? draft.event->type() : draft.topic, after.handlers);
        p.id = put(draft, entry, index, now == TimePoint() ? p.home->report_time() : now, after);
      } catch (...) {
        p.exception = std::current_exception();
      }
      tell(p, after);
    }
  }
  /// One that waits for room, alone or with a batch, gets none.
  void refuse(Publisher& p, std::error_code why, BusAfter& after) noexcept {
    if (p.batch) {
      batches_.stop_waiting(*p.batch, why, after);
    } else {
      stop_waiting(p, why, after);
    }
  }
  /// It is about to wait: its place is for another, if it is a handler's.
  BusWait lend(BusWaiter& waiter, bool worker_made) noexcept {
    waiter.lender = BusWorker::at(*waiter.home, this);
    if (!waiter.lender || waiter.lender->lent) return BusWait::waits;
    if (lent_ >= options_.nested && waiter.lender->batches == 0) return BusWait::refused;
    if (!idle_ && !worker_made) return BusWait::needs_worker;
    ++lent_;
    waiter.lender->lent = true;
    give_place(*waiter.lender);
    return BusWait::waits;
  }
  /// It has what it waited for, but perhaps for a place.
  void tell(BusWaiter& waiter, BusAfter& after) noexcept {
    if (!waiter.lender) {
      after.wakes.add(*waiter.home, *waiter.resumable);
      return;
    }
    waiter.for_place = true;
    returning_.push(waiter);
    grant_places(after);
  }
  void grant_places(BusAfter& after) noexcept {
    BusWaiter* next = returning_.first;
    while (BusWaiter* const waiter = next) {
      next = waiter->next;
      // Another branch of the same handler may have it already.
      if (waiter->lender->lent) {
        if (!has_place_for(waiter->lender->class_index)) continue;
        take_place(*waiter->lender);
        waiter->lender->lent = false;
        --lent_;
      }
      forget_place(*waiter);
      after.wakes.add(*waiter->home, *waiter->resumable);
    }
  }
  void forget_place(BusWaiter& waiter) noexcept {
    if (std::exchange(waiter.for_place, false)) returning_.remove(waiter);
  }
  void wake_idle(BusAfter& after) noexcept {
    while (idle_ && waking_ < queue_.size() && places_.taken() + waking_ < places_.count()) {
      BusWorker& worker = *idle_;
      leave_idle(worker);
      worker.waking = true;
      ++waking_;
      after.wakes.add(*worker.home, *worker.resumable);
    }
  }
  void wake_all_idle(BusAfter& after) noexcept {
    while (BusWorker* const worker = idle_) {
      leave_idle(*worker);
      after.wakes.add(*worker->home, *worker->resumable);
    }
  }
  void leave_idle(BusWorker& worker) noexcept {
    BusWorker** link = &idle_;
    while (*link != &worker) link = &(*link)->next_idle;
    *link = worker.next_idle;
    worker.idle = false;
    --idle_count_;
  }
  void wake_drainers(BusAfter& after) noexcept {
    if (!quiet()) return;
    while (DrainWaiter* const waiter = drainers_) {
      unlink(*waiter);
      after.wakes.add(*waiter->home, *waiter->resumable);
    }
  }
  [[nodiscard]] std::size_t waiting_publishers() const noexcept {
    std::size_t count = 0;
    for (const Class& c : classes_) count += c.publishers.first != nullptr;
    return count;
  }

  // Handlers.

  void remove_handler(BusHandler& handler, BusAfter& after) noexcept {
    if (handler.gone.exchange(true, std::memory_order_seq_cst)) return;
    recall();
    table_.remove(handler, after.handlers);
  }
  /// Whether the worker calls the handler, or may begin to.
  [[nodiscard]] static bool may_call(const BusWorker& worker, const BusHandler& handler) noexcept {
    if (!worker.record) return false;
    const auto& list = worker.handlers->list;
    const auto found = std::find(list.begin(), list.end(), &handler);
    if (found == list.end()) return false;
    const auto place = static_cast<std::size_t>(found - list.begin());
    const std::size_t position = worker.position.load(std::memory_order_seq_cst);
    return position == place || (position < place && !list[position]->is_coroutine);
  }
  void wake_joiners(BusAfter& after) noexcept {
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

  // Cancelling what runs.

  static void interrupt(BusWorker& worker, BusAfter& after) noexcept {
    if (!worker.cut_off(Errc::cancelled)) return;
    worker.interrupt_pending = true;
    after.wakes.add(*worker.home, worker.interrupt);
  }
  /// The tokens of what ran at the end of the bus, or of an owner, each outside of the lock.
  void tell_running(const EventOwner* owner = nullptr) noexcept {
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

  using Before = typename Order::Before;

  struct KeyHash {
    using is_transparent = void;
    [[nodiscard]] std::size_t operator()(std::string_view key) const noexcept {
      return std::hash<std::string_view>()(key);
    }
  };

  const BusOptions options_;
  BusPlaces places_;
  EventQueue<Record, Rank, Before> queue_;
  BusBlocks<sizeof(Record)> blocks_;
  std::array<Class, Order::classes> classes_;
  TopicTable table_;
  BusBatches<Order> batches_{*this};
  std::unordered_map<std::string, KeyedEvents, KeyHash, std::equal_to<>> keys_;
  std::size_t keyed_events_ = 0;
  BusWaiters returning_;
  BusWorker* workers_ = nullptr;
  BusWorker* idle_ = nullptr;
  std::size_t idle_count_ = 0;
  std::size_t waking_ = 0;
  /// Who has taken events along that it may not have claimed.
  BusWorker* runner_ = nullptr;
  Rank runner_rank_{};
  std::size_t lent_ = 0;
  std::size_t pending_ = 0;
  std::uint32_t since_oldest_ = 0;
  std::atomic<EventId> last_id_{0};
  std::atomic<std::uint64_t> freed_{0};
  std::uint64_t last_order_ = 0;
  std::optional<ChannelSender<DeadEvent>> dead_letters_;
  std::atomic<std::uint64_t> lost_letters_{0};
  JoinWaiter* joiners_ = nullptr;
  std::atomic<std::size_t> joining_{0};
  DrainWaiter* drainers_ = nullptr;
  bool draining_ = false;
  bool closed_ = false;
};

}  // namespace weir::detail
