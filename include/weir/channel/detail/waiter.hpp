#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <utility>

#include <weir/core/home.hpp>
#include <weir/core/promise.hpp>
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
  Choice() = default;
  Choice(const Choice&) = delete;
  Choice& operator=(const Choice&) = delete;

  /// For `w`, or (null) for the select itself, on its home: false when it was taken.
  [[nodiscard]] virtual bool claim(Waiter* w) noexcept = 0;
  [[nodiscard]] virtual bool claimed() const noexcept = 0;

  /// Written by who took the claim; read by the one that waits once it was woken. Null: its own home took it.
  Waiter* winner = nullptr;
  /// Woken instead, when the value that it was claimed for could not be built: it begins again.
  Resumable* again = nullptr;
  /// The coroutine that waits.
  Promise* promise = nullptr;

 protected:
  ~Choice() = default;
};

/// The claim itself. `Flag`: an atomic of bool; tests/channel/model_check_select_test.cpp has its own.
template <class Flag>
class ClaimedBy final : public Choice {
 public:
  [[nodiscard]] bool claim(Waiter* w) noexcept override {
    if (taken_.exchange(true, std::memory_order_acq_rel)) return false;
    winner = w;
    return true;
  }
  [[nodiscard]] bool claimed() const noexcept override { return taken_.load(std::memory_order_relaxed); }
  /// When none of the waiters is in a queue.
  void give_back() noexcept {
    winner = nullptr;
    taken_.store(false, std::memory_order_relaxed);
  }

 private:
  Flag taken_{false};
};

/// What fires for a completion handler, and the key that its cancellation knows it by, which is never used twice.
struct HandlerWake : WakeList::Deferred {
  HandlerWake(Waiter& w, void (*fire_it)(WakeList::Deferred&) noexcept) noexcept : waiter(w) { fire = fire_it; }
  HandlerWake(const HandlerWake&) = delete;
  HandlerWake& operator=(const HandlerWake&) = delete;

  Waiter& waiter;
  std::uint64_t key = 0;

  [[nodiscard]] static std::uint64_t new_key() noexcept {
    static std::atomic<std::uint64_t> last{0};
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
  }
};

/// One operation that waits in a channel. All of it is read and written under the channel's lock while it is queued,
/// and belongs to the operation alone again once it is out of the queue. Small: it stands in the frame of each
/// coroutine that awaits a channel.
struct Waiter {
  enum class Who : unsigned char { coroutine, select, handler };

  Waiter() noexcept : coroutine(nullptr), who(Who::coroutine) {}
  explicit Waiter(Promise& p) noexcept : coroutine(&p), who(Who::coroutine) {}
  explicit Waiter(Choice& c) noexcept : choice(&c), who(Who::select) {}
  explicit Waiter(HandlerWake& h) noexcept : completion(&h), who(Who::handler) {}
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

  /// For one that was built before it was known for whom.
  void belongs_to(Promise& p) noexcept { coroutine = &p; }
  void belongs_to(Choice& c) noexcept {
    choice = &c;
    who = Who::select;
  }

  /// The home of the coroutine that waits. Null: a completion handler does.
  [[nodiscard]] Home* home() const noexcept {
    switch (who) {
      case Who::coroutine:
        return &coroutine->home();
      case Who::select:
        return &choice->promise->home();
      case Who::handler:
        break;
    }
    return nullptr;
  }
  /// Under the channel's lock, before it is served: false when it must not be, because its select has been already.
  [[nodiscard]] bool claim() noexcept { return who != Who::select || choice->claim(this); }
  [[nodiscard]] bool lost() const noexcept { return who == Who::select && choice->claimed(); }

  template <class Wakes>
  void finish(WaitState how, Wakes& wakes) noexcept {
    state = how;
    switch (who) {
      case Who::coroutine:
        return wakes.add(coroutine->home(), coroutine->resumable());
      case Who::select:
        return wakes.add(choice->promise->home(), choice->promise->resumable());
      case Who::handler:
        return wakes.add(*completion);
    }
  }

  // In the queue.
  Waiter* prev;
  Waiter* next;
  union {
    Promise* coroutine;
    Choice* choice;
    HandlerWake* completion;
  };
  /// The time of the turn in which it began to wait. A handler has none.
  TimeService::TimePoint since;
  Who who;
  WaitState state = WaitState::idle;
  /// For the operation: whether its coroutine is suspended, and whether it holds the channel.
  bool suspended = false;
  bool retains = false;
};

[[nodiscard]] inline Waiter& waiter_of(WakeList::Deferred& deferred) noexcept {
  return static_cast<HandlerWake&>(deferred).waiter;
}

/// A first-in-first-out queue of waiters: a ring of them. Intrusive; each step is O(1).
class WaitQueue {
 public:
  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
  [[nodiscard]] Waiter& front() const noexcept { return *first_; }
  /// The one behind `w`; null: it is the last.
  [[nodiscard]] Waiter* after(const Waiter& w) const noexcept { return w.next == first_ ? nullptr : w.next; }
  /// Without those that have lost. O(n).
  [[nodiscard]] std::size_t count() const noexcept {
    std::size_t n = 0;
    for (const Waiter* w = first_; w; w = after(*w)) n += !w->lost();
    return n;
  }
  /// The handler's that has this key, or null. O(n).
  [[nodiscard]] Waiter* find(std::uint64_t key) const noexcept {
    Waiter* w = first_;
    while (w && !(w->who == Waiter::Who::handler && w->completion->key == key)) w = after(*w);
    return w;
  }
  /// The first that can be served, claimed; null: nobody waits. Those that have lost are taken out on the way.
  [[nodiscard]] Waiter* claim_front() noexcept {
    while (first_ && !first_->claim()) remove(*first_);
    return first_;
  }

  /// By the one that waits.
  void push(Waiter& w) noexcept {
    w.state = WaitState::queued;
    if (Home* const home = w.home()) w.since = home->turn_time();
    if (!first_) {
      first_ = w.prev = w.next = &w;
      return;
    }
    w.next = first_;
    w.prev = first_->prev;
    first_->prev->next = &w;
    first_->prev = &w;
  }
  void remove(Waiter& w) noexcept {
    if (first_ == &w) first_ = w.next == &w ? nullptr : w.next;
    w.prev->next = w.next;
    w.next->prev = w.prev;
    w.state = WaitState::idle;
  }

 private:
  Waiter* first_ = nullptr;
};

/// Waits for room: to put values there, or (without `transfer`) for a permit.
struct SendWaiter : Waiter {
  /// Builds the next value in the slot (null: skips it); true when it was the last one. May throw what the value's
  /// constructor throws.
  using Transfer = bool (*)(SendWaiter& self, void* slot);
  /// Builds up to `n` in the slots, counting them in `built`, also when it throws; true when it was the last.
  using Fill = bool (*)(SendWaiter& self, void* slots, std::size_t n, std::size_t& built);

  /// Without `belongs_to` it must not wait.
  explicit SendWaiter(Transfer transfer_one) noexcept : transfer(transfer_one), fill(nullptr) {}
  template <class Owner>
  SendWaiter(Owner& owner, Transfer transfer_one, Fill fill_many = nullptr) noexcept
      : Waiter(owner), transfer(transfer_one), fill(fill_many) {}

  Transfer transfer;
  Fill fill;  ///< optional
  std::exception_ptr error;
};

/// Waits for a value, which is built in place in it.
template <class T>
struct ReceiveWaiter : Waiter {
  ReceiveWaiter() noexcept {}
  template <class Owner>
  explicit ReceiveWaiter(Owner& owner) noexcept : Waiter(owner) {}
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

  bool has_value = false;
  union {
    T received;
  };
};

}  // namespace weir::detail
