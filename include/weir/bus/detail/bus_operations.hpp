/// What waits in a bus: publishers, workers for their next event, those that wait for an outcome, an end, a drain.
#pragma once

#include <coroutine>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include <weir/bus/detail/bus_core.hpp>
#include <weir/core/spawn.hpp>
#include <weir/core/this_task.hpp>
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
    {
      Home& home = *worker_.home;
      BusAfter after(&home);
      Core::prepare(after);
      const auto now = home.turn_time();
      const std::lock_guard lock(core_.mutex);
      next_ = core_.take(worker_, outcome_, now, after);
    }
    if (next_ == Core::Next::none) return false;
    if (next_ == Core::Next::stop || worker_.home->spend()) return true;
    worker_.home->resume_here(*worker_.resumable);
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

    const Event& event = *worker.event;
    const auto& handlers = worker.handlers->list;
    const CancellationToken token = event.token();
    std::exception_ptr failure;
    bool cut_short = false;
    EventContext context(worker);
    if (const auto timeout = event.run_timeout()) membership.arm(*timeout);
    for (std::size_t i = 0; i < handlers.size() && !worker.stopped; ++i) {
      if (token.cancelled()) worker.cut_off(Errc::cancelled);
      if (worker.cut.load(std::memory_order_acquire)) {
        cut_short = true;
        break;
      }
      BusHandler& handler = *handlers[i];
      if (i != 0) {
        // Rule 5.
        worker.position.store(i, handlers[i - 1]->is_coroutine ? std::memory_order_seq_cst : std::memory_order_release);
      }
      if (handler.gone.load(std::memory_order_seq_cst)) continue;
      std::exception_ptr error;
      Task<> task;
      try {
        if (handler.has_predicate && !handler.wants(event)) continue;
        if (handler.once) {
          if (handler.spent.exchange(true, std::memory_order_relaxed)) continue;
          core->unsubscribe(handler);
        }
        task = handler.call(context);
      } catch (...) {
        error = std::current_exception();
      }
      if (task) {
        try {
          if (token.connected()) {
            auto guarded = with_cancellation(token, std::move(task));
            task = into_task(std::move(guarded));
          }
          co_await HandlerAwaiter(worker, std::move(task));
        } catch (...) {
          error = std::current_exception();
        }
        BusAfter after(&home);
        core->passed_handler(after);
      }
      if (!error) {
        if (BusBatches<Order>::is_saga(worker)) core->batches().note_call(worker, handler);
        continue;
      }
      if (worker.cut.load(std::memory_order_relaxed) || token.cancelled()) {
        try {
          std::rethrow_exception(error);
        } catch (const std::system_error& e) {
          if (is_cancellation(e.code()) || e.code() == Errc::timed_out) {
            cut_short = true;
            continue;
          }
        } catch (...) {
        }
      }
      if (!failure) failure = error;
    }
    membership.disarm();
    outcome = failure     ? EventOutcome::failed
              : cut_short ? (worker.reason() == Errc::timed_out ? EventOutcome::timed_out : EventOutcome::cancelled)
                          : EventOutcome::completed;
    if (worker.state && worker.state->batch) worker.failure = failure;
    // What a saga did may have to be undone first.
    if (BusBatches<Order>::is_saga(worker)) continue;
    if (failure) core->bury(worker.record->event, failure);
    worker.record->event.payload().reset();
  }
}

/// Publishes: `Result` is made of the draft's state and the event's number.
template <class Order, class Result>
class PublishAwaiter final : public Cancellable {
  using Core = BusCore<Order>;
  using Publisher = typename Core::Publisher;

 public:
  /// The caller's event, which is moved from when it is admitted.
  PublishAwaiter(Core& core, Event& event, typename Order::Rank rank, EventStateRef state)
      : Cancellable(publish_kind()), core_(&core) {
    draft_.event = &event;
    draft_.rank = std::move(rank);
    draft_.state = std::move(state);
  }
  PublishAwaiter(Core& core, std::string_view topic, EventPayload&& payload, EventPriority priority,
                 typename Order::Rank rank, EventStateRef state)
      : Cancellable(publish_kind()), core_(&core), own_(std::in_place, std::move(payload), priority) {
    draft_.event = &*own_;
    draft_.topic = topic;
    draft_.rank = std::move(rank);
    draft_.state = std::move(state);
  }
  PublishAwaiter(PublishAwaiter&& other) noexcept
      : Cancellable(publish_kind()), core_(other.core_), draft_(std::move(other.draft_)), own_(std::move(other.own_)) {
    if (own_) draft_.event = &*own_;
  }
  PublishAwaiter& operator=(PublishAwaiter&&) = delete;
  ~PublishAwaiter() {
    if (!suspended_) return;
    BusAfter after;
    Core::prepare(after);
    const std::lock_guard lock(core_->mutex);
    core_->forget(publisher_);
  }

  /// Also while the bus is drained: it was published before.
  void publish_held_back() noexcept { draft_.held_back = true; }

  void attach(Promise& promise) {
    if (promise.scope().cancelled()) throw Error(Errc::cancelled);
    promise_ = &promise;
  }
  [[nodiscard]] bool await_ready() {
    Home& home = promise_->home();
    publisher_.home = &home;
    publisher_.resumable = &promise_->resumable();
    publisher_.draft = &draft_;
    if (!attempt(home, false)) {
      // The one that takes the place of a handler which waits has to be made, and not under the lock.
      core_->add_worker(home);
      attempt(home, true);
    }
    if (suspended_) return false;
    if constexpr (!std::is_same_v<Result, EventId>) kept_ = share();
    if (home.spend()) return true;
    home.resume_here(promise_->resumable());
    return false;
  }
  void await_suspend(std::coroutine_handle<>) noexcept {
    if (suspended_) promise_->scope().link(*this);
  }
  Result await_resume() {
    unlink();
    suspended_ = false;
    if (publisher_.exception) std::rethrow_exception(std::move(publisher_.exception));
    if (publisher_.error) throw Error(static_cast<Errc>(publisher_.error.value()));
    if constexpr (std::is_same_v<Result, EventId>) {
      return publisher_.id;
    } else {
      return Result(std::move(kept_), std::move(draft_.state), publisher_.id);
    }
  }

 private:
  static const Kind& publish_kind() noexcept {
    static constexpr Kind kind{[](Cancellable& self) noexcept { static_cast<PublishAwaiter&>(self).abort(); }, nullptr,
                               "publish"};
    return kind;
  }

  /// False: it has to wait, and another worker is needed for that.
  bool attempt(Home& home, bool worker_made) {
    BusAfter after(&home);
    Core::prepare(after);
    const auto now = home.turn_time();
    const std::lock_guard lock(core_->mutex);
    if (core_->admit(draft_, now, &home, after, publisher_) != Core::Admission::full) return true;
    // The bus may go while this waits.
    if (!kept_) kept_ = share();
    switch (core_->wait_for_room(publisher_, worker_made, after)) {
      case BusWait::needs_worker:
        return false;
      case BusWait::refused:
        publisher_.error = Errc::would_deadlock;
        break;
      default:
        suspended_ = true;
    }
    return true;
  }
  void abort() noexcept {
    BusAfter after;
    Core::prepare(after);
    const std::lock_guard lock(core_->mutex);
    core_->stop_waiting(publisher_, Errc::cancelled, after);
  }

  [[nodiscard]] std::shared_ptr<Core> share() const {
    return std::static_pointer_cast<Core>(core_->shared_from_this());
  }

  Core* core_;
  std::shared_ptr<Core> kept_;
  EventDraft<Order> draft_;
  std::optional<Event> own_;
  Publisher publisher_;
  Promise* promise_ = nullptr;
  bool suspended_ = false;
};

/// Admits without waiting. `by`: where the publisher runs, if that is known.
template <class Order>
PublishResult try_admit(BusCore<Order>& core, EventDraft<Order>& draft, Home* by, TimeService::TimePoint now) {
  BusAfter after;
  BusCore<Order>::prepare(after);
  typename BusCore<Order>::Publisher publisher;
  const std::lock_guard lock(core.mutex);
  const auto admission = core.admit(draft, now, by, after, publisher);
  if (admission == BusCore<Order>::Admission::full) publisher.error = Errc::queue_full;
  return {publisher.id, publisher.error};
}

/// A wait that a bus ends. `Registration` puts it down there, and takes it back.
template <class Registration>
class BusWaitAwaiter final : public Cancellable {
 public:
  template <class... Args>
  explicit BusWaitAwaiter(Args&&... args) : Cancellable(wait_kind()), registration_(static_cast<Args&&>(args)...) {}
  BusWaitAwaiter(BusWaitAwaiter&& other) noexcept
      : Cancellable(wait_kind()), registration_(std::move(other.registration_)) {}
  BusWaitAwaiter& operator=(BusWaitAwaiter&&) = delete;
  ~BusWaitAwaiter() {
    if (registered_) registration_.forget();
  }

  void attach(Promise& promise) {
    if (promise.scope().cancelled()) throw Error(Errc::cancelled);
    promise_ = &promise;
  }
  [[nodiscard]] bool await_ready() {
    Home& home = promise_->home();
    BusWait wait = registration_.add(home, promise_->resumable(), false);
    if (wait == BusWait::needs_worker) {
      registration_.add_worker(home);
      wait = registration_.add(home, promise_->resumable(), true);
    }
    if (wait == BusWait::refused) {
      throw Error(Errc::would_deadlock, "too many handlers wait for their own bus: see BusOptions::nested");
    }
    registered_ = wait == BusWait::waits;
    return !registered_;
  }
  void await_suspend(std::coroutine_handle<>) noexcept { promise_->scope().link(*this); }
  auto await_resume() {
    unlink();
    registered_ = false;
    if (cancelled_) throw Error(Errc::cancelled);
    return registration_.result();
  }

 private:
  static const Kind& wait_kind() noexcept {
    static constexpr Kind kind{[](Cancellable& self) noexcept { static_cast<BusWaitAwaiter&>(self).abort(); }, nullptr,
                               Registration::what};
    return kind;
  }
  // It is told of that as of its end: a handler waits for its place first.
  void abort() noexcept { cancelled_ = registration_.stop(); }

  Registration registration_;
  Promise* promise_ = nullptr;
  bool registered_ = false;
  bool cancelled_ = false;
};

}  // namespace weir::detail
