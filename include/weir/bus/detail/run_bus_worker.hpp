/// What a worker of a bus does: it takes events, and calls their handlers.
#pragma once

#include <coroutine>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include <weir/bus/detail/bus_core.hpp>
#include <weir/core/this_task.hpp>
#include <weir/core/when_all.hpp>
#include <weir/core/with_cancellation.hpp>

namespace weir::detail {

/// A worker: ends its event and takes the next.
template <class Order>
class NextEventAwaiter final : public Cancellable {
  using Core = BusCore<Order>;

 public:
  NextEventAwaiter(Core& core, BusWorker& worker, EventOutcome outcome) noexcept
      : Cancellable(next_kind()), core_(core), worker_(worker), outcome_(outcome) {}

  void attach(Promise& promise) noexcept {
    worker_.resumable = &promise.resumable();
    scope_ = &promise.scope();
  }
  [[nodiscard]] bool await_ready() noexcept {
    Home& home = *worker_.home;
    Core::destroy_run(worker_);
    {
      BusAfter after(&home);
      Core::prepare(after);
      const auto now = home.turn_time();
      core_.mutex.lock_beside();
      const std::lock_guard lock(core_.mutex, std::adopt_lock);
      next_ = core_.take(worker_, outcome_, now, after);
    }
    if (next_ == Core::Next::none) return false;
    if (next_ == Core::Next::stop || home.spend()) return true;
    home.resume_here(*worker_.resumable);
    return false;
  }
  /// Linked only to be seen in reports.
  void await_suspend(std::coroutine_handle<>) noexcept { scope_->link(*this); }
  /// `none`: look again.
  [[nodiscard]] typename Core::Next await_resume() noexcept {
    unlink();
    return next_;
  }

 private:
  static const Kind& next_kind() noexcept {
    static constexpr Kind kind{nullptr, nullptr, "next event of a bus"};
    return kind;
  }

  CancelScope* scope_ = nullptr;
  Core& core_;
  BusWorker& worker_;
  EventOutcome outcome_;
  typename Core::Next next_ = Core::Next::none;
};

/// Runs a handler's coroutine in a scope of its own, which the bus can cancel.
class HandlerAwaiter {
 public:
  HandlerAwaiter(BusWorker& worker, Task<>&& task) noexcept : worker_(worker), task_(std::move(task)) {}
  ~HandlerAwaiter() { worker_.scope = nullptr; }
  HandlerAwaiter(const HandlerAwaiter&) = delete;
  HandlerAwaiter& operator=(const HandlerAwaiter&) = delete;

  void attach(Promise& parent) noexcept {
    scope_.emplace(parent.scope());
    worker_.scope = &*scope_;
    // Between the last look and here nothing of this home ran; a cancel from elsewhere is behind us in its queue.
    task_.handle().promise().place(parent.home(), *scope_, &parent.resumable());
  }
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<>) noexcept {
    Promise& child = task_.handle().promise();
    child.home().resume_next(child.resumable());
  }
  void await_resume() { task_.handle().promise().result().get(); }

 private:
  BusWorker& worker_;
  std::optional<CancelScope> scope_;
  Task<> task_;
};

/// A worker among those of its bus.
template <class Order>
class WorkerMembership {
 public:
  WorkerMembership(BusCore<Order>& core, BusWorker& worker, Home& home) noexcept : core_(core), worker_(worker) {
    worker.home = &home;
    home.scope().link(worker.mark);
    core.add(worker);
  }
  ~WorkerMembership() {
    disarm();
    core_.remove(worker_);
  }
  WorkerMembership(const WorkerMembership&) = delete;
  WorkerMembership& operator=(const WorkerMembership&) = delete;

  void arm(TimeService::Duration delay) {
    auto& service = asio::use_service<TimeService>(worker_.home->context());
    worker_.deadline.when = service.after(delay);
    worker_.deadline.home = worker_.home;
    worker_.deadline.resumable = &worker_.late;
    service.add(worker_.deadline);
    worker_.deadline_armed = true;
    service_ = &service;
  }
  void disarm() noexcept {
    if (!std::exchange(worker_.deadline_armed, false)) return;
    if (!service_->remove(worker_.deadline)) worker_.home->forget(worker_.late);
  }

 private:
  BusCore<Order>& core_;
  BusWorker& worker_;
  TimeService* service_ = nullptr;
};

/// Which handlers of an event are to be called, and what came of it.
template <class Order>
class HandlerCalls {
 public:
  HandlerCalls(BusCore<Order>& core, BusWorker& worker, Event& event)
      : core_(core),
        worker_(worker),
        event_(event),
        begin_(worker.handlers->list.data()),
        next_(begin_),
        end_(begin_ + worker.handlers->list.size()),
        token_(event.token()) {
    worker.begin_event(event);
  }

  /// Null: there is no other.
  [[nodiscard]] BusHandler* next() {
    while (next_ != end_ && !ends_here()) {
      if (next_ != begin_) tell_position();
      BusHandler& handler = **next_++;
      if (is_called(handler)) {
        if (ReplySlot* const slot = event_.reply_slot()) slot->called = true;
        return &handler;
      }
    }
    return nullptr;
  }
  /// Another that runs beside `first`, which `next` gave; or null.
  [[nodiscard]] BusHandler* next_beside(const BusHandler& first) {
    while (next_ != end_ && (*next_)->runs_beside(first) && !ends_here()) {
      BusHandler& handler = **next_++;
      if (is_called(handler)) {
        return &handler;
      }
    }
    return nullptr;
  }
  /// Calls all for an event without the rarer properties; none of them is a coroutine.
  void call_plain(EventContext& context) {
    for (BusHandler* const* at = begin_; at != end_ && !is_cut_short() && !worker_.stopped; ++at) {
      // Rule 6.
      if (at != begin_) worker_.position.store(static_cast<std::size_t>(at - begin_), std::memory_order_release);
      if (!is_called(**at)) continue;
      try {
        (*at)->call(context);
      } catch (...) {
        failed(std::current_exception());
      }
    }
  }
  [[nodiscard]] const CancellationToken& token() const noexcept { return token_; }
  /// What the handler threw. One that was cancelled with its event did not fail.
  void failed(std::exception_ptr error) {
    if (worker_.cut.load(std::memory_order_relaxed) || token_.cancelled()) {
      const auto is_end = [](const std::error_code& code) { return is_cancellation(code) || code == Errc::timed_out; };
      if (is_error_code(error, is_end)) {
        cut_short_ = true;
        return;
      }
    }
    if (!failure_) failure_ = std::move(error);
  }
  /// It returned.
  void succeeded(BusHandler& handler) {
    if (BusBatches<Order>::is_saga(worker_)) core_.batches().note_call(worker_, handler);
  }
  /// After the last: buries the event if it failed, and destroys its payload.
  [[nodiscard]] EventOutcome end() {
    if (ReplySlot* const slot = event_.reply_slot(); slot && failure_ && !slot->answered) slot->failure = failure_;
    if (worker_.state && worker_.state->batch) worker_.failure = failure_;
    // What a saga did may have to be undone first.
    if (!BusBatches<Order>::is_saga(worker_)) {
      if (failure_) core_.bury(event_, failure_);
      event_.payload().reset();
    }
    if (failure_) return EventOutcome::failed;
    if (!cut_short_) return EventOutcome::completed;
    return worker_.reason() == Errc::timed_out ? EventOutcome::timed_out : EventOutcome::cancelled;
  }

 private:
  [[nodiscard]] bool is_called(BusHandler& handler) {
    return !handler.gone.load(std::memory_order_seq_cst) && (handler.is_unconditional() || wants(handler));
  }
  [[nodiscard]] bool ends_here() noexcept {
    if (token_.connected() && token_.cancelled()) worker_.cut_off(Errc::cancelled);
    return is_cut_short() || worker_.stopped;
  }
  [[nodiscard]] bool is_cut_short() noexcept {
    if (worker_.cut.load(std::memory_order_acquire)) cut_short_ = true;
    return cut_short_;
  }
  /// Rule 6.
  void tell_position() noexcept {
    const auto place = static_cast<std::size_t>(next_ - begin_);
    if (next_[-1]->is_coroutine) {
      worker_.position.store(place, std::memory_order_seq_cst);
    } else {
      worker_.position.store(place, std::memory_order_release);
    }
  }
  [[nodiscard, gnu::cold]] bool wants(BusHandler& handler) {
    try {
      if (handler.has_predicate && !handler.wants(event_)) return false;
      if (!handler.once) return true;
      if (handler.spent.exchange(true, std::memory_order_relaxed)) return false;
      core_.unsubscribe(handler);
      return true;
    } catch (...) {
      failed(std::current_exception());
      return false;
    }
  }

  BusCore<Order>& core_;
  BusWorker& worker_;
  Event& event_;
  BusHandler* const* const begin_;
  BusHandler* const* next_;
  BusHandler* const* const end_;
  const CancellationToken token_;
  std::exception_ptr failure_;
  bool cut_short_ = false;
};

/// A run of plain events: nothing in it waits.
template <class Order>
void run_plain_events(BusCore<Order>& core, BusWorker& worker) {
  EventContext context(worker);
  do {
    HandlerCalls<Order> calls(core, worker, worker.run.current().event);
    calls.call_plain(context);
    worker.run.set_outcome(calls.end());
  } while (worker.home->spend() && worker.run.claim(worker.position));
}

/// One of several that run beside each other.
template <class Order>
Task<> run_one_beside(BusWorker& worker, HandlerCalls<Order>& calls, BusHandler& handler) {
  EventContext context(worker);
  try {
    // One before it may have taken it out.
    if (handler.gone.load(std::memory_order_seq_cst) && !handler.once) co_return;
    Task<> task = handler.call_later(context);
    if (!task) co_return;
    co_await std::move(task);
    calls.succeeded(handler);
  } catch (...) {
    calls.failed(std::current_exception());
  }
}
template <class Order>
Task<> run_beside(BusWorker& worker, HandlerCalls<Order>& calls, BusHandler& first) {
  std::vector<Task<>> all;
  for (BusHandler* handler = &first; handler; handler = calls.next_beside(first)) {
    all.push_back(run_one_beside(worker, calls, *handler));
  }
  auto together = when_all(std::move(all));
  co_await std::move(together);
}

template <class Order>
Task<> run_bus_worker(std::shared_ptr<BusCore<Order>> core) {
  using Next = typename BusCore<Order>::Next;
  BusWorker worker(core.get());
  Home& home = co_await this_task::home();
  WorkerMembership<Order> membership(*core, worker, home);
  home.set_name("bus worker");

  auto outcome = EventOutcome::completed;
  for (;;) {
    const Next next = co_await NextEventAwaiter<Order>(*core, worker, outcome);
    if (next == Next::stop) co_return;
    if (next == Next::none) continue;
    if (!worker.run.empty()) {
      run_plain_events(*core, worker);
      continue;
    }

    Event& event = worker.record->event;
    EventContext context(worker);
    HandlerCalls<Order> calls(*core, worker, event);
    if (const auto timeout = event.run_timeout()) membership.arm(*timeout);
    while (BusHandler* const handler = calls.next()) {
      try {
        if (!handler->is_coroutine) {
          if (handler->call(context)) calls.succeeded(*handler);
          continue;
        }
        Task<> task = handler->parallel ? run_beside(worker, calls, *handler) : handler->call_later(context);
        // One whose plugin has gone makes none.
        if (!task) continue;
        if (calls.token().connected()) {
          auto guarded = with_cancellation(calls.token(), std::move(task));
          task = into_task(std::move(guarded));
        }
        co_await HandlerAwaiter(worker, std::move(task));
        if (!handler->parallel) calls.succeeded(*handler);
      } catch (...) {
        calls.failed(std::current_exception());
      }
      if (!handler->is_coroutine) continue;
      BusAfter after(&home);
      core->passed_handler(after);
    }
    membership.disarm();
    outcome = calls.end();
  }
}

}  // namespace weir::detail
