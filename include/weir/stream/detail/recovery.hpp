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

#include <weir/core/task.hpp>
#include <weir/stream/collector.hpp>
#include <weir/stream/detail/attempt.hpp>
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
class Recovery : private TryingWorker<typename Pipeline::value_type> {
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
  /// False: the circuit lets nothing through now.
  [[nodiscard]] bool attempt_at_once(event_type& event, outcome_type& outcome) {
    auto call = handler_->guard()->breaker.try_enter();
    if (!call) return false;
    attempt(event, outcome);
    tell(*call, outcome);
    return true;
  }
  /// Both only where there is a handler.
  Task<> attempt_guarded(std::span<event_type> events, outcome_type& outcome) {
    return handler_->try_guarded(*this, events, outcome);
  }
  Task<> recover(std::span<event_type> events, outcome_type& outcome, bool again = true) {
    return handler_->recover(*this, events, outcome, again);
  }

  [[nodiscard]] Task<bool> waited_for(Task<> waiting) { return detail::waited_for(*pipeline_, std::move(waiting)); }
  [[nodiscard]] bool cancelled_with_stream(const std::exception_ptr& error) const noexcept {
    return cancelled_with(*pipeline_, error);
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

 private:
  [[nodiscard]] StreamCore& stream() const noexcept final { return *pipeline_; }
  Task<> try_receiver(std::span<event_type>& events, Attempt& attempt) final {
    auto& outcome = static_cast<outcome_type&>(attempt);
    if constexpr (std::same_as<typename Pipeline::input_type, event_type&>) {
      return attempt_later(events.front(), outcome);
    } else {
      return attempt_later(events, outcome);
    }
  }
  void forget(Attempt& attempt) noexcept final {
    auto& outcome = static_cast<outcome_type&>(attempt);
    outcome.staged_.clear();
    outcome.item_.reset();
  }
};

}  // namespace weir::detail
