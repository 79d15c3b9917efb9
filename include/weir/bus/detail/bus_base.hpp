/// What does not depend on how a bus orders its events: what tickets and subscriptions use, and what is left for after
/// the lock.
#pragma once

#include <memory>
#include <mutex>

#include <weir/bus/bus_options.hpp>
#include <weir/bus/detail/bus_handler.hpp>
#include <weir/bus/detail/bus_record.hpp>
#include <weir/core/wake_list.hpp>

namespace weir::detail {

/// What is told and destroyed after the lock.
struct BusAfter {
  BusAfter() = default;
  explicit BusAfter(Home* by) noexcept : wakes(by) {}
  BusAfter(const BusAfter&) = delete;
  BusAfter& operator=(const BusAfter&) = delete;
  ~BusAfter() {
    while (dead) {
      auto* const record = static_cast<RecordBase*>(dead);
      dead = record->next;
      destroy(*record);
    }
  }

  void (*destroy)(RecordBase& record) noexcept = nullptr;
  EventLink* dead = nullptr;
  HandlerTrash handlers;
  WakeList wakes;
};

/// Waits for the outcome of an event.
struct OutcomeWaiter {
  OutcomeWaiter* next = nullptr;
  Home* home = nullptr;
  Resumable* resumable = nullptr;
  bool waiting = false;
};

/// Waits until no call of a handler runs.
struct JoinWaiter {
  JoinWaiter* next = nullptr;
  const BusHandler* handler = nullptr;
  Home* home = nullptr;
  Resumable* resumable = nullptr;
  bool waiting = false;
};

/// A bus, for its tickets and subscriptions.
class BusBase : public std::enable_shared_from_this<BusBase> {
 public:
  BusBase() = default;
  BusBase(const BusBase&) = delete;
  BusBase& operator=(const BusBase&) = delete;

  virtual CancelResult cancel(EventState& state) = 0;
  /// True: the event has not ended, and the waiter is told when it has.
  virtual bool wait(EventState& state, OutcomeWaiter& waiter) = 0;
  virtual bool forget(EventState& state, OutcomeWaiter& waiter) noexcept = 0;
  virtual void unsubscribe(BusHandler& handler) noexcept = 0;
  virtual void release(BusHandler& handler) noexcept = 0;
  /// True: a call of the handler may be running, and the waiter is told when none is any more. Throws
  /// `Errc::would_deadlock` for the handler itself.
  virtual bool join(JoinWaiter& waiter) = 0;
  /// False: it was told already.
  virtual bool forget(JoinWaiter& waiter) noexcept = 0;

  mutable std::mutex mutex;

 protected:
  virtual ~BusBase() = default;
};

}  // namespace weir::detail
