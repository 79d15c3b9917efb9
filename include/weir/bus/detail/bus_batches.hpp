/// The batches of a bus: how they are admitted, and what follows the end of their events.
///
/// Rules (the tests of tests/bus/batch*.cpp break when one of these is broken):
///  1. Everything is under the lock of the bus; what the rules of bus_core.hpp say of it holds here.
///  2. A batch that waits for room stands in the line of each priority that it needs room of, and entered all of them
///     at once; it is admitted when it is the first in all of them and there is room for all. So who came before it
///     goes before it, who came after it does not, and of two batches never does each wait for the other.
///  3. An event of a batch ends as every event does, once, and tells its batch (`event_ended`). A batch ends once
///     (`finish`), when all its events have ended; a saga when the root that was made for it has undone what was done,
///     or published what was held back; if that root has gone with its context, when its events have ended.
///  4. From the first failure of a saga on (`rolling_back`) none of its events starts or is cancelled.
///  5. A saga pins the lists of handlers that its events were admitted with: what was checked to have compensators is
///     what runs, and a handler lives, and is not joined, until nothing of it can be called or undone any more: after
///     the end of the saga, if a compensator of it hangs.
#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <utility>

#include <weir/bus/detail/bus_batch.hpp>
#include <weir/bus/detail/bus_batch_admission.hpp>
#include <weir/bus/detail/bus_worker.hpp>
#include <weir/core/error.hpp>

namespace weir::detail {

template <class Order>
class BusCore;

template <class Order>
class BusBatches {
  using Core = BusCore<Order>;
  using Publisher = BatchPublisher<Order>;

 public:
  explicit BusBatches(Core& core) noexcept : core_(core), admission_(core) {}

  // The publisher.

  /// A number for a batch, before anything else.
  void open(BusBatch& batch) noexcept { batch.id = ++last_id_; }

  /// Admits all or waits for room, and gives away the place of a handler until the end. Throws when it is refused; then
  /// nothing was done, but for what a policy has dropped.
  BusWait begin(Publisher& p, bool worker_made, BusAfter& after) {
    if (!core_.takes_from(p.home, false)) throw Error(Errc::bus_closed);
    if (const OwnedEvent* const owned = p.events.front().owned(); owned && owned->owner->ended) {
      throw Error(Errc::bus_closed);
    }
    admission_.measure(p);
    admission_.resolve(p, after);
    const bool fits_now = admission_.fits(p);
    try {
      if (!fits_now) admission_.check_policies(p);
    } catch (...) {
      admission_.unresolve(p, p.events.size());
      throw;
    }
    if (const BusWait answer = core_.lend(p, worker_made); answer != BusWait::waits) {
      admission_.unresolve(p, p.events.size());
      return answer;
    }
    p.batch->waiter = &p;
    p.batch->published = p.now;
    if (!fits_now) {
      admission_.unresolve(p, p.events.size());
      admission_.enter_lines(p);
    } else if (admission_.make_room(p, after)) {
      admit(p, p.now);
    } else {
      admission_.unresolve(p, p.events.size());
      refuse(p, Errc::queue_full, after);
    }
    core_.distribute(after);
    return BusWait::waits;
  }

  /// Independent events: they are about to be offered to the bus. The handler that does so is not refused half-way.
  void begin_each(BusBatch& batch, BusWorker* by, TimeService::TimePoint now) {
    if (by) {
      if (core_.lent_ >= core_.options_.nested && !by->lent) throw Error(Errc::would_deadlock);
      ++by->batches;
    }
    batch.phase = BatchPhase::running;
    batch.live = batch.size;
    batch.published = now;
    ++stats_.running;
  }
  /// The next of them was not admitted.
  void refuse_next(BusBatch& batch, std::exception_ptr error, BusAfter& after) noexcept {
    batch.members[batch.offered++].error = std::move(error);
    one_less(batch, 1, after);
  }
  void leave_each(BusBatch& batch, BusWorker* by, BusAfter& after) noexcept {
    if (by) --by->batches;
    // Its publisher has gone before it heard of it.
    if (batch.offered < batch.size && batch.members[batch.offered].id != 0) ++batch.offered;
    one_less(batch, batch.size - std::exchange(batch.offered, batch.size), after);
  }
  /// They have been offered: waits for their end.
  BusWait wait_each(BusBatch& batch, BusWaiter& waiter, bool worker_made, BusAfter& after) noexcept {
    if (batch.phase == BatchPhase::ended) return BusWait::done;
    if (const BusWait answer = core_.lend(waiter, worker_made); answer != BusWait::waits) return answer;
    batch.waiter = &waiter;
    core_.distribute(after);
    return BusWait::waits;
  }

  /// It does not want to wait any more, or has to go. A saga that was admitted is rolled back, and waited for all the
  /// same. False: it goes on waiting, or was told already.
  bool stop_waiting(Publisher& p, std::error_code why, BusAfter& after) noexcept {
    BusBatch& batch = *p.batch;
    if (batch.waiter != &p) return false;
    if (p.for_room) {
      admission_.leave_lines(p);
      refuse(p, why, after);
      core_.distribute(after);
      return true;
    }
    if (batch.saga) {
      // Completed beats cancelled.
      if (batch.phase == BatchPhase::running && batch.live != 0 && !batch.rolling_back) fail(batch, batch.size, after);
      return false;
    }
    batch.waiter = nullptr;
    p.error = why;
    core_.tell(p, after);
    return true;
  }
  /// Its frame goes; what was admitted goes on.
  void forget(Publisher& p, BusAfter& after) noexcept {
    if (p.batch->waiter == &p) p.batch->waiter = nullptr;
    core_.forget_place(p);
    if (!p.for_room) return;
    admission_.leave_lines(p);
    withdraw(*p.batch, after);
    core_.distribute(after);
  }
  /// It was refused, or never awaited.
  void abandon(BusBatch& batch, BusAfter& after) noexcept {
    if (batch.phase == BatchPhase::waiting) withdraw(batch, after);
  }

  /// The first in a line: false: it still waits.
  bool give_room(Publisher& p, TimeService::TimePoint now, BusAfter& after) noexcept {
    bool possible = true;
    for (std::size_t c = 0; c < Order::classes; ++c) possible &= p.need[c] <= core_.classes_[c].capacity;
    if (possible && !admission_.fits(p)) return false;
    admission_.leave_lines(p);
    took_places_ = Order::classes > 1;
    bool resolved = false;
    try {
      if (possible) {
        admission_.resolve(p, after);
        resolved = true;
      }
    } catch (...) {
      p.exception = std::current_exception();
    }
    if (resolved && admission_.make_room(p, after)) {
      admit(p, now == TimeService::TimePoint() ? p.home->report_time() : now);
    } else {
      if (resolved) admission_.unresolve(p, p.events.size());
      refuse(p, Errc::queue_full, after);
    }
    return true;
  }
  [[nodiscard]] bool took_places() noexcept { return std::exchange(took_places_, false); }

  // What runs.

  /// With what an event runs.
  [[nodiscard]] TopicEntry::Handlers* handlers_of(const RecordBase& record) const noexcept {
    const EventState* const state = record.state;
    if (!state) return record.entry->handlers;
    if (state->delivery) return state->delivery->handlers;
    return state->batch && state->batch->saga ? static_cast<const BatchMember*>(state)->handlers
                                              : record.entry->handlers;
  }
  /// A worker's event ends: true if it is not to be destroyed.
  [[nodiscard]] bool keep(BusWorker& worker, RecordBase& record) noexcept {
    if (!worker.state || !worker.state->batch) return false;
    auto& member = static_cast<BatchMember&>(*worker.state);
    member.error = std::move(worker.failure);
    if (!member.batch->saga) return false;
    member.kept = &record;
    return true;
  }
  void event_ended(BatchMember& member, EventOutcome outcome, BusAfter& after) noexcept {
    BusBatch& batch = static_cast<BusBatch&>(*member.batch);
    if (batch.saga && outcome != EventOutcome::completed && !batch.rolling_back) {
      fail(batch, batch.index_of(member), after);
    }
    one_less(batch, 1, after);
  }
  /// A handler has returned. On its home.
  void note_call(BusWorker& worker, BusHandler& handler) noexcept {
    const std::lock_guard lock(core_.mutex);
    auto& member = static_cast<BatchMember&>(*worker.state);
    BusBatch& batch = static_cast<BusBatch&>(*member.batch);
    batch.calls.push_back({batch.index_of(member), &handler});
  }
  void hold(BusWorker& worker, std::unique_ptr<HeldEvent> event) noexcept {
    const std::lock_guard lock(core_.mutex);
    BusBatch& batch = static_cast<BusBatch&>(*worker.state->batch);
    ++batch.held_back;
    *batch.held_end = event.release();
    batch.held_end = &(*batch.held_end)->next;
  }
  [[nodiscard]] static bool is_saga(const BusWorker& worker) noexcept {
    return worker.state && worker.state->batch && worker.state->batch->saga;
  }

  // The root of a saga.

  enum class Step : std::uint8_t { none, sweep, undo, publish, leave };

  /// What there is to do for it; if it is nothing, it is told when there is.
  [[nodiscard]] Step next_step(BusBatch& batch, Resumable* to_tell) noexcept {
    if (batch.phase == BatchPhase::withdrawn) return Step::leave;
    if (batch.rolling_back && !batch.swept) return Step::sweep;
    if (batch.phase == BatchPhase::running && batch.live == 0) {
      batch.phase = BatchPhase::ending;
      return batch.rolling_back ? Step::undo : Step::publish;
    }
    batch.runner = to_tell;
    return Step::none;
  }
  /// Takes out what is queued and cancels what runs.
  void sweep(BusBatch& batch, BusAfter& after) noexcept;
  /// The source of the first running event from `index` on, which is moved behind it.
  [[nodiscard]] std::optional<CancellationSource> token_source(BusBatch& batch, std::size_t& index);
  /// What it could not undo, when it has tried. No lock is needed: nobody else has any business with it then.
  static void report_calls(BusBatch& batch);
  void finish(BusBatch& batch, BusAfter& after) noexcept;

  // Its compensators that have a time limit.

  static void begin_undo(BusBatch& batch, BatchUndo& undo, Home& home) noexcept;
  /// Its frame goes: it has ended, or goes with its context.
  void end_undo(BusBatch& batch, BatchUndo& undo, BusAfter& after) noexcept;
  /// True: it does not end.
  bool give_up(BatchUndo& undo) noexcept;
  /// Its frame goes: with the context, or when it has done its work.
  void runner_gone(BusBatch& batch, BusAfter& after) noexcept {
    batch.runner = nullptr;
    batch.runner_home = nullptr;
    batch.runner_gone = true;
    const bool over = batch.phase == BatchPhase::running && batch.live == 0;
    if (over || batch.phase == BatchPhase::ending) finish(batch, after);
  }

  // The bus.

  /// Calls `visit(record, batch)` for the events of the sagas that may still commit, and have not ended otherwise than
  /// by running.
  template <class Visit>
  void for_each_open(Visit&& visit) const {
    for (BusBatch* saga = first_saga_; saga; saga = saga->next) {
      if (saga->rolling_back || saga->phase == BatchPhase::ended) continue;
      for (std::size_t i = 0; i < saga->size; ++i) {
        const BatchMember& member = saga->members[i];
        if (RecordBase* const record = member.kept ? member.kept : member.record) visit(*record, *saga);
      }
    }
  }
  /// Calls `visit(record)` for the owner's events that have run, and that a saga keeps as it may have to undo them.
  template <class Visit>
  void for_each_kept(const EventOwner& owner, Visit&& visit) const {
    for (const BusBatch* saga = first_saga_; saga; saga = saga->next) {
      for (std::size_t i = 0; i < saga->size; ++i) {
        RecordBase* const record = saga->members[i].kept;
        const OwnedEvent* const owned = record ? record->event.owned() : nullptr;
        if (owned && owned->owner == &owner) visit(*record);
      }
    }
  }
  [[nodiscard]] std::size_t sagas() const noexcept { return sagas_; }
  [[nodiscard]] const BatchStats& stats() const noexcept { return stats_; }
  void add_run(TimeService::Duration ran) noexcept {
    stats_.ran += ran;
    stats_.longest_run = std::max(stats_.longest_run, ran);
  }
  [[nodiscard]] bool undoes_at(const Home& home) const noexcept {
    const BusBatch* saga = first_saga_;
    while (saga && !undoes_at(*saga, home)) saga = saga->next;
    return saga != nullptr;
  }
  /// Throws if the end of the handler would wait for itself.
  void check_join(const JoinWaiter& waiter) const;

 private:
  void admit(Publisher& p, TimeService::TimePoint now) noexcept {
    BusBatch& batch = *p.batch;
    batch.phase = BatchPhase::running;
    batch.live = batch.size;
    batch.admitted = now;
    ++stats_.running;
    admission_.link(p, now);
    if (!batch.saga) return;
    ++sagas_;
    batch.next = first_saga_;
    if (first_saga_) first_saga_->prev = &batch;
    first_saga_ = &batch;
  }

  /// What it did counts from now on, or never.
  void settle_last_values(BusBatch& batch, BusAfter& after) noexcept;
  void unpin(BusBatch& batch, BusAfter& after) noexcept;
  [[nodiscard]] static bool undoes_at(const BusBatch& saga, const Home& home) noexcept;
  [[nodiscard]] static bool pins(const BusBatch& batch, const BusHandler& handler) noexcept;

  /// It is told that it was not admitted.
  void refuse(Publisher& p, std::error_code why, BusAfter& after) noexcept {
    p.batch->waiter = nullptr;
    p.error = why;
    withdraw(*p.batch, after);
    core_.tell(p, after);
  }
  void withdraw(BusBatch& batch, BusAfter& after) noexcept {
    batch.phase = BatchPhase::withdrawn;
    ++stats_.refused;
    wake_runner(batch, after);
    core_.wake_drainers(after);
  }

  void fail(BusBatch& batch, std::size_t first, BusAfter& after) noexcept {
    batch.rolling_back = true;
    batch.first_failure = first;
    wake_runner(batch, after);
  }
  void one_less(BusBatch& batch, std::size_t count, BusAfter& after) noexcept {
    batch.live -= count;
    if (batch.live != 0 || batch.phase != BatchPhase::running) return;
    if (batch.saga && !batch.runner_gone) {
      wake_runner(batch, after);
    } else {
      finish(batch, after);
    }
  }
  void wake_runner(BusBatch& batch, BusAfter& after) noexcept {
    if (Resumable* const runner = std::exchange(batch.runner, nullptr)) after.wakes.add(*batch.runner_home, *runner);
  }
  [[nodiscard]] std::uint64_t& counter(BatchOutcome outcome) noexcept {
    return outcome == BatchOutcome::committed     ? stats_.committed
           : outcome == BatchOutcome::rolled_back ? stats_.rolled_back
                                                  : stats_.incomplete;
  }

  Core& core_;
  BatchAdmission<Order> admission_;
  BatchId last_id_ = 0;
  BatchStats stats_;
  BusBatch* first_saga_ = nullptr;
  std::size_t sagas_ = 0;
  bool took_places_ = false;
};

}  // namespace weir::detail

#include <weir/bus/detail/bus_saga_end.hpp>
