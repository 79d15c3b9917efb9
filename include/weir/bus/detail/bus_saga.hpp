/// The root of a saga, which ends it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include <weir/asio.hpp>
#include <weir/bus/detail/bus_operations.hpp>
#include <weir/core/retry.hpp>
#include <weir/core/spawn.hpp>
#include <weir/core/this_task.hpp>
#include <weir/core/timeout.hpp>
#include <weir/core/timer.hpp>
#include <weir/core/with_cancellation.hpp>

namespace weir::detail {

/// The root of a saga waits for what there is to do.
template <class Order>
struct SagaRegistration {
  static constexpr const char* what = "events of a saga";
  using Step = typename BusBatches<Order>::Step;

  SagaRegistration(BusCore<Order>& c, BusBatch& b) noexcept : core(&c), batch(&b) {}
  BusWait add(Home&, Resumable& resumable, bool) noexcept {
    const std::lock_guard lock(core->mutex);
    step = core->batches().next_step(*batch, &resumable);
    return step == Step::none ? BusWait::waits : BusWait::done;
  }
  void add_worker(Home&) noexcept {}
  // Nothing cancels it.
  bool stop() noexcept { return false; }
  // By the end of its root.
  void forget() noexcept {}
  [[nodiscard]] Step result() const noexcept { return step; }

  BusCore<Order>* core;
  BusBatch* batch;
  Step step = Step::none;
};

/// The frame of a saga's root, whether it has begun or not.
template <class Order>
class SagaRunner {
  using Core = BusCore<Order>;

 public:
  SagaRunner(std::shared_ptr<Core> core, BatchRef batch, const asio::any_io_executor& executor)
      : core_(std::move(core)), batch_(std::move(batch)), executor_(executor) {}
  SagaRunner(SagaRunner&&) noexcept = default;
  SagaRunner& operator=(SagaRunner&&) = delete;
  ~SagaRunner() {
    if (!core_) return;
    BusAfter after;
    Core::prepare(after);
    const std::lock_guard lock(core_->mutex);
    core_->batches().runner_gone(*batch_, after);
  }

  void settle(Home& home) noexcept {
    const std::lock_guard lock(core_->mutex);
    batch_->runner_home = &home;
  }
  void sweep(Home& home) {
    {
      BusAfter after(&home);
      Core::prepare(after);
      const std::lock_guard lock(core_->mutex);
      core_->batches().sweep(*batch_, after);
    }
    for (std::size_t index = 0; index < batch_->size;) {
      std::optional<CancellationSource> source;
      {
        const std::lock_guard lock(core_->mutex);
        source = core_->batches().token_source(*batch_, index);
      }
      if (source) source->cancel();
    }
  }
  void report() {
    BusBatches<Order>::report_calls(*batch_);
    // What a compensator goes on with is not given away.
    std::vector<bool> used(batch_->size);
    for (const BatchCall& call : batch_->calls) {
      if (call.hung) used[call.member] = true;
    }
    for (std::size_t i = 0; i < batch_->size; ++i) {
      const BatchMember& member = batch_->members[i];
      if (!member.kept || member.outcome != EventOutcome::failed) continue;
      used[i] ? core_->lose_letter() : core_->bury(member.kept->event, member.error);
    }
  }
  void finish(Home& home) noexcept {
    BusAfter after(&home);
    Core::prepare(after);
    const std::lock_guard lock(core_->mutex);
    core_->batches().finish(*batch_, after);
  }

  /// It waits for a compensator no longer. False: that has ended meanwhile.
  [[nodiscard]] bool gives_up(BatchUndo& undo) noexcept {
    const std::lock_guard lock(core_->mutex);
    return core_->batches().give_up(undo);
  }

  [[nodiscard]] Core& core() const noexcept { return *core_; }
  [[nodiscard]] BusBatch& batch() const noexcept { return *batch_; }
  [[nodiscard]] std::shared_ptr<Core> share() const noexcept { return core_; }
  [[nodiscard]] BatchRef share_batch() const noexcept { return batch_; }
  [[nodiscard]] const asio::any_io_executor& executor() const noexcept { return executor_; }

 private:
  std::shared_ptr<Core> core_;
  BatchRef batch_;
  asio::any_io_executor executor_;
};

/// The saga's root waits for a compensator that has a root of its own.
template <class Order>
struct UndoRegistration {
  static constexpr const char* what = "compensator of a saga";

  UndoRegistration(BusCore<Order>& c, BatchUndo& u) noexcept : core(&c), undo(&u) {}
  BusWait add(Home& home, Resumable& resumable, bool) noexcept {
    const std::lock_guard lock(core->mutex);
    if (undo->done) return BusWait::done;
    undo->waiter_home = &home;
    undo->waiter = &resumable;
    return BusWait::waits;
  }
  void add_worker(Home&) noexcept {}
  bool stop() noexcept {
    BusAfter after;
    const std::lock_guard lock(core->mutex);
    Resumable* const waiter = std::exchange(undo->waiter, nullptr);
    if (waiter) after.wakes.add(*undo->waiter_home, *waiter);
    return waiter != nullptr;
  }
  void forget() noexcept {
    const std::lock_guard lock(core->mutex);
    undo->waiter = nullptr;
  }
  void result() const noexcept {}

  BusCore<Order>* core;
  BatchUndo* undo;
};

/// The frame of a compensator's root. It owns what that needs: the batch, with its events and handlers.
template <class Order>
class UndoRunner {
  using Core = BusCore<Order>;

 public:
  UndoRunner(std::shared_ptr<Core> core, BatchRef batch, std::shared_ptr<BatchUndo> undo) noexcept
      : core_(std::move(core)), batch_(std::move(batch)), undo_(std::move(undo)) {
    const std::lock_guard lock(core_->mutex);
    ++batch_->undoing;
  }
  UndoRunner(UndoRunner&&) noexcept = default;
  UndoRunner& operator=(UndoRunner&&) = delete;
  ~UndoRunner() {
    if (!undo_) return;
    BusAfter after;
    Core::prepare(after);
    const std::lock_guard lock(core_->mutex);
    core_->batches().end_undo(*batch_, *undo_, after);
  }
  void settle(Home& home) noexcept {
    const std::lock_guard lock(core_->mutex);
    BusBatches<Order>::begin_undo(*batch_, *undo_, home);
  }
  [[nodiscard]] BatchUndo& undo() const noexcept { return *undo_; }

 private:
  std::shared_ptr<Core> core_;
  BatchRef batch_;
  std::shared_ptr<BatchUndo> undo_;
};

template <class Order>
Task<> run_undo(UndoRunner<Order> runner, BusHandler& handler, const Event& event) {
  Home& home = co_await this_task::home();
  home.set_name("compensator");
  runner.settle(home);
  try {
    Task<> undoing = handler.compensate(event);
    if (undoing) {
      auto guarded = with_cancellation(runner.undo().stop.token(), std::move(undoing));
      co_await guarded;
    }
  } catch (...) {
    runner.undo().error = std::current_exception();
  }
}

template <class Order>
Task<bool> undo_ends_within(BusCore<Order>& core, BatchUndo& undo, TimeService::Duration limit) {
  const auto ending = [](BusCore<Order>& c, BatchUndo& u) -> Task<> {
    BusWaitAwaiter<UndoRegistration<Order>> waiting(c, u);
    co_await waiting;
  };
  try {
    co_await with_timeout(limit, ending(core, undo));
  } catch (const Error& error) {
    if (error.code() != Errc::timed_out) throw;
  }
  const std::lock_guard lock(core.mutex);
  co_return undo.done;
}

/// False: it was given up.
template <class Order>
Task<bool> undo_within(SagaRunner<Order>& saga, BatchCall& call, TimeService::Duration limit) {
  BusBatch& batch = saga.batch();
  const auto undo = std::make_shared<BatchUndo>();
  const Event& event = batch.members[call.member].kept->event;
  spawn(saga.executor(),
        run_undo<Order>(UndoRunner<Order>(saga.share(), saga.share_batch(), undo), *call.handler, event),
        asio::detached);
  if (!co_await undo_ends_within(saga.core(), *undo, limit)) {
    undo->stop.cancel(Errc::timed_out);
    if (!co_await undo_ends_within(saga.core(), *undo, limit) && saga.gives_up(*undo)) co_return false;
  }
  if (undo->error) std::rethrow_exception(undo->error);
  co_return true;
}

/// Has one call undone, as often as the options say.
template <class Order>
Task<> undo_call(SagaRunner<Order>& saga, BatchCall& call) {
  BusBatch& batch = saga.batch();
  const RetryPolicy delays = RetryPolicy::exponential(batch.options.delay).max_delay(batch.options.longest_delay);
  const TimeService::Duration limit = batch.options.undo_timeout;
  for (std::uint32_t attempt = 1;; ++attempt) {
    try {
      if (limit != limit.zero()) {
        call.hung = !co_await undo_within(saga, call, limit);
        if (call.hung) throw Error(Errc::timed_out, "the compensator does not end: it was given up, and runs on");
      } else {
        Task<> undoing = call.handler->compensate(batch.members[call.member].kept->event);
        if (undoing) co_await std::move(undoing);
      }
      call.undone = true;
      co_return;
    } catch (...) {
      call.error = std::current_exception();
    }
    if (call.hung || attempt >= batch.options.attempts) co_return;
    co_await sleep_for(delays.delay(attempt));
  }
}

template <class Order>
Task<> publish_held(BusCore<Order>& core, BusBatch& batch) {
  for (HeldEvent* next = batch.held; next;) {
    auto& held = static_cast<RankedHeldEvent<Order>&>(*next);
    next = held.next;
    std::exception_ptr error;
    try {
      PublishAwaiter<Order, EventId> publishing(core, held.event, held.rank, EventStateRef());
      publishing.publish_held_back();
      co_await publishing;
    } catch (...) {
      error = std::current_exception();
    }
    if (error) batch.not_published.emplace_back(EventId{0}, held.event.type(), std::move(error));
  }
}

/// The root of a saga: it undoes what was done, or publishes what was held back. Nobody cancels it.
template <class Order>
Task<> run_saga(SagaRunner<Order> runner) {
  using Step = typename BusBatches<Order>::Step;
  Home& home = co_await this_task::home();
  home.set_name("saga");
  runner.settle(home);
  BusBatch& batch = runner.batch();
  for (;;) {
    BusWaitAwaiter<SagaRegistration<Order>> waiting(runner.core(), batch);
    const Step step = co_await waiting;
    if (step == Step::leave) co_return;
    if (step == Step::none) continue;
    if (step == Step::sweep) {
      runner.sweep(home);
      continue;
    }
    if (step == Step::undo) {
      for (std::size_t i = batch.calls.size(); i-- > 0;) co_await undo_call(runner, batch.calls[i]);
      runner.report();
    } else {
      co_await publish_held<Order>(runner.core(), batch);
    }
    runner.finish(home);
    co_return;
  }
}

}  // namespace weir::detail
