/// `EventContext`: what a handler gets.
#pragma once

#include <atomic>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>

#include <weir/bus/bus_options.hpp>
#include <weir/bus/event.hpp>
#include <weir/core/cancellation.hpp>
#include <weir/core/task.hpp>

namespace weir {
namespace detail {

/// An event that runs, as its handlers see it.
struct RunningEvent;

/// What publishes for a handler that is not the host's.
struct HandlerPublisher {
  virtual Task<EventId> publish_from(RunningEvent& running, Event&& event) = 0;
  virtual PublishResult try_publish_from(RunningEvent& running, Event&& event) = 0;

 protected:
  ~HandlerPublisher() = default;
};

struct RunningEvent {
  RunningEvent() = default;
  RunningEvent(const RunningEvent&) = delete;
  RunningEvent& operator=(const RunningEvent&) = delete;

  virtual CancellationToken token() = 0;
  virtual Task<EventId> publish(Event&& event) = 0;
  virtual PublishResult try_publish(Event&& event) = 0;
  /// The requester is told that there is a reply.
  virtual void tell_requester() noexcept = 0;

  const Event* event = nullptr;
  /// While a handler of it runs.
  HandlerPublisher* publisher = nullptr;
  bool stopped = false;
  bool is_last_value = false;
  /// Cancelled: what has not started is skipped.
  std::atomic<bool> cut{false};

 protected:
  ~RunningEvent() = default;
};

}  // namespace detail

/// The event that a handler is called for, and what can be done about it. It lives until the event's last handler has
/// returned; a coroutine may keep a reference. Used by that handler alone.
class EventContext {
 public:
  /// Made by the bus.
  explicit EventContext(detail::RunningEvent& running) noexcept : running_(&running) {}
  EventContext(const EventContext&) = delete;
  EventContext& operator=(const EventContext&) = delete;

  [[nodiscard]] const Event& event() const noexcept { return *running_->event; }
  [[nodiscard]] EventId id() const noexcept { return event().id(); }
  [[nodiscard]] std::string_view topic() const noexcept { return event().type(); }
  [[nodiscard]] EventPriority priority() const noexcept { return event().priority(); }
  /// Throws `Error(Errc::wrong_payload)` unless the event carries a `P`.
  template <class P>
  [[nodiscard]] const P& payload() const {
    return event().payload().get<P>();
  }

  /// Cancelled when the event is, by its ticket, its run timeout or the end of the bus. What a coroutine handler waits
  /// for is cancelled by the same, without it; the token is for loops and for other threads. Allocates its state the
  /// first time, unless the event was published as cancellable.
  [[nodiscard]] CancellationToken token() const { return running_->token(); }
  /// Whether it was. One atomic load.
  [[nodiscard]] bool cancelled() const noexcept { return running_->cut.load(std::memory_order_acquire); }
  /// Publishes to the bus that the event is of. While a saga runs that the event belongs to it is held back instead: it
  /// is published when the saga commits, in order, and destroyed when it is rolled back. Gives the event's number, or 0
  /// for one that was held back. Takes the event at once, and throws what `EventBus::publish` throws. On a
  /// `BasicPriorityEventBus` it has the rank of the event that is handled. Allocates a task.
  [[nodiscard]] Task<EventId> publish(Event&& event) { return running_->publish(std::move(event)); }
  template <class P>
  [[nodiscard]] Task<EventId> publish(std::string_view topic, P&& payload,
                                      EventPriority priority = EventPriority::normal) {
    return running_->publish(Event(topic, static_cast<P&&>(payload), priority));
  }
  /// The same without waiting, for plain functions: a result without a number and without an error was held back.
  PublishResult try_publish(Event&& event) { return running_->try_publish(std::move(event)); }
  template <class P>
  PublishResult try_publish(std::string_view topic, P&& payload, EventPriority priority = EventPriority::normal) {
    return running_->try_publish(Event(topic, static_cast<P&&>(payload), priority));
  }

  /// Whether it is given to this handler alone, which subscribed with `SubscribeOptions::last_value` after the event
  /// had started.
  [[nodiscard]] bool is_last_value() const noexcept { return running_->is_last_value; }

  /// Whether somebody waits for a reply: see `Bus::request`.
  [[nodiscard]] bool is_request() const noexcept { return event().reply_slot() != nullptr; }
  /// Replies to a request, which resumes its requester at once; what a handler returns does the same. The first reply
  /// of all the event's handlers counts. False, and `value` goes nowhere: it is no request, or there was a reply. One
  /// of another type than the requester asked for reaches it as `Errc::wrong_payload`.
  template <class R>
  bool reply(R&& value) {
    detail::ReplySlot* const slot = event().reply_slot();
    if (!slot || slot->answered) return false;
    std::decay_t<R> own(static_cast<R&&>(value));
    slot->accept(typeid(own), &own);
    slot->answered = true;
    running_->tell_requester();
    return true;
  }
  /// The handlers that come after this one are not called for this event.
  void stop_propagation() noexcept { running_->stopped = true; }

  /// For the bus.
  [[nodiscard]] detail::RunningEvent& running() const noexcept { return *running_; }

 private:
  detail::RunningEvent* running_;
};

}  // namespace weir
