/// What a strategy works with: one worker's access to the events of a stream.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

#include <weir/channel/channel.hpp>
#include <weir/core/task.hpp>
#include <weir/core/with_cancellation.hpp>
#include <weir/stream/collector.hpp>
#include <weir/stream/detail/event_run.hpp>
#include <weir/stream/detail/now_or_later.hpp>
#include <weir/stream/detail/processed_event.hpp>
#include <weir/stream/detail/recovery.hpp>
#include <weir/stream/detail/run_results.hpp>
#include <weir/stream/detail/stream_core.hpp>
#include <weir/stream/error_policy.hpp>
#include <weir/stream/event.hpp>

namespace weir {

/// One worker's access to the events of a stream. It belongs to the root that it was made for: the strategy's own
/// coroutine, or a worker that it started. What it holds when it goes is counted as discarded.
template <class Pipeline>
class Drain : private detail::EventRun<Pipeline> {
  using Run = detail::EventRun<Pipeline>;

 public:
  using T = typename Pipeline::value_type;
  using C = typename Pipeline::item_type;
  using Collection = typename Pipeline::collection_type;
  using Element = typename Pipeline::element_type;
  using event_type = ReceiverEvent<T>;
  using outcome_type = ProcessedEvent<C, Collection>;

  /// Whether the receiver is a plain function: then `process` and `call` don't suspend.
  static constexpr bool plain = Pipeline::plain_receiver;
  /// Otherwise it takes its events from a channel of the user's: see `ReceiverTask`.
  static constexpr bool has_own_channel = Pipeline::has_own_channel;

  explicit Drain(std::shared_ptr<Pipeline> pipeline) : Run(std::move(pipeline)), results_(collector_) {}
  Drain(const Drain&) = delete;
  Drain& operator=(const Drain&) = delete;
  ~Drain() {
    flush();
    if (run_.size() != 0) count(counters_.discarded, run_.size());
  }

  /// The number of this worker, from 0.
  [[nodiscard]] std::size_t worker() const noexcept { return worker_; }
  /// True once events are discarded rather than begun.
  using Run::stopping;
  /// The stream's clock: that of its execution context.
  [[nodiscard]] EventTime now() const noexcept { return pipeline_->clock().now(); }

  /// Waits for events, and takes a few; false when there are no more. Call it when `next` gave null.
  [[nodiscard]] auto fetch() { return fetch(Buffer::room); }
  /// The same with a bound, from 1.
  [[nodiscard]] auto fetch(std::size_t max) { return this->fetch_run(max); }
  /// Takes what is there, up to `max`, without waiting: gives the number. Call it when `next` gave null.
  [[nodiscard]] std::size_t try_fetch(std::size_t max = Buffer::room) { return this->try_fetch_run(max); }
  /// How many of those that were fetched `next` has not given.
  [[nodiscard]] std::size_t fetched() const noexcept { return run_.size(); }

  /// The next event of those that were fetched, which lives until the next call; null when there is none left.
  [[nodiscard]] event_type* next() {
    current_.reset();
    if (run_.size() == 0) return nullptr;
    if (stopping()) {
      discard_run();
      return nullptr;
    }
    take_front();
    return &*current_;
  }

  /// Calls the receiver, collects what it returns, counts, and deals with what it throws as the stream's error policy
  /// says. A plain receiver is called at once, and unless the policy waits there is nothing to wait for. What it gave
  /// is added to the collection, and the event counted, with the last event of the run that was fetched.
  auto process(event_type& event) {
    if constexpr (plain) {
      if (guarded()) return process_guarded(event);
      if (auto error = call_at_once(event)) return detail::NowOrLater<void>(failed(event, std::move(error)));
      if (run_.size() == 0) flush();
      return detail::NowOrLater<void>();
    } else {
      return process_later(event);
    }
  }

  /// Does what `next` and `process` do for each of those that were fetched, for a plain receiver at less cost. With GCC
  /// 12 not in `while (co_await drain.fetch())`: see docs/traps.md.
  auto process_run() {
    if constexpr (plain) {
      if (guarded()) return detail::NowOrLater<void>(process_rest());
      while (run_.size() != 0) {
        if (stopping()) {
          discard_run();
          break;
        }
        take_front();
        auto error = call_at_once(*current_);
        if (!error) continue;
        if (handler_) return detail::NowOrLater<void>(recovered_then_rest(std::move(error)));
        flush();
        fail(current_->id(), std::move(error));
      }
      flush();
      return detail::NowOrLater<void>();
    } else {
      return process_rest();
    }
  }

  /// Only calls the receiver, as often as the error policy says: for strategies that settle in another order.
  /// Everything called must be settled.
  auto call(event_type& event) {
    if constexpr (plain) {
      outcome_type outcome(event.id());
      if (!guarded()) {
        attempt(event, outcome);
      } else if (!attempt_at_once(event, outcome)) {
        return detail::NowOrLater<outcome_type>(call_later(event));
      }
      if (outcome.error_ && handler_) {
        return detail::NowOrLater<outcome_type>(recovered(event, std::move(outcome)));
      }
      return detail::NowOrLater<outcome_type>(std::move(outcome));
    } else {
      return call_later(event);
    }
  }

  /// Collects what an event gave, and counts it. Not at the same time as the other functions of this drain.
  void settle(outcome_type&& outcome) noexcept {
    settle_later(std::move(outcome));
    flush();
  }
  /// The same for several, which are added together by `flush()`: call that before waiting for anything.
  void settle_later(outcome_type&& outcome) noexcept {
    if (outcome.discarded_) {
      count(counters_.discarded);
    } else if (outcome.dead_lettered_ != 0) {
      count(counters_.dead_lettered);
    } else if (outcome.error_) {
      flush();
      fail(outcome.id_, std::move(outcome.error_), handler_ ? outcome.policy_ : pipeline_->error_policy());
    } else {
      in_order_ = true;
      const std::size_t mark = results_.size();
      try {
        if constexpr (collects) results_.add(outcome);
        results_.end_event(outcome.id_);
      } catch (...) {
        results_.drop_from(mark);
        fail(outcome.id_, std::current_exception());
      }
    }
  }
  /// Adds to the collection what the events that were processed gave, under one lock, and counts them. What the
  /// collection refuses fails its event, which is not tried again; under `stop` what came after it is discarded.
  void flush() noexcept {
    if (results_.empty()) return;
    const std::size_t part = std::exchange(in_order_, false) ? 0 : worker_;
    const auto [added, left_out] =
        results_.collect_events(collector_, part, [this](std::uint64_t id, std::exception_ptr error) {
          fail(id, std::move(error));
          return pipeline_->error_policy() != ErrorPolicy::stop;
        });
    if (left_out != 0) count(counters_.discarded, left_out);
    count(counters_.processed, added);
  }

  /// Waits for something else than an event, such as a token of a bucket: false when the stream began to discard first,
  /// or is cancelled at once.
  template <Awaitable A>
    requires(!std::is_lvalue_reference_v<A>)
  [[nodiscard]] Task<bool> wait_for(A&& awaitable) {
    flush();
    return this->waited_for(into_task(std::move(awaitable)));
  }

  /// For strategies that keep an event for later: they move it out of its place, and then `begin` it when its turn has
  /// come, or `discard` it if the stream is stopping.
  void begin(event_type& event) noexcept { event.set_started(pipeline_->clock().now()); }
  void discard(event_type&) noexcept { count(counters_.discarded); }
  /// Settles an event that could not be processed, such as when the user's function that sorts events throws: as the
  /// error policy says, except that it can't be tried again.
  auto reject(event_type& event, std::exception_ptr error) {
    return detail::NowOrLater<void>(failed(event, std::move(error), false));
  }

  /// How many events the strategy may keep for later: what its `kept(capacity)` said.
  [[nodiscard]] std::size_t kept() const noexcept { return pipeline_->kept(); }

  /// Starts another worker on the stream's executor: a root of its own, which runs `body(drain)` with a drain of its
  /// own. `body` is a function that returns a `Task<>`.
  template <class Body>
  void start_worker(Body body) {
    pipeline_->start_worker(std::move(body));
  }

 private:
  friend class EventBatch<Drain>;

  using pipeline_type = Pipeline;
  // Of a base that depends on a parameter.
  using Run::attempt;
  using Run::attempt_at_once;
  using Run::attempt_guarded;
  using Run::attempt_later;
  using Run::cancelled_with_stream;
  using Run::collector_;
  using Run::count;
  using Run::counters_;
  using Run::current_;
  using Run::fail;
  using Run::guarded;
  using Run::handler_;
  using Run::invoke;
  using Run::pipeline_;
  using Run::recover;
  using Run::returns_nothing;
  using Run::run_;
  using Run::rx_;
  using Run::stage;
  using Run::stage_nothing;
  using Run::staging_for;
  using Run::take_front;
  using Run::until_stopped;
  using Run::worker_;
  using typename Run::Buffer;

  static constexpr bool collects = Pipeline::takes_collector || !returns_nothing || !std::same_as<Collection, Nothing>;

  /// Null, or what the receiver threw.
  [[nodiscard]] std::exception_ptr call_at_once(event_type& event) noexcept {
    const std::size_t mark = results_.size();
    try {
      if constexpr (returns_nothing) {
        invoke(event, results_.staging());
        results_.add_nothing();
      } else {
        results_.add(invoke(event, results_.staging()));
      }
      results_.end_event(event.id());
      if (handler_) handler_->succeeded();
      return nullptr;
    } catch (...) {
      results_.drop_from(mark);
      return std::current_exception();
    }
  }
  Task<> process_rest() {
    while (auto* const event = next()) co_await process(*event);
  }
  Task<> recovered_then_rest(std::exception_ptr error) {
    flush();
    auto recovering = recovered_and_settled(*current_, std::move(error), true);
    co_await std::move(recovering);
    while (auto* const event = next()) co_await process(*event);
  }
  void discard_run() noexcept {
    flush();
    count(counters_.discarded, run_.size());
    run_.clear();
  }

  detail::NowOrLater<void> process_guarded(event_type& event) {
    outcome_type outcome(event.id());
    if (!attempt_at_once(event, outcome)) return detail::NowOrLater<void>(process_later(event));
    if (outcome.error_) return detail::NowOrLater<void>(failed(event, std::move(outcome.error_)));
    settle(std::move(outcome));
    return detail::NowOrLater<void>();
  }
  /// Empty: it is settled.
  Task<> failed(event_type& event, std::exception_ptr error, bool again = true) {
    flush();
    if (!handler_) {
      fail(event.id(), std::move(error));
      return {};
    }
    return recovered_and_settled(event, std::move(error), again);
  }
  Task<> recovered_and_settled(event_type& event, std::exception_ptr error, bool again) {
    outcome_type outcome(event.id());
    outcome.error_ = std::move(error);
    auto recovering = recover(std::span(&event, 1), outcome, again);
    co_await std::move(recovering);
    settle(std::move(outcome));
  }
  Task<outcome_type> recovered(event_type& event, outcome_type outcome) {
    auto recovering = recover(std::span(&event, 1), outcome);
    co_await std::move(recovering);
    co_return outcome;
  }

  Task<> process_later(event_type& event) {
    outcome_type outcome(event.id());
    if (guarded()) {
      auto calling = attempt_guarded(std::span(&event, 1), outcome);
      co_await std::move(calling);
    } else if constexpr (plain) {
      attempt(event, outcome);
    } else {
      // What attempt_later does, without its frame.
      try {
        auto staging = staging_for(outcome);
        if constexpr (returns_nothing) {
          co_await invoke(event, staging);
          stage_nothing(outcome);
        } else {
          stage(outcome, co_await invoke(event, staging));
        }
        if (handler_) handler_->succeeded();
      } catch (...) {
        outcome.error_ = std::current_exception();
      }
    }
    if (outcome.error_ && handler_) {
      auto recovering = recover(std::span(&event, 1), outcome);
      co_await std::move(recovering);
    }
    settle(std::move(outcome));
  }

  Task<outcome_type> call_later(event_type& event) {
    outcome_type outcome(event.id());
    auto calling = guarded() ? attempt_guarded(std::span(&event, 1), outcome) : attempt_later(event, outcome);
    co_await std::move(calling);
    if (outcome.error_ && handler_) {
      auto recovering = recover(std::span(&event, 1), outcome);
      co_await std::move(recovering);
    }
    co_return outcome;
  }

  /// What is to be added next was settled by the strategy, whose order counts.
  bool in_order_ = false;
  /// Of the events that are not counted yet.
  detail::RunResults<Pipeline> results_;
};

}  // namespace weir
