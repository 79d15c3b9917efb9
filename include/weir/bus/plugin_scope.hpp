/// `PluginScope`: all that a plugin has on a bus, taken back together.
#pragma once

#include <chrono>
#include <concepts>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <weir/bus/detail/plugin_batch.hpp>
#include <weir/bus/detail/plugin_end.hpp>
#include <weir/bus/event_bus.hpp>
#include <weir/bus/event_ticket.hpp>
#include <weir/bus/plugin_options.hpp>
#include <weir/core/frame_memory.hpp>
#include <weir/core/spawn.hpp>

namespace weir {
namespace detail {

template <class F>
struct PluginFunctionOf final : PluginFunction {
  template <class G>
  explicit PluginFunctionOf(G&& f) : function(static_cast<G&&>(f)) {}
  Task<> call() override {
    if constexpr (std::is_void_v<std::invoke_result_t<F&>>) {
      function();
      return {};
    } else {
      return into_task(function());
    }
  }
  F function;
};

struct PluginRequests {
  explicit PluginRequests(PluginCore& c) noexcept : core(&c) {}
  Task<EventTicket> operator()(Event& event) const { return core->publish_cancellable(GivenEvent(event)); }
  PluginCore* core;
};

}  // namespace detail

/// What a plugin gets of a bus, made by its host: whatever the plugin does there goes through it, and its end takes all
/// of it back.
///
///     weir::PluginScope scope(bus, "indexer", {.highest = weir::EventPriority::normal, .quota = 100});
///     start_plugin(scope);                              // subscribes, publishes, starts tasks and timers
///     const auto report = co_await scope.close(2s);
///     if (report.complete) dlclose(library);
///
/// What the plugin publishes carries its name, `EventOrigin::plugin` as its origin, and a priority that is no more
/// urgent than `PluginOptions::highest`. No more than `PluginOptions::quota` of its events are queued at once.
///
/// When `close` reports `complete`, nothing that the plugin gave to the scope is reachable any more: its handlers and
/// what they captured are destroyed, as are its events with their payloads, its tasks and timers; none of its code runs
/// or will. That holds for a plugin in a shared object of its own, whether or not it has a copy of the library in it,
/// because all that this class leaves in the host is made by the code of the host; see docs/plugins.md for what else
/// such a plugin has to heed. What a handler or a task of it throws goes on as a `weir::Error` of the host's,
/// `Errc::handler_failed` with its text, if it is none already; and the events of a plugin become dead letters without
/// their payload.
///
/// Any thread may use a scope, but for its construction and destruction. It may outlive the bus's own end, when
/// publishing is refused. The execution context must outlive it. `Error(Errc::invalid_argument)` for an empty name or a
/// quota of 0. Allocates.
class PluginScope {
 public:
  template <class Order>
    requires detail::HasRank<Order>
  PluginScope(detail::Bus<Order>& bus, std::string_view name, const PluginOptions& options = {})
      : core_(new detail::PluginCoreOf<Order>(detail::BusParts::core(bus), detail::BusParts::executor(bus), name,
                                              options)),
        executor_(detail::BusParts::executor(bus)) {}
  PluginScope(const PluginScope&) = delete;
  PluginScope& operator=(const PluginScope&) = delete;
  /// Without a `close`: takes back what can be without waiting (handlers, queued events, tokens), and cancels what
  /// runs, but does not wait for it. So the plugin may still run then, and cannot be unloaded.
  ~PluginScope() {
    core_->end();
    core_->drop();
  }

  [[nodiscard]] const std::string& name() const noexcept { return core_->name(); }
  [[nodiscard]] const PluginOptions& options() const noexcept { return core_->options(); }

  /// What the same functions of the bus do, and besides: `Errc::bus_closed` when the scope has been closed, and
  /// `Errc::quota_exceeded` if the quota is used up and its policy is to reject. Otherwise it waits for the quota as
  /// for room; a handler gives up its worker for as long. Each is a task, which is to be awaited once; it allocates its
  /// frame and a block for what the event carries besides.
  [[nodiscard]] Task<EventId> publish(Event&& event) { return core_->publish(detail::GivenEvent(event)); }
  template <class P>
  [[nodiscard]] Task<EventId> publish(std::string_view topic, P&& payload,
                                      EventPriority priority = EventPriority::normal) {
    return core_->publish(detail::GivenEvent(Event(topic, static_cast<P&&>(payload), priority)));
  }
  [[nodiscard]] Task<EventId> publish(std::string_view topic) {
    return core_->publish(detail::GivenEvent(Event(topic)));
  }
  template <class P>
  [[nodiscard]] Task<EventId> publish(const Topic<P>& topic, std::type_identity_t<P> payload,
                                      EventPriority priority = EventPriority::normal) {
    return core_->publish(detail::GivenEvent(Event(topic, std::move(payload), priority)));
  }
  template <class P, class... Args>
    requires std::constructible_from<P, Args...>
  [[nodiscard]] Task<EventId> publish_as(std::string_view topic, Args&&... args) {
    return core_->publish(detail::GivenEvent(Event(topic, std::in_place_type<P>, static_cast<Args&&>(args)...)));
  }
  /// On any bus, also the plain one.
  [[nodiscard]] Task<EventTicket> publish_cancellable(Event&& event) {
    return core_->publish_cancellable(detail::GivenEvent(event));
  }
  template <class P>
  [[nodiscard]] Task<EventTicket> publish_cancellable(std::string_view topic, P&& payload,
                                                      EventPriority priority = EventPriority::normal) {
    return core_->publish_cancellable(detail::GivenEvent(Event(topic, static_cast<P&&>(payload), priority)));
  }
  PublishResult try_publish(Event&& event) { return core_->try_publish(event); }
  template <class P>
  PublishResult try_publish(std::string_view topic, P&& payload, EventPriority priority = EventPriority::normal) {
    Event event(topic, static_cast<P&&>(payload), priority);
    return core_->try_publish(event);
  }

  /// What the same function of the bus does. The events are the plugin's as others are, and capped one by one; a batch
  /// that is admitted as a whole has to get all its places in the quota at once. So it throws
  /// `Error(Errc::invalid_argument)` for one that is larger than the quota. The end of the scope takes the queued
  /// events out, as it does others: a saga is rolled back by that, and `close` waits until it has been; a compensator
  /// of the plugin itself is not called any more then, and is reported as what could not be undone.
  [[nodiscard]] Task<BatchReport> publish_batch(std::vector<Event> events, BatchMode mode,
                                                const BatchOptions& options = {}) {
    return core_->publish_batch(std::move(events), mode, options);
  }
  /// A saga, or independent events.
  [[nodiscard]] Task<BatchReport> publish_batch(std::vector<Event> events, std::same_as<bool> auto rollback_on_error) {
    return publish_batch(std::move(events), rollback_on_error ? BatchMode::saga : BatchMode::independent);
  }

  /// The same as those of the bus: an event that is replied to.
  template <class Reply, class P>
  [[nodiscard]] Task<Reply> request(std::string_view topic, P&& payload) {
    return detail::ask<Reply>(detail::PluginRequests(*core_), Event(topic, static_cast<P&&>(payload)));
  }
  template <class Reply, class P, class Rep, class Period>
  [[nodiscard]] Task<Reply> request(std::string_view topic, P&& payload, std::chrono::duration<Rep, Period> timeout) {
    return detail::ask_until<Reply>(detail::PluginRequests(*core_), Event(topic, static_cast<P&&>(payload)),
                                    detail::clock_duration(timeout));
  }

  /// The same as those of the bus. The scope takes the handler out at its end, whatever becomes of the subscription.
  template <class F>
  Subscription subscribe(std::string_view pattern, F&& handler, SubscribeOptions options = {}) {
    return add<void>(pattern, detail::AnyEvent(), static_cast<F&&>(handler), options);
  }
  template <class Predicate, class F>
  Subscription subscribe_if(std::string_view pattern, Predicate&& predicate, F&& handler,
                            SubscribeOptions options = {}) {
    return add<void>(pattern, static_cast<Predicate&&>(predicate), static_cast<F&&>(handler), options);
  }
  template <class P, class F>
  Subscription subscribe(const Topic<P>& topic, F&& handler, SubscribeOptions options = {}) {
    return add<P>(topic.name(), detail::AnyEvent(), static_cast<F&&>(handler), options);
  }
  template <class P, class Predicate, class F>
  Subscription subscribe_if(const Topic<P>& topic, Predicate&& predicate, F&& handler, SubscribeOptions options = {}) {
    return add<P>(topic.name(), static_cast<Predicate&&>(predicate), static_cast<F&&>(handler), options);
  }

  /// Starts a task of the plugin as a root on the executor of the bus: something to await, or a function that returns
  /// it. The end of the scope cancels it at once, and waits for it. What it throws is counted in `stats`.
  template <Awaitable A>
    requires(!std::is_lvalue_reference_v<A>)
  void spawn(A&& awaitable, std::string_view name = "task") {
    core_->spawn(into_task(static_cast<A&&>(awaitable)), name);
  }
  template <class F>
    requires(!Awaitable<F> && detail::AwaitableFunction<F>)
  void spawn(F&& function, std::string_view name = "task") {
    core_->spawn(into_task(detail::task_of_function<std::decay_t<F>>(static_cast<F&&>(function))), name);
  }

  /// Calls `function`, which is plain or returns something to await, again and again: first after one interval, and
  /// never twice at a time; what it misses by taking longer is skipped. What it throws is counted. The source that is
  /// returned stops it, as the end of the scope does. `Error(Errc::invalid_argument)` for an interval that is not
  /// positive.
  template <class Rep, class Period, std::invocable F>
  CancellationSource every(std::chrono::duration<Rep, Period> interval, F&& function, std::string_view name = "timer") {
    const auto step = detail::clock_duration(interval);
    if (step <= TimeService::Duration::zero()) throw Error(Errc::invalid_argument, "an interval has to be positive");
    return core_->start_timer(step, step, function_of(static_cast<F&&>(function)), name);
  }
  /// The same once.
  template <class Rep, class Period, std::invocable F>
  CancellationSource after(std::chrono::duration<Rep, Period> delay, F&& function, std::string_view name = "timer") {
    return core_->start_timer(detail::clock_duration(delay), {}, function_of(static_cast<F&&>(function)), name);
  }

  /// Cancelled when the scope ends.
  [[nodiscard]] CancellationToken token() const noexcept { return core_->token(); }
  /// One of the plugin's own, cancelled with the scope. Allocates.
  [[nodiscard]] CancellationSource source() { return core_->source(); }

  /// Ends the scope: from now on publishing, subscribing and starting are refused with `Errc::bus_closed`. It
  ///  1. takes out the handlers, ends the queued events as `EventOutcome::discarded`, refuses what waits for the quota
  ///     or for room, and cancels the tokens, the tasks and the timers;
  ///  2. waits until nothing of the plugin runs or is left: calls of its handlers, tasks, timers, and its events that
  ///     others' handlers have;
  ///  3. when `deadline` has passed, cancels what still runs, and waits for `PluginOptions::grace` more;
  ///  4. reports. If that says `complete`, the plugin may be unloaded; else `stuck` is what goes on, and a later
  ///     `close` waits again.
  ///
  /// A task: resumes on the home of the one that awaits. Any number of calls, each is told the same. Throws
  /// `Error(Errc::would_deadlock)` to what runs for the plugin itself: its handlers, tasks and timers, and handlers of
  /// its events. Another handler of the bus gives up its worker while it waits. A close that is cancelled leaves the
  /// scope ended. O(its own events, and handlers of the bus for each of its own).
  template <class Rep, class Period>
  [[nodiscard]] Task<PluginReport> close(std::chrono::duration<Rep, Period> deadline) {
    return core_->close(detail::clock_duration(deadline));
  }
  /// The same by completion token: `void(std::exception_ptr, PluginReport)`. For the host.
  template <class Rep, class Period, class CompletionToken>
  auto async_close(std::chrono::duration<Rep, Period> deadline, CompletionToken&& token) {
    return weir::spawn(executor_, close(deadline), static_cast<CompletionToken&&>(token));
  }
  [[nodiscard]] bool closed() const noexcept { return core_->closed(); }

  /// A picture of now.
  [[nodiscard]] PluginStats stats() const { return core_->stats(); }

 private:
  template <class P, class Predicate, class F>
  Subscription add(std::string_view pattern, Predicate&& predicate, F&& handler, const SubscribeOptions& options) {
    return core_->subscribe(
        detail::make_handler<P>(pattern, static_cast<Predicate&&>(predicate), static_cast<F&&>(handler), options));
  }
  template <class F>
  static std::unique_ptr<detail::PluginFunction> function_of(F&& function) {
    return std::make_unique<detail::PluginFunctionOf<std::decay_t<F>>>(static_cast<F&&>(function));
  }

  detail::PluginCore* core_;
  asio::any_io_executor executor_;
};

}  // namespace weir
