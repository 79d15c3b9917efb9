/// A batch of events, from its publication to its end: shared by its events, its tickets, its publisher and, if it is a
/// saga, the root that ends it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <utility>
#include <vector>

#include <weir/bus/batch.hpp>
#include <weir/bus/detail/bus_base.hpp>
#include <weir/core/time_service.hpp>

namespace weir::detail {

/// One event of a batch.
struct BatchMember : EventState {
  /// What a handler threw.
  std::exception_ptr error;
  /// Where it goes, while it is being admitted.
  TopicEntry* entry = nullptr;
  /// Of a saga: the handlers that were there at its admission, whatever is subscribed later.
  TopicEntry::Handlers* handlers = nullptr;
  /// Of a saga: itself, ended, as its payload is needed to undo it.
  RecordBase* kept = nullptr;
};

/// A call of a handler that returned.
struct BatchCall {
  std::size_t member = 0;
  BusHandler* handler = nullptr;
  bool undone = false;
  /// Its compensator was given up, and may run on.
  bool hung = false;
  std::exception_ptr error = {};
};

/// A compensator that runs within a time limit, as a root of its own. Shared by that and by the saga's.
struct BatchUndo {
  BatchUndo* prev = nullptr;
  BatchUndo* next = nullptr;
  /// Where it runs, from its beginning to its end.
  Home* home = nullptr;
  CancellationSource stop;
  /// The saga's root, while it waits.
  Home* waiter_home = nullptr;
  Resumable* waiter = nullptr;
  bool done = false;
  std::exception_ptr error;
  /// The saga does not wait for it any more.
  bool given_up = false;
};

/// What a handler of a saga published, until the saga has ended. With its rank, which depends on the order.
struct HeldEvent {
  explicit HeldEvent(Event&& e) noexcept : event(std::move(e)) {}
  HeldEvent(const HeldEvent&) = delete;
  HeldEvent& operator=(const HeldEvent&) = delete;
  virtual ~HeldEvent() = default;

  Event event;
  HeldEvent* next = nullptr;
};

template <class Order>
struct RankedHeldEvent final : HeldEvent {
  RankedHeldEvent(Event&& e, const typename Order::Rank& r) : HeldEvent(std::move(e)), rank(r) {}
  typename Order::Rank rank;
};

enum class BatchPhase : std::uint8_t {
  waiting,    ///< nothing of it is admitted
  running,    ///< events of it are queued, run, or are still to be admitted
  ending,     ///< of a saga: all its events have ended; it is undone, or what was held back is published
  ended,      ///< nothing changes any more
  withdrawn,  ///< it ended before anything was admitted
};

/// Under the lock of the bus, if nothing else is said. Its end, which destroys what is the users', is outside.
struct BusBatch final : BatchBase {
  BusBatch(BatchMode m, const BatchOptions& o, std::size_t n)
      : mode(m), options(o), size(n), members(std::make_unique<BatchMember[]>(n)) {
    saga = m == BatchMode::saga;
    for (std::size_t i = 0; i < n; ++i) members[i].batch = this;
  }
  ~BusBatch() override {
    while (blocks) ::operator delete(take_block());
    while (held) delete std::exchange(held, held->next);
  }

  /// Memory for its records, all of it before the first is admitted.
  void reserve_blocks(std::size_t block_size) {
    for (std::size_t i = 0; i < size; ++i) blocks = ::new (::operator new(block_size)) Block{blocks};
  }
  [[nodiscard]] void* take_block() noexcept { return std::exchange(blocks, blocks->next); }

  [[nodiscard]] EventStateRef state(std::size_t index) noexcept {
    retain();
    return EventStateRef(&members[index]);
  }
  [[nodiscard]] std::size_t index_of(const BatchMember& member) const noexcept {
    return static_cast<std::size_t>(&member - members.get());
  }

  struct Block {
    Block* next;
  };

  const BatchMode mode;
  const BatchOptions options;
  const std::size_t size;
  const std::unique_ptr<BatchMember[]> members;
  BatchId id = 0;
  BatchPhase phase = BatchPhase::waiting;
  BatchOutcome outcome = BatchOutcome::committed;
  /// Events that have neither ended nor been refused.
  std::size_t live = 0;
  /// Of independent events: those that were offered to the bus.
  std::size_t offered = 0;
  /// Which failed first; `size`: the publisher was cancelled.
  std::optional<std::size_t> first_failure;
  Block* blocks = nullptr;
  BusWaiter* waiter = nullptr;
  TimeService::TimePoint published{};
  std::optional<TimeService::TimePoint> admitted;

  // Of a saga.

  BusBatch* prev = nullptr;
  BusBatch* next = nullptr;
  /// The root that ends it: where it is, and while it waits, what.
  Home* runner_home = nullptr;
  Resumable* runner = nullptr;
  bool runner_gone = false;
  /// The compensators that run with a time limit, and how many there are, with those that have not begun.
  BatchUndo* undos = nullptr;
  std::size_t undoing = 0;
  /// Its queued events have been taken out.
  bool swept = false;
  /// In the order of their return. Room is made for all that there can be at the admission.
  std::vector<BatchCall> calls;
  /// What handlers get at its commit that were not there at its admission.
  EventLink* late = nullptr;
  EventLink** late_end = &late;
  HeldEvent* held = nullptr;
  HeldEvent** held_end = &held;
  std::size_t held_back = 0;
  std::vector<LeftEvent> not_undone;
  bool has_report = false;
  std::vector<LeftEvent> not_published;
};

/// Shared ownership of a batch.
class BatchRef {
 public:
  BatchRef() noexcept = default;
  /// Takes over the reference that a new one is born with.
  explicit BatchRef(BusBatch* owned) noexcept : batch_(owned) {}
  BatchRef(const BatchRef& other) noexcept : batch_(other.batch_) {
    if (batch_) batch_->retain();
  }
  BatchRef(BatchRef&& other) noexcept : batch_(std::exchange(other.batch_, nullptr)) {}
  BatchRef& operator=(BatchRef other) noexcept {
    std::swap(batch_, other.batch_);
    return *this;
  }
  ~BatchRef() {
    if (batch_) batch_->release();
  }
  [[nodiscard]] BusBatch& operator*() const noexcept { return *batch_; }
  BusBatch* operator->() const noexcept { return batch_; }
  [[nodiscard]] explicit operator bool() const noexcept { return batch_ != nullptr; }

 private:
  BusBatch* batch_ = nullptr;
};

}  // namespace weir::detail
