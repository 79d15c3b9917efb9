/// The root of a saga, which ends it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include <weir/bus/detail/bus_operations.hpp>
#include <weir/core/retry.hpp>
#include <weir/core/this_task.hpp>
#include <weir/core/timer.hpp>

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
  SagaRunner(std::shared_ptr<Core> core, BatchRef batch) noexcept : core_(std::move(core)), batch_(std::move(batch)) {}
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
    for (std::size_t i = 0; i < batch_->size; ++i) {
      const BatchMember& member = batch_->members[i];
      if (member.kept && member.outcome == EventOutcome::failed) core_->bury(member.kept->event, member.error);
    }
  }
  void finish(Home& home) noexcept {
    BusAfter after(&home);
    Core::prepare(after);
    const std::lock_guard lock(core_->mutex);
    core_->batches().finish(*batch_, after);
  }

  [[nodiscard]] Core& core() const noexcept { return *core_; }
  [[nodiscard]] BusBatch& batch() const noexcept { return *batch_; }

 private:
  std::shared_ptr<Core> core_;
  BatchRef batch_;
};

/// Has one call undone, as often as the options say.
inline Task<> undo_call(BusBatch& batch, BatchCall& call) {
  const RetryPolicy delays = RetryPolicy::exponential(batch.options.delay).max_delay(batch.options.longest_delay);
  const Event& event = batch.members[call.member].kept->event;
  for (std::uint32_t attempt = 1;; ++attempt) {
    try {
      Task<> undoing = call.handler->compensate(event);
      if (undoing) co_await std::move(undoing);
      call.undone = true;
      co_return;
    } catch (...) {
      call.error = std::current_exception();
    }
    if (attempt >= batch.options.attempts) co_return;
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
      for (std::size_t i = batch.calls.size(); i-- > 0;) co_await undo_call(batch, batch.calls[i]);
      runner.report();
    } else {
      co_await publish_held<Order>(runner.core(), batch);
    }
    runner.finish(home);
    co_return;
  }
}

}  // namespace weir::detail
