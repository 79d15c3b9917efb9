/// `EventBus`: topics, handlers, first in first out.
#pragma once

#include <chrono>
#include <concepts>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <weir/asio.hpp>
#include <weir/bus/batch.hpp>
#include <weir/bus/batch_ticket.hpp>
#include <weir/bus/bus_options.hpp>
#include <weir/bus/dead_event.hpp>
#include <weir/bus/detail/bus_batch_operations.hpp>
#include <weir/bus/detail/bus_drain.hpp>
#include <weir/bus/detail/bus_operations.hpp>
#include <weir/bus/detail/bus_watch.hpp>
#include <weir/bus/detail/run_bus_worker.hpp>
#include <weir/bus/event.hpp>
#include <weir/bus/event_context.hpp>
#include <weir/bus/request.hpp>
#include <weir/bus/subscription.hpp>
#include <weir/core/spawn.hpp>

namespace weir {
namespace detail {

/// What every bus can do. `Order` says which event is the next.
template <class Order>
class Bus {
 public:
  Bus(const Bus&) = delete;
  Bus& operator=(const Bus&) = delete;
  /// What `abort` does. It does not wait: handlers that run own what they need, and end on the executor.
  ~Bus() { core_->abort(); }

  /// Publishes the event: waits for room if its queue is full and the policy is to wait, and resumes, with its number,
  /// when it has been admitted. Moves from `event` only then. The caller keeps it alive until the end of the await.
  ///
  /// From a handler of this bus it gives up the handler's worker while it waits, so that a full queue is no deadlock;
  /// it throws `Error(Errc::would_deadlock)` when `BusOptions::nested` handlers wait already.
  ///
  /// Throws `Error` with `Errc::bus_closed` after a drain or the end of the bus, `Errc::queue_full` if the policy is to
  /// reject, `Errc::cancelled` if the scope is cancelled before it was admitted. Any number of tasks on any thread may
  /// publish; those that wait are served in their order. Allocates the event's block, which is recycled, and a
  /// topic's entry the first time. O(1) with the four priorities, else O(log queued).
  [[nodiscard]] auto publish(Event&& event)
    requires HasRank<Order>
  {
    return PublishAwaiter<Order, EventId>(*core_, event, Order::rank(event), {});
  }
  /// The same for an event of its own making, without the allocation of its topic's text, which must live until the end
  /// of the await.
  template <class P>
    requires HasRank<Order>
  [[nodiscard]] auto publish(std::string_view topic, P&& payload, EventPriority priority = EventPriority::normal) {
    return publish_payload(topic, EventPayload(static_cast<P&&>(payload)), priority);
  }
  [[nodiscard]] auto publish(std::string_view topic)
    requires HasRank<Order>
  {
    return publish_payload(topic, EventPayload(), EventPriority::normal);
  }
  template <class P>
    requires HasRank<Order>
  [[nodiscard]] auto publish(const Topic<P>& topic, std::type_identity_t<P> payload,
                             EventPriority priority = EventPriority::normal) {
    return publish_payload(topic.name(), EventPayload(std::move(payload)), priority);
  }
  /// The same with the payload built in place.
  template <class P, class... Args>
    requires(HasRank<Order> && std::constructible_from<P, Args...>)
  [[nodiscard]] auto publish_as(std::string_view topic, Args&&... args) {
    return publish_payload(topic, EventPayload(std::in_place_type<P>, static_cast<Args&&>(args)...),
                           EventPriority::normal);
  }

  /// Publishes without waiting, from any thread and from plain functions: a full queue refuses with `Errc::queue_full`,
  /// whatever the policy but dropping. While the bus is drained it refuses with `Errc::bus_closed`, also in a handler,
  /// which it cannot tell from others. Moves from `event` only when it was admitted.
  PublishResult try_publish(Event&& event)
    requires HasRank<Order>
  {
    EventDraft<Order> draft;
    draft.event = &event;
    draft.rank = Order::rank(event);
    return try_admit(draft);
  }
  template <class P>
    requires HasRank<Order>
  PublishResult try_publish(std::string_view topic, P&& payload, EventPriority priority = EventPriority::normal) {
    Event event(EventPayload(static_cast<P&&>(payload)), priority);
    EventDraft<Order> draft;
    draft.event = &event;
    draft.topic = topic;
    draft.rank = Order::rank(event);
    return try_admit(draft);
  }

  /// `publish` by completion token: `void(std::exception_ptr, EventId)`, on the executor of the bus. Allocates a task.
  template <class CompletionToken>
  auto async_publish(Event event, CompletionToken&& token)
    requires HasRank<Order>
  {
    return spawn(executor_, publish_later(core_, std::move(event)), static_cast<CompletionToken&&>(token));
  }

  /// Publishes the events together, and resumes with a `BatchReport` when the batch has ended: see `BatchMode` for what
  /// its events have to do with one another, and docs/rollback.md for sagas. The events are moved from when they are
  /// admitted.
  ///
  ///     auto batch = bus.publish_batch(std::move(events), weir::BatchMode::saga);
  ///     const weir::BatchReport report = co_await std::move(batch);
  ///
  /// An atomic batch or a saga waits for room for all its events, in its turn; where the policy is to drop what is old
  /// it makes room, where it is to reject or to drop what is new it is refused with `Errc::queue_full`. A handler of
  /// this bus gives up its worker while it waits.
  ///
  /// The call throws `Error(Errc::invalid_argument)` for a batch of none, an event without a topic, or options out of
  /// their range. The await throws when nothing was admitted: `Errc::invalid_argument` for an atomic batch or a saga
  /// that is larger than the capacity, or a saga with a handler that cannot be undone; `Errc::queue_full`,
  /// `Errc::bus_closed`, `Errc::would_deadlock`, `Errc::cancelled` as `publish` does. Of independent events, those that
  /// were refused have their error in the report.
  ///
  /// When the publisher is cancelled, events that are not admitted are not published. What was admitted of independent
  /// events or an atomic batch goes on, and `Errc::cancelled` is thrown; a saga is rolled back, and the await gives its
  /// report all the same. When the publisher's frame is destroyed, what was admitted goes on.
  ///
  /// Allocates one block for all events, and theirs. O(events).
  [[nodiscard]] PendingBatch publish_batch(std::vector<Event>&& events, BatchMode mode,
                                           const BatchOptions& options = {})
    requires HasRank<Order>
  {
    return make_batch(core_, executor_, BatchEvents<Order>(std::move(events)), mode, options);
  }
  /// The same for events of the caller's, who keeps them alive until the end of the await, and still has those that
  /// were not admitted.
  [[nodiscard]] PendingBatch publish_batch(std::span<Event> events, BatchMode mode, const BatchOptions& options = {})
    requires HasRank<Order>
  {
    return make_batch(core_, executor_, BatchEvents<Order>(events), mode, options);
  }
  /// A saga, or independent events.
  [[nodiscard]] PendingBatch publish_batch(std::vector<Event>&& events, std::same_as<bool> auto rollback_on_error)
    requires HasRank<Order>
  {
    return publish_batch(std::move(events), rollback_on_error ? BatchMode::saga : BatchMode::independent);
  }
  /// By completion token: `void(std::exception_ptr, BatchReport)`, on the executor of the bus. Its cancellation slot
  /// cancels the publisher.
  template <class CompletionToken>
  auto async_publish_batch(std::vector<Event> events, BatchMode mode, CompletionToken&& token)
    requires HasRank<Order>
  {
    return async_publish_batch(std::move(events), mode, BatchOptions(), static_cast<CompletionToken&&>(token));
  }
  template <class CompletionToken>
  auto async_publish_batch(std::vector<Event> events, BatchMode mode, const BatchOptions& options,
                           CompletionToken&& token)
    requires HasRank<Order>
  {
    return spawn(executor_, publish_batch_later(core_, executor_, BatchEvents<Order>(std::move(events)), mode, options),
                 static_cast<CompletionToken&&>(token));
  }

  /// Publishes an event and waits for the reply, which is what one of its handlers gives to `EventContext::reply` or
  /// returns; the first counts, and resumes the requester at once, though handlers may still run. A task, to be awaited
  /// once; it resumes on the home of the one that awaits. A handler of this bus gives up its worker while it waits.
  ///
  /// Throws what `publish` does, and: what a handler threw, if none replied; `Error` with `Errc::no_handler` if none
  /// was called, `Errc::no_reply` if none of them replied, `Errc::wrong_payload` if the reply is no `Reply`,
  /// `Errc::timed_out` after `timeout`, when the event is cancelled, too; and for an event that ends otherwise what
  /// that says (`Errc::cancelled`, `timed_out`, `queue_full`, `bus_closed`). A requester that is cancelled cancels its
  /// event. Allocates the state of the event, the place of the reply and the frames of the task.
  template <class Reply, class P>
    requires HasRank<Order>
  [[nodiscard]] Task<Reply> request(std::string_view topic, P&& payload) {
    return ask<Reply>(requests(), Event(topic, static_cast<P&&>(payload)));
  }
  template <class Reply, class P, class Rep, class Period>
    requires HasRank<Order>
  [[nodiscard]] Task<Reply> request(std::string_view topic, P&& payload, std::chrono::duration<Rep, Period> timeout) {
    return ask_until<Reply>(requests(), Event(topic, static_cast<P&&>(payload)), clock_duration(timeout));
  }
  /// The same for an event of its own making, which it takes.
  template <class Reply>
    requires HasRank<Order>
  [[nodiscard]] Task<Reply> request(Event&& event) {
    return ask<Reply>(requests(), std::move(event));
  }
  template <class Reply, class Rep, class Period>
    requires HasRank<Order>
  [[nodiscard]] Task<Reply> request(Event&& event, std::chrono::duration<Rep, Period> timeout) {
    return ask_until<Reply>(requests(), std::move(event), clock_duration(timeout));
  }
  /// The same by completion token: `void(std::exception_ptr, Reply)`, on the executor of the bus.
  template <class Reply, class Rep, class Period, class CompletionToken>
  auto async_request(Event event, std::chrono::duration<Rep, Period> timeout, CompletionToken&& token)
    requires HasRank<Order>
  {
    return spawn(executor_, request<Reply>(std::move(event), timeout), static_cast<CompletionToken&&>(token));
  }

  /// Calls `handler` for the events of the topics that `pattern` chooses (`*` is one level, `>` the rest), as long as
  /// the subscription lives. It takes an `EventContext&`, and is a plain function, which must not block, or returns
  /// something to await. What it gives besides void replies to a request. Handlers of different events run at the same
  /// time on a pool; guard what they share. What it throws makes the event fail, and harms neither the other handlers
  /// nor the bus.
  ///
  /// `Error(Errc::invalid_argument)` for what is no pattern. Strong guarantee. Allocates; O(topics + handlers).
  template <class F>
  Subscription subscribe(std::string_view pattern, F&& handler, SubscribeOptions options = {}) {
    return subscribe_with<void>(pattern, AnyEvent(), static_cast<F&&>(handler), options);
  }
  /// The same for events for which `predicate(event)` is true. It is asked once an event, just before the handler is to
  /// be called, without a lock; what it throws counts as thrown by the handler.
  template <class Predicate, class F>
  Subscription subscribe_if(std::string_view pattern, Predicate&& predicate, F&& handler,
                            SubscribeOptions options = {}) {
    return subscribe_with<void>(pattern, static_cast<Predicate&&>(predicate), static_cast<F&&>(handler), options);
  }
  /// A handler of what is published to a typed topic: it takes a `const P&`, and an `EventContext&` if it wants to. An
  /// event of that topic with something else in it fails with `Errc::wrong_payload`.
  template <class P, class F>
  Subscription subscribe(const Topic<P>& topic, F&& handler, SubscribeOptions options = {}) {
    return subscribe_with<P>(topic.name(), AnyEvent(), static_cast<F&&>(handler), options);
  }
  template <class P, class Predicate, class F>
  Subscription subscribe_if(const Topic<P>& topic, Predicate&& predicate, F&& handler, SubscribeOptions options = {}) {
    return subscribe_with<P>(topic.name(), static_cast<Predicate&&>(predicate), static_cast<F&&>(handler), options);
  }

  /// Keeps the last value of each topic that `pattern` chooses, from now on: for handlers that are subscribed later
  /// with `SubscribeOptions::last_value`. An event is the last of its topic when it starts, one of a saga when that
  /// commits; one that never starts is not.
  ///
  ///     bus.keep_last_values("config.>");
  ///     co_await bus.publish("config.colour", std::string("blue"));
  ///     …
  ///     auto subscription = bus.subscribe("config.*", apply, {.last_value = true});   // is called with "blue"
  ///
  /// Such a handler gets, by calls of its own, the value of each of its topics, once, and then every event of them that
  /// takes effect later: no gap, and nothing twice. The call starts before the handlers of any later event of the topic
  /// do, whatever their priorities; only one with a key that is busy waits for that key, and not those of other keys
  /// for it. It is an event of its own, with the number, the times and the token of the one that was published: what
  /// holds of events holds of it, but that it never waits for room. An expired or cancelled one is not delivered.
  ///
  /// The payload is shared from then on. `BusOptions::last_values` are kept; one goes when another takes its place, by
  /// `clear_last_values`, with the plugin that published it, and at the end of the bus. Any thread. O(topics).
  /// Allocates; `Error(Errc::invalid_argument)` for what is no pattern.
  void keep_last_values(std::string_view pattern) { core_->keep_last_values(pattern); }
  template <class P>
  void keep_last_values(const Topic<P>& topic) {
    core_->keep_last_values(topic.name());
  }
  /// Lets go of the values that there are of the topics that `pattern` chooses, and says how many there were. O(kept).
  std::size_t clear_last_values(std::string_view pattern) { return core_->clear_last_values(pattern); }

  /// Where events go that a handler failed with, after the others have seen them. Before anything is published. What
  /// does not fit into the channel is lost, and counted; its event is counted as failed all the same.
  void set_dead_letters(ChannelSender<DeadEvent> sender) { core_->set_dead_letters(std::move(sender)); }

  [[nodiscard]] std::uint64_t lost_dead_letters() const noexcept { return core_->lost_dead_letters(); }

  /// Admits nothing any more, but what handlers publish, and waits until everything that was admitted has ended; those
  /// that were waiting for room are admitted. Then the workers end. A task: `co_await bus.drain()`. Throws
  /// `Error(Errc::would_deadlock)` in a handler of this bus.
  [[nodiscard]] Task<DrainReport> drain() { return drain_bus(core_, std::nullopt); }
  /// The same, but aborts when `deadline` has passed; it does not wait for handlers that go on in spite of it.
  template <class Rep, class Period>
  [[nodiscard]] Task<DrainReport> drain(std::chrono::duration<Rep, Period> deadline) {
    return drain_bus(core_, std::optional(clock_duration(deadline)));
  }
  /// Both by completion token: `void(std::exception_ptr, DrainReport)`, on the executor of the bus.
  template <class CompletionToken>
  auto async_drain(CompletionToken&& token) {
    return spawn(executor_, drain(), static_cast<CompletionToken&&>(token));
  }
  template <class Rep, class Period, class CompletionToken>
  auto async_drain(std::chrono::duration<Rep, Period> deadline, CompletionToken&& token) {
    return spawn(executor_, drain(deadline), static_cast<CompletionToken&&>(token));
  }
  /// Ends the bus now: discards what is queued, cancels what runs, and refuses what comes or waits for room, with
  /// `Errc::bus_closed`. Any thread; does not wait. The report counts what there was.
  DrainReport abort() noexcept { return core_->abort(); }

  /// All priorities together. A consistent picture, under the lock.
  [[nodiscard]] BusStats stats() const { return core_->stats(); }
  [[nodiscard]] const BusOptions& options() const noexcept { return core_->options(); }

  /// The events whose handlers have run for `limit` or longer, cancelled or not. Any thread. O(workers).
  template <class Rep, class Period>
  [[nodiscard]] std::vector<StuckEvent> stuck(std::chrono::duration<Rep, Period> limit) const {
    return stuck_events(*core_, time_, clock_duration(limit));
  }
  /// A watchdog, to be spawned: calls `report(const StuckEvent&)` once for each event whose handlers run for `limit` or
  /// longer, and looks for them every `interval`. It ends within one after the bus has been drained or aborted, or by
  /// being cancelled; what `report` throws ends it, too. The call throws `Error(Errc::invalid_argument)` for an
  /// interval that is not positive. A handler that blocks its thread is seen only by a watchdog on another.
  template <class Rep, class Period, class Rep2, class Period2, std::invocable<const StuckEvent&> Report>
  [[nodiscard]] Task<> watch(std::chrono::duration<Rep, Period> limit, std::chrono::duration<Rep2, Period2> interval,
                             Report report) {
    const auto between = clock_duration(interval);
    if (between <= between.zero()) {
      throw Error(Errc::invalid_argument, "a watchdog looks every interval: it has to be positive");
    }
    return watch_bus(core_, time_, clock_duration(limit), between, std::move(report));
  }

 protected:
  friend struct BusParts;

  using Core = BusCore<Order>;

  template <ExecutorSource E>
  Bus(E&& source, const BusOptions& options)
      : Bus(executor_of(static_cast<E&&>(source)), std::make_shared<Core>(options)) {}
  template <class Executor>
  Bus(const Executor& executor, std::shared_ptr<Core> core)
      : core_(std::move(core)), executor_(executor), time_(asio::use_service<TimeService>(context_of(executor_))) {
    try {
      // On the executor itself: behind an `any_io_executor` each wake-up would allocate.
      for (std::size_t i = 0; i < core_->options().workers; ++i) {
        spawn(executor, run_bus_worker(core_), asio::detached);
      }
    } catch (...) {
      core_->abort();
      throw;
    }
  }

  [[nodiscard]] auto publish_payload(std::string_view topic, EventPayload&& payload, EventPriority priority) {
    typename Order::Rank rank{};
    if constexpr (std::is_same_v<typename Order::Rank, EventPriority>) rank = priority;
    return PublishAwaiter<Order, EventId>(*core_, topic, std::move(payload), priority, rank, EventStateRef());
  }

  PublishResult try_admit(EventDraft<Order>& draft) {
    return detail::try_admit(*core_, draft, nullptr, time_.coarse_now());
  }

  template <class P, class Predicate, class F>
  Subscription subscribe_with(std::string_view pattern, Predicate&& predicate, F&& handler,
                              const SubscribeOptions& options) {
    auto made = make_handler<P>(pattern, static_cast<Predicate&&>(predicate), static_cast<F&&>(handler), options);
    BusHandler* const subscribed = made.get();
    core_->subscribe(std::move(made), time_.coarse_now());
    return Subscription(core_, subscribed);
  }

  /// What publishes requests: it outlives the bus.
  [[nodiscard]] auto requests() const {
    return [core = core_](Event& event) { return publish_request(core, event); };
  }
  std::shared_ptr<Core> core_;
  asio::any_io_executor executor_;
  TimeService& time_;
};

}  // namespace detail

/// The plain bus: events are delivered in the order in which they were admitted, by `BusOptions::workers` workers, to
/// every handler whose pattern chooses their topic.
///
///     weir::EventBus bus(pool, {.workers = 2});
///     auto subscription = bus.subscribe("disk.*", [](weir::EventContext& event) { … });
///     co_await bus.publish("disk.full", DiskFull("/var"));
///     co_await bus.drain();
///
/// The workers are tasks on the executor: they hold it up until the bus is drained, aborted or destroyed. The execution
/// context must outlive the use of the bus, but not the bus itself. Thread-safe but for its construction, destruction
/// and `set_dead_letters`. `Error(Errc::invalid_argument)` for options out of their range. Allocates its core and its
/// workers.
class EventBus : public detail::Bus<detail::FifoOrder> {
 public:
  template <ExecutorSource E>
  explicit EventBus(E&& source, const BusOptions& options = {})
      : detail::Bus<detail::FifoOrder>(static_cast<E&&>(source), options) {}
};

}  // namespace weir
