/// A broadcast, behind its handles: the values that some receiver has still to read, and where each receiver is.
///
/// All is done under one lock, but what a user's value does when it is copied or destroyed.
///  1. Values are numbered from 0 as they are sent. Those from `head_` up to `tail_` are in the ring, each in a node of
///     its own; `tail_ - head_ <= capacity`.
///  2. A node counts its receivers: `unread` have not begun with it, `pins` are reading it just now, without the lock.
///     A pinned node is neither written, reused nor destroyed, also when the policy took it out of the ring meanwhile.
///  3. One who pins a node that nobody else reads or will read is its `last`: the value is its own to move from and to
///     destroy, still without the lock. Nobody can join: `unread` only falls, and who subscribes begins at `tail_`.
///  4. A receiver moves on when it has its value, not when it begins: what a copy throws, or a coroutine that is
///     destroyed in between, leaves the value for the next call. At any moment, for each receiver and for all together,
///     sent since it subscribed == received + skipped + dropped + pending.
///  5. Nodes in the ring that nobody needs leave it at once, the oldest first. One whose value has yet to be destroyed
///     is in `limbo_` until that is done, and under the policy `wait` still takes room; the lock is taken again after.
///  6. Senders wait only under the policy `wait`, with a subscriber, and with no room. Receivers wait only when they
///     have read everything; each send wakes them all. A woken receiver reads when it resumes: nothing is handed over
///     that could be lost.
///  7. A waiter is in a queue (`queued`), or its outcome stands in `state` and it was woken once. Cancelling takes it
///     out under the lock and does nothing to one that is out already: completed beats cancelled.
///  8. Nobody is posted under the lock (`WakeList`), and no value destroyed (`Trash`); values are moved in under it.
/// tests/channel/broadcast_explore_test.cpp checks 1, 4, 5 and 6 at each step of the simulator,
/// broadcast_threads_test.cpp the rest.
#pragma once

#include <algorithm>
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
#include <weir/channel/detail/sync.hpp>
#include <weir/channel/detail/waiter.hpp>
#include <weir/core/error.hpp>
#include <weir/core/wake_list.hpp>

namespace weir::detail {

template <class T>
class BroadcastCore;
template <class T>
struct BroadcastWaiter;

template <class T>
struct BroadcastNode {
  BroadcastNode() noexcept {}
  BroadcastNode(const BroadcastNode&) = delete;
  BroadcastNode& operator=(const BroadcastNode&) = delete;
  ~BroadcastNode() {}

  void destroy_value() noexcept {
    std::destroy_at(&value);
    filled = false;
  }

  union {
    T value;
  };
  /// The value that was sent after it; or, out of the ring and not pinned, the next of a list.
  BroadcastNode* next = nullptr;
  std::uint32_t unread = 0;
  std::uint32_t pins = 0;
  bool last = false;
  bool filled = false;
};

/// One receiver's place. Its members are the core's, under its lock; shared by the handle and the operation that waits.
template <class T>
class BroadcastSubscription {
 public:
  explicit BroadcastSubscription(BroadcastCore<T>& c) noexcept : core(c) { core.retain(); }
  BroadcastSubscription(const BroadcastSubscription&) = delete;
  BroadcastSubscription& operator=(const BroadcastSubscription&) = delete;

  void retain() noexcept { ++refs_; }
  void release() noexcept {
    if (--refs_ == 0) delete this;
  }

  enum class State : unsigned char { active, disconnected, left };

  BroadcastCore<T>& core;
  BroadcastSubscription* prev = nullptr;
  BroadcastSubscription* following = nullptr;
  std::uint64_t start = 0;     ///< the first value that is for it
  std::uint64_t next = 0;      ///< the first that it has not received; before `head_`: some were skipped
  std::uint64_t end = 0;       ///< no longer active: the first that is not for it
  std::uint64_t received = 0;  ///< each of the three counts what it was told of
  std::uint64_t skipped = 0;
  std::uint64_t dropped = 0;
  std::uint64_t reading = 0;             ///< from `next` on: pinned by the call that is under way
  BroadcastWaiter<T>* waiter = nullptr;  ///< the operation that waits for a value
  bool busy = false;                     ///< an operation has suspended
  State state = State::active;

 private:
  ~BroadcastSubscription() { core.release(); }
  SharedCounter refs_{1};
};

/// A receive that waits for a value to be sent.
template <class T>
struct BroadcastWaiter : Waiter {
  BroadcastSubscription<T>* subscription = nullptr;
};

/// What a receiver finds at its place.
enum class Found : unsigned char { nothing, value, lagged, disconnected, end };

/// A call that receives: what it was asked for, and what it has in hand.
template <class T>
struct BroadcastRun {
  std::size_t max = 1;
  std::uint64_t* skipped = nullptr;  ///< adds what was skipped here, instead of telling of it
  BroadcastNode<T>* first = nullptr;
  std::size_t pinned = 0;
  std::uint64_t lag = 0;
  std::exception_ptr reason;
};

template <class T>
class BroadcastCore {
 public:
  using Node = BroadcastNode<T>;
  using Subscription = BroadcastSubscription<T>;
  using Run = BroadcastRun<T>;
  using State = typename Subscription::State;

  BroadcastCore(asio::any_io_executor executor, const BroadcastOptions& options)
      : capacity_(options.capacity), slow_(options.slow), executor_(std::move(executor)) {}
  BroadcastCore(const BroadcastCore&) = delete;
  BroadcastCore& operator=(const BroadcastCore&) = delete;

  [[nodiscard]] const asio::any_io_executor& executor() const noexcept { return executor_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }

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
    s->start = s->next = tail_;
    s->following = first_;
    if (first_) first_->prev = s;
    first_ = s;
    ++subscribers_;
    return s;
  }

  /// The handle is given up: its operation that waits ends, and so do the waits of senders for it.
  void leave(Subscription& s) noexcept {
    Trash trash(*this);
    WakeList wake;
    const std::lock_guard lock(mutex_);
    end_subscription(s, State::left);
    (s.prev ? s.prev->following : first_) = s.following;
    if (s.following) s.following->prev = s.prev;
    if (s.waiter) wake_receiver(*s.waiter, wake);
    drop_read(trash);
    admit_waiting(wake);
  }

  /// One value, moved in by `construct(void*)`, which is not called when nobody is subscribed: `done`, `closed`, and
  /// under the policy `wait` `queued`, or `full` without a waiter.
  template <class Construct>
  WaitState send(Construct&& construct, SendWaiter* waiter) {
    Trash trash(*this);
    WakeList wake;
    const std::lock_guard lock(mutex_);
    if (closed_) return WaitState::closed;
    if (subscribers_ != 0 && slow_ == SlowReceiver::wait && !room()) {
      if (!waiter) return WaitState::full;
      senders_waiting_.push(*waiter);
      return WaitState::queued;
    }
    put(construct, trash, wake);
    return WaitState::done;
  }

  /// Begins a call that receives. `nothing`: it waits as `waiter`, or (without one) there is nothing now. `value`: the
  /// values are pinned, and `finish` has to follow. With a waiter whose home wants the turn for others, nothing is done
  /// yet, and `later` is set: then, as after a wait, it resumes with `resume`.
  Found receive(Subscription& s, Run& run, BroadcastWaiter<T>* waiter, bool& later) {
    const std::lock_guard lock(mutex_);
    if (s.busy || s.reading != 0) {
      throw Error(Errc::invalid_argument, "a broadcast's receiver receives once at a time: subscribe again for more");
    }
    const Found found = look(s);
    if (found == Found::nothing) {
      if (waiter) {
        waiter->subscription = &s;
        receivers_waiting_.push(*waiter);
        s.waiter = waiter;
        s.busy = true;
      }
      return found;
    }
    if (waiter && !waiter->home->spend()) {
      s.busy = later = true;
      return found;
    }
    return begin(s, run, found);
  }
  Found resume(Subscription& s, Run& run) noexcept {
    const std::lock_guard lock(mutex_);
    s.busy = false;
    return begin(s, run, look(s));
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
    senders_waiting_.remove(waiter);
    waiter.state = WaitState::cancelled;
    return true;
  }
  bool cancel_receive(BroadcastWaiter<T>& waiter) noexcept {
    const std::lock_guard lock(mutex_);
    if (waiter.state != WaitState::queued) return false;
    receivers_waiting_.remove(waiter);
    waiter.state = WaitState::cancelled;
    waiter.subscription->waiter = nullptr;
    waiter.subscription->busy = false;
    return true;
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
    while (!senders_waiting_.empty()) {
      Waiter& waiter = senders_waiting_.front();
      senders_waiting_.remove(waiter);
      waiter.finish(WaitState::closed, wake);
    }
    wake_receivers(wake);
  }

  [[nodiscard]] bool closed() const noexcept {
    const std::lock_guard lock(mutex_);
    return closed_;
  }
  [[nodiscard]] std::size_t subscribers() const noexcept {
    const std::lock_guard lock(mutex_);
    return subscribers_;
  }
  [[nodiscard]] BroadcastStats stats() const noexcept {
    const std::lock_guard lock(mutex_);
    BroadcastStats stats = counts_;
    stats.buffered = static_cast<std::size_t>(tail_ - head_);
    stats.capacity = capacity_;
    stats.subscribers = subscribers_;
    stats.waiting_senders = senders_waiting_.size();
    stats.waiting_receivers = receivers_waiting_.size();
    for (const Subscription* s = first_; s; s = s->following) {
      const std::uint64_t behind = pending(*s);
      stats.pending += behind;
      stats.slowest = std::max(stats.slowest, behind);
    }
    return stats;
  }
  [[nodiscard]] BroadcastReceiverStats stats(const Subscription& s) const noexcept {
    const std::lock_guard lock(mutex_);
    return {.sent = (s.state == State::active ? tail_ : s.end) - s.start,
            .received = s.received,
            .skipped = s.skipped + untold(s),
            .dropped = s.dropped,
            .pending = pending(s),
            .disconnected = s.state == State::disconnected};
  }
  void describe(std::string& text) const {
    const BroadcastStats now = stats();
    text += "broadcast: capacity " + std::to_string(now.capacity) + ", " + std::to_string(now.subscribers) +
            (now.subscribers == 1 ? " receiver" : " receivers");
    if (now.slowest != 0) text += ", the slowest is " + std::to_string(now.slowest) + " behind";
  }

 private:
  /// Nodes whose values are destroyed after the lock.
  class Trash {
   public:
    explicit Trash(BroadcastCore& core) noexcept : core_(core) {}
    Trash(const Trash&) = delete;
    Trash& operator=(const Trash&) = delete;
    ~Trash() {
      if (first_) core_.recycle(first_);
    }
    void add(Node& node) noexcept {
      // The end of a value may be the end of the last handle.
      if (!first_) core_.retain();
      node.next = nullptr;
      *end_ = &node;
      end_ = &node.next;
    }

   private:
    BroadcastCore& core_;
    Node* first_ = nullptr;
    Node** end_ = &first_;
  };

  ~BroadcastCore() {
    assert(head_ == tail_ && limbo_ == 0);
    while (Node* const node = free_) {
      free_ = node->next;
      delete node;
    }
  }

  [[nodiscard]] bool room() const noexcept { return tail_ - head_ + limbo_ < capacity_; }
  [[nodiscard]] Node*& at(std::uint64_t position) const noexcept { return ring_[position % capacity_]; }
  [[nodiscard]] std::uint64_t first_unread(const Subscription& s) const noexcept {
    return std::max(s.next + s.reading, head_);
  }
  /// Skipped, and the receiver has not been told.
  [[nodiscard]] std::uint64_t untold(const Subscription& s) const noexcept {
    return s.state == State::active ? first_unread(s) - (s.next + s.reading) : 0;
  }
  [[nodiscard]] std::uint64_t pending(const Subscription& s) const noexcept {
    return s.state == State::active ? tail_ - s.next - untold(s) : s.reading;
  }

  [[nodiscard]] Found look(const Subscription& s) const noexcept {
    if (s.state == State::disconnected) return Found::disconnected;
    if (s.state == State::left) return Found::end;
    if (s.next < head_) return Found::lagged;
    if (s.next < tail_) return Found::value;
    return closed_ ? Found::end : Found::nothing;
  }
  Found begin(Subscription& s, Run& run, Found found) noexcept {
    if (found == Found::end && s.state == State::active) run.reason = reason_;
    if (found == Found::lagged) {
      run.lag = head_ - s.next;
      s.skipped += run.lag;
      s.next = head_;
      if (!run.skipped) return found;
      *run.skipped += run.lag;
      found = Found::value;
    }
    if (found != Found::value) return found;
    run.first = at(s.next);
    run.pinned = static_cast<std::size_t>(std::min<std::uint64_t>(run.max, tail_ - s.next));
    for (std::size_t i = 0; i < run.pinned; ++i) {
      Node& node = *at(s.next + i);
      --node.unread;
      if (++node.pins == 1) node.last = node.unread == 0;
    }
    s.reading = run.pinned;
    return found;
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

  void commit(Subscription& s, Run& run, std::size_t done) noexcept {
    Trash trash(*this);
    WakeList wake;
    const std::lock_guard lock(mutex_);
    Node* node = run.first;
    for (std::size_t i = 0; i < run.pinned; ++i) {
      Node* const after = node->next;
      const bool buffered = s.next + i >= head_;
      --node->pins;
      if (i >= done) {
        node->last = false;
        if (s.state != State::active) {
          ++s.dropped;
          ++counts_.dropped;
        } else if (buffered) {
          ++node->unread;
        } else {
          ++counts_.skipped;
        }
      }
      if (!buffered && node->pins == 0) discard(*node, trash);
      node = after;
    }
    s.next += done;
    s.received += done;
    counts_.received += done;
    s.reading = 0;
    drop_read(trash);
    admit_waiting(wake);
  }

  /// Appends a value. When the construction throws, nothing has changed.
  template <class Construct>
  void put(Construct&& construct, Trash& trash, WakeList& wake) {
    if (subscribers_ == 0) {
      ++counts_.sent;
      ++counts_.unheard;
      return;
    }
    Node& node = fill(construct);
    if (tail_ - head_ == capacity_) make_room(trash);
    ++counts_.sent;
    if (subscribers_ == 0) {
      // The policy has just disconnected the last one.
      ++counts_.unheard;
      return discard(node, trash);
    }
    node.next = nullptr;
    node.unread = static_cast<std::uint32_t>(subscribers_);
    node.last = false;
    counts_.due += subscribers_;
    if (tail_ != head_) at(tail_ - 1)->next = &node;
    at(tail_++) = &node;
    wake_receivers(wake);
  }

  template <class Construct>
  [[nodiscard]] Node& fill(Construct& construct) {
    if (!ring_) ring_ = std::make_unique_for_overwrite<Node*[]>(capacity_);
    if (!free_) free_ = new Node;
    Node& node = *free_;
    construct(static_cast<void*>(std::addressof(node.value)));
    free_ = node.next;
    node.filled = true;
    return node;
  }

  /// Takes the oldest value out of the ring, from those that have not begun with it.
  void make_room(Trash& trash) noexcept {
    Node& oldest = *at(head_);
    if (slow_ == SlowReceiver::disconnect) {
      for (Subscription* s = first_; s && oldest.unread != 0; s = s->following) {
        if (s->state != State::active || first_unread(*s) != head_) continue;
        end_subscription(*s, State::disconnected);
        ++counts_.disconnected;
      }
    }
    counts_.skipped += oldest.unread;
    oldest.unread = 0;
    ++head_;
    // Pinned, it is for the last one that reads it to discard.
    if (oldest.pins == 0) discard(oldest, trash);
    drop_read(trash);
  }

  void drop_read(Trash& trash) noexcept {
    for (; head_ != tail_; ++head_) {
      Node& oldest = *at(head_);
      if (oldest.unread != 0 || oldest.pins != 0) break;
      discard(oldest, trash);
    }
  }

  void discard(Node& node, Trash& trash) noexcept {
    if (node.filled && !std::is_trivially_destructible_v<T>) {
      ++limbo_;
      trash.add(node);
    } else {
      free_node(node);
    }
  }
  void free_node(Node& node) noexcept {
    node.filled = false;
    node.next = free_;
    free_ = &node;
  }

  void recycle(Node* first) noexcept {
    for (Node* node = first; node; node = node->next) node->destroy_value();
    {
      WakeList wake;
      const std::lock_guard lock(mutex_);
      while (first) {
        Node& node = *std::exchange(first, first->next);
        free_node(node);
        --limbo_;
      }
      admit_waiting(wake);
    }
    release();
  }

  /// Nothing more for this one: what it has not begun with is dropped.
  void end_subscription(Subscription& s, State how) noexcept {
    if (s.state == State::active) {
      const std::uint64_t from = first_unread(s);
      for (std::uint64_t position = from; position != tail_; ++position) --at(position)->unread;
      s.skipped += untold(s);
      s.dropped += tail_ - from;
      counts_.dropped += tail_ - from;
      s.end = tail_;
      --subscribers_;
    }
    s.state = how;
  }

  /// Lets in those that wait for room, in their order; all of them, when nobody is subscribed any more.
  void admit_waiting(WakeList& wake) noexcept {
    while (!senders_waiting_.empty() && (subscribers_ == 0 || room())) {
      auto& sender = static_cast<SendWaiter&>(senders_waiting_.front());
      auto how = WaitState::done;
      try {
        // There is room: nothing comes into it.
        Trash unused(*this);
        put([&sender](void* slot) { sender.transfer(sender, slot); }, unused, wake);
      } catch (...) {
        sender.error = std::current_exception();
        how = WaitState::failed;
      }
      senders_waiting_.remove(sender);
      sender.finish(how, wake);
    }
  }

  void wake_receiver(BroadcastWaiter<T>& waiter, WakeList& wake) noexcept {
    receivers_waiting_.remove(waiter);
    waiter.subscription->waiter = nullptr;
    waiter.finish(WaitState::done, wake);
  }
  void wake_receivers(WakeList& wake) noexcept {
    while (!receivers_waiting_.empty()) {
      wake_receiver(static_cast<BroadcastWaiter<T>&>(receivers_waiting_.front()), wake);
    }
  }

  friend class Trash;

  mutable std::mutex mutex_;
  SharedCounter refs_{0};
  SharedCounter senders_{0};
  std::size_t capacity_;
  SlowReceiver slow_;
  bool closed_ = false;
  std::unique_ptr<Node*[]> ring_;
  Node* free_ = nullptr;
  std::uint64_t head_ = 0;
  std::uint64_t tail_ = 0;
  std::size_t limbo_ = 0;
  Subscription* first_ = nullptr;
  std::size_t subscribers_ = 0;
  WaitQueue senders_waiting_;
  WaitQueue receivers_waiting_;
  BroadcastStats counts_;
  std::exception_ptr reason_;
  asio::any_io_executor executor_;
};

}  // namespace weir::detail
