/// The channel itself, behind its handles: a ring between two sides, a lock for everything else.
///
/// What can be done at once is done without the lock, by a handle that holds its side (sides.hpp has the protocol); the
/// rest under it.
///
/// Invariants, checked by tests/channel/channel_explore_test.cpp at each step of the simulator:
///  1. buffered + reserved <= capacity.
///  2. Receivers wait only while nothing is buffered; senders wait only while buffered + reserved == capacity.
///  3. A waiter is in a queue (`queued`), or its outcome stands in `state` and it was woken once. Cancelling takes it
///     out of the queue under the lock, and does nothing to one that is out already: completed beats cancelled.
///  4. admitted == received + buffered + dropped.
///  5. Closed, nobody waits, unless permits are out: their values may still come, so receivers wait for them.
///  6. One of a `select` is served, or told that the channel is closed, only by who took its claim (`Choice`) under the
///     lock, before the value is moved. Those of its waiters that lost are in no queue once the select has ended; until
///     then they are passed over, keep the gates closed, and are not counted.
///  7. No value of the user's is destroyed, and nobody is posted, under the lock: both happen after it, by `Trash` and
///     `WakeList`. Only the move (or the construction) of a value happens under it, and the end of what it moved from.
#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include <weir/channel/detail/describe.hpp>
#include <weir/channel/detail/sides.hpp>
#include <weir/channel/detail/waiter.hpp>
#include <weir/channel/detail/wakes.hpp>
#include <weir/channel/options.hpp>
#include <weir/core/always_inline.hpp>

namespace weir::detail {

template <class T, class Sync>
class ChannelCore {
  using Side = typename Sides<T, Sync>::Side;
  using Party = typename Sides<T, Sync>::Party;
  using Hold = typename Sides<T, Sync>::Hold;
  using Wakes = ChannelWakes<Sync>;

 public:
  ChannelCore(const ChannelCore&) = delete;
  ChannelCore& operator=(const ChannelCore&) = delete;

  [[nodiscard]] virtual asio::any_io_executor executor() const noexcept = 0;
  [[nodiscard]] std::size_t capacity() const noexcept { return sides_.capacity(); }
  [[nodiscard]] bool waits_when_full() const noexcept { return overflow_ == Overflow::wait; }
  [[nodiscard]] bool waits_or_rejects() const noexcept {
    return overflow_ == Overflow::wait || overflow_ == Overflow::reject;
  }

  void retain() noexcept { ++refs_; }
  void release() noexcept {
    if (--refs_ == 0) delete this;
  }

  void add_sender() noexcept {
    retain();
    ++sides_.senders;
  }
  void drop_sender() noexcept {
    if (--sides_.senders == 0) close(nullptr);
    release();
  }
  void add_receiver() noexcept {
    retain();
    ++sides_.receivers;
  }
  void drop_receiver() noexcept {
    if (--sides_.receivers == 0) end_receiving();
    release();
  }

  /// Without the lock, by a handle of the side: `done`, or `full`; `idle`: ask with the lock.
  template <class Construct>
  WEIR_ALWAYS_INLINE WaitState send_at_once(Construct&& construct) {
    const Hold hold(sides_, Side::put);
    if (!hold) return WaitState::idle;
    if (!hold->has_room()) return WaitState::full;
    hold->put([&construct](void* slot) {
      construct(slot);
      return true;
    });
    return WaitState::done;
  }
  /// The same for values that `fill` builds in up to `max` slots (see `Ring::put_some`): gives their number, or 0.
  template <class Fill>
  std::size_t send_some_at_once(std::size_t max, Fill&& fill) {
    const Hold hold(sides_, Side::put);
    return hold ? hold->put_some(max, fill) : 0;
  }

  /// A look at the oldest value, by a receiver's handle and without the lock: null: ask with it. Otherwise the take
  /// side is held until `took_front` or `kept_front`, which must follow without a pause. On one thread it is enough
  /// that there is one: `took_front` serves who waits for its room.
  WEIR_ALWAYS_INLINE T* front_at_once() noexcept {
    if constexpr (Sync::concurrent) {
      Hold hold(sides_, Side::take);
      if (!hold || !hold->has_value()) return nullptr;
      T* const front = std::addressof(hold->front());
      hold.keep();
      return front;
    } else {
      Ring<T, Sync>* const ring = sides_.ring();
      return ring && ring->has_value() ? std::addressof(ring->front()) : nullptr;
    }
  }
  /// `by`: the home of the coroutine that took it, if one did.
  WEIR_ALWAYS_INLINE void took_front(Home* by) noexcept {
    Ring<T, Sync>* const ring = sides_.ring();
    ring->pop();
    if constexpr (Sync::concurrent) {
      Hold::let_go(ring->take_lane());
    } else if (!senders_waiting_.empty()) [[unlikely]] {
      admit_senders(by);
    }
  }
  void kept_front() noexcept { Hold::let_go(sides_.ring()->take_lane()); }

  /// Up to `max` values for `use` (see `Ring::take_some`), without the lock: gives their number, or 0.
  template <class Use>
  std::size_t receive_some_at_once(std::size_t max, Use&& use) {
    const Hold hold(sides_, Side::take);
    return hold ? hold->take_some(max, use) : 0;
  }

  [[nodiscard]] bool linger_for_room(std::uint32_t pauses) noexcept { return sides_.linger_for_room(pauses); }
  [[nodiscard]] bool linger_for_value(std::uint32_t pauses) noexcept { return sides_.linger_for_value(pauses); }

  /// One value, built by `construct(void*)`: `done`, `closed` or `full`; or, under the policy `wait` and by one that
  /// waits (see `Asks`), `queued`.
  template <class Construct, class Asks>
  WaitState send(Construct&& construct, Asks asks) {
    Trash trash;
    Wakes wake(asks.home());
    const Section section(*this);
    sides_.own_put(Party::side);
    if (closed_ || abandoned_) return asks.claim() ? WaitState::closed : WaitState::lost;
    const WaitState room = make_room(asks, trash);
    if (room == WaitState::done) {
      if (!asks.claim()) return WaitState::lost;
      deliver_one(construct, trash, wake);
    }
    return room == WaitState::idle ? WaitState::done : room;
  }

  /// Values one after the other, until `waiter.transfer` says that it was the last: `done`, `closed`, `full` or
  /// `queued`.
  WaitState send_run(SendWaiter& waiter) {
    const Known asks{&waiter};
    for (;;) {
      Trash trash;
      Wakes wake(asks.home());
      const Section section(*this);
      sides_.own_put(Party::side);
      // What is dropped is destroyed after the lock, so each drop ends the critical section.
      while (!trash) {
        if (closed_ || abandoned_) return WaitState::closed;
        const WaitState room = make_room(asks, trash);
        bool last = false;
        if (room == WaitState::done) {
          last = deliver_next(waiter, trash, wake);
        } else if (room == WaitState::idle) {
          last = waiter.transfer(waiter, nullptr);
        } else {
          return room;
        }
        if (last) return WaitState::done;
      }
    }
  }

  /// Room for one value, kept: `done`, `closed`, `full` or `queued`.
  template <class Asks>
  WaitState reserve(Asks asks) {
    Trash trash;
    const Section section(*this);
    sides_.own_put(Party::side);
    if (closed_ || abandoned_) return asks.claim() ? WaitState::closed : WaitState::lost;
    if (!has_room()) {
      const bool drops = overflow_ == Overflow::drop_oldest || overflow_ == Overflow::latest;
      if (drops && has_value()) {
        if (!asks.claim()) return WaitState::lost;
        drop_front(trash);
        ++reserved_;
        return WaitState::done;
      }
      if (overflow_ != Overflow::wait || !asks.waits()) return asks.claim() ? WaitState::full : WaitState::lost;
      sides_.own_take(Party::other);
      if (!has_room()) {
        senders_waiting_.push(asks.waiter());
        return WaitState::queued;
      }
    }
    if (!asks.claim()) return WaitState::lost;
    ++reserved_;
    return WaitState::done;
  }

  /// Uses a permit: false when nobody can receive any more (then the permit is still held, and nothing was moved).
  template <class Construct>
  bool send_reserved(Construct&& construct) {
    Trash trash;
    Wakes wake(nullptr);
    const Section section(*this);
    if (abandoned_) return false;
    if (overflow_ == Overflow::latest && has_value()) drop_front(trash);
    --reserved_;
    try {
      deliver_one(construct, trash, wake);
    } catch (...) {
      ++reserved_;
      throw;
    }
    // A receiver that waited got it, so the room is free again.
    pump(wake);
    wake_if_ended(wake);
    return true;
  }

  void release_permit() noexcept {
    Wakes wake(nullptr);
    const Section section(*this);
    --reserved_;
    pump(wake);
    wake_if_ended(wake);
  }

  /// Takes the oldest value by `take(T&)`: `done`, `closed` (drained as well; then `reason()` is there), or `queued` by
  /// one that waits, else `idle`.
  template <class Take, class Asks>
  WaitState receive(Take&& take, Asks asks) {
    Wakes wake(asks.home());
    const Section section(*this);
    sides_.own_take(Party::side);
    if (!has_value()) {
      if (ended()) return asks.claim() ? WaitState::closed : WaitState::lost;
      if (!asks.waits()) return WaitState::idle;
      sides_.own_put(Party::other);
      if (!has_value()) {
        receivers_waiting_.push(asks.waiter());
        return WaitState::queued;
      }
    }
    if (!asks.claim()) return WaitState::lost;
    Ring<T, Sync>& ring = *sides_.ring();
    take(ring.front());
    ring.pop();
    pump(wake);
    return WaitState::done;
  }
  /// What the channel was closed with, for a receiver that was told that it is closed: it does not change any more.
  [[nodiscard]] const std::exception_ptr& reason() const noexcept { return reason_; }

  /// Takes up to `max` values; 0: see `state`, as above.
  template <class Use, class Asks>
  std::size_t receive_some(Use&& use, std::size_t max, Asks asks, WaitState& state) {
    Wakes wake(asks.home());
    const Section section(*this);
    sides_.own_take(Party::side);
    std::size_t taken = 0;
    state = WaitState::done;
    const auto take_what_is_there = [&] {
      Ring<T, Sync>& ring = *sides_.ring();
      // Senders that wait come in as room appears, so that one call can take more than the capacity holds.
      try {
        while (taken < max && has_value()) {
          ring.take_some(max - taken, [&](T* values, std::size_t n, std::size_t& used) {
            const Count count{taken, used};
            use(values, n, used);
          });
          pump(wake);
        }
      } catch (...) {
        // It stays in front, for the next call to meet; those before it are to be told of.
        pump(wake);
        if (taken == 0) throw;
      }
    };
    if (has_value()) {
      take_what_is_there();
    } else if (ended()) {
      state = WaitState::closed;
    } else if (!asks.waits()) {
      state = WaitState::idle;
    } else if (sides_.own_put(Party::other); has_value()) {
      take_what_is_there();
    } else {
      receivers_waiting_.push(asks.waiter());
      state = WaitState::queued;
    }
    return taken;
  }

  /// Takes a waiter back: false when it was completed before.
  bool cancel_send(Waiter& waiter) noexcept { return take_back(waiter, senders_waiting_); }
  bool cancel_receive(Waiter& waiter) noexcept { return take_back(waiter, receivers_waiting_); }
  /// The same for one that is known by its key only, because it may have been completed and freed: null if it was.
  Waiter* cancel_send_by(std::uint64_t key) noexcept { return take_back_by(key, senders_waiting_); }
  Waiter* cancel_receive_by(std::uint64_t key) noexcept { return take_back_by(key, receivers_waiting_); }
  /// A value that was handed to a receiver which did not get it: it was destroyed before it could look, or the value's
  /// move threw.
  void count_undelivered() noexcept {
    const Lock lock(mutex_);
    ++dropped_;
  }

  void close(std::exception_ptr reason) noexcept {
    Wakes wake(nullptr);
    const Section section(*this);
    if (closed_) return;
    sides_.own_put(Party::other);
    closed_ = true;
    // Without receivers it has nobody to be told to, and those that were told of their end read what they find.
    if (!abandoned_) reason_ = std::move(reason);
    close_all(senders_waiting_, wake);
    wake_if_ended(wake);
  }

  /// What is there at the call, one after the other: each is destroyed outside the lock.
  std::size_t discard() noexcept {
    std::size_t count = 0;
    std::uint64_t end = 0;
    bool more = true;
    for (bool first = true; more; first = false) {
      Trash trash;
      Wakes wake(nullptr);
      const Section section(*this);
      sides_.own_take(Party::other);
      Ring<T, Sync>* const ring = sides_.ring();
      if (first) {
        end = ring ? ring->put_index() : 0;
        ++discarding_;
      }
      more = ring && ring->take_index() < end && has_value();
      if (more) {
        drop_front_surely(trash);
        ++count;
      } else {
        --discarding_;
      }
      pump(wake);
      wake_if_ended(wake);
    }
    return count;
  }

  [[nodiscard]] bool closed() const noexcept {
    const Lock lock(mutex_);
    return closed_ || abandoned_;
  }
  [[nodiscard]] ChannelStats stats() const noexcept {
    const Lock lock(mutex_);
    return stats_locked();
  }
  void set_name(std::string name) {
    auto fresh = std::make_unique<std::string>(std::move(name));
    const Lock lock(mutex_);
    name_.swap(fresh);
  }
  /// Appends what `describe` of a handle says.
  void describe(std::string& text) const {
    ChannelReport report;
    report.overflow = overflow_;
    report.senders = sides_.senders;
    report.receivers = sides_.receivers;
    {
      const Lock lock(mutex_);
      if (name_) report.name = *name_;
      report.stats = stats_locked();
      report.closed = closed_ || abandoned_;
      report.reason = reason_;
      report.sending.collect(senders_waiting_);
      report.receiving.collect(receivers_waiting_);
    }
    append_report(text, report);
  }

 protected:
  explicit ChannelCore(const ChannelOptions& options) : sides_(options.capacity), overflow_(options.overflow) {}
  virtual ~ChannelCore() = default;

 private:
  using Mutex = typename Sync::Mutex;
  using Lock = std::lock_guard<Mutex>;
  /// Holds a dropped value until the lock is released: declared before the section.
  using Trash = std::optional<T>;

  [[nodiscard]] ChannelStats stats_locked() const noexcept {
    const auto [put, taken] = indices();
    ChannelStats stats;
    stats.admitted = put + admitted_aside_;
    stats.received = taken + admitted_aside_ - dropped_;
    stats.dropped = dropped_;
    stats.buffered = static_cast<std::size_t>(put - taken);
    stats.reserved = reserved_;
    stats.capacity = capacity();
    stats.waiting_senders = senders_waiting_.count();
    stats.waiting_receivers = receivers_waiting_.count();
    return stats;
  }

  /// The lock; its end opens the gates that nothing speaks against.
  class Section {
   public:
    explicit Section(ChannelCore& core) noexcept : core_(core), lock_(core.mutex_) {}
    Section(const Section&) = delete;
    Section& operator=(const Section&) = delete;
    ~Section() { core_.open_gates(); }

   private:
    ChannelCore& core_;
    const Lock lock_;
  };

  struct Count {
    std::size_t& total;
    const std::size_t& more;
    ~Count() { total += more; }
  };

  /// Rule 4 of the sides.
  void open_gates() noexcept {
    if (!sides_.ring() || !waits_or_rejects()) return;
    if (!senders_waiting_.empty() || !receivers_waiting_.empty()) return;
    if (!closed_ && !abandoned_ && reserved_ == 0) sides_.open_put();
    if (discarding_ == 0) sides_.open_take();
  }
  bool take_back(Waiter& waiter, WaitQueue& queue) noexcept {
    const Section section(*this);
    if (waiter.state != WaitState::queued) return false;
    queue.remove(waiter);
    waiter.state = WaitState::cancelled;
    return true;
  }
  Waiter* take_back_by(std::uint64_t key, WaitQueue& queue) noexcept {
    const Section section(*this);
    Waiter* const waiter = queue.find(key);
    if (!waiter) return nullptr;
    queue.remove(*waiter);
    waiter->state = WaitState::cancelled;
    return waiter;
  }

  struct Indices {
    std::uint64_t put;
    std::uint64_t taken;
  };
  /// Both sides may be at work: a state that adds up, and is not older than what the caller has seen of either.
  [[nodiscard]] Indices indices() const noexcept {
    const Ring<T, Sync>* const ring = sides_.ring();
    if (!ring) return {0, 0};
    const std::uint64_t taken = ring->take_index();
    const std::uint64_t put = ring->put_index();
    return {put, put - taken > capacity() ? put - capacity() : taken};
  }

  [[nodiscard]] std::size_t buffered() const noexcept {
    const Ring<T, Sync>* const ring = sides_.ring();
    return ring ? ring->size() : 0;
  }
  /// On an owned take side, and an owned put side.
  [[nodiscard]] bool has_value() const noexcept {
    Ring<T, Sync>* const ring = sides_.ring();
    return ring && ring->has_value();
  }
  [[nodiscard]] bool has_room() const noexcept { return buffered() + reserved_ < capacity(); }
  [[nodiscard]] bool ended() const noexcept { return closed_ && reserved_ == 0 && buffered() == 0; }

  void drop_front(Trash& trash) {
    Ring<T, Sync>& ring = *sides_.ring();
    trash.emplace(std::move(ring.front()));
    ring.pop();
    ++dropped_;
  }
  /// The same, where it must go: one whose move throws is destroyed where it is.
  void drop_front_surely(Trash& trash) noexcept {
    try {
      drop_front(trash);
    } catch (...) {
      sides_.ring()->pop();
      ++dropped_;
    }
  }
  /// Takes `drop_front` back, if the value's move does not throw.
  void restore_front(Trash& trash) noexcept {
    if (!trash) return;
    try {
      sides_.ring()->push_front(std::move(*trash));
      --dropped_;
    } catch (...) {
    }
  }

  /// `done`: there is room for one more. `idle`: the new value is to be dropped, and is counted already. Else `full` or
  /// `queued`.
  template <class Asks>
  WaitState make_room(Asks& asks, Trash& trash) {
    if (overflow_ == Overflow::latest && has_value()) drop_front(trash);
    if (has_room()) return WaitState::done;
    switch (overflow_) {
      case Overflow::wait:
        if (!asks.waits()) return WaitState::full;
        sides_.own_take(Party::other);
        if (has_room()) return WaitState::done;
        senders_waiting_.push(asks.waiter());
        return WaitState::queued;
      case Overflow::reject:
        return WaitState::full;
      case Overflow::drop_oldest:
        if (has_value()) {
          drop_front(trash);
          return WaitState::done;
        }
        break;
      case Overflow::drop_newest:
      case Overflow::latest:
        break;
    }
    ++admitted_aside_;
    ++dropped_;
    return WaitState::idle;
  }

  /// To the receiver that waits longest, else into the ring. Returns what `construct` returned; when it throws, nothing
  /// changed.
  template <class Construct>
  bool deliver(Construct&& construct, Wakes& wake) {
    Waiter* const first = receivers_waiting_.claim_front();
    if (!first) {
      Ring<T, Sync>& ring = sides_.ensure_ring();
      static_cast<void>(ring.has_room());
      return ring.put(construct);
    }
    auto& receiver = static_cast<ReceiveWaiter<T>&>(*first);
    bool last = false;
    try {
      last = construct(receiver.slot());
    } catch (...) {
      if (receiver.who == Waiter::Who::select) begin_again(receiver, wake);
      throw;
    }
    receiver.has_value = true;
    receivers_waiting_.remove(receiver);
    ++admitted_aside_;
    receiver.finish(WaitState::done, wake);
    return last;
  }

  /// One of a select that was claimed for nothing. What came for its others meanwhile passed it by.
  void begin_again(Waiter& receiver, Wakes& wake) noexcept {
    receivers_waiting_.remove(receiver);
    wake.add(*receiver.home(), *receiver.choice->again);
  }

  /// The same; when `construct` throws, what was dropped to make room comes back, if its own move does not throw.
  template <class Construct>
  bool deliver_instead(Construct&& construct, Trash& trash, Wakes& wake) {
    try {
      return deliver(construct, wake);
    } catch (...) {
      restore_front(trash);
      throw;
    }
  }
  template <class Construct>
  void deliver_one(Construct& construct, Trash& trash, Wakes& wake) {
    deliver_instead(
        [&construct](void* slot) {
          construct(slot);
          return true;
        },
        trash, wake);
  }

  /// The next of many: with as many of those that follow as there is room for, if nobody waits for them. True: it was
  /// the last.
  bool deliver_next(SendWaiter& sender, Trash& trash, Wakes& wake) {
    if (sender.fill && receivers_waiting_.empty() && waits_or_rejects()) {
      bool last = false;
      sides_.ensure_ring().put_some(
          capacity() - buffered() - reserved_,
          [&](T* slots, std::size_t n, std::size_t& built) { last = sender.fill(sender, slots, n, built); });
      return last;
    }
    return deliver_instead([&](void* slot) { return sender.transfer(sender, slot); }, trash, wake);
  }

  [[gnu::noinline]] void admit_senders(Home* by) noexcept {
    Wakes wake(by);
    const Section section(*this);
    pump(wake);
  }
  /// Gives the room that appeared to those that wait for it, in their order.
  void pump(Wakes& wake) noexcept {
    while (!senders_waiting_.empty() && has_room()) {
      Waiter* const first = senders_waiting_.claim_front();
      if (!first) return;
      auto& sender = static_cast<SendWaiter&>(*first);
      auto how = WaitState::done;
      if (!sender.transfer) {
        ++reserved_;
      } else {
        try {
          Trash none;
          if (!deliver_next(sender, none, wake)) continue;
        } catch (...) {
          sender.error = std::current_exception();
          how = WaitState::failed;
        }
      }
      senders_waiting_.remove(sender);
      sender.finish(how, wake);
    }
  }

  static void close_all(WaitQueue& queue, Wakes& wake) noexcept {
    while (Waiter* const waiter = queue.claim_front()) {
      queue.remove(*waiter);
      waiter->finish(WaitState::closed, wake);
    }
  }

  void wake_if_ended(Wakes& wake) noexcept {
    if (!ended()) return;
    while (Waiter* const first = receivers_waiting_.claim_front()) {
      auto& receiver = static_cast<ReceiveWaiter<T>&>(*first);
      receivers_waiting_.remove(receiver);
      receiver.finish(WaitState::closed, wake);
    }
  }

  /// The last receiver has gone: what is buffered can't reach anybody, and nothing more comes.
  void end_receiving() noexcept {
    {
      Wakes wake(nullptr);
      const Section section(*this);
      sides_.own_put(Party::other);
      abandoned_ = true;
      close_all(senders_waiting_, wake);
      close_all(receivers_waiting_, wake);
    }
    discard();
  }

  Sides<T, Sync> sides_;
  const Overflow overflow_;
  bool closed_ = false;
  bool abandoned_ = false;
  mutable Mutex mutex_;
  typename Sync::Counter refs_{0};

  std::uint32_t discarding_ = 0;
  WaitQueue senders_waiting_;
  WaitQueue receivers_waiting_;
  std::size_t reserved_ = 0;
  /// Values that did not go through the ring: from a sender to a receiver that waited, or dropped as they came.
  std::uint64_t admitted_aside_ = 0;
  /// Those that were dropped as they came, out of the ring, or after they were handed to a receiver that did not get
  /// them.
  std::uint64_t dropped_ = 0;
  std::exception_ptr reason_;
  std::unique_ptr<std::string> name_;
};

/// With the executor, whose type nobody else has to know.
template <class T, class Sync, class Executor>
class ChannelBlock final : public ChannelCore<T, Sync> {
 public:
  ChannelBlock(const Executor& executor, const ChannelOptions& options)
      : ChannelCore<T, Sync>(options), executor_(executor) {}

  [[nodiscard]] asio::any_io_executor executor() const noexcept override { return executor_; }

 private:
  const Executor executor_;
};

}  // namespace weir::detail
