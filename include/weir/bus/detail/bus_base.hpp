/// What does not depend on how a bus orders its events: what tickets and subscriptions use, and what is left for after
/// the lock.
#pragma once

#include <memory>
#include <mutex>

#include <weir/bus/bus_options.hpp>
#include <weir/bus/detail/bus_handler.hpp>
#include <weir/bus/detail/bus_record.hpp>
#include <weir/core/task.hpp>
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

/// Somebody who waits for the bus. A handler of it has given its place to another for as long, and waits for one before
/// it goes on.
struct BusWaiter {
  BusWaiter* prev = nullptr;
  BusWaiter* next = nullptr;
  Home* home = nullptr;
  Resumable* resumable = nullptr;
  /// Whose handler it is, if it has given its place away.
  BusWorker* lender = nullptr;
  /// It has what it waited for, but for a place.
  bool for_place = false;
};

struct BusWaiters {
  BusWaiter* first = nullptr;
  BusWaiter* last = nullptr;

  void push(BusWaiter& waiter) noexcept {
    waiter.next = nullptr;
    waiter.prev = last;
    (last ? last->next : first) = &waiter;
    last = &waiter;
  }
  void remove(BusWaiter& waiter) noexcept {
    (waiter.prev ? waiter.prev->next : first) = waiter.next;
    (waiter.next ? waiter.next->prev : last) = waiter.prev;
    waiter.prev = waiter.next = nullptr;
  }
};

/// Waits for the outcome of an event.
struct OutcomeWaiter : BusWaiter {
  OutcomeWaiter* next_waiter = nullptr;
  bool waiting = false;
  /// Or for the reply, if that comes first.
  bool for_reply = false;
};

/// Waits until no call of a handler runs.
struct JoinWaiter : BusWaiter {
  JoinWaiter* next_waiter = nullptr;
  const BusHandler* handler = nullptr;
  bool waiting = false;
};

/// What comes of an attempt to wait.
enum class BusWait : std::uint8_t {
  done,          ///< there is nothing to wait for
  waits,         ///< it is told
  needs_worker,  ///< nobody could take the place that it would give away: `add_worker`, then again
  refused,       ///< too many handlers wait for their own bus
};

class BusBase;

/// The lock of a bus. Who takes it finds all that was published in the queue; see bus_inbox.hpp.
class BusMutex {
 public:
  explicit BusMutex(BusBase& bus) noexcept : bus_(bus) {}

  void lock();
  /// Publishers may go on beside who has it.
  void lock_beside();
  void unlock() noexcept;

 private:
  BusBase& bus_;
  std::mutex mutex_;
};

/// A bus, for its tickets and subscriptions.
class BusBase : public std::enable_shared_from_this<BusBase> {
 public:
  BusBase() = default;
  BusBase(const BusBase&) = delete;
  BusBase& operator=(const BusBase&) = delete;

  virtual CancelResult cancel(EventState& state) = 0;
  /// Waits for the end of an event. `worker_made`: it does not ask for another.
  virtual BusWait wait(EventState& state, OutcomeWaiter& waiter, bool worker_made) = 0;
  /// There is a reply for those who wait for one.
  virtual void answer(EventState& state) noexcept = 0;
  /// It does not want to wait any more; it is told of that as of the end. False: it was told already.
  virtual bool stop_waiting(EventState& state, OutcomeWaiter& waiter) noexcept = 0;
  /// Its frame goes.
  virtual void forget(EventState& state, OutcomeWaiter& waiter) noexcept = 0;
  virtual void unsubscribe(BusHandler& handler) noexcept = 0;
  virtual void release(BusHandler& handler) noexcept = 0;
  /// Waits until no call of the handler runs. Throws `Errc::would_deadlock` for the handler itself.
  virtual BusWait wait(JoinWaiter& waiter, bool worker_made) = 0;
  virtual bool stop_waiting(JoinWaiter& waiter) noexcept = 0;
  virtual void forget(JoinWaiter& waiter) noexcept = 0;

  /// For the handler of an event that runs: publishes, or holds back in a saga. `event` is moved from at once.
  virtual Task<EventId> publish_from(BusWorker& worker, Event&& event) = 0;
  virtual PublishResult try_publish_from(BusWorker& worker, Event&& event) = 0;

  /// One more worker, which ends when it finds that there are enough. Not under the lock.
  virtual void add_worker(Home& home) = 0;

  mutable BusMutex mutex{*this};

 protected:
  virtual ~BusBase() = default;

  // With the lock held.

  /// Queues what is in the inbox, and closes it.
  virtual void close_inbox() noexcept = 0;
  /// Queues what is in the inbox.
  virtual void empty_inbox() noexcept = 0;
  /// Opens the inbox as far as it may be.
  virtual void open_inbox() noexcept = 0;
  bool inbox_is_open = false;

 private:
  friend class BusMutex;
};

inline void BusMutex::lock() {
  mutex_.lock();
  if (bus_.inbox_is_open) bus_.close_inbox();
}
inline void BusMutex::lock_beside() {
  mutex_.lock();
  if (bus_.inbox_is_open) bus_.empty_inbox();
}
inline void BusMutex::unlock() noexcept {
  if (!bus_.inbox_is_open) bus_.open_inbox();
  mutex_.unlock();
}

template <class Order>
class Bus;

/// For the parts of the library that work on a bus: what it is made of.
struct BusParts {
  template <class Order>
  [[nodiscard]] static const auto& core(const Bus<Order>& bus) noexcept {
    return bus.core_;
  }
  template <class Order>
  [[nodiscard]] static const auto& executor(const Bus<Order>& bus) noexcept {
    return bus.executor_;
  }
};

}  // namespace weir::detail
