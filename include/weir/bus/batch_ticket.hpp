/// `PendingBatch`: a batch that is about to be published; and `BatchTicket`, by which others reach its events.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>

#include <weir/bus/batch.hpp>
#include <weir/bus/detail/bus_batch.hpp>
#include <weir/bus/event_ticket.hpp>
#include <weir/core/task.hpp>

namespace weir {

/// Stands for a batch, whether it is still to be published, runs or has ended. Copies stand for the same; distinct
/// copies may be used by any thread. It keeps what its events share alive, nothing of their payloads once the batch has
/// ended, and not the bus's workers.
class BatchTicket {
 public:
  /// No batch.
  BatchTicket() noexcept = default;
  /// Made by the bus.
  BatchTicket(std::shared_ptr<detail::BusBase> bus, detail::BatchRef batch) noexcept
      : bus_(std::move(bus)), batch_(std::move(batch)) {}

  /// 0 for no batch.
  [[nodiscard]] BatchId id() const noexcept { return batch_ ? batch_->id : 0; }
  [[nodiscard]] std::size_t size() const noexcept { return batch_ ? batch_->size : 0; }
  /// The ticket of one of its events, from 0 in the order in which they were given. None as long as it is not admitted.
  /// To cancel an event of a saga that is queued makes the saga fail; while the saga is rolled back it is refused.
  /// Throws `Error(Errc::invalid_argument)` for an index out of range.
  [[nodiscard]] EventTicket event(std::size_t index) const {
    if (index >= size()) throw Error(Errc::invalid_argument, "the batch has fewer events");
    EventId id = 0;
    {
      const std::lock_guard lock(bus_->mutex);
      id = batch_->members[index].id;
    }
    return id == 0 ? EventTicket() : EventTicket(bus_, batch_->state(index), id);
  }

  [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(batch_); }

 private:
  std::shared_ptr<detail::BusBase> bus_;
  detail::BatchRef batch_;
};

/// What `publish_batch` returns: awaited once, it publishes the batch and gives its `BatchReport`. Nothing is published
/// before. Move-only.
class [[nodiscard("a batch is published when it is awaited")]] PendingBatch {
 public:
  /// Made by the bus.
  PendingBatch(std::shared_ptr<detail::BusBase> bus, detail::BatchRef batch, Task<BatchReport> publishing) noexcept
      : bus_(std::move(bus)), batch_(std::move(batch)), publishing_(std::move(publishing)) {}

  [[nodiscard]] BatchId id() const noexcept { return batch_->id; }
  [[nodiscard]] std::size_t size() const noexcept { return batch_->size; }
  /// For those who want to reach its events while it runs: to be asked for before it is awaited. Allocates the token of
  /// each event the first time.
  [[nodiscard]] BatchTicket ticket() const {
    for (std::size_t i = 0; i < batch_->size; ++i) {
      auto& source = batch_->members[i].source;
      if (!source) source.emplace();
    }
    return BatchTicket(bus_, batch_);
  }

  [[nodiscard]] auto operator co_await() && { return std::move(publishing_).operator co_await(); }

 private:
  std::shared_ptr<detail::BusBase> bus_;
  detail::BatchRef batch_;
  Task<BatchReport> publishing_;
};

}  // namespace weir
