/// `EventTicket`: what the publisher of a cancellable event holds.
#pragma once

#include <memory>
#include <utility>

#include <weir/bus/detail/bus_operations.hpp>

namespace weir {
namespace detail {

struct OutcomeRegistration {
  static constexpr const char* what = "outcome of an event";

  OutcomeRegistration(std::shared_ptr<BusBase> b, EventStateRef s) noexcept : bus(std::move(b)), state(std::move(s)) {}
  OutcomeRegistration(OutcomeRegistration&&) noexcept = default;
  BusWait add(Home& home, Resumable& resumable, bool worker_made) {
    waiter.home = &home;
    waiter.resumable = &resumable;
    return bus->wait(*state.get(), waiter, worker_made);
  }
  void add_worker(Home& home) { bus->add_worker(home); }
  bool stop() noexcept { return bus->stop_waiting(*state.get(), waiter); }
  void forget() noexcept { bus->forget(*state.get(), waiter); }
  // Written once, before the waiter was told or found it.
  [[nodiscard]] EventOutcome result() const noexcept { return *state->outcome; }

  std::shared_ptr<BusBase> bus;
  EventStateRef state;
  OutcomeWaiter waiter;
};

/// Waits for the reply to an event, or for its end without one.
struct ReplyRegistration : OutcomeRegistration {
  static constexpr const char* what = "reply to a request";

  ReplyRegistration(std::shared_ptr<BusBase> b, EventStateRef s) noexcept
      : OutcomeRegistration(std::move(b), std::move(s)) {
    waiter.for_reply = true;
  }
  void result() const noexcept {}
};

}  // namespace detail

/// Stands for one event that was published as cancellable. Copies stand for the same; distinct copies may be used by
/// any thread. It keeps a few hundred bytes of the event alive, nothing of its payload, and not the bus's workers.
class EventTicket {
 public:
  /// No event.
  EventTicket() noexcept = default;
  /// Made by the bus.
  EventTicket(std::shared_ptr<detail::BusBase> bus, detail::EventStateRef state, EventId id) noexcept
      : bus_(std::move(bus)), state_(std::move(state)), id_(id) {}

  [[nodiscard]] EventId id() const noexcept { return id_; }
  /// Cancelled when the event is.
  [[nodiscard]] CancellationToken token() const {
    return state_ && state_->source ? state_->source->token() : CancellationToken();
  }

  /// Cancels the event, if it has not ended. Of all the calls for one event, by whomever, one gets `cancelled`, or
  /// those while it runs get `signalled`; see `CancelAnswer`. Any thread; waits for nothing but a lock. O(1), and
  /// O(handlers that wait) for one that runs.
  CancelResult cancel() const { return state_ ? bus_->cancel(*state_.get()) : CancelResult(); }

  /// How the event ended: waits until it has. Any number may wait, each is told. Resumes on the home of the one that
  /// awaits. A handler of the bus gives up its worker while it waits; `Error(Errc::would_deadlock)` when
  /// `BusOptions::nested` do already. Throws `Error(Errc::empty_handle)` for a ticket of no event. Allocates nothing,
  /// but in a handler perhaps a worker.
  [[nodiscard]] auto outcome() const {
    if (!state_) throw Error(Errc::empty_handle, "this ticket stands for no event");
    return detail::BusWaitAwaiter<detail::OutcomeRegistration>(bus_, state_);
  }

  [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(state_); }

  /// For requests: waits for the reply, or for the end without one.
  [[nodiscard]] auto reply() const { return detail::BusWaitAwaiter<detail::ReplyRegistration>(bus_, state_); }
  /// For requests: how it ended, when that is known to the caller to have happened.
  [[nodiscard]] EventOutcome ended_as() const noexcept { return *state_->outcome; }

  /// For the bus: whether it is one of its own.
  [[nodiscard]] bool is_of(const detail::BusBase& bus) const noexcept { return bus_.get() == &bus; }

 private:
  std::shared_ptr<detail::BusBase> bus_;
  detail::EventStateRef state_;
  EventId id_ = 0;
};

}  // namespace weir
