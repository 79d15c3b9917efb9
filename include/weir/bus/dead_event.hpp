/// `DeadEvent`: an event that a handler failed with.
#pragma once

#include <exception>
#include <utility>

#include <weir/bus/event.hpp>

namespace weir {

/// What a bus sends to its dead letters: the event, which it has given up, and what the first handler that failed
/// threw.
class DeadEvent {
 public:
  DeadEvent(Event&& event, std::exception_ptr error) noexcept : event_(std::move(event)), error_(std::move(error)) {}

  [[nodiscard]] const Event& event() const noexcept { return event_; }
  [[nodiscard]] Event& event() noexcept { return event_; }
  [[nodiscard]] const std::exception_ptr& error() const noexcept { return error_; }

 private:
  Event event_;
  std::exception_ptr error_;
};

}  // namespace weir
