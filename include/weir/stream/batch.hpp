/// For strategies that give the receiver several events at once: gathers them, and has them processed as a unit.
#pragma once

#include <algorithm>
#include <cassert>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <span>
#include <utility>
#include <vector>

#include <weir/channel/channel.hpp>
#include <weir/core/task.hpp>
#include <weir/stream/collector.hpp>
#include <weir/stream/detail/bisection.hpp>
#include <weir/stream/detail/run_buffer.hpp>
#include <weir/stream/detail/run_results.hpp>
#include <weir/stream/drain.hpp>
#include <weir/stream/event.hpp>

namespace weir {

/// What becomes of a batch whose receiver throws.
enum class BatchFailure : unsigned char {
  /// Every event of it fails, with the batch's error.
  whole,
  /// Its halves are tried by themselves, and so on down to single events, so that only those fail that are bad alone.
  /// The receiver is called again for the others: it should not have moved from what it may fail for.
  split,
};

/// Events that a strategy gathers, in a buffer that is reused from batch to batch. It belongs to the worker whose drain
/// it was made from, and goes before it; events that it holds when it goes are counted as discarded. A strategy that
/// uses it says that its receivers take spans, and that what it holds is within `kept(capacity)`:
///
///     struct InFives {
///       static constexpr bool in_batches = true, takes_ahead = true;
///       std::size_t concurrency() const { return 1; }
///       std::size_t kept(std::size_t capacity) const { return std::min<std::size_t>(5, capacity) - 1; }
///       template <class D>
///       weir::Task<> operator()(D& drain) const {
///         weir::EventBatch batch(drain, drain.kept() + 1);
///         while (co_await batch.gather()) {
///           if (batch.full()) co_await batch.process();
///         }
///         co_await batch.process();
///       }
///     };
template <class D>
class EventBatch {
 public:
  using event_type = typename D::event_type;

  /// Up to `most` events, from 1. Allocates their buffer.
  EventBatch(D& drain, std::size_t most) : drain_(drain), most_(most), limit_(most), results_(drain.collector_) {
    events_.reserve(most);
  }
  EventBatch(const EventBatch&) = delete;
  EventBatch& operator=(const EventBatch&) = delete;
  ~EventBatch() { D::count(drain_.counters_.discarded, events_.size() - settled_); }

  [[nodiscard]] std::size_t size() const noexcept { return events_.size(); }
  [[nodiscard]] std::size_t limit() const noexcept { return limit_; }
  /// Makes batches smaller than what it was made for, or larger again: from 1, and not less than what it holds.
  void limit_to(std::size_t n) noexcept { limit_ = std::clamp<std::size_t>(n, 1, most_); }
  [[nodiscard]] bool full() const noexcept { return size() >= limit_; }

  /// Waits for events, and takes what is there, up to the limit, in one critical section. False when there are no more.
  /// Not when it is full. It can't be moved; allocates nothing.
  [[nodiscard]] auto gather() {
    return until_stopped([this] { return Gather<Some>(*this, drain_.rx_.receive_some(Inserter(*this), room())); });
  }
  /// The same until `when`, by the clock of the stream: false also when that time has come first.
  [[nodiscard]] auto gather_until(EventTime when) {
    return until_stopped([this, when] {
      return Gather<SomeUntil>(*this, drain_.rx_.receive_some_until(Inserter(*this), room(), when));
    });
  }
  /// The stream's clock: that of its execution context.
  [[nodiscard]] EventTime now() const noexcept { return drain_.pipeline_->clock().now(); }

  /// Calls the receiver with what was gathered, if anything, and empties the batch. What the receiver collects is
  /// collected once it has returned, under one lock. Then every event of it is processed, or every one failed. Once the
  /// stream is stopping they are discarded instead. A batch that failed is retried as a unit; it goes to the dead
  /// letters event by event. A plain receiver is called at once, and nothing is allocated (a frame, with a chain of
  /// error policies).
  auto process(BatchFailure failure = BatchFailure::whole) {
    if constexpr (D::plain) {
      if (drain_.handler_) return detail::NowOrLater<void>(process_later(failure));
      process_now(failure);
      return detail::NowOrLater<void>();
    } else {
      return process_later(failure);
    }
  }

  /// For strategies that adapt, also such as make no batches: how many events failed since this was asked last, those
  /// that are tried again included. Where a chain of error policies decides, those of the whole stream, each told to
  /// one worker; else the worker's own. `known` is the caller's, one a worker, from 0.
  [[nodiscard]] static std::uint64_t take_failures(const D& drain, std::uint64_t& known) noexcept {
    if (drain.handler_) return drain.handler_->take_failures();
    const std::uint64_t failed = drain.counters_.failed.load(std::memory_order_relaxed);
    return failed - std::exchange(known, failed);
  }

 private:
  friend class detail::RunInserter<EventBatch, typename D::Element>;

  using Element = typename D::Element;
  using Inserter = detail::RunInserter<EventBatch, Element>;
  using Receiver = const ChannelReceiver<Element>&;
  using Some = decltype(std::declval<Receiver>().receive_some(std::declval<Inserter>(), 1));
  using SomeUntil =
      decltype(std::declval<Receiver>().receive_some_until(std::declval<Inserter>(), 1, std::declval<EventTime>()));
  using Part = detail::Bisection::Part;

  template <class Operation>
  class Gather {
   public:
    Gather(EventBatch& batch, Operation operation)
        : batch_(batch), receive_(std::move(operation).operator co_await()) {}
    Gather(const Gather&) = delete;
    Gather& operator=(const Gather&) = delete;

    void attach(Promise& promise) { receive_.attach(promise); }
    [[nodiscard]] bool await_ready() { return receive_.await_ready(); }
    void await_suspend(std::coroutine_handle<> handle) noexcept { receive_.await_suspend(handle); }
    bool await_resume() {
      if constexpr (std::same_as<Operation, SomeUntil>) {
        if (receive_.gave_up()) return false;
      }
      const std::size_t taken = receive_.await_resume();
      D::count(batch_.drain_.counters_.taken, taken);
      return taken != 0;
    }

   private:
    EventBatch& batch_;
    typename Operation::awaiter_type receive_;
  };

  /// What `make` makes, by itself or so that it ends when the stream is stopped.
  template <class Make>
  [[nodiscard]] auto until_stopped(Make make) {
    if constexpr (D::has_own_channel) {
      return make();
    } else {
      return drain_.until_stopped(make);
    }
  }

  [[nodiscard]] std::size_t room() const noexcept {
    assert(!full());
    return limit() - size();
  }

  void push(Element&& element) {
    auto& pipeline = *drain_.pipeline_;
    if constexpr (std::same_as<Element, SenderEvent<typename D::T>>) {
      events_.emplace_back(std::move(element), pipeline.id(), drain_.worker_);
    } else {
      SenderEvent<typename D::T> event(std::in_place, std::move(element));
      event.stamp(pipeline.numbers().take(1), pipeline.clock().coarse_now());
      events_.emplace_back(std::move(event), pipeline.id(), drain_.worker_);
    }
  }

  void process_now(BatchFailure failure) {
    parts_.start(size());
    for (Part part; parts_.next(part);) {
      if (discarded(part)) continue;
      std::span<event_type> events = begin(part);
      try {
        if constexpr (D::returns_nothing) {
          drain_.invoke(events, results_.staging());
          results_.add_nothing();
        } else {
          results_.add(drain_.invoke(events, results_.staging()));
        }
        results_.collect_all(drain_.collector_, drain_.worker_);
        settle(drain_.counters_.processed, part);
      } catch (...) {
        fail(part, failure, std::current_exception());
      }
    }
    empty();
  }

  Task<> process_later(BatchFailure failure) {
    parts_.start(size());
    for (Part part; parts_.next(part);) {
      if (discarded(part)) continue;
      std::span<event_type> events = begin(part);
      if (drain_.guarded()) {
        typename D::outcome_type outcome(events.front().id());
        auto calling = drain_.attempt_guarded(events, outcome);
        co_await std::move(calling);
        if (outcome.error_ && splits(part, failure, outcome.error_)) {
          parts_.halve(part);
          continue;
        }
        if (outcome.error_) {
          auto recovering = drain_.recover(events, outcome);
          co_await std::move(recovering);
        }
        settle(outcome, part);
        continue;
      }
      std::exception_ptr error;
      try {
        if constexpr (D::plain && D::returns_nothing) {
          drain_.invoke(events, results_.staging());
          results_.add_nothing();
        } else if constexpr (D::plain) {
          results_.add(drain_.invoke(events, results_.staging()));
        } else if constexpr (D::returns_nothing) {
          co_await drain_.invoke(events, results_.staging());
          results_.add_nothing();
        } else {
          results_.add(co_await drain_.invoke(events, results_.staging()));
        }
        results_.collect_all(drain_.collector_, drain_.worker_);
        if (drain_.handler_) drain_.handler_->succeeded();
        settle(drain_.counters_.processed, part);
      } catch (...) {
        error = std::current_exception();
      }
      if (!error) continue;
      if (!drain_.handler_ || splits(part, failure, error)) {
        fail(part, failure, std::move(error));
        continue;
      }
      results_.clear();
      typename D::outcome_type outcome(events.front().id());
      outcome.error_ = std::move(error);
      auto recovering = drain_.recover(events, outcome);
      co_await std::move(recovering);
      settle(outcome, part);
    }
    empty();
  }

  [[nodiscard]] bool discarded(const Part& part) noexcept {
    if (!drain_.stopping()) return false;
    settle(drain_.counters_.discarded, part);
    return true;
  }

  [[nodiscard]] std::span<event_type> begin(const Part& part) noexcept {
    const std::span<event_type> events = std::span(events_).subspan(part.first, part.count);
    const EventTime now = this->now();
    for (event_type& event : events) event.set_started(now);
    return events;
  }

  void settle(std::atomic<std::uint64_t>& counter, const Part& part) noexcept {
    D::count(counter, part.count);
    settled_ = part.first + part.count;
  }

  void fail(const Part& part, BatchFailure failure, std::exception_ptr error) noexcept {
    results_.clear();
    if (splits(part, failure, error)) {
      parts_.halve(part);
      return;
    }
    fail(part, 0, error, drain_.pipeline_->error_policy());
  }
  [[nodiscard]] bool splits(const Part& part, BatchFailure failure, const std::exception_ptr& error) const noexcept {
    return failure == BatchFailure::split && part.count > 1 && !drain_.cancelled_with_stream(error);
  }
  void fail(const Part& part, std::size_t first, const std::exception_ptr& error, ErrorPolicy policy) noexcept {
    for (std::size_t i = first; i < part.count; ++i) drain_.fail(events_[part.first + i].id(), error, policy);
    settled_ = part.first + part.count;
  }

  /// After the error policy has had its say.
  void settle(typename D::outcome_type& outcome, const Part& part) noexcept {
    if (outcome.discarded_) {
      settle(drain_.counters_.discarded, part);
      return;
    }
    if (outcome.error_) {
      D::count(drain_.counters_.dead_lettered, outcome.dead_lettered_);
      fail(part, outcome.dead_lettered_, outcome.error_, outcome.policy_);
      return;
    }
    // The front may have gone to the dead letters before what was left succeeded.
    D::count(drain_.counters_.dead_lettered, outcome.dead_lettered_);
    try {
      if (!outcome.staged_.empty()) drain_.collector_.collect_staged(outcome.staged_);
      if (outcome.item_) drain_.collector_.collect(std::move(*outcome.item_));
      D::count(drain_.counters_.processed, part.count - outcome.dead_lettered_);
      settled_ = part.first + part.count;
    } catch (...) {
      fail(part, outcome.dead_lettered_, std::current_exception(), drain_.pipeline_->error_policy());
    }
  }

  void empty() noexcept {
    events_.clear();
    settled_ = 0;
  }

  D& drain_;
  const std::size_t most_;
  std::size_t limit_;
  std::vector<event_type> events_;
  /// How many from the front are counted.
  std::size_t settled_ = 0;
  /// Not in the coroutine's frame, which would be too large to be recycled.
  detail::Bisection parts_;
  detail::RunResults<typename D::pipeline_type> results_;
};

}  // namespace weir
