/// A call of a receiver that may fail, as those see it who do not know what the receiver gives.
#pragma once

#include <cstddef>
#include <exception>
#include <optional>
#include <span>
#include <system_error>
#include <utility>

#include <weir/core/circuit_breaker.hpp>
#include <weir/core/error.hpp>
#include <weir/core/task.hpp>
#include <weir/core/with_cancellation.hpp>
#include <weir/stream/cancellation_level.hpp>
#include <weir/stream/detail/stream_core.hpp>
#include <weir/stream/error_policy.hpp>
#include <weir/stream/event.hpp>

namespace weir::detail {

/// How it ended, but for what the receiver gave. Private in the outcome that derives from it.
struct Attempt {
  std::exception_ptr error_;
  /// Of those that failed: how many were handed to the dead letters, and what is to become of the rest.
  std::size_t dead_lettered_ = 0;
  /// It was not begun.
  bool discarded_ = false;
  ErrorPolicy policy_ = ErrorPolicy::stop;
};

/// A worker, as who calls its receiver again sees it.
template <class T>
class TryingWorker {
 public:
  TryingWorker() = default;
  TryingWorker(const TryingWorker&) = delete;
  TryingWorker& operator=(const TryingWorker&) = delete;

  [[nodiscard]] virtual StreamCore& stream() const noexcept = 0;
  /// Calls the receiver with the events, which stay where they are until it has returned. What it throws is in the
  /// attempt.
  virtual Task<> try_receiver(std::span<ReceiverEvent<T>>& events, Attempt& attempt) = 0;
  /// Drops what the last call of the receiver gave.
  virtual void forget(Attempt& attempt) noexcept = 0;

 protected:
  ~TryingWorker() = default;
};

/// False when the stream began to discard first.
inline Task<bool> waited_for(StreamCore& stream, Task<> waiting) {
  try {
    co_await with_cancellation(stream.discard_token(), std::move(waiting));
  } catch (const Error& error) {
    if (!is_cancellation(error.code())) throw;
    co_return false;
  }
  co_return !stream.discarding();
}

/// A receiver that was cancelled with the stream did not fail.
[[nodiscard]] inline bool cancelled_with(const StreamCore& stream, const std::exception_ptr& error) noexcept {
  return stream.level() >= static_cast<int>(CancellationLevel::immediate) &&
         is_error_code(error, [](const std::error_code& code) { return is_cancellation(code); });
}

inline void tell(CircuitBreaker::Call& call, const Attempt& attempt) noexcept {
  if (!attempt.error_) {
    call.succeeded();
  } else if (!is_error_code(attempt.error_, &is_cancellation)) {
    call.failed();
  }
}

inline Task<> enter(CircuitBreaker breaker, std::optional<CircuitBreaker::Call>& call) {
  auto entered = co_await breaker.enter();
  call.emplace(std::move(entered));
}

}  // namespace weir::detail
