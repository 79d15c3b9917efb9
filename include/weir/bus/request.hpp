/// Requests: events that are replied to. Used through the bus: `co_await bus.request<Reply>(topic, payload, timeout)`.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <typeinfo>
#include <utility>

#include <weir/bus/event_ticket.hpp>
#include <weir/core/timeout.hpp>

namespace weir::detail {

template <class Reply>
struct ReplySlotOf final : ReplySlot {
  void accept(const std::type_info& type, void* given) override {
    if (type == typeid(Reply)) {
      value.emplace(std::move(*static_cast<Reply*>(given)));
    } else {
      wrong = type.name();
    }
  }
  std::optional<Reply> value;
  std::string wrong;
};

/// An event that nobody waits for any more is cancelled.
class CancelAtExit {
 public:
  explicit CancelAtExit(const EventTicket& ticket) noexcept : ticket_(&ticket) {}
  CancelAtExit(const CancelAtExit&) = delete;
  CancelAtExit& operator=(const CancelAtExit&) = delete;
  ~CancelAtExit() {
    if (ticket_) ticket_->cancel();
  }
  void dismiss() noexcept { ticket_ = nullptr; }

 private:
  const EventTicket* ticket_;
};

/// Why there is no reply, when the event has ended without.
[[noreturn]] inline void refuse_request(const ReplySlot& slot, EventOutcome outcome, const std::string& topic) {
  if (slot.failure) std::rethrow_exception(slot.failure);
  const auto fail = [&topic](Errc code, const char* what) { throw Error(code, "\"" + topic + "\" " + what); };
  switch (outcome) {
    case EventOutcome::cancelled:
      fail(Errc::cancelled, "was cancelled");
      break;
    case EventOutcome::timed_out:
      fail(Errc::timed_out, "took its handlers longer than its run timeout");
      break;
    case EventOutcome::expired:
      fail(Errc::timed_out, "waited for longer than its time to live");
      break;
    case EventOutcome::dropped:
      fail(Errc::queue_full, "gave its room to another");
      break;
    case EventOutcome::discarded:
      fail(Errc::bus_closed, "was queued when the bus was closed");
      break;
    default:
      break;
  }
  if (slot.called) fail(Errc::no_reply, "has handlers, but none replied");
  fail(Errc::no_handler, "has no handler");
  std::terminate();
}

template <class Order>
Task<EventTicket> publish_request(std::shared_ptr<BusCore<Order>> core, Event& event) {
  EventStateRef state(new EventState);
  PublishAwaiter<Order, EventTicket> publishing(*core, event, Order::rank(event), std::move(state));
  co_return co_await publishing;
}

/// Publishes the event as a request by `publish`, a function that makes a task of a ticket of it, and waits for the
/// reply.
template <class Reply, class Publish>
Task<Reply> ask(Publish publish, Event event) {
  const auto slot = std::make_shared<ReplySlotOf<Reply>>();
  const std::string topic(event.type());
  event.reply_to(slot);
  const EventTicket ticket = co_await publish(event);
  CancelAtExit cancelling(ticket);
  {
    auto replying = ticket.reply();
    co_await replying;
  }
  cancelling.dismiss();
  // Without a lock: whoever wrote it has told this task since.
  if (slot->value) co_return std::move(*slot->value);
  if (slot->answered) {
    throw Error(Errc::wrong_payload,
                "\"" + topic + "\" was asked for " + typeid(Reply).name() + ", but replied to with " + slot->wrong);
  }
  refuse_request(*slot, ticket.ended_as(), topic);
}

template <class Reply, class Publish>
Task<Reply> ask_until(Publish publish, Event event, TimeService::Duration limit) {
  auto asking = ask<Reply>(std::move(publish), std::move(event));
  co_return co_await with_timeout(limit, std::move(asking));
}

}  // namespace weir::detail
