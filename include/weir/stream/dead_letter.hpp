/// `DeadLetter<T>`: an event that was given up, with what was wrong with it.
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <utility>

#include <weir/stream/collector.hpp>
#include <weir/stream/event.hpp>

namespace weir {

/// What `on_error(dead_letter(tx))` sends: the event as the receiver left it, what was thrown last, and how often it
/// was tried, what an open circuit refused included. Movable if `T` is.
template <class T>
class DeadLetter {
 public:
  DeadLetter(ReceiverEvent<T>&& event, std::exception_ptr error, std::uint32_t attempts)
      : event_(std::move(event)), error_(std::move(error)), attempts_(attempts) {}

  [[nodiscard]] const ReceiverEvent<T>& event() const& noexcept { return event_; }
  [[nodiscard]] ReceiverEvent<T>& event() & noexcept { return event_; }
  /// The event's data.
  [[nodiscard]] const T& data() const& noexcept { return event_.data(); }
  [[nodiscard]] T& data() & noexcept { return event_.data(); }
  [[nodiscard]] const std::exception_ptr& error() const noexcept { return error_; }
  /// `what()` of the error.
  [[nodiscard]] std::string message() const { return detail::message_of(error_); }
  [[nodiscard]] std::uint32_t attempts() const noexcept { return attempts_; }

 private:
  ReceiverEvent<T> event_;
  std::exception_ptr error_;
  std::uint32_t attempts_;
};

}  // namespace weir
