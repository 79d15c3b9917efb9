/// What a strategy is: how the events of a stream reach its receiver.
#pragma once

#include <concepts>
#include <cstddef>

#include <weir/core/task.hpp>
#include <weir/stream/drain.hpp>

namespace weir {
namespace detail {

/// A stand-in for every `Drain`, to check strategies against.
struct DrainArchetype {
  struct Event {};
  struct Outcome {};
  using event_type = Event;
  using outcome_type = Outcome;

  static constexpr bool plain = true;
  [[nodiscard]] bool stopping() const noexcept { return false; }
  [[nodiscard]] std::size_t worker() const noexcept { return 0; }
  [[nodiscard]] EventTime now() const noexcept { return {}; }
  [[nodiscard]] std::size_t kept() const noexcept { return 0; }
  Task<bool> fetch() { co_return false; }
  Task<bool> fetch(std::size_t) { co_return false; }
  std::size_t try_fetch(std::size_t = 1) { return 0; }
  [[nodiscard]] std::size_t fetched() const noexcept { return 0; }
  Event* next() { return nullptr; }
  Task<> process(Event&) { co_return; }
  Task<> process_run() { co_return; }
  Task<Outcome> call(Event&) { co_return Outcome(); }
  void settle(Outcome&&) {}
  void begin(Event&) noexcept {}
  void discard(Event&) noexcept {}
  template <class Body>
  void start_worker(Body) {}
};

}  // namespace detail

/// How events reach the receiver. One's own strategy is a struct with one coroutine, a template over the drain that it
/// is given (see `Drain`), and the number of events that it may have in hand at once:
///
///     struct OneByOne {
///       std::size_t concurrency() const { return 1; }
///       template <class D>
///       weir::Task<> operator()(D& drain) const {
///         while (co_await drain.fetch()) {
///           while (auto* event = drain.next()) co_await drain.process(*event);
///         }
///       }
///     };
///
/// The coroutine ends when `fetch()` gives false; the stream ends when it and every worker that it started have. What
/// it throws ends the stream as failed.
template <class S>
concept Strategy = std::move_constructible<S> && requires(const S& strategy, detail::DrainArchetype& drain) {
  { strategy.concurrency() } -> std::convertible_to<std::size_t>;
  { strategy(drain) } -> std::same_as<Task<>>;
};

}  // namespace weir
