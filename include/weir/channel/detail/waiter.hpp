#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <utility>

#include <weir/core/home.hpp>
#include <weir/core/time_service.hpp>
#include <weir/core/wake_list.hpp>

namespace weir::detail {

enum class WaitState : unsigned char {
  idle,       ///< not started, or taken back
  queued,     ///< in a queue of the channel
  done,       ///< what it asked for has happened
  closed,     ///< the channel closed first
  full,       ///< no room, and the policy is not to wait
  failed,     ///< the value's constructor threw
  cancelled,  ///< taken out of the queue by its own cancellation
  lost,       ///< of a select: another of its operations came first
};

struct Waiter;

/// What the waiters of one `select` share: of those who would serve one of them, or end the wait, the first takes the
/// claim, and the others leave it alone. The claim is taken under the lock of the channel that the waiter is in, before
/// a value is moved; it is never given back while one of the waiters is in a queue.
struct Choice {
  std::atomic<bool> claimed{false};
  /// Written by who took the claim; read by the one that waits once it was woken. Null: its own home took it.
  Waiter* winner = nullptr;
  /// Woken instead, when the value that it was claimed for could not be built: it begins again.
  Resumable* again = nullptr;

  [[nodiscard]] bool claim(Waiter* w) noexcept {
    if (claimed.exchange(true, std::memory_order_acq_rel)) return false;
    winner = w;
    return true;
  }
};

/// One operation that waits in a channel. All of it is read and written under the channel's lock while it is queued,
/// and belongs to the operation alone again once it is out of the queue.
struct Waiter {
  Waiter* prev = nullptr;
  Waiter* next = nullptr;
  /// Who is woken: a coroutine by its home, or, without a home, a completion handler that `fire` posts.
  Home* home = nullptr;
  Resumable* resumable = nullptr;
  struct Deferred : WakeList::Deferred {
    explicit Deferred(Waiter& w) noexcept : waiter(w) {}
    Waiter& waiter;
  } deferred{*this};
  /// What a completion handler's cancellation knows it by: never used twice in a channel.
  std::uint64_t key = 0;
  WaitState state = WaitState::idle;
  /// Set for one of several of a `select`.
  Choice* choice = nullptr;
  /// The time of the turn in which it began to wait. Without a home there is none.
  TimeService::TimePoint since{};

  Waiter() noexcept = default;
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

  /// Under the channel's lock, before it is served: false when it must not be, because its select has been already.
  [[nodiscard]] bool claim() noexcept { return !choice || choice->claim(this); }
  [[nodiscard]] bool lost() const noexcept { return choice && choice->claimed.load(std::memory_order_relaxed); }

  void finish(WaitState how, WakeList& wake) noexcept {
    state = how;
    if (home) {
      wake.add(*home, *resumable);
    } else {
      wake.add(deferred);
    }
  }
};

[[nodiscard]] inline Waiter& waiter_of(WakeList::Deferred& deferred) noexcept {
  return static_cast<Waiter::Deferred&>(deferred).waiter;
}

/// A first-in-first-out queue of waiters. Intrusive; each step is O(1).
class WaitQueue {
 public:
  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
  [[nodiscard]] Waiter& front() const noexcept { return *first_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// Without those that have lost. O(n).
  [[nodiscard]] std::size_t count() const noexcept {
    std::size_t n = 0;
    for (const Waiter* w = first_; w; w = w->next) n += !w->lost();
    return n;
  }
  /// The first that can be served, claimed; null: nobody waits. Those that have lost are taken out on the way.
  [[nodiscard]] Waiter* claim_front() noexcept {
    while (first_ && !first_->claim()) remove(*first_);
    return first_;
  }

  /// By the one that waits.
  void push(Waiter& w) noexcept {
    w.state = WaitState::queued;
    if (w.home) w.since = w.home->turn_time();
    w.next = nullptr;
    w.prev = last_;
    (last_ ? last_->next : first_) = &w;
    last_ = &w;
    ++size_;
  }
  void remove(Waiter& w) noexcept {
    (w.prev ? w.prev->next : first_) = w.next;
    (w.next ? w.next->prev : last_) = w.prev;
    w.prev = w.next = nullptr;
    w.state = WaitState::idle;
    --size_;
  }

 private:
  Waiter* first_ = nullptr;
  Waiter* last_ = nullptr;
  std::size_t size_ = 0;
};

/// Waits for room: to put values there, or (without `transfer`) for a permit.
struct SendWaiter : Waiter {
  /// Builds the next value in the slot (null: skips it); true when it was the last one. May throw what the value's
  /// constructor throws.
  bool (*transfer)(SendWaiter& self, void* slot) = nullptr;
  /// Optional: builds up to `n` in the slots, counting them in `built`, also when it throws; true when it was the last.
  bool (*fill)(SendWaiter& self, void* slots, std::size_t n, std::size_t& built) = nullptr;
  std::exception_ptr error;
};

/// Waits for a value, which is built in place in it.
template <class T>
struct ReceiveWaiter : Waiter {
  ReceiveWaiter() noexcept {}
  ReceiveWaiter(const ReceiveWaiter&) = delete;
  ReceiveWaiter& operator=(const ReceiveWaiter&) = delete;
  ~ReceiveWaiter() {
    if (has_value) std::destroy_at(&received);
  }

  [[nodiscard]] void* slot() noexcept { return static_cast<void*>(std::addressof(received)); }
  /// Gives the value to `use(T&)`, and is rid of it, also when that throws.
  template <class Use>
  void give(Use&& use) {
    struct Destroy {
      ReceiveWaiter& self;
      ~Destroy() {
        self.has_value = false;
        std::destroy_at(&self.received);
      }
    } const destroy{*this};
    use(received);
  }

  union {
    T received;
  };
  bool has_value = false;
  /// The reason that the channel was closed with, when `state` is `closed`.
  std::exception_ptr reason;
};

}  // namespace weir::detail
