/// `EventContext`: what a handler gets.
#pragma once

#include <atomic>
#include <string_view>

#include <weir/bus/event.hpp>
#include <weir/core/cancellation.hpp>

namespace weir {
namespace detail {

/// An event that runs, as its handlers see it.
struct RunningEvent {
  RunningEvent() = default;
  RunningEvent(const RunningEvent&) = delete;
  RunningEvent& operator=(const RunningEvent&) = delete;

  virtual CancellationToken token() = 0;

  const Event* event = nullptr;
  bool stopped = false;
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
  /// The handlers that come after this one are not called for this event.
  void stop_propagation() noexcept { running_->stopped = true; }

 private:
  detail::RunningEvent* running_;
};

}  // namespace weir
