/// An event in a bus, from its admission to its end.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <utility>

#include <weir/bus/bus_options.hpp>
#include <weir/bus/detail/bus_handler.hpp>
#include <weir/bus/detail/event_queue.hpp>
#include <weir/core/cancellation.hpp>

namespace weir::detail {

struct OutcomeWaiter;

/// What a ticket and its event share: allocated for those that are published as cancellable. Everything but the source
/// is under the lock of the bus.
struct EventState {
  CancellationSource source;
  std::atomic<std::uint32_t> refs{1};
  /// Null when it has ended, or was never admitted.
  struct RecordBase* record = nullptr;
  /// What runs it, if it runs.
  struct BusWorker* worker = nullptr;
  std::optional<EventOutcome> outcome;
  OutcomeWaiter* waiters = nullptr;

  void retain() noexcept { refs.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept {
    if (refs.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }
};

/// Shared ownership of a state.
class EventStateRef {
 public:
  EventStateRef() noexcept = default;
  /// Takes over the reference that a new one is born with.
  explicit EventStateRef(EventState* owned) noexcept : state_(owned) {}
  EventStateRef(const EventStateRef& other) noexcept : state_(other.state_) {
    if (state_) state_->retain();
  }
  EventStateRef(EventStateRef&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  EventStateRef& operator=(EventStateRef other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~EventStateRef() {
    if (state_) state_->release();
  }
  [[nodiscard]] EventState* get() const noexcept { return state_; }
  EventState* operator->() const noexcept { return state_; }
  [[nodiscard]] explicit operator bool() const noexcept { return state_ != nullptr; }

 private:
  EventState* state_ = nullptr;
};

struct RecordBase : EventLink {
  RecordBase(Event&& e, TopicEntry& t, EventState* s) noexcept : event(std::move(e)), entry(&t), state(s) {}
  RecordBase(const RecordBase&) = delete;
  RecordBase& operator=(const RecordBase&) = delete;

  [[nodiscard]] EventId number() const noexcept { return event.id(); }

  Event event;
  TopicEntry* entry;
  /// Owned.
  EventState* state;
};

}  // namespace weir::detail
