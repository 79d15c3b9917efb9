/// The publishers of batches: what they wait for, and what they are told.
#pragma once

#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <weir/asio.hpp>
#include <weir/bus/batch_ticket.hpp>
#include <weir/bus/detail/bus_operations.hpp>
#include <weir/bus/detail/bus_saga.hpp>
#include <weir/core/spawn.hpp>
#include <weir/core/this_task.hpp>

namespace weir::detail {

/// The events of a batch before they are admitted: the caller's, or owned. With their ranks, if the order is not in the
/// events.
template <class Order>
class BatchEvents {
  using Rank = typename Order::Rank;

 public:
  explicit BatchEvents(std::span<Event> events) noexcept : events_(events) {}
  explicit BatchEvents(std::vector<Event>&& events, std::vector<Rank>&& ranks = {}) noexcept
      : own_(std::move(events)), ranks_(std::move(ranks)), events_(own_) {}
  BatchEvents(BatchEvents&& other) noexcept = default;
  BatchEvents& operator=(BatchEvents&&) = delete;

  [[nodiscard]] std::span<Event> events() const noexcept { return events_; }
  [[nodiscard]] std::span<const Rank> ranks() const noexcept { return ranks_; }
  [[nodiscard]] Rank rank(std::size_t index) const { return rank_of<Order>(events_, ranks_, index); }

 private:
  // Moving a vector leaves its elements where they are.
  std::vector<Event> own_;
  std::vector<Rank> ranks_;
  std::span<Event> events_;
};

template <class Order>
void check_batch(const BatchEvents<Order>& batch, const BatchOptions& options) {
  const std::span<const Event> events = batch.events();
  const auto refuse = [](const std::string& what) { throw Error(Errc::invalid_argument, what); };
  if (events.empty()) refuse("a batch has at least one event");
  if (options.attempts == 0) refuse("BatchOptions::attempts is at least 1");
  const auto zero = options.delay.zero();
  if (options.delay < zero || options.longest_delay < zero || options.undo_timeout < zero) {
    refuse("BatchOptions: a time cannot be negative");
  }
  for (std::size_t i = 0; i < events.size(); ++i) {
    if (events[i].type().empty())
      refuse("event " + std::to_string(i) + " of the batch has no topic: was it moved from?");
  }
  if constexpr (!HasRank<Order>) {
    const std::size_t ranks = batch.ranks().size();
    if (ranks != 1 && ranks != events.size()) {
      refuse("a batch of " + std::to_string(events.size()) + " events has " + std::to_string(ranks) +
             " priorities: it needs one for each, or one for all");
    }
  }
}

/// Waits for the end of a batch: `begin` admits one that is admitted as a whole.
template <class Order>
struct BatchRegistration {
  static constexpr const char* what = "end of a batch";
  using Core = BusCore<Order>;

  BatchRegistration(std::shared_ptr<Core> c, BatchRef b) noexcept : core(std::move(c)), batch(std::move(b)) {
    publisher.batch = &*batch;
  }
  BatchRegistration(std::shared_ptr<Core> c, BatchRef b, const BatchEvents<Order>& events) noexcept
      : BatchRegistration(std::move(c), std::move(b)) {
    publisher.events = events.events();
    publisher.ranks = events.ranks();
  }
  BusWait add(Home& home, Resumable& resumable, bool worker_made) {
    publisher.home = &home;
    publisher.resumable = &resumable;
    publisher.now = home.turn_time();
    BusAfter after(&home);
    Core::prepare(after);
    const std::lock_guard lock(core->mutex);
    return batch->mode == BatchMode::independent ? core->batches().wait_each(*batch, publisher, worker_made, after)
                                                 : core->batches().begin(publisher, worker_made, after);
  }
  void add_worker(Home& home) { core->add_worker(home); }
  bool stop() noexcept {
    BusAfter after;
    Core::prepare(after);
    const std::lock_guard lock(core->mutex);
    return core->batches().stop_waiting(publisher, Errc::cancelled, after);
  }
  void forget() noexcept {
    BusAfter after;
    Core::prepare(after);
    const std::lock_guard lock(core->mutex);
    core->batches().forget(publisher, after);
  }
  void result() {
    if (publisher.exception) std::rethrow_exception(std::move(publisher.exception));
    if (publisher.error) throw Error(static_cast<Errc>(publisher.error.value()));
  }

  std::shared_ptr<Core> core;
  BatchRef batch;
  BatchPublisher<Order> publisher;
};

/// Why an event did not complete that no handler failed with.
[[nodiscard]] inline std::exception_ptr error_of(EventOutcome outcome) {
  switch (outcome) {
    case EventOutcome::completed:
      return nullptr;
    case EventOutcome::timed_out:
      return std::make_exception_ptr(Error(Errc::timed_out, "the event's run timeout passed"));
    case EventOutcome::expired:
      return std::make_exception_ptr(Error(Errc::timed_out, "the event's time to live passed before it started"));
    case EventOutcome::dropped:
      return std::make_exception_ptr(Error(Errc::queue_full, "the event was dropped"));
    case EventOutcome::discarded:
      return std::make_exception_ptr(Error(Errc::bus_closed, "the bus was closed before the event had ended"));
    case EventOutcome::failed:
    case EventOutcome::cancelled:
      break;
  }
  return std::make_exception_ptr(Error(Errc::cancelled, "the event was cancelled"));
}

/// What the publisher of a batch holds until it has its report.
template <class Order>
class BatchOwner {
  using Core = BusCore<Order>;

 public:
  BatchOwner(Core& core, BusBatch& batch) noexcept : core_(core), batch_(batch) {}
  BatchOwner(const BatchOwner&) = delete;
  BatchOwner& operator=(const BatchOwner&) = delete;
  ~BatchOwner() {
    BusAfter after;
    Core::prepare(after);
    const std::lock_guard lock(core_.mutex);
    if (offering_) core_.batches().leave_each(batch_, worker_, after);
    core_.batches().abandon(batch_, after);
  }

  void begin_each(Home& home) {
    const auto now = home.turn_time();
    BusWorker* const worker = BusWorker::at(home, &core_);
    const std::lock_guard lock(core_.mutex);
    core_.batches().begin_each(batch_, worker, now);
    worker_ = worker;
    offering_ = true;
  }
  void refuse_next(std::exception_ptr error) noexcept {
    BusAfter after;
    Core::prepare(after);
    const std::lock_guard lock(core_.mutex);
    core_.batches().refuse_next(batch_, std::move(error), after);
  }

  [[nodiscard]] BatchReport report(Home& home) {
    BatchReport report;
    report.id = batch_.id;
    report.mode = batch_.mode;
    report.outcome = batch_.outcome;
    report.results.reserve(batch_.size);
    const auto undone = undone_members();
    for (std::size_t i = 0; i < batch_.size; ++i) {
      BatchMember& member = batch_.members[i];
      auto error = member.error;
      if (!error && member.outcome) error = error_of(*member.outcome);
      report.results.emplace_back(member.id, member.outcome, std::move(error), !undone.empty() && undone[i]);
      if (member.outcome == EventOutcome::completed) ++report.completed;
    }
    if (const auto first = batch_.first_failure) {
      report.error = *first < batch_.size
                         ? report.results[*first].error()
                         : std::make_exception_ptr(Error(Errc::cancelled, "the publisher of the saga was cancelled"));
    }
    report.not_undone = std::move(batch_.not_undone);
    report.held_back = batch_.held_back;
    report.not_published = std::move(batch_.not_published);
    const auto now = home.turn_time();
    // All may have been refused.
    const auto admitted = batch_.admitted.value_or(now);
    report.waited = admitted - batch_.published;
    report.ran = now - admitted;
    const std::lock_guard lock(core_.mutex);
    core_.batches().add_run(report.ran);
    return report;
  }

 private:
  /// Whether there was something to undo, and all of it was.
  [[nodiscard]] std::vector<bool> undone_members() const {
    std::vector<bool> undone;
    if (batch_.outcome == BatchOutcome::committed) return undone;
    undone.resize(batch_.size);
    for (const BatchCall& call : batch_.calls) undone[call.member] = true;
    for (const BatchCall& call : batch_.calls) {
      if (!call.undone) undone[call.member] = false;
    }
    return undone;
  }

  Core& core_;
  BusBatch& batch_;
  BusWorker* worker_ = nullptr;
  bool offering_ = false;
};

template <class Order>
Task<BatchReport> publish_whole(std::shared_ptr<BusCore<Order>> core, asio::any_io_executor executor, BatchRef batch,
                                BatchEvents<Order> events) {
  Home& home = co_await this_task::home();
  BatchOwner<Order> owner(*core, *batch);
  if (batch->saga) spawn(executor, run_saga<Order>(SagaRunner<Order>(core, batch, executor)), asio::detached);
  BusWaitAwaiter<BatchRegistration<Order>> waiting(core, batch, events);
  co_await waiting;
  co_return owner.report(home);
}

/// `publish(event, rank, state)` publishes one of them.
template <class Order, class Publish>
Task<BatchReport> publish_each(std::shared_ptr<BusCore<Order>> core, BatchRef batch, BatchEvents<Order> events,
                               Publish publish) {
  Home& home = co_await this_task::home();
  BatchOwner<Order> owner(*core, *batch);
  owner.begin_each(home);
  for (std::size_t i = 0; i < batch->size; ++i) {
    std::exception_ptr error;
    try {
      auto publishing = publish(events.events()[i], events.rank(i), batch->state(batch->offered));
      co_await std::move(publishing);
      if (batch->offered++ == 0) batch->admitted = home.turn_time();
      continue;
    } catch (const Error& refused) {
      if (refused.code() == Errc::cancelled) throw;
      error = std::current_exception();
    } catch (...) {
      error = std::current_exception();
    }
    owner.refuse_next(std::move(error));
  }
  BusWaitAwaiter<BatchRegistration<Order>> waiting(core, batch);
  co_await waiting;
  co_return owner.report(home);
}

/// A batch that is about to be published; throws what is wrong with it.
template <class Order>
[[nodiscard]] BatchRef open_batch(BusCore<Order>& core, const BatchEvents<Order>& events, BatchMode mode,
                                  const BatchOptions& options) {
  check_batch(events, options);
  BatchRef batch(new BusBatch(mode, options, events.events().size()));
  if (mode != BatchMode::independent) batch->reserve_blocks(sizeof(typename BusCore<Order>::Record));
  const std::lock_guard lock(core.mutex);
  core.batches().open(*batch);
  return batch;
}
template <class Order>
[[nodiscard]] PendingBatch make_batch(const std::shared_ptr<BusCore<Order>>& core,
                                      const asio::any_io_executor& executor, BatchEvents<Order> events, BatchMode mode,
                                      const BatchOptions& options) {
  BatchRef batch = open_batch(*core, events, mode, options);
  if (mode != BatchMode::independent) return {core, batch, publish_whole(core, executor, batch, std::move(events))};
  const auto publish = [bus = core.get()](Event& event, const typename Order::Rank& rank, EventStateRef state) {
    return PublishAwaiter<Order, EventId>(*bus, event, rank, std::move(state));
  };
  return {core, batch, publish_each(core, batch, std::move(events), publish)};
}
/// The same for a completion token, to which what is wrong with it goes, too.
template <class Order>
Task<BatchReport> publish_batch_later(std::shared_ptr<BusCore<Order>> core, asio::any_io_executor executor,
                                      BatchEvents<Order> events, BatchMode mode, BatchOptions options) {
  auto batch = make_batch(core, executor, std::move(events), mode, options);
  co_return co_await std::move(batch);
}

template <class Order>
[[nodiscard]] typename Order::Rank rank_in_handler(const BusWorker& worker, const Event& event) {
  if constexpr (HasRank<Order>) {
    return Order::rank(event);
  } else {
    return static_cast<const RankedRecord<Order>&>(*worker.record).rank();
  }
}

template <class Order>
Task<EventId> publish_in_handler(std::shared_ptr<BusCore<Order>> core, BusWorker& worker, Event event) {
  const auto rank = rank_in_handler<Order>(worker, event);
  if (BusBatches<Order>::is_saga(worker)) {
    core->batches().hold(worker, std::make_unique<RankedHeldEvent<Order>>(std::move(event), rank));
    co_return EventId{0};
  }
  PublishAwaiter<Order, EventId> publishing(*core, event, rank, EventStateRef());
  co_return co_await publishing;
}

template <class Order>
PublishResult try_publish_in_handler(BusCore<Order>& core, BusWorker& worker, Event&& event) {
  EventDraft<Order> draft;
  draft.rank = rank_in_handler<Order>(worker, event);
  if (BusBatches<Order>::is_saga(worker)) {
    core.batches().hold(worker, std::make_unique<RankedHeldEvent<Order>>(std::move(event), draft.rank));
    return {};
  }
  draft.event = &event;
  return try_admit(core, draft, worker.home, worker.home->report_time());
}

}  // namespace weir::detail
