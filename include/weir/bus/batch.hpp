/// Batches: events that are published together, and what comes of them.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <weir/bus/bus_options.hpp>
#include <weir/core/promise.hpp>

namespace weir {

/// The number of a batch in its bus, from 1.
using BatchId = std::uint64_t;

/// How the events of a batch hang together.
enum class BatchMode : std::uint8_t {
  /// Each is admitted as room comes, and ends as it ends: one failure stops nothing.
  independent,
  /// All are admitted together, with consecutive numbers, or none. Then each ends as it ends.
  atomic,
  /// `atomic`, and all complete, or what was done is undone: the first that does not complete takes the queued ones
  /// out,
  /// cancels the running ones, and has what the handlers did undone by their compensators, the last first.
  saga,
};

[[nodiscard]] constexpr std::string_view name_of(BatchMode mode) noexcept {
  constexpr std::string_view names[] = {"independent", "atomic", "saga"};
  return names[static_cast<std::size_t>(mode)];
}

/// How a batch ended.
enum class BatchOutcome : std::uint8_t {
  committed,            ///< every event has ended; those of a saga have completed
  rolled_back,          ///< a saga failed, and everything that its handlers did was undone
  rollback_incomplete,  ///< a saga failed, and not everything could be undone: see `BatchReport::not_undone`
};

[[nodiscard]] constexpr std::string_view name_of(BatchOutcome outcome) noexcept {
  constexpr std::string_view names[] = {"committed", "rolled back", "rollback incomplete"};
  return names[static_cast<std::size_t>(outcome)];
}

/// Trivially destructible, so that it can be given in braces.
struct BatchOptions {
  using Duration = std::chrono::steady_clock::duration;

  /// How often a compensator is called that throws, the first time included. From 1.
  std::uint32_t attempts = 3;
  /// How long to wait after the first time; each wait is twice the one before, up to the longest.
  Duration delay = std::chrono::milliseconds(10);
  Duration longest_delay = std::chrono::seconds(1);
  /// How long a call of a compensator may take; 0: as long as it does. Then what it waits for is cancelled, and it
  /// counts as one that threw. One that does not end within as long again is given up: it runs on by itself, with all
  /// that it needs, is not called again, and the rollback goes on with the others.
  Duration undo_timeout{};
};

/// What became of one event of a batch.
class BatchResult {
 public:
  BatchResult() noexcept = default;
  BatchResult(EventId id, std::optional<EventOutcome> outcome, std::exception_ptr error, bool undone) noexcept
      : id_(id), outcome_(outcome), error_(std::move(error)), undone_(undone) {}

  /// 0 if it was not admitted.
  [[nodiscard]] EventId id() const noexcept { return id_; }
  /// None if it was not admitted.
  [[nodiscard]] std::optional<EventOutcome> outcome() const noexcept { return outcome_; }
  [[nodiscard]] bool completed() const noexcept { return outcome_ == EventOutcome::completed; }
  /// Why it did not complete: what the handler threw, or why the bus refused or ended it. Null if it completed.
  [[nodiscard]] const std::exception_ptr& error() const noexcept { return error_; }
  /// Its saga was rolled back, and all that its handlers had done was undone.
  [[nodiscard]] bool undone() const noexcept { return undone_; }

 private:
  EventId id_ = 0;
  std::optional<EventOutcome> outcome_;
  std::exception_ptr error_;
  bool undone_ = false;
};

/// An event of a batch that somebody has to look after.
class LeftEvent {
 public:
  LeftEvent(EventId id, std::string_view topic, std::exception_ptr error)
      : id_(id), topic_(topic), error_(std::move(error)) {}

  /// 0 for one that was held back, and never admitted.
  [[nodiscard]] EventId id() const noexcept { return id_; }
  [[nodiscard]] const std::string& topic() const noexcept { return topic_; }
  /// What the compensator threw the last time, or why it could not be called.
  [[nodiscard]] const std::exception_ptr& error() const noexcept { return error_; }

 private:
  EventId id_;
  std::string topic_;
  std::exception_ptr error_;
};

/// How a batch ended.
struct BatchReport {
  using Duration = std::chrono::steady_clock::duration;

  BatchId id = 0;
  BatchMode mode = BatchMode::independent;
  BatchOutcome outcome = BatchOutcome::committed;
  /// One for each event, in the order in which they were given.
  std::vector<BatchResult> results;
  std::size_t completed = 0;
  /// Why a saga was rolled back: the error of the event that failed first, or a cancellation.
  std::exception_ptr error;
  /// For `rollback_incomplete`: one for each call of a handler that was not undone, in the order of what was tried.
  std::vector<LeftEvent> not_undone;
  /// What the handlers of a saga had held back, and how much of it was refused when the saga had committed.
  std::size_t held_back = 0;
  std::vector<LeftEvent> not_published;
  /// From the call to the admission (of the first, if they are independent), and from there to the end.
  Duration waited{};
  Duration ran{};

  [[nodiscard]] std::size_t size() const noexcept { return results.size(); }
  /// Every event has completed, and nothing was taken back.
  [[nodiscard]] explicit operator bool() const noexcept {
    return outcome == BatchOutcome::committed && completed == results.size();
  }
};

namespace detail {

template <class F, class C>
struct Compensated {
  template <class... Args>
    requires std::invocable<F&, Args...>
  decltype(auto) operator()(Args&&... args) {
    return std::invoke(handler, static_cast<Args&&>(args)...);
  }

  F handler;
  C compensator;
};

template <class F>
inline constexpr bool is_compensated = false;
template <class F, class C>
inline constexpr bool is_compensated<Compensated<F, C>> = true;

}  // namespace detail

/// A handler together with what undoes it, to be subscribed as handlers are:
///
///     bus.subscribe("payment.take", weir::compensated(take_payment, give_payment_back));
///
/// The compensator takes the `const Event&`, or for a `Topic<P>` the `const P&`. It is a plain function, which must not
/// block, or returns something to await. It is called for each call of the handler that returned, when the saga that
/// the event belongs to is rolled back; not for one that threw, which has to clean up by itself. It runs on the bus's
/// executor, beside the workers, one at a time for each saga, and is not cancelled by anything but its own
/// `BatchOptions::undo_timeout`. What it throws has it
/// called again: it must be able to undo twice.
template <class F, class C>
[[nodiscard]] detail::Compensated<std::decay_t<F>, std::decay_t<C>> compensated(F&& handler, C&& compensator) {
  return {static_cast<F&&>(handler), static_cast<C&&>(compensator)};
}

}  // namespace weir
