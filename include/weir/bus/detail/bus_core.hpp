/// What a bus, its workers, its tickets and its subscriptions share.
///
/// Rules (the tests of tests/bus break when one of these is broken):
///  1. Everything is under one mutex, if nothing else is said. Under it nothing of the users' runs, not even a
///     destructor: what is destroyed or told goes into an `After`, which is declared before the lock. No home is posted
///     under it. Publishers may leave plain events in an inbox beside it (bus_inbox.hpp); who takes the mutex finds
///     them queued.
///  2. An event is queued (in the queue, or aside in the list of its key), or runs (a worker has it), or has ended.
///     Each step is taken by `start`, `end` and `end_queued` alone, which keep the counters; so each event ends once.
///  3. A worker takes an event when it holds one of the `workers` places. A handler that waits for its own bus gives
///     its place away and waits for one again before it goes on; those come before new events.
///  4. Room goes to those that wait for it, in their order, before it goes to who comes.
///  5. A worker that is the only one takes plain events along (bus_run.hpp). Whatever changes what it should do next
///     recalls them first: a more urgent event, an overflow policy that drops, a subscription, the end.
///  6. A worker stores `position` and then looks whether the handler is `gone`; who unsubscribes marks it gone and then
///     looks at `position`, both sequentially consistent where a handler can have taken long before: one of the two
///     sees the other. Where the handler before was a plain function, `join` waits for it, too. For handlers that run
///     beside each other `position` is that of the first.
///
/// What it does is in bus_admission.hpp, bus_intake.hpp, bus_dispatch.hpp, bus_workers.hpp, bus_subscribers.hpp and
/// bus_end.hpp.
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
#include <span>
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
#include <weir/bus/detail/bus_inbox.hpp>
#include <weir/bus/detail/bus_last_values.hpp>
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
  enum class Next : std::uint8_t { event, none, stop };

  explicit BusCore(const BusOptions& options) : options_(options), places_(options.workers) {
    const auto check = [](bool good, const char* what) {
      if (!good) throw Error(Errc::invalid_argument, std::string("BusOptions::") + what + " is at least 1");
    };
    check(options.workers != 0, "workers");
    check(options.capacity != 0, "capacity");
    check(options.last_values != 0, "last_values");
    for (Class& c : classes_) {
      c.capacity = options.capacity;
      c.overflow = options.overflow;
    }
    // So that what is recalled, and what is in the inbox, always gets its place.
    if (has_inbox) queue_.reserve_places(Order::classes + 1);
  }

  [[nodiscard]] const BusOptions& options() const noexcept { return options_; }

  // Publishing. With the lock held, where it takes an `After`.

  /// Admits the event, or says why not in `p`. `by`: where the publisher runs, if that is known; a handler of this bus
  /// may publish while it is drained. Strong guarantee.
  Admission admit(Draft& draft, TimePoint now, Home* by, BusAfter& after, Publisher& p);

  /// The short way, without the lock: false if it has to go the long way.
  [[nodiscard]] bool put_in_inbox(Draft& draft, TimePoint now, EventId& id) noexcept {
    if constexpr (has_inbox) return inbox_.put(draft, now, id);
    return false;
  }

  /// After `full`: it waits, and gives its place away if it is a handler's.
  BusWait wait_for_room(Publisher& p, bool worker_made, BusAfter& after) noexcept;
  /// It does not want to wait any more. False: it is on its way already.
  bool stop_waiting(Publisher& p, std::error_code why, BusAfter& after) noexcept;
  /// Its frame goes.
  void forget(Publisher& p) noexcept;

  // Workers.

  void add(BusWorker& worker) noexcept;
  /// Its frame goes, perhaps with an event half run: the execution context is being destroyed.
  void remove(BusWorker& worker) noexcept;

  /// On the worker's home, without the lock: destroys the events of a run that has ended.
  static void destroy_run(BusWorker& worker) noexcept {
    worker.run.for_each_done([](RecordBase& record, EventOutcome) { static_cast<Record&>(record).~Record(); });
  }
  /// Ends what the worker ran, if it ran something, and gives it the next event; if there is none it is idle. The inbox
  /// may be open.
  Next take(BusWorker& worker, EventOutcome outcome, TimePoint now, BusAfter& after) noexcept;

  /// On the worker's home, between two handlers, of which the first was a coroutine.
  void passed_handler(BusAfter& after) noexcept;

  /// Before anything is published.
  void set_dead_letters(ChannelSender<DeadEvent>&& sender) { dead_letters_ = std::move(sender); }
  [[nodiscard]] std::uint64_t lost_dead_letters() const noexcept {
    return lost_letters_.load(std::memory_order_relaxed);
  }
  void lose_letter() noexcept {
    if (dead_letters_) lost_letters_.fetch_add(1, std::memory_order_relaxed);
  }
  /// No lock is held. What does not fit into the channel is only counted.
  void bury(Event& event, const std::exception_ptr& error) noexcept;

  [[nodiscard]] BusBatches<Order>& batches() noexcept { return batches_; }
  /// Whether the compensators of a saga run there.
  [[nodiscard]] bool undoes_at(const Home& home) const noexcept {
    const std::lock_guard lock(mutex);
    return batches_.undoes_at(home);
  }

  // Tickets.

  CancelResult cancel(EventState& state) override;

  /// The event that has this token for its own, and has not ended; or nothing. O(events).
  [[nodiscard]] EventStateRef find(const CancellationToken& token);

  BusWait wait(EventState& state, OutcomeWaiter& waiter, bool worker_made) override;
  void answer(EventState& state) noexcept override;
  bool stop_waiting(EventState& state, OutcomeWaiter& waiter) noexcept override;
  void forget(EventState& state, OutcomeWaiter& waiter) noexcept override;

  // Subscriptions.

  void subscribe(std::unique_ptr<BusHandler> handler, TimePoint now);
  void unsubscribe(BusHandler& handler) noexcept override;
  /// The subscription's own share.
  void release(BusHandler& handler) noexcept override;
  BusWait wait(JoinWaiter& waiter, bool worker_made) override;
  bool stop_waiting(JoinWaiter& waiter) noexcept override;
  void forget(JoinWaiter& waiter) noexcept override;

  // Last values. Take the lock themselves.

  void keep_last_values(std::string_view pattern) {
    check_pattern(pattern);
    const std::lock_guard lock(mutex);
    table_.keep(pattern);
  }
  std::size_t clear_last_values(std::string_view pattern);

  // What belongs to an owner, such as a plugin. With the lock held.

  /// Takes out its handlers; says how many there were. O(its own, and topics and handlers for each).
  std::size_t remove_handlers(const EventOwner& owner, BusAfter& after) noexcept;
  /// Ends its queued events, and refuses those of its that wait for room or are still to come; says how many events
  /// there were. O(its own, and publishers that wait).
  std::size_t withdraw(EventOwner& owner, BusAfter& after) noexcept;
  /// Calls `visit(worker)` for each that runs an event.
  template <class Visit>
  void for_each_running(Visit&& visit) const;
  /// Calls `visit(id, topic, started)` for each of its events that runs.
  template <class Visit>
  void for_each_running(const EventOwner& owner, Visit&& visit) const;
  /// Cancels its events that run. Takes the lock itself.
  void interrupt(const EventOwner& owner) noexcept;

  // Waits that others end. With the lock held.

  /// A handler that waits gives its place to another, unless the answer is not `waits`.
  BusWait begin_wait(BusWaiter& waiter, bool worker_made, BusAfter& after) noexcept;
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
  void begin_drain() noexcept;
  /// True: there is something to wait for, and the waiter is told when it is over.
  [[nodiscard]] bool wait(DrainWaiter& waiter) noexcept;
  bool forget(DrainWaiter& waiter) noexcept;
  /// Nothing is left to do: the workers go home.
  void close() noexcept;
  /// Discards what is queued, and cancels what runs. Again is nothing.
  DrainReport abort() noexcept;

  // Figures. Take the lock themselves.

  void limit(std::size_t index, std::size_t capacity, Overflow overflow);
  [[nodiscard]] BusStats stats(std::size_t index) const;
  [[nodiscard]] BusStats stats() const;

  /// Gives an `After` what it needs to destroy events of this bus.
  static void prepare(BusAfter& after) noexcept;

 private:
  friend class BatchAdmission<Order>;
  friend class BusBatches<Order>;
  friend class BusLastValues<Order>;

  struct Class {
    BusStats stats;
    std::size_t capacity = 0;
    Overflow overflow = Overflow::wait;
    BusWaiters publishers;
  };

  // Records.

  [[nodiscard]] static Record& as_record(EventLink& link) noexcept { return static_cast<Record&>(link); }

  EventId put(Draft& draft, TopicEntry& entry, std::size_t index, TimePoint now, BusAfter& after);
  /// What an admission does at its end. Room in the queue has been reserved.
  void link(Record& record, std::size_t index, TimePoint now) noexcept;
  void enqueue(Record& record, std::size_t index) noexcept;

  // The inbox: see bus_inbox.hpp. An order of many ranks has none, because a rank that is new needs memory.

  static constexpr bool has_inbox = HasRank<Order>;
  void close_inbox() noexcept override;
  void empty_inbox() noexcept override;
  void open_inbox() noexcept override;
  /// It was open when the worker took the lock. An event of the class `ended` has ended, and one of `started` started.
  void keep_inbox_open(std::size_t ended, std::size_t started, BusAfter& after) noexcept;
  [[nodiscard]] std::optional<Rank> inbox_limit() const noexcept {
    return runner_ ? std::optional<Rank>(runner_rank_) : std::nullopt;
  }
  [[nodiscard]] auto inbox_share(std::size_t index) const noexcept;
  void enqueue_all(std::span<Record* const> records) noexcept;
  [[nodiscard]] TopicEntry& find_entry(const Draft& draft, BusAfter& after);
  /// Whether anything is admitted of who publishes at `by`, if that is known.
  [[nodiscard]] bool takes_from(Home* by, bool held_back) const noexcept {
    return !closed_ && (!draining_ || held_back || (by && BusWorker::at(*by, this)));
  }

  void drop_new(Draft& draft, Class& c, Publisher& p, BusAfter& after) noexcept;
  [[nodiscard]] Record* oldest_of(std::size_t index) noexcept {
    return queue_.find_oldest([index](const Record& r) { return Order::class_of(r.rank()) == index; });
  }
  void drop_same(TopicEntry& entry, std::size_t index, BusAfter& after) noexcept;

  static std::uint64_t& counter(BusStats& stats, EventOutcome outcome) noexcept;

  void settle(EventState& state, EventOutcome outcome, BusAfter& after) noexcept;
  static bool unlink(EventState& state, OutcomeWaiter& waiter) noexcept;
  bool unlink(JoinWaiter& waiter) noexcept;

  /// An event that has not started ends. What it leaves is given on by `distribute`.
  void end_queued(Record& record, EventOutcome outcome, BusAfter& after) noexcept;
  void end_removed(Record& record, EventOutcome outcome, BusAfter& after) noexcept;
  KeyedEvents& enter_key(std::string_view key);
  void leave_key(KeyedEvents& keyed) noexcept;

  // Starting and ending.

  /// Whether its class may hold another place.
  [[nodiscard]] bool has_place_for(std::size_t index) const noexcept { return places_.has(Order::modest(index)); }
  void take_place(BusWorker& worker) noexcept { places_.take(Order::modest(worker.place_index)); }
  void give_place(BusWorker& worker) noexcept { places_.give(Order::modest(worker.place_index)); }

  bool start_next(BusWorker& worker, TimePoint now, BusAfter& after) noexcept;
  /// False: its key is busy, and it waits aside.
  bool claim_key(Record& record) noexcept;
  /// One that must not start any more: it ends here.
  bool is_over(Record& record, TimePoint now, BusAfter& after) noexcept;
  /// `place`: the class whose place it gets.
  void start(BusWorker& worker, Record& record, std::size_t place, TimePoint now, BusAfter& after) noexcept;
  static void note_wait(BusStats& stats, const Record& record, TimePoint now) noexcept;

  // Runs: see bus_run.hpp. Those of a run that have not been claimed are counted as queued.

  [[nodiscard]] static bool is_plain(const Record& record) noexcept {
    return !record.state && record.event.is_plain() && record.entry->handlers->all_plain;
  }
  /// The worker takes along what it would start next anyway, if no other worker could.
  void begin_run(BusWorker& worker, Record& first, TimePoint now) noexcept;
  /// Whether a worker does so at all.
  [[nodiscard]] bool takes_along() const noexcept { return HasRank<Order> && options_.workers == 1; }
  [[nodiscard]] static bool same(const Rank& a, const Rank& b) noexcept { return !Before()(a, b) && !Before()(b, a); }
  /// What a worker has taken along goes back, but for what it has claimed: something has changed.
  void recall() noexcept;
  void end_run(BusWorker& worker, BusAfter& after, TimePoint now) noexcept;
  static void forget_interrupt(BusWorker& worker) noexcept {
    if (std::exchange(worker.interrupt_pending, false)) worker.home->forget(worker.interrupt);
  }
  static void note_run(BusStats& stats, const BusWorker& worker, TimePoint now) noexcept;

  /// Ends what a worker runs. Its payload has been destroyed.
  void end(BusWorker& worker, EventOutcome outcome, BusAfter& after, TimePoint now = {}) noexcept;
  /// The next of its events gets its place in the queue back.
  void release_key(KeyedEvents& keyed) noexcept;

  [[nodiscard]] bool quiet() const noexcept {
    return pending_ == 0 && waiting_publishers() == 0 && batches_.sagas() == 0;
  }
  void close(BusAfter& after) noexcept;
  void unlink(DrainWaiter& waiter) noexcept;

  // Giving on.

  /// Room, places and events to those that wait for them.
  void distribute(BusAfter& after) noexcept;
  void give_room(std::size_t index, TimePoint now, BusAfter& after) noexcept;
  void give_room_of(std::size_t index, TimePoint now, BusAfter& after) noexcept;
  /// One that waits for room, alone or with a batch, gets none.
  void refuse(Publisher& p, std::error_code why, BusAfter& after) noexcept;
  /// It is about to wait: its place is for another, if it is a handler's.
  BusWait lend(BusWaiter& waiter, bool worker_made) noexcept;
  /// It has what it waited for, but perhaps for a place.
  void tell(BusWaiter& waiter, BusAfter& after) noexcept;
  void grant_places(BusAfter& after) noexcept;
  void forget_place(BusWaiter& waiter) noexcept {
    if (std::exchange(waiter.for_place, false)) returning_.remove(waiter);
  }
  void wake_idle(BusAfter& after) noexcept;
  void wake_all_idle(BusAfter& after) noexcept;
  void leave_idle(BusWorker& worker) noexcept;
  void wake_drainers(BusAfter& after) noexcept;
  [[nodiscard]] std::size_t waiting_publishers() const noexcept;

  // Handlers.

  void remove_handler(BusHandler& handler, BusAfter& after) noexcept;
  /// Whether the worker calls the handler, or may begin to.
  [[nodiscard]] static bool may_call(const BusWorker& worker, const BusHandler& handler) noexcept;
  /// The same, on the worker's home.
  [[nodiscard]] static bool runs_there(const BusWorker& worker, const BusHandler& handler) noexcept;
  void wake_joiners(BusAfter& after) noexcept;

  // Cancelling what runs.

  static void interrupt(BusWorker& worker, BusAfter& after) noexcept;
  /// The tokens of what ran at the end of the bus, or of an owner, each outside of the lock.
  void tell_running(const EventOwner* owner = nullptr) noexcept;

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
  BusInbox<Order> inbox_;
  std::array<Class, Order::classes> classes_;
  TopicTable table_;
  BusBatches<Order> batches_{*this};
  BusLastValues<Order> last_values_{*this};
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

#include <weir/bus/detail/bus_admission.hpp>
#include <weir/bus/detail/bus_dispatch.hpp>
#include <weir/bus/detail/bus_end.hpp>
#include <weir/bus/detail/bus_intake.hpp>
#include <weir/bus/detail/bus_subscribers.hpp>
#include <weir/bus/detail/bus_workers.hpp>
