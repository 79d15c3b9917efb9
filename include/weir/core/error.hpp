/// The errors of the library: one enumeration, one category, one exception.
#pragma once

#include <exception>
#include <string>
#include <system_error>

#include <weir/asio.hpp>

namespace weir {

/// What can go wrong in the library itself. What the user's code throws is passed on untouched instead.
/// Each value compares equal to the `std::errc` condition named beside it, so that code written against the standard's
/// conditions works: `if (error.code() == std::errc::operation_canceled)`.
enum class Errc {
  cancelled = 1,     ///< the operation, or the task that waited in it, was cancelled (`operation_canceled`)
  timed_out,         ///< a deadline passed first (`timed_out`)
  channel_closed,    ///< the channel is closed, or nobody is left at its other end (`broken_pipe`)
  channel_full,      ///< no room, and the channel's policy is not to wait (`no_buffer_space`)
  invalid_argument,  ///< a value out of its range; the message says which (`invalid_argument`)
  empty_handle,      ///< the handle was moved from, closed or never set (`bad_file_descriptor`)
  task_consumed,     ///< the task was awaited before, or moved from (`invalid_argument`)
  would_deadlock,    ///< blocking here would wait for the thread that blocks (`resource_deadlock_would_occur`)
  stalled,           ///< everything waits, and nothing is left that could wake it (`resource_deadlock_would_occur`)
  lagged,            ///< a broadcast's receiver was too slow, and values were skipped (`no_message`)
  disconnected,      ///< a broadcast's receiver was too slow, and gets no more (`connection_aborted`)
  collection_full,   ///< a bounded collection refuses another item (`no_buffer_space`)
  circuit_open,      ///< what was called keeps failing, and is left alone (`resource_unavailable_try_again`)
  bus_closed,        ///< the bus was drained, aborted or destroyed (`broken_pipe`)
  queue_full,        ///< no room in the bus for this priority, and its policy is not to wait (`no_buffer_space`)
  wrong_payload,     ///< an event carries something else than was asked for (`invalid_argument`)
  quota_exceeded,    ///< a plugin has as many events queued as it may have (`no_buffer_space`)
  handler_failed,    ///< a handler threw; the message says what (`io_error`)
  no_handler,        ///< nobody is there to answer a request (`host_unreachable`)
  no_reply,          ///< the handlers of a request have returned, and none replied (`no_message`)
};

namespace detail {

class ErrorCategory final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "weir"; }

  [[nodiscard]] std::string message(int value) const override {
    switch (static_cast<Errc>(value)) {
      case Errc::cancelled:
        return "the operation was cancelled";
      case Errc::timed_out:
        return "the deadline passed";
      case Errc::channel_closed:
        return "the channel is closed";
      case Errc::channel_full:
        return "the channel is full";
      case Errc::invalid_argument:
        return "invalid argument";
      case Errc::empty_handle:
        return "the handle is empty: it was moved from, closed, or never set";
      case Errc::task_consumed:
        return "the task was awaited before, or moved from: a task is awaited once";
      case Errc::would_deadlock:
        return "this would deadlock";
      case Errc::stalled:
        return "stalled: everything waits and nothing can wake it";
      case Errc::lagged:
        return "the receiver was too slow: values were skipped";
      case Errc::disconnected:
        return "the receiver was too slow and was disconnected";
      case Errc::collection_full:
        return "the collection is full";
      case Errc::circuit_open:
        return "the circuit is open: what was called keeps failing, and is left alone for a while";
      case Errc::bus_closed:
        return "the bus takes no more events: it was drained, aborted or destroyed";
      case Errc::queue_full:
        return "the queue of the bus is full";
      case Errc::wrong_payload:
        return "the event carries another type";
      case Errc::quota_exceeded:
        return "the plugin has as many events queued as it may have";
      case Errc::handler_failed:
        return "a handler failed";
      case Errc::no_handler:
        return "nobody is there to answer the request";
      case Errc::no_reply:
        return "no handler replied to the request";
    }
    return "unknown error";
  }

  [[nodiscard]] std::error_condition default_error_condition(int value) const noexcept override {
    switch (static_cast<Errc>(value)) {
      case Errc::cancelled:
        return std::errc::operation_canceled;
      case Errc::timed_out:
        return std::errc::timed_out;
      case Errc::channel_closed:
        return std::errc::broken_pipe;
      case Errc::channel_full:
        return std::errc::no_buffer_space;
      case Errc::invalid_argument:
      case Errc::task_consumed:
        return std::errc::invalid_argument;
      case Errc::empty_handle:
        return std::errc::bad_file_descriptor;
      case Errc::would_deadlock:
      case Errc::stalled:
        return std::errc::resource_deadlock_would_occur;
      case Errc::lagged:
        return std::errc::no_message;
      case Errc::disconnected:
        return std::errc::connection_aborted;
      case Errc::collection_full:
        return std::errc::no_buffer_space;
      case Errc::circuit_open:
        return std::errc::resource_unavailable_try_again;
      case Errc::bus_closed:
        return std::errc::broken_pipe;
      case Errc::queue_full:
        return std::errc::no_buffer_space;
      case Errc::wrong_payload:
        return std::errc::invalid_argument;
      case Errc::quota_exceeded:
        return std::errc::no_buffer_space;
      case Errc::handler_failed:
        return std::errc::io_error;
      case Errc::no_handler:
        return std::errc::host_unreachable;
      case Errc::no_reply:
        return std::errc::no_message;
    }
    return {value, *this};
  }
};

}  // namespace detail

/// The category of `Errc`. Thread-safe.
[[nodiscard]] inline const std::error_category& error_category() noexcept {
  static const detail::ErrorCategory category;
  return category;
}

[[nodiscard]] inline std::error_code make_error_code(Errc e) noexcept {
  return {static_cast<int>(e), error_category()};
}

}  // namespace weir

template <>
struct std::is_error_code_enum<weir::Errc> : std::true_type {};

namespace weir {

/// What the library throws. `what()` says what was wrong and, where it can be said, what to do.
class Error : public std::system_error {
 public:
  explicit Error(Errc e) : std::system_error(make_error_code(e)) {}
  Error(Errc e, const std::string& what) : std::system_error(make_error_code(e), what) {}
};

/// True for every way in which an operation can say that it was cancelled: the library's own, the standard's condition,
/// and Asio's `operation_aborted`, whose category does not know of the standard's conditions in each release.
[[nodiscard]] inline bool is_cancellation(const std::error_code& code) noexcept {
  return code == std::errc::operation_canceled || code == asio::error::operation_aborted;
}

namespace detail {

/// Whether what was thrown has a code, one that matches.
[[nodiscard]] inline bool is_error_code(const std::exception_ptr& error, bool (*matches)(const std::error_code&)) {
  try {
    std::rethrow_exception(error);
  } catch (const std::system_error& e) {
    return matches(e.code());
  } catch (...) {
    return false;
  }
}

}  // namespace detail
}  // namespace weir
