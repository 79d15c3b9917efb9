/// `Subscription`: a handler's place in a bus.
#pragma once

#include <memory>
#include <string_view>
#include <utility>

#include <weir/bus/batch.hpp>
#include <weir/bus/detail/bus_operations.hpp>

namespace weir {

/// Conditions of a subscription. Trivially destructible, so that they can be given in braces.
struct SubscribeOptions {
  /// The handlers of an event run by phase, the lowest first, and within a phase in the order of their subscription.
  int phase = 0;
  /// For one event only; of several that come at once, one.
  bool once = false;
  /// A coroutine that may run at the same time as the handlers of its phase beside it that say so, too: they start in
  /// the order of their subscription, and what comes after them waits for all. They run on one worker, one at a time
  /// between their awaits. Without meaning for a plain function.
  bool parallel = false;
  /// It first gets the last value of each topic of its pattern: see `Bus::keep_last_values`.
  bool last_value = false;
};

namespace detail {

struct JoinRegistration {
  static constexpr const char* what = "end of a handler";

  JoinRegistration(std::shared_ptr<BusBase> b, const BusHandler* handler) noexcept : bus(std::move(b)) {
    waiter.handler = handler;
  }
  JoinRegistration(JoinRegistration&&) noexcept = default;
  BusWait add(Home& home, Resumable& resumable, bool worker_made) {
    if (!waiter.handler) return BusWait::done;
    waiter.home = &home;
    waiter.resumable = &resumable;
    return bus->wait(waiter, worker_made);
  }
  void add_worker(Home& home) { bus->add_worker(home); }
  bool stop() noexcept { return bus->stop_waiting(waiter); }
  void forget() noexcept { bus->forget(waiter); }
  void result() const noexcept {}

  std::shared_ptr<BusBase> bus;
  JoinWaiter waiter;
};

}  // namespace detail

/// Keeps a handler subscribed; its end takes the handler out without waiting. Move-only. One thread at a time.
///
/// After the end no call starts; one that had started goes on, and `join` waits for it. The handler, with what it
/// captured, is destroyed when neither the subscription nor an event that runs refers to it.
class [[nodiscard("the handler is taken out when the subscription is destroyed")]] Subscription {
 public:
  /// Of nothing.
  Subscription() noexcept = default;
  /// Made by the bus.
  Subscription(std::shared_ptr<detail::BusBase> bus, detail::BusHandler* handler) noexcept
      : bus_(std::move(bus)), handler_(handler) {}
  Subscription(Subscription&& other) noexcept
      : bus_(std::move(other.bus_)), handler_(std::exchange(other.handler_, nullptr)) {}
  Subscription& operator=(Subscription&& other) noexcept {
    Subscription old(std::move(other));
    std::swap(bus_, old.bus_);
    std::swap(handler_, old.handler_);
    return *this;
  }
  ~Subscription() { reset(); }

  /// Takes the handler out: no call of it starts any more. Does not wait. O(topics).
  void unsubscribe() noexcept {
    if (handler_) bus_->unsubscribe(*handler_);
  }
  /// What the destructor does.
  void reset() noexcept {
    if (auto* const handler = std::exchange(handler_, nullptr)) bus_->release(*handler);
  }
  /// Takes the handler out and waits for the calls that run. It may have to wait for a plain function that is called
  /// before it for the same event. The subscription must outlive the wait. Resumes on the home of the one that awaits.
  /// A handler of the bus gives up its worker while it waits; `Error(Errc::would_deadlock)` for the handler itself, and
  /// when `BusOptions::nested` wait already. Allocates nothing, but in a handler perhaps a worker.
  [[nodiscard]] auto join() {
    unsubscribe();
    return detail::BusWaitAwaiter<detail::JoinRegistration>(bus_, handler_);
  }

  [[nodiscard]] explicit operator bool() const noexcept { return handler_ != nullptr; }

 private:
  std::shared_ptr<detail::BusBase> bus_;
  detail::BusHandler* handler_ = nullptr;
};

namespace detail {

/// A predicate that lets everything through.
struct AnyEvent {};

template <class P, class F>
inline constexpr bool takes_payload = std::invocable<F&, const P&> || std::invocable<F&, const P&, EventContext&>;
template <class F>
inline constexpr bool takes_payload<void, F> = std::invocable<F&, EventContext&>;

template <class P, class F>
auto call_handler(F& function, EventContext& context) {
  if constexpr (std::is_void_v<P>) {
    return function(context);
  } else if constexpr (std::invocable<F&, const P&, EventContext&>) {
    return function(context.payload<P>(), context);
  } else {
    return function(context.payload<P>());
  }
}

/// `P` is void for a handler of events of any type.
template <class P, class Predicate, class F>
class BusHandlerOf final : public BusHandler {
  using Returned = decltype(call_handler<P>(std::declval<F&>(), std::declval<EventContext&>()));

 public:
  template <class Q, class G>
  BusHandlerOf(Q&& predicate, G&& function)
      : predicate_(static_cast<Q&&>(predicate)), function_(static_cast<G&&>(function)) {
    has_predicate = !std::is_same_v<Predicate, AnyEvent>;
    is_coroutine = Awaitable<Returned>;
    has_compensator = is_compensated<F>;
  }

  bool wants(const Event& event) override {
    if constexpr (std::is_same_v<Predicate, AnyEvent>) {
      return true;
    } else if constexpr (std::predicate<Predicate&, const Event&>) {
      return predicate_(event);
    } else {
      return predicate_(event.payload().get<P>());
    }
  }
  bool call(EventContext& context) override {
    if constexpr (std::is_void_v<Returned>) {
      call_handler<P>(function_, context);
    } else if constexpr (!Awaitable<Returned>) {
      context.reply(call_handler<P>(function_, context));
    }
    return true;
  }
  Task<> call_later(EventContext& context) override {
    if constexpr (!Awaitable<Returned>) {
      return {};
    } else if constexpr (std::is_void_v<await_result_t<Returned>>) {
      return into_task(call_handler<P>(function_, context));
    } else {
      return reply_later(into_task(call_handler<P>(function_, context)), context);
    }
  }
  Task<> compensate(const Event& event) override {
    if constexpr (!is_compensated<F>) {
      return BusHandler::compensate(event);
    } else if constexpr (std::is_void_v<decltype(undo(event))>) {
      undo(event);
      return {};
    } else {
      return into_task(undo(event));
    }
  }

 private:
  auto undo(const Event& event)
    requires is_compensated<F>
  {
    if constexpr (std::is_void_v<P>) {
      return function_.compensator(event);
    } else {
      return function_.compensator(event.payload().get<P>());
    }
  }

  template <class T>
  static Task<> reply_later(Task<T> handling, EventContext& context) {
    context.reply(co_await std::move(handling));
  }
  [[no_unique_address]] Predicate predicate_;
  F function_;
};

template <class P, class Predicate, class F>
[[nodiscard]] std::unique_ptr<BusHandler> make_handler(std::string_view pattern, Predicate&& predicate, F&& function,
                                                       const SubscribeOptions& options) {
  static_assert(takes_payload<P, std::decay_t<F>>,
                "a handler takes a weir::EventContext&, or for a Topic<P> a const P& and perhaps an EventContext&");
  check_pattern(pattern);
  auto made = std::make_unique<BusHandlerOf<P, std::decay_t<Predicate>, std::decay_t<F>>>(
      static_cast<Predicate&&>(predicate), static_cast<F&&>(function));
  made->pattern = pattern;
  made->phase = options.phase;
  made->once = options.once;
  made->parallel = options.parallel && made->is_coroutine;
  made->wants_last_value = options.last_value;
  return made;
}

}  // namespace detail
}  // namespace weir
