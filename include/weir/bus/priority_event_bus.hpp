/// `PriorityEventBus`: the bus whose most urgent event is the next, and whose events can be cancelled.
#pragma once

#include <concepts>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>

#include <weir/bus/event_bus.hpp>
#include <weir/bus/event_ticket.hpp>

namespace weir {
namespace detail {

[[nodiscard]] inline EventStateRef new_state() {
  EventStateRef state(new EventState);
  state->source.emplace();
  return state;
}

}  // namespace detail

/// An `EventBus` with priorities: an event starts before all that are less urgent, and within a priority in the order
/// of admission. It keeps the whole interface of the plain one.
///
/// An urgent event waits for the handlers that run, and for no more: normal and low events together hold at most
/// max(1, workers − 1) workers. The least urgent do not starve: see `BusOptions::quota`. Each priority has its own room
/// of `BusOptions::capacity` events, or what `limit` says.
class PriorityEventBus : public detail::Bus<detail::PriorityOrder> {
  using Base = detail::Bus<detail::PriorityOrder>;

 public:
  template <ExecutorSource E>
  explicit PriorityEventBus(E&& source, const BusOptions& options = {}) : Base(static_cast<E&&>(source), options) {}

  /// Publishes an event that can be cancelled: what `publish` does, but it resumes with a ticket. Allocates the state
  /// that the ticket and the event share.
  [[nodiscard]] auto publish_cancellable(Event&& event) {
    const EventPriority priority = event.priority();
    return detail::PublishAwaiter<detail::PriorityOrder, EventTicket>(*core_, event, priority, detail::new_state());
  }
  template <class P>
  [[nodiscard]] auto publish_cancellable(std::string_view topic, P&& payload,
                                         EventPriority priority = EventPriority::normal) {
    return detail::PublishAwaiter<detail::PriorityOrder, EventTicket>(
        *core_, topic, EventPayload(static_cast<P&&>(payload)), priority, priority, detail::new_state());
  }

  /// Cancels the event of a ticket: see `EventTicket::cancel`. `not_found` for one of another bus.
  CancelResult cancel(const EventTicket& ticket) const {
    return ticket.is_of(*core_) ? ticket.cancel() : CancelResult();
  }
  /// The same for who has only the token that an event was given when it was published as cancellable. O(queued); also
  /// `not_found` for one whose event has ended.
  CancelResult cancel(const CancellationToken& token) const { return cancel_by(*core_, token); }
  /// The same, awaited. It does not suspend.
  [[nodiscard]] Task<CancelResult> cancel_event(EventTicket ticket) const {
    return cancel_later(core_, std::move(ticket));
  }
  [[nodiscard]] Task<CancelResult> cancel_event(CancellationToken token) const {
    return cancel_later(core_, std::move(token));
  }

  /// These by completion token, on the executor of the bus: `void(std::exception_ptr, EventTicket)`, and
  /// `void(std::exception_ptr, CancelResult)` for a ticket or a token. Each allocates a task.
  template <class CompletionToken>
  auto async_publish_cancellable(Event event, CompletionToken&& token) {
    return spawn(executor_, publish_cancellable_later(core_, std::move(event)), static_cast<CompletionToken&&>(token));
  }
  template <class Which, class CompletionToken>
    requires std::same_as<Which, EventTicket> || std::same_as<Which, CancellationToken>
  auto async_cancel_event(Which which, CompletionToken&& token) const {
    return spawn(executor_, cancel_later(core_, std::move(which)), static_cast<CompletionToken&&>(token));
  }

  /// How many events of a priority may wait, and what publishing does that finds no room. Those that wait already stay.
  /// Any thread.
  void limit(EventPriority priority, std::size_t capacity, Overflow overflow = Overflow::wait) {
    core_->limit(detail::PriorityOrder::class_of(priority), capacity, overflow);
  }

  using Base::stats;
  /// Of one priority.
  [[nodiscard]] BusStats stats(EventPriority priority) const {
    return core_->stats(detail::PriorityOrder::class_of(priority));
  }

 private:
  static Task<CancelResult> cancel_later(std::shared_ptr<Core> core, EventTicket ticket) {
    co_return ticket.is_of(*core) ? ticket.cancel() : CancelResult();
  }
  static Task<CancelResult> cancel_later(std::shared_ptr<Core> core, CancellationToken token) {
    co_return cancel_by(*core, token);
  }
  static CancelResult cancel_by(Core& core, const CancellationToken& token) {
    const detail::EventStateRef state = core.find(token);
    return state ? core.cancel(*state.get()) : CancelResult();
  }
  static Task<EventTicket> publish_cancellable_later(std::shared_ptr<Core> core, Event event) {
    const EventPriority priority = event.priority();
    detail::PublishAwaiter<detail::PriorityOrder, EventTicket> publishing(*core, event, priority, detail::new_state());
    co_return co_await publishing;
  }
};

/// A bus with any ordered priority, such as a number or a deadline: `Compare(a, b)` is true if `a` goes before `b`.
/// What `PriorityEventBus` says holds, but that all priorities share one room, that none is spared by a policy that
/// drops, and that none leaves a worker for the others. The events of equal priority cost O(1); a priority of its own
/// for each costs O(log queued).
///
///     weir::BasicPriorityEventBus<std::chrono::steady_clock::time_point> by_deadline(pool);
///     co_await by_deadline.publish("frame.render", frame, frame_deadline);
template <std::movable Priority, class Compare = std::less<Priority>>
  requires std::default_initializable<Priority> && std::copyable<Priority> && std::default_initializable<Compare> &&
           std::predicate<const Compare&, const Priority&, const Priority&>
class BasicPriorityEventBus : public detail::Bus<detail::CustomOrder<Priority, Compare>> {
  using Order = detail::CustomOrder<Priority, Compare>;
  using Base = detail::Bus<Order>;

 public:
  template <ExecutorSource E>
  explicit BasicPriorityEventBus(E&& source, const BusOptions& options = {})
      : Base(static_cast<E&&>(source), options) {}

  [[nodiscard]] auto publish(Event&& event, Priority priority) {
    return detail::PublishAwaiter<Order, EventId>(*this->core_, event, std::move(priority), {});
  }
  template <class P>
  [[nodiscard]] auto publish(std::string_view topic, P&& payload, Priority priority) {
    return detail::PublishAwaiter<Order, EventId>(*this->core_, topic, EventPayload(static_cast<P&&>(payload)),
                                                  EventPriority::normal, std::move(priority), {});
  }
  [[nodiscard]] auto publish_cancellable(Event&& event, Priority priority) {
    return detail::PublishAwaiter<Order, EventTicket>(*this->core_, event, std::move(priority), detail::new_state());
  }
  PublishResult try_publish(Event&& event, Priority priority) {
    detail::EventDraft<Order> draft;
    draft.event = &event;
    draft.rank = std::move(priority);
    return this->try_admit(draft);
  }
  CancelResult cancel(const EventTicket& ticket) const {
    return ticket.is_of(*this->core_) ? ticket.cancel() : CancelResult();
  }

  /// What the other buses' `publish_batch` does. `priorities` has one for each event, or one for all;
  /// `Error(Errc::invalid_argument)` if it does not.
  [[nodiscard]] PendingBatch publish_batch(std::vector<Event>&& events, std::vector<Priority> priorities,
                                           BatchMode mode, const BatchOptions& options = {}) {
    return detail::make_batch(this->core_, this->executor_,
                              detail::BatchEvents<Order>(std::move(events), std::move(priorities)), mode, options);
  }
  /// By completion token: `void(std::exception_ptr, BatchReport)`, on the executor of the bus.
  template <class CompletionToken>
  auto async_publish_batch(std::vector<Event> events, std::vector<Priority> priorities, BatchMode mode,
                           const BatchOptions& options, CompletionToken&& token) {
    detail::BatchEvents<Order> batch(std::move(events), std::move(priorities));
    return spawn(this->executor_,
                 detail::publish_batch_later(this->core_, this->executor_, std::move(batch), mode, options),
                 static_cast<CompletionToken&&>(token));
  }
  /// `publish` and `publish_cancellable` so: `void(std::exception_ptr, EventId)`, and with an `EventTicket`. Each
  /// allocates a task.
  template <class CompletionToken>
  auto async_publish(Event event, Priority priority, CompletionToken&& token) {
    return spawn(this->executor_, publish_later<EventId>(this->core_, std::move(event), std::move(priority), {}),
                 static_cast<CompletionToken&&>(token));
  }
  template <class CompletionToken>
  auto async_publish_cancellable(Event event, Priority priority, CompletionToken&& token) {
    return spawn(this->executor_,
                 publish_later<EventTicket>(this->core_, std::move(event), std::move(priority), detail::new_state()),
                 static_cast<CompletionToken&&>(token));
  }

 private:
  template <class Result>
  static Task<Result> publish_later(std::shared_ptr<detail::BusCore<Order>> core, Event event, Priority priority,
                                    detail::EventStateRef state) {
    detail::PublishAwaiter<Order, Result> publishing(*core, event, std::move(priority), std::move(state));
    co_return co_await publishing;
  }
};

}  // namespace weir
