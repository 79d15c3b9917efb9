/// What a stream does about an event whose receiver throws: stop, go on, try again, put it aside, or what a function of
/// one's own decides; composed with `otherwise`.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include <weir/channel/channel.hpp>
#include <weir/core/circuit_breaker.hpp>
#include <weir/core/retry.hpp>
#include <weir/core/timer.hpp>
#include <weir/stream/dead_letter.hpp>
#include <weir/stream/event.hpp>

namespace weir {

enum class ErrorPolicy : std::uint8_t {
  /// The first error ends the stream as `failed`: the sender is cancelled, what no receiver has begun is discarded and
  /// counted, so that nothing is done after what failed; events in progress on other workers are finished. The default.
  stop,
  /// The event is counted as failed, its error is kept, and the stream goes on.
  continue_,
};

inline constexpr ErrorPolicy stop = ErrorPolicy::stop;
inline constexpr ErrorPolicy continue_ = ErrorPolicy::continue_;

/// What a function that decides is given: the event, or the events of a batch, which fail as one; what was thrown; and
/// how often it was tried, what an open circuit refused included.
template <class T>
class FailedEvent {
 public:
  FailedEvent(std::span<const ReceiverEvent<T>> events, const std::exception_ptr& error,
              std::uint32_t attempts) noexcept
      : events_(events), error_(error), attempts_(attempts) {}

  /// The first, and the only one unless a batch failed.
  [[nodiscard]] const ReceiverEvent<T>& event() const noexcept { return events_.front(); }
  [[nodiscard]] std::span<const ReceiverEvent<T>> events() const noexcept { return events_; }
  [[nodiscard]] const std::exception_ptr& error() const noexcept { return error_; }
  [[nodiscard]] std::uint32_t attempts() const noexcept { return attempts_; }
  [[nodiscard]] std::string message() const { return detail::message_of(error_); }
  /// Whether the error is an `E`, or derives from one.
  template <class E>
  [[nodiscard]] bool is() const {
    try {
      std::rethrow_exception(error_);
    } catch (const E&) {
      return true;
    } catch (...) {
      return false;
    }
  }

 private:
  std::span<const ReceiverEvent<T>> events_;
  const std::exception_ptr& error_;
  std::uint32_t attempts_;
};

/// What a function that decides returns: `stop`, `continue_`, `retry_after(delay)` or `pass_on`.
class ErrorDecision {
 public:
  enum class Kind : std::uint8_t { end, go_on, again, next };

  ErrorDecision(ErrorPolicy policy) noexcept : kind_(policy == stop ? Kind::end : Kind::go_on) {}

  [[nodiscard]] Kind kind() const noexcept { return kind_; }
  [[nodiscard]] TimeService::Duration delay() const noexcept { return delay_; }

 private:
  constexpr ErrorDecision(Kind kind, TimeService::Duration delay) noexcept : delay_(delay), kind_(kind) {}
  template <class Rep, class Period>
  friend ErrorDecision retry_after(std::chrono::duration<Rep, Period> delay) noexcept;
  friend struct PassOn;

  TimeService::Duration delay_{};
  Kind kind_;
};

/// Call the receiver again after `delay`.
template <class Rep, class Period>
[[nodiscard]] ErrorDecision retry_after(std::chrono::duration<Rep, Period> delay) noexcept {
  return {ErrorDecision::Kind::again, detail::clock_duration(delay)};
}
struct PassOn {
  operator ErrorDecision() const noexcept { return {ErrorDecision::Kind::next, {}}; }
};
/// Let the next policy decide, the one that `otherwise` named.
inline constexpr PassOn pass_on;

/// A policy of one's own: decides by the event and its error. It is called by several workers at once. What it throws
/// stops the stream.
///
///     .on_error([](const weir::FailedEvent<Row>& failed) -> weir::ErrorDecision {
///       if (failed.is<Busy>() && failed.attempts() < 5) return weir::retry_after(50ms);
///       return weir::continue_;
///     })
template <class F, class T>
concept ErrorFunction = requires(const F& decide, const FailedEvent<T>& failed) {
  { decide(failed) } -> std::convertible_to<ErrorDecision>;
};

namespace detail {

/// What a link of a chain says is to be done.
template <class T>
struct ErrorStep {
  ErrorDecision decision = pass_on;
  /// Set: the event goes there.
  const ChannelSender<DeadLetter<T>>* letters = nullptr;
};

struct PolicyLink {
  template <class T>
  [[nodiscard]] ErrorStep<T> decide(const FailedEvent<T>&, Home&) const noexcept {
    return {policy, nullptr};
  }
  [[nodiscard]] std::string describe() const { return policy == stop ? "stop" : "continue"; }
  ErrorPolicy policy;
};

struct RetryLink {
  template <class T>
  [[nodiscard]] ErrorStep<T> decide(const FailedEvent<T>& failed, Home& home) const {
    const auto delay = policy.next(failed.attempts(), failed.error(), home);
    if (!delay) return {};
    return {retry_after(*delay), nullptr};
  }
  void succeeded() const noexcept { policy.succeeded(); }
  [[nodiscard]] std::string describe() const { return "retry"; }
  RetryPolicy policy;
};

template <class T>
struct DeadLetterLink {
  template <class U>
  [[nodiscard]] ErrorStep<T> decide(const FailedEvent<U>&, Home&) const noexcept {
    static_assert(std::same_as<T, U>,
                  "on_error(dead_letter(tx)): tx must be a ChannelSender<DeadLetter<T>> for the T of the stream");
    return {pass_on, &letters};
  }
  [[nodiscard]] std::string describe() const { return "dead letters"; }
  ChannelSender<DeadLetter<T>> letters;
};

/// The breaker is the user's, or made when the stream is built.
struct BreakerLink {
  template <class T>
  [[nodiscard]] ErrorStep<T> decide(const FailedEvent<T>&, Home&) const noexcept {
    return {};
  }
  [[nodiscard]] std::string describe() const { return fail_fast ? "circuit breaker failing fast" : "circuit breaker"; }
  CircuitBreakerOptions options;
  std::optional<CircuitBreaker> breaker;
  bool fail_fast = false;
};

template <class F>
struct FunctionLink {
  template <class T>
  [[nodiscard]] ErrorStep<T> decide(const FailedEvent<T>& failed, Home&) const {
    return {function(failed), nullptr};
  }
  [[nodiscard]] std::string describe() const { return "a function"; }
  F function;
};

}  // namespace detail

/// Policies that are asked one after another, until one of them decides: made by `retry(policy)`, `dead_letter(tx)`,
/// `decide(function)`, and their `otherwise`. What none of them decides stops the stream. Each failed attempt is put to
/// the chain from its begin.
///
///     .on_error(weir::retry(policy).otherwise(weir::dead_letter(tx)).otherwise(weir::continue_))
template <class... Links>
class ErrorChain {
 public:
  explicit ErrorChain(std::tuple<Links...> links) : links_(std::move(links)) {}

  [[nodiscard]] auto otherwise(ErrorPolicy policy) const {
    return with(std::tuple<detail::PolicyLink>{detail::PolicyLink{policy}});
  }
  template <class... More>
  [[nodiscard]] auto otherwise(ErrorChain<More...> next) const {
    return with(std::move(next).links());
  }
  /// A function that decides.
  template <class F>
    requires std::copy_constructible<F>
  [[nodiscard]] auto otherwise(F function) const {
    return with(std::tuple<detail::FunctionLink<F>>{detail::FunctionLink<F>{std::move(function)}});
  }

  [[nodiscard]] const std::tuple<Links...>& links() const& noexcept { return links_; }
  [[nodiscard]] std::tuple<Links...>&& links() && noexcept { return std::move(links_); }

 private:
  template <class... More>
  [[nodiscard]] auto with(std::tuple<More...> more) const {
    return ErrorChain<Links..., More...>(std::tuple_cat(links_, std::move(more)));
  }

  std::tuple<Links...> links_;
};

/// Calls the receiver with the event again, as `policy` says. Waiting for that keeps the worker (others go on), but no
/// thread. It is given up when the stream begins to discard (then the event counts as failed) or is cancelled at once.
/// What the failed call had collected is not; what it moved out of the event is gone.
[[nodiscard]] inline auto retry(RetryPolicy policy) {
  return ErrorChain<detail::RetryLink>(std::tuple<detail::RetryLink>{detail::RetryLink{std::move(policy)}});
}

/// Sends the event and its error to a channel, and counts it as dead-lettered. A channel that is full holds up the
/// worker, and so in the end the sender, until somebody receives: unless its overflow policy is another than to wait.
/// When the channel refuses (it is closed, nobody receives any more, or it is full and rejects), the next policy
/// decides; the stream's end closes its end of the channel. A batch goes as single letters.
template <class T>
[[nodiscard]] auto dead_letter(ChannelSender<DeadLetter<T>> letters) {
  using Link = detail::DeadLetterLink<T>;
  return ErrorChain<Link>(std::tuple<Link>{Link{std::move(letters)}});
}

/// Calls the receiver through a circuit breaker: when most calls fail, workers wait before they call it again, and so
/// the sender is held up, until probes succeed. What it does about an error is left to the policies after it. With
/// plain options the stream has a breaker of its own, by the clock of its execution context; give it a
/// `CircuitBreaker` to share one between streams. One that discards does not wait.
///
///     .on_error(weir::circuit_breaker({.failure_rate = 0.5, .open_for = 10s})
///                   .otherwise(weir::retry(policy).otherwise(weir::dead_letter(tx))))
[[nodiscard]] inline auto circuit_breaker(const CircuitBreakerOptions& options = {}) {
  using Link = detail::BreakerLink;
  return ErrorChain<Link>(std::tuple<Link>{Link{options, std::nullopt}});
}
[[nodiscard]] inline auto circuit_breaker(CircuitBreaker shared) {
  using Link = detail::BreakerLink;
  return ErrorChain<Link>(std::tuple<Link>{Link{{}, std::move(shared)}});
}
/// The same, but while it is open events fail at once with `Error(Errc::circuit_open)`, without a call, and the
/// policies after it decide.
[[nodiscard]] inline auto circuit_breaker_failing_fast(const CircuitBreakerOptions& options = {}) {
  using Link = detail::BreakerLink;
  return ErrorChain<Link>(std::tuple<Link>{Link{options, std::nullopt, true}});
}
[[nodiscard]] inline auto circuit_breaker_failing_fast(CircuitBreaker shared) {
  using Link = detail::BreakerLink;
  return ErrorChain<Link>(std::tuple<Link>{Link{{}, std::move(shared), true}});
}

/// A function that decides (see `ErrorFunction`) as the first of a chain.
template <class F>
[[nodiscard]] auto decide(F function) {
  using Link = detail::FunctionLink<F>;
  return ErrorChain<Link>(std::tuple<Link>{Link{std::move(function)}});
}

}  // namespace weir
