/// How sagas end: what is undone, what is kept until then, and the compensators that have a time limit. Parts of
/// `BusBatches`: see bus_batches.hpp, whose rules they keep.
#pragma once

#include <weir/bus/detail/bus_batches.hpp>

namespace weir::detail {

template <class Order>
void BusBatches<Order>::sweep(BusBatch& batch, BusAfter& after) noexcept {
  batch.swept = true;
  for (std::size_t i = 0; i < batch.size; ++i) {
    BatchMember& member = batch.members[i];
    if (member.worker) {
      Core::interrupt(*member.worker, after);
    } else if (member.record) {
      core_.end_queued(static_cast<typename Core::Record&>(*member.record), EventOutcome::cancelled, after);
    }
  }
  core_.distribute(after);
}

template <class Order>
std::optional<CancellationSource> BusBatches<Order>::token_source(BusBatch& batch, std::size_t& index) {
  while (index < batch.size) {
    const BatchMember& member = batch.members[index++];
    if (!member.worker) continue;
    if (auto source = member.worker->token_source()) return source;
  }
  return std::nullopt;
}

template <class Order>
void BusBatches<Order>::report_calls(BusBatch& batch) {
  batch.has_report = true;
  for (std::size_t i = batch.calls.size(); i-- > 0;) {
    const BatchCall& call = batch.calls[i];
    if (call.undone) continue;
    const BatchMember& member = batch.members[call.member];
    auto error = call.error;
    if (!error) error = std::make_exception_ptr(Error(Errc::bus_closed, "the bus's executor ended before"));
    batch.not_undone.emplace_back(member.id, member.kept->event.type(), std::move(error));
  }
}

template <class Order>
void BusBatches<Order>::finish(BusBatch& batch, BusAfter& after) noexcept {
  if (batch.rolling_back) {
    batch.outcome = std::all_of(batch.calls.begin(), batch.calls.end(), [](const auto& call) { return call.undone; })
                        ? BatchOutcome::rolled_back
                        : BatchOutcome::rollback_incomplete;
    try {
      if (!batch.has_report) report_calls(batch);
    } catch (...) {
      // The outcome tells as much as there is memory for.
    }
  }
  batch.rolling_back = false;
  batch.phase = BatchPhase::ended;
  --stats_.running;
  ++counter(batch.outcome);
  if (batch.saga) {
    settle_last_values(batch, after);
    if (batch.undoing == 0) unpin(batch, after);
  }
  if (BusWaiter* const waiter = std::exchange(batch.waiter, nullptr)) core_.tell(*waiter, after);
  if (core_.joiners_) core_.wake_joiners(after);
  core_.wake_drainers(after);
}

template <class Order>
void BusBatches<Order>::begin_undo(BusBatch& batch, BatchUndo& undo, Home& home) noexcept {
  undo.home = &home;
  undo.next = batch.undos;
  if (batch.undos) batch.undos->prev = &undo;
  batch.undos = &undo;
}

template <class Order>
void BusBatches<Order>::end_undo(BusBatch& batch, BatchUndo& undo, BusAfter& after) noexcept {
  if (undo.home) {
    (undo.prev ? undo.prev->next : batch.undos) = undo.next;
    if (undo.next) undo.next->prev = undo.prev;
    undo.home = nullptr;
  }
  undo.done = true;
  if (Resumable* const waiter = std::exchange(undo.waiter, nullptr)) after.wakes.add(*undo.waiter_home, *waiter);
  if (undo.given_up) --stats_.hung;
  if (--batch.undoing != 0 || batch.phase != BatchPhase::ended) return;
  unpin(batch, after);
  if (core_.joiners_) core_.wake_joiners(after);
  core_.wake_drainers(after);
}

template <class Order>
bool BusBatches<Order>::give_up(BatchUndo& undo) noexcept {
  if (undo.done) return false;
  undo.given_up = true;
  ++stats_.hung;
  return true;
}

template <class Order>
void BusBatches<Order>::settle_last_values(BusBatch& batch, BusAfter& after) noexcept {
  const bool committed = batch.outcome == BatchOutcome::committed;
  for (std::size_t i = 0; committed && i < batch.size; ++i) {
    RecordBase* const record = batch.members[i].kept;
    if (record && !record->event.is_plain()) core_.last_values_.keep_of(*record, after);
  }
  while (EventLink* const late = batch.late) {
    batch.late = late->next;
    core_.last_values_.settle_late(static_cast<typename Core::Record&>(*late), committed, after);
  }
}

template <class Order>
void BusBatches<Order>::unpin(BusBatch& batch, BusAfter& after) noexcept {
  for (std::size_t i = 0; i < batch.size; ++i) {
    BatchMember& member = batch.members[i];
    for (BusHandler* const handler : member.handlers->list) --handler->pins;
    TopicTable::leave(*std::exchange(member.handlers, nullptr), after.handlers);
    if (RecordBase* const record = std::exchange(member.kept, nullptr)) {
      --record->entry->events;
      record->next = after.dead;
      after.dead = record;
    }
  }
  (batch.prev ? batch.prev->next : first_saga_) = batch.next;
  if (batch.next) batch.next->prev = batch.prev;
  --sagas_;
}

template <class Order>
void BusBatches<Order>::check_join(const JoinWaiter& waiter) const {
  if (waiter.handler->pins == 0) return;
  const BusWorker* const worker = BusWorker::at(*waiter.home, &core_);
  const BatchBase* const own = worker && is_saga(*worker) ? worker->state->batch : nullptr;
  for (const BusBatch* saga = first_saga_; saga; saga = saga->next) {
    if ((saga == own || undoes_at(*saga, *waiter.home)) && pins(*saga, *waiter.handler)) {
      throw Error(Errc::would_deadlock, "a saga cannot wait for the end of a handler that it may have to undo");
    }
  }
}

template <class Order>
bool BusBatches<Order>::undoes_at(const BusBatch& saga, const Home& home) noexcept {
  const BatchUndo* undo = saga.undos;
  while (undo && undo->home != &home) undo = undo->next;
  return undo || saga.runner_home == &home;
}

template <class Order>
bool BusBatches<Order>::pins(const BusBatch& batch, const BusHandler& handler) noexcept {
  for (std::size_t i = 0; i < batch.size; ++i) {
    const auto& list = batch.members[i].handlers->list;
    if (std::find(list.begin(), list.end(), &handler) != list.end()) return true;
  }
  return false;
}

}  // namespace weir::detail
