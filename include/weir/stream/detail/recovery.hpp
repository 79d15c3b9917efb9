/// Calls the receiver of a stream, and does about what it throws what the error policy says.
#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

#include <weir/channel/channel.hpp>
#include <weir/core/task.hpp>
#include <weir/core/this_task.hpp>
#include <weir/core/timer.hpp>
#include <weir/core/with_cancellation.hpp>
#include <weir/stream/collector.hpp>
#include <weir/stream/dead_letter.hpp>
#include <weir/stream/detail/error_handler.hpp>
#include <weir/stream/detail/processed_event.hpp>
#include <weir/stream/detail/stream_core.hpp>
#include <weir/stream/error_policy.hpp>
#include <weir/stream/event.hpp>
#include <weir/stream/receiver.hpp>

namespace weir::detail {

/// The part of a worker's drain that is between an event and its outcome. What waits here is given up when the stream
/// begins to discard.
template <class Pipeline>
class Recovery {
 protected:
  using T = typename Pipeline::value_type;
  using C = typename Pipeline::item_type;
  using Collection = typename Pipeline::collection_type;
  using event_type = ReceiverEvent<T>;
  using outcome_type = ProcessedEvent<C, Collection>;
  using Result = typename Pipeline::receiver_result;
  using Value = typename awaited<Result>::type;

  static constexpr bool plain = Pipeline::plain_receiver;
  static constexpr bool returns_nothing = std::is_void_v<Value>;

  explicit Recovery(std::shared_ptr<Pipeline> pipeline)
      : pipeline_(std::move(pipeline)),
        counters_(pipeline_->add_worker()),
        collector_(pipeline_->collector()),
        handler_(pipeline_->error_handler()) {}
  ~Recovery() = default;

  [[nodiscard]] bool stopping() const noexcept { return pipeline_->discarding(); }

  static void count(std::atomic<std::uint64_t>& counter, std::uint64_t n = 1) noexcept {
    WorkerCounters::add(counter, n);
  }

  template <class Out>
  decltype(auto) invoke(typename Pipeline::input_type input, [[maybe_unused]] Out& out) {
    if constexpr (Pipeline::takes_collector) {
      return std::invoke(pipeline_->receiver(), input, out);
    } else {
      return std::invoke(pipeline_->receiver(), input);
    }
  }

  template <class R>
  static void stage(outcome_type& outcome, R&& returned) {
    if constexpr (Pipeline::returns_optional) {
      if (returned) outcome.item_.emplace(std::move(*returned));
    } else {
      outcome.item_.emplace(static_cast<R&&>(returned));
    }
  }
  static void stage_nothing(outcome_type& outcome) {
    if constexpr (std::is_void_v<C> && !std::is_same_v<Collection, Nothing>) outcome.item_.emplace();
  }

  /// One call of a plain receiver with an event, or a batch.
  void attempt(typename Pipeline::input_type input, outcome_type& outcome) noexcept {
    try {
      auto staging = staging_for(outcome);
      if constexpr (returns_nothing) {
        invoke(input, staging);
        stage_nothing(outcome);
      } else {
        stage(outcome, invoke(input, staging));
      }
      if (handler_) handler_->succeeded();
    } catch (...) {
      outcome.error_ = std::current_exception();
    }
  }
  Task<> attempt_later(typename Pipeline::input_type input, outcome_type& outcome) {
    if constexpr (plain) {
      attempt(input, outcome);
      co_return;
    } else {
      try {
        auto staging = staging_for(outcome);
        if constexpr (returns_nothing) {
          co_await invoke(input, staging);
          stage_nothing(outcome);
        } else {
          stage(outcome, co_await invoke(input, staging));
        }
        if (handler_) handler_->succeeded();
      } catch (...) {
        outcome.error_ = std::current_exception();
      }
    }
  }
  /// Only who is given a collector needs one.
  [[nodiscard]] decltype(auto) staging_for(outcome_type& outcome) {
    if constexpr (Pipeline::takes_collector) {
      return collector_.stage_into(outcome.staged_);
    } else {
      return (collector_);
    }
  }

  /// Whether a circuit breaker decides when the receiver is called.
  [[nodiscard]] bool guarded() const noexcept { return handler_ && handler_->guard(); }
  static void tell(CircuitBreaker::Call& call, const outcome_type& outcome) noexcept {
    if (!outcome.error_) {
      call.succeeded();
    } else if (!is_error_code(outcome.error_, &is_cancellation)) {
      call.failed();
    }
  }
  /// False: the circuit lets nothing through now.
  [[nodiscard]] bool attempt_at_once(event_type& event, outcome_type& outcome) {
    auto call = handler_->guard()->breaker.try_enter();
    if (!call) return false;
    attempt(event, outcome);
    tell(*call, outcome);
    return true;
  }
  /// Waits for the circuit, if it is to. Sets `discarded_` if the stream discards meanwhile.
  Task<> attempt_guarded(typename Pipeline::input_type input, outcome_type& outcome) {
    const StreamGuard& guard = *handler_->guard();
    auto call = guard.breaker.try_enter();
    if (!call && guard.fail_fast) {
      outcome.error_ = std::make_exception_ptr(Error(Errc::circuit_open));
      co_return;
    }
    if (!call) {
      auto entering = enter(guard.breaker, call);
      auto waiting = waited_for(std::move(entering));
      const bool entered = co_await std::move(waiting);
      if (!entered) {
        outcome.discarded_ = true;
        co_return;
      }
    }
    auto calling = attempt_later(input, outcome);
    co_await std::move(calling);
    tell(*call, outcome);
  }
  static Task<> enter(CircuitBreaker breaker, std::optional<CircuitBreaker::Call>& call) {
    auto entered = co_await breaker.enter();
    call.emplace(std::move(entered));
  }

  /// What the error policy says about an event, or a batch, that failed: afterwards the outcome has no error, or says
  /// how many from the front went to the dead letters and what is to become of the rest. Moves from those that went.
  Task<> recover(std::span<event_type> events, outcome_type& outcome, bool again = true) {
    Home& home = co_await this_task::home();
    std::uint32_t attempts = 1;
    std::size_t link = 0;
    for (;;) {
      outcome.policy_ = ErrorPolicy::continue_;
      if (cancelled_with_stream(outcome.error_)) co_return;
      ErrorStep<T> step;
      try {
        step = handler_->decide(link, FailedEvent<T>(events, outcome.error_, attempts), home);
      } catch (...) {
        outcome.error_ = std::current_exception();
        step.decision = ErrorPolicy::stop;
      }
      if (step.letters) {
        auto burying = bury(events, *step.letters, outcome.error_, attempts);
        const std::size_t sent = co_await std::move(burying);
        outcome.dead_lettered_ += sent;
        events = events.subspan(sent);
        // Refused because the stream is being stopped: that is no failure of it.
        if (events.empty() || stopping()) co_return;
        continue;
      }
      if (step.decision.kind() != ErrorDecision::Kind::again) {
        if (step.decision.kind() == ErrorDecision::Kind::end) outcome.policy_ = ErrorPolicy::stop;
        co_return;
      }
      if (!again) continue;
      if (stopping()) co_return;
      auto waiting = waited_for(into_task(sleep_for(step.decision.delay())));
      const bool waited = co_await std::move(waiting);
      if (!waited) co_return;
      ++attempts;
      link = 0;
      auto last_error = std::exchange(outcome.error_, nullptr);
      outcome.staged_.clear();
      outcome.item_.reset();
      for (event_type& event : events) event.set_started(pipeline_->clock().now());
      auto calling = guarded() ? attempt_guarded(input_of(events), outcome) : attempt_later(input_of(events), outcome);
      co_await std::move(calling);
      if (outcome.discarded_) {
        // The retry was given up.
        outcome.discarded_ = false;
        outcome.error_ = std::move(last_error);
        co_return;
      }
      if (!outcome.error_) co_return;
    }
  }
  [[nodiscard]] static typename Pipeline::input_type input_of(std::span<event_type>& events) noexcept {
    if constexpr (std::same_as<typename Pipeline::input_type, event_type&>) {
      return events.front();
    } else {
      return events;
    }
  }

  Task<bool> waited_for(Task<> waiting) {
    try {
      co_await with_cancellation(pipeline_->discard_token(), std::move(waiting));
    } catch (const Error& error) {
      if (!is_cancellation(error.code())) throw;
      co_return false;
    }
    co_return !stopping();
  }

  /// How many were sent, in order.
  Task<std::size_t> bury(std::span<event_type> events, const ChannelSender<DeadLetter<T>>& letters,
                         std::exception_ptr error, std::uint32_t attempts) {
    std::size_t sent = 0;
    const ChannelSender<DeadLetter<T>> tx = handler_->copy(letters);
    for (event_type& event : events) {
      DeadLetter<T> letter(std::move(event), error, attempts);
      bool refused = false;
      try {
        if (!tx.try_send(std::move(letter))) {
          if (stopping()) {
            refused = true;
          } else {
            auto sending = tx.send(std::move(letter));
            co_await with_cancellation(pipeline_->discard_token(), std::move(sending));
          }
        }
      } catch (...) {
        refused = true;
      }
      if (refused) {
        std::destroy_at(&event);
        std::construct_at(&event, std::move(letter.event()));
        break;
      }
      ++sent;
    }
    co_return sent;
  }

  /// A receiver that was cancelled with the stream did not fail.
  [[nodiscard]] bool cancelled_with_stream(const std::exception_ptr& error) const noexcept {
    return pipeline_->level() >= static_cast<int>(CancellationLevel::immediate) &&
           is_error_code(error, [](const std::error_code& code) { return is_cancellation(code); });
  }
  void fail(std::uint64_t id, std::exception_ptr error) noexcept {
    fail(id, std::move(error), pipeline_->error_policy());
  }
  void fail(std::uint64_t id, std::exception_ptr error, ErrorPolicy policy) noexcept {
    if (cancelled_with_stream(error)) {
      count(counters_.discarded);
      return;
    }
    try {
      collector_.collect_error(id, error);
    } catch (...) {
      // No memory for the error: it is still counted.
    }
    count(counters_.failed);
    if (policy == ErrorPolicy::stop) pipeline_->worker_threw(std::move(error));
  }

  std::shared_ptr<Pipeline> pipeline_;
  WorkerCounters& counters_;
  Collector<C, Collection> collector_;
  /// Null: the error policy is `stop` or `continue_`.
  const ErrorHandler<T>* handler_;
};

}  // namespace weir::detail
