/// A broadcast, behind its handles: the values that some receiver has still to read, and where each receiver is.
///
/// All is done under one lock, but what a user's value does when it is copied or destroyed.
///  1. Values are numbered from 0 as they are sent. Those from `head` up to `tail` are in the ring, each in a node of
///     its own; `tail - head <= capacity`.
///  2. A node counts its receivers: `unread` have not begun with it, `pins` are reading it just now, without the lock.
///     A pinned node is neither written, reused nor destroyed, also when the policy took it out of the ring meanwhile.
///  3. One who pins a node that nobody else reads or will read is its `last`: the value is its own to move from and to
///     destroy, still without the lock. Nobody can join: `unread` only falls, and who subscribes begins at `tail`.
///  4. A receiver moves on when it has its value, not when it begins: what a copy throws, or a coroutine that is
///     destroyed in between, leaves the value for the next call. At any moment, for each receiver and for all together,
///     sent since it subscribed == received + skipped + dropped + pending.
///  5. Nodes in the ring that nobody needs leave it at once, the oldest first. One whose value has yet to be destroyed
///     is in limbo until that is done, and under the policy `wait` still takes room; the lock is taken again after.
///  6. Senders wait only under the policy `wait`, with a subscriber, and with no room. Receivers wait only when they
///     have read everything; each send wakes them all. A woken receiver reads when it resumes: nothing is handed over
///     that could be lost.
///  7. A waiter is in a queue (`queued`), or its outcome stands in `state` and it was woken once. Cancelling takes it
///     out under the lock and does nothing to one that is out already: completed beats cancelled.
///  8. One of a `select` is served, or woken, only by who took its claim (`Choice`); one that has lost is taken out as
///     if it were cancelled. Woken, or with the turn that it found, it alone may receive at its place until it resumes.
///  9. Nobody is posted under the lock (`WakeList`), and no value destroyed (`Trash`); values are moved in under it.
/// tests/channel/broadcast_explore_test.cpp checks 1 and 4 to 7 at each step of the simulator, broadcast_test.cpp 2, 3
/// and 9 by values that use the broadcast while they are copied and destroyed, broadcast_select_test.cpp 8, and
/// broadcast_threads_test.cpp all on threads.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <utility>

#include <weir/channel/broadcast_options.hpp>
#include <weir/channel/detail/broadcast_log.hpp>
#include <weir/channel/detail/broadcast_place.hpp>
#include <weir/channel/detail/broadcast_ring.hpp>
#include <weir/channel/detail/sync.hpp>
#include <weir/channel/detail/waiter.hpp>
#include <weir/channel/detail/wakes.hpp>
#include <weir/core/error.hpp>
#include <weir/core/wake_list.hpp>

namespace weir::detail {

template <class T>
class BroadcastCore {
 public:
  using Node = BroadcastNode<T>;
  using Subscription = BroadcastSubscription<T>;
  using Run = BroadcastRun<T>;
  using State = typename Subscription::State;

  BroadcastCore(asio::any_io_executor executor, const BroadcastOptions& options)
      : log_(options), executor_(std::move(executor)) {}
  BroadcastCore(const BroadcastCore&) = delete;
  BroadcastCore& operator=(const BroadcastCore&) = delete;

  [[nodiscard]] const asio::any_io_executor& executor() const noexcept { return executor_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return log_.capacity(); }

  void retain() noexcept { ++refs_; }
  void release() noexcept {
    if (--refs_ == 0) delete this;
  }
  void add_sender() noexcept {
    retain();
    ++senders_;
  }
  void drop_sender() noexcept {
    if (--senders_ == 0) close(nullptr);
    release();
  }

  /// A place behind everything that was sent; its owner has one reference. One allocation.
  [[nodiscard]] Subscription* subscribe() {
    auto* const s = new Subscription(*this);
    const std::lock_guard lock(mutex_);
    log_.join(*s);
    return s;
  }

  /// The handle is given up: its operation that waits ends, and so do the waits of senders for it.
  void leave(Subscription& s) noexcept {
    Trash trash(*this);
    WakeList wake;
    const std::lock_guard lock(mutex_);
    log_.leave(s, trash.nodes);
    if (s.waiter) wake_receiver(*s.waiter, wake);
    admit_waiting(wake);
  }

  /// One value, moved in by `construct(void*)`, which is not called when nobody is subscribed: `done`, `closed`, and
  /// under the policy `wait` `queued`, or `full` by one that does not wait (see `Asks`).
  template <class Construct, class Asks>
  WaitState send(Construct&& construct, Asks asks) {
    Trash trash(*this);
    WakeList wake;
    const std::lock_guard lock(mutex_);
    if (!closed_ && log_.must_wait()) {
      if (!asks.waits()) return WaitState::full;
      senders_waiting_.push(asks.waiter());
      return WaitState::queued;
    }
    if (!asks.claim()) return WaitState::lost;
    if (closed_) return WaitState::closed;
    log_.append(construct, trash.nodes);
    wake_receivers(wake);
    return WaitState::done;
  }

  /// The same for who tries before it waits.
  template <class Construct>
  WaitState send_at_once(Construct&& construct) {
    return send(construct, AtOnce());
  }
  /// Only then `send` gives `full`.
  [[nodiscard]] static constexpr bool waits_when_full() noexcept { return true; }

  /// Begins a call that receives. `nothing`: it waits as `waiter`, or (without one) there is nothing now. `value`: the
  /// values are pinned, and `finish` has to follow. With a waiter whose home wants the turn for others, nothing is done
  /// yet, and `later` is set: then, as after a wait, it resumes with `resume`.
  Found receive(Subscription& s, Run& run, BroadcastWaiter<T>* waiter, bool& later) {
    const std::lock_guard lock(mutex_);
    const Found found = look(s);
    if (found == Found::nothing) {
      if (waiter) wait(s, *waiter);
      return found;
    }
    if (waiter && waiter->home() && !waiter->home()->spend()) {
      s.busy = later = true;
      return found;
    }
    return begin(s, run, found);
  }
  /// The same for one of a select. `done`: it is its turn, and `resume` follows, or `abandon_receive`; `lost`: another
  /// operation of the select came first; `queued`, or (without a waiter) `idle`.
  WaitState await_turn(Subscription& s, BroadcastWaiter<T>* waiter) {
    const std::lock_guard lock(mutex_);
    if (look(s) == Found::nothing) {
      if (!waiter) return WaitState::idle;
      wait(s, *waiter);
      return WaitState::queued;
    }
    if (waiter && !waiter->claim()) return WaitState::lost;
    s.busy = true;
    return WaitState::done;
  }
  Found resume(Subscription& s, Run& run) noexcept {
    const std::lock_guard lock(mutex_);
    s.busy = false;
    const Found found = log_.look(s, closed_);
    assert(found != Found::nothing);
    return begin(s, run, found);
  }

  /// Gives the values that are pinned to `take(T&&)` or `take(const T&)`, without the lock, and lets go of them. Gives
  /// their number. When `take` throws for the first, that is thrown, else the call ends there.
  template <class Take>
  std::size_t finish(Subscription& s, Run& run, Take&& take) {
    std::size_t done = 0;
    std::exception_ptr error;
    try {
      for (Node* node = run.first;; node = node->next) {
        if (!node->last) {
          take(std::as_const(node->value));
        } else {
          give(*node, take);
        }
        if (++done == run.pinned) break;
      }
    } catch (...) {
      error = std::current_exception();
    }
    commit(s, run, done);
    if (done == 0) std::rethrow_exception(std::move(error));
    return done;
  }

  /// Takes a waiter back: false when it was completed before.
  bool cancel_send(Waiter& waiter) noexcept {
    const std::lock_guard lock(mutex_);
    if (waiter.state != WaitState::queued) return false;
    take_back(waiter, senders_waiting_);
    return true;
  }
  bool cancel_receive(BroadcastWaiter<T>& waiter) noexcept {
    const std::lock_guard lock(mutex_);
    if (waiter.state != WaitState::queued) return false;
    take_back_receive(waiter);
    return true;
  }
  /// The same for one that is known by its key only, because it may have been completed and freed: null if it was.
  Waiter* cancel_send_by(std::uint64_t key) noexcept {
    const std::lock_guard lock(mutex_);
    Waiter* const waiter = senders_waiting_.find(key);
    if (waiter) take_back(*waiter, senders_waiting_);
    return waiter;
  }
  Waiter* cancel_receive_by(std::uint64_t key) noexcept {
    const std::lock_guard lock(mutex_);
    Waiter* const waiter = receivers_waiting_.find(key);
    if (waiter) take_back_receive(static_cast<BroadcastWaiter<T>&>(*waiter));
    return waiter;
  }
  /// An operation that was woken, or gave up its turn, is destroyed before it resumed: its value is for the next.
  void abandon_receive(Subscription& s) noexcept {
    const std::lock_guard lock(mutex_);
    s.busy = false;
  }

  void close(std::exception_ptr reason) noexcept {
    WakeList wake;
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    closed_ = true;
    reason_ = std::move(reason);
    while (Waiter* const waiter = senders_waiting_.claim_front()) {
      senders_waiting_.remove(*waiter);
      waiter->finish(WaitState::closed, wake);
    }
    wake_receivers(wake);
  }

  [[nodiscard]] bool closed() const noexcept {
    const std::lock_guard lock(mutex_);
    return closed_;
  }
  [[nodiscard]] std::size_t subscribers() const noexcept {
    const std::lock_guard lock(mutex_);
    return log_.subscribers();
  }
  [[nodiscard]] BroadcastStats stats() const noexcept {
    const std::lock_guard lock(mutex_);
    BroadcastStats stats = log_.stats();
    stats.waiting_senders = senders_waiting_.count();
    stats.waiting_receivers = receivers_waiting_.count();
    return stats;
  }
  [[nodiscard]] BroadcastReceiverStats stats(const Subscription& s) const noexcept {
    const std::lock_guard lock(mutex_);
    return log_.stats(s);
  }
  void describe(std::string& text) const {
    const BroadcastStats now = stats();
    text += "broadcast: capacity " + std::to_string(now.capacity) + ", " + std::to_string(now.subscribers) +
            (now.subscribers == 1 ? " receiver" : " receivers");
    if (now.slowest != 0) text += ", the slowest is " + std::to_string(now.slowest) + " behind";
  }

 private:
  /// Destroys values when the lock is no more held: declare it before.
  struct Trash {
    explicit Trash(BroadcastCore& c) noexcept : core(c) {}
    Trash(const Trash&) = delete;
    Trash& operator=(const Trash&) = delete;
    ~Trash() {
      if (!nodes.empty()) core.recycle(nodes);
    }
    BroadcastCore& core;
    BroadcastNodeList<T> nodes;
  };

  [[nodiscard]] Found look(const Subscription& s) const {
    if (s.busy || s.reading != 0) {
      throw Error(Errc::invalid_argument, "a broadcast's receiver receives once at a time: subscribe again for more");
    }
    return log_.look(s, closed_);
  }
  void wait(Subscription& s, BroadcastWaiter<T>& waiter) noexcept {
    waiter.subscription = &s;
    receivers_waiting_.push(waiter);
    s.waiter = &waiter;
    s.busy = true;
  }
  Found begin(Subscription& s, Run& run, Found found) noexcept {
    if (found == Found::end && s.state == State::active) run.reason = reason_;
    return log_.begin(s, run, found);
  }
  template <class Take>
  static void give(Node& node, Take& take) {
    if constexpr (std::is_nothrow_move_constructible_v<T>) {
      take(std::move(node.value));
    } else {
      take(std::as_const(node.value));
    }
    node.destroy_value();
  }

  void commit(Subscription& s, const Run& run, std::size_t done) noexcept {
    Trash trash(*this);
    WakeList wake;
    const std::lock_guard lock(mutex_);
    log_.commit(s, run, done, trash.nodes);
    admit_waiting(wake);
  }

  void recycle(BroadcastNodeList<T>& nodes) noexcept {
    // The end of a value may be the end of the last handle.
    retain();
    nodes.destroy_values();
    {
      WakeList wake;
      const std::lock_guard lock(mutex_);
      while (!nodes.empty()) log_.destroyed(nodes.pop());
      admit_waiting(wake);
    }
    release();
  }

  /// Lets in those that wait for room, in their order; all of them, when nobody is subscribed any more.
  void admit_waiting(WakeList& wake) noexcept {
    while (!senders_waiting_.empty() && !log_.must_wait()) {
      Waiter* const first = senders_waiting_.claim_front();
      if (!first) return;
      auto& sender = static_cast<SendWaiter&>(*first);
      auto how = WaitState::done;
      try {
        const auto construct = [&sender](void* slot) { sender.transfer(sender, slot); };
        // There is room, so that nothing comes into it.
        BroadcastNodeList<T> trash;
        log_.append(construct, trash);
        wake_receivers(wake);
      } catch (...) {
        sender.error = std::current_exception();
        how = WaitState::failed;
      }
      senders_waiting_.remove(sender);
      sender.finish(how, wake);
    }
  }

  static void take_back(Waiter& waiter, WaitQueue& queue) noexcept {
    queue.remove(waiter);
    waiter.state = WaitState::cancelled;
  }
  void take_back_receive(BroadcastWaiter<T>& waiter) noexcept {
    take_back(waiter, receivers_waiting_);
    waiter.subscription->waiter = nullptr;
    waiter.subscription->busy = false;
  }

  void wake_receiver(BroadcastWaiter<T>& waiter, WakeList& wake) noexcept {
    if (!waiter.claim()) return take_back_receive(waiter);
    receivers_waiting_.remove(waiter);
    waiter.subscription->waiter = nullptr;
    waiter.finish(WaitState::done, wake);
  }
  void wake_receivers(WakeList& wake) noexcept {
    while (!receivers_waiting_.empty()) {
      wake_receiver(static_cast<BroadcastWaiter<T>&>(receivers_waiting_.front()), wake);
    }
  }

  mutable std::mutex mutex_;
  SharedCounter refs_{0};
  SharedCounter senders_{0};
  bool closed_ = false;
  BroadcastLog<T> log_;
  WaitQueue senders_waiting_;
  WaitQueue receivers_waiting_;
  std::exception_ptr reason_;
  asio::any_io_executor executor_;
};

}  // namespace weir::detail
