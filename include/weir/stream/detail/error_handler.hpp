/// What a stream's workers ask about an event that failed, whatever the chain of policies.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include <weir/channel/channel.hpp>
#include <weir/core/circuit_breaker.hpp>
#include <weir/core/task.hpp>
#include <weir/stream/dead_letter.hpp>
#include <weir/stream/detail/attempt.hpp>
#include <weir/stream/error_policy.hpp>
#include <weir/stream/event.hpp>

namespace weir::detail {

/// The circuit breaker of a stream.
struct StreamGuard {
  CircuitBreaker breaker;
  bool fail_fast;
};

/// One a stream, shared by its workers. What it does about a failure depends on the type of the events alone: a stream
/// without a chain of policies compiles nothing of it, and one receiver more does not compile it again.
template <class T>
class ErrorHandler {
 public:
  ErrorHandler() = default;
  ErrorHandler(const ErrorHandler&) = delete;
  ErrorHandler& operator=(const ErrorHandler&) = delete;
  virtual ~ErrorHandler() = default;

  /// What is to be done about a failure. Asks the links from `link` on, and moves it behind the one that decided.
  [[nodiscard]] ErrorStep<T> decide(std::size_t& link, const FailedEvent<T>& failed, Home& home) const {
    if (link == 0 && failed.attempts() == 1) failed_.fetch_add(failed.events().size(), std::memory_order_relaxed);
    return decide_by_links(link, failed, home);
  }
  /// How many events failed since it was asked last, whether they are tried again or not. Any worker: each of these
  /// events is told to one.
  [[nodiscard]] std::uint64_t take_failures() const noexcept {
    return failed_.load(std::memory_order_relaxed) == 0 ? 0 : failed_.exchange(0, std::memory_order_relaxed);
  }
  /// The receiver returned.
  virtual void succeeded() const noexcept = 0;
  /// What becomes of what can't be tried again or put aside, such as an item that the collection refuses.
  [[nodiscard]] virtual ErrorPolicy last() const noexcept = 0;
  /// "retry, dead letters, continue".
  [[nodiscard]] virtual std::string describe() const = 0;

  /// Null: the receiver is called whatever it did before.
  [[nodiscard]] const StreamGuard* guard() const noexcept { return guard_ ? &*guard_ : nullptr; }

  /// What the error policy says about an event, or a batch, that failed: afterwards the attempt has no error, or says
  /// how many from the front went to the dead letters and what is to become of the rest. Moves from those that went.
  virtual Task<> recover(TryingWorker<T>& worker, std::span<ReceiverEvent<T>> events, Attempt& attempt,
                         bool again) const = 0;
  /// Calls the receiver when the circuit lets it, and waits for that if it is to. Sets `discarded_` if the stream
  /// discards meanwhile. Only where there is a guard.
  virtual Task<> try_guarded(TryingWorker<T>& worker, std::span<ReceiverEvent<T>> events, Attempt& attempt) const = 0;

 protected:
  [[nodiscard]] virtual ErrorStep<T> decide_by_links(std::size_t& link, const FailedEvent<T>& failed,
                                                     Home& home) const = 0;
  void set_guard(StreamGuard guard) { guard_.emplace(std::move(guard)); }
  /// A handle of one's own, as a handle is for one party.
  [[nodiscard]] ChannelSender<DeadLetter<T>> copy(const ChannelSender<DeadLetter<T>>& letters) const {
    const std::lock_guard lock(mutex_);
    return letters;
  }

 private:
  mutable std::mutex mutex_;
  std::optional<StreamGuard> guard_;
  mutable std::atomic<std::uint64_t> failed_{0};
};

}  // namespace weir::detail
