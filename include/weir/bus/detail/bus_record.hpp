/// An event in a bus, from its admission to its end.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include <weir/bus/bus_options.hpp>
#include <weir/bus/detail/bus_handler.hpp>
#include <weir/bus/detail/event_queue.hpp>
#include <weir/core/cancellation.hpp>
#include <weir/core/processor.hpp>

namespace weir::detail {

struct OutcomeWaiter;

/// What the events of a batch share, as far as they have to know. Counted by whoever holds the state of one of them.
struct BatchBase {
  BatchBase() = default;
  BatchBase(const BatchBase&) = delete;
  BatchBase& operator=(const BatchBase&) = delete;

  void retain() noexcept { refs.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept {
    if (refs.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  /// The rest is under the lock of the bus. A saga: what its handlers did may have to be undone.
  bool saga = false;
  /// It has failed: none of its events starts, and none is cancelled any more.
  bool rolling_back = false;

 protected:
  virtual ~BatchBase() = default;

 private:
  std::atomic<std::uint32_t> refs{1};
};

/// Of an event that is for one handler alone, as long as it is queued. Under the lock of the bus.
struct EventDelivery {
  RecordBase* record = nullptr;
  /// That handler, in a list of its own, which the event counts as running with from the beginning.
  TopicEntry::Handlers* handlers = nullptr;
  EventDelivery* prev = nullptr;
  EventDelivery* next = nullptr;
};

/// What a ticket and its event share: allocated for those that are published as cancellable, and in one block for the
/// events of a batch, which own it together. Everything but the source is under the lock of the bus.
struct EventState {
  /// Written before the event is admitted. None: nobody has asked for a token, which a worker makes then.
  std::optional<CancellationSource> source;
  std::atomic<std::uint32_t> refs{1};
  BatchBase* batch = nullptr;
  EventDelivery* delivery = nullptr;
  EventId id = 0;
  /// Null when it has ended, or was never admitted.
  RecordBase* record = nullptr;
  /// What runs it, if it runs.
  struct BusWorker* worker = nullptr;
  std::optional<EventOutcome> outcome;
  bool answered = false;
  OutcomeWaiter* waiters = nullptr;

  void retain() noexcept {
    if (batch) {
      batch->retain();
    } else {
      refs.fetch_add(1, std::memory_order_relaxed);
    }
  }
  void release() noexcept {
    if (batch) {
      batch->release();
    } else if (refs.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      delete this;
    }
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

/// Another thread has written it last.
inline void prefetch(const EventLink& record) noexcept {
  prefetch_to_read(&record);
  prefetch_to_read(reinterpret_cast<const std::byte*>(&record) + 64);
}

}  // namespace weir::detail
