/// The two sides of a channel, and how they are worked on: the code without locks, and what it and the lock owe each
/// other.
///
/// A side (putting, taking) is worked on in one of two ways. While its gate is open, by its handles and without the
/// lock ("at once"); while it is closed, by who has the lock. Protocol:
///  1. Who works on a side without the lock holds its lane first (`Hold`), and looks at the gate after that. Closed, it
///     lets go and takes the lock. The only handle of a side holds by a plain store; of several, each by an exchange.
///  2. Who has the lock and needs a side closes its gate, and then waits until the lane is not held (`own`). In between
///     comes a heavy fence, which stands for the one that the plain store of rule 1 is without. None is needed where
///     all hold by an exchange: on a side that has several handles after its gate was closed (who is left alone later
///     sees the closed gate); nor by a handle that owns its own side, as nobody else can be there.
///  3. Who waits owns both sides before it looks at the ring for the last time. So both gates are closed as long as
///     anybody waits: a peer comes to the lock, and serves who waits there.
///  4. Gates are opened under the lock alone, by a release store, when nothing speaks against it: nobody waits, and for
///     the put side no permit is out and values can still be sent. Under the policies that drop they are never opened.
///  5. A handle is used by one thread at a time, so that a side with one handle has one party. The count of handles
///     says which of the two ways of rule 1 is right: it rises from one only by a copy of the only handle, and falls to
///     one only after the others' last use.
///  6. At small capacities waits are frequent and heavy fences would be: there every handle holds by an exchange.
/// tests/channel/model_check_test.cpp tries the interleavings of these steps, in both ways, with the memory of x86.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>

#include <weir/channel/detail/ring.hpp>
#include <weir/channel/detail/sync.hpp>
#include <weir/core/always_inline.hpp>

namespace weir::detail {

template <class T, class Sync>
class Sides {
  template <class U>
  using Atomic = typename Sync::template Atomic<U>;
  using Lane = typename Ring<T, Sync>::Lane;
  /// Whether a side is open to its handles.
  using Gate = Atomic<bool>;
  [[nodiscard]] static bool is_open(const Gate& gate) noexcept { return gate.load(std::memory_order_seq_cst); }

 public:
  using Counter = typename Sync::Counter;
  enum class Side : bool { put, take };
  /// Who wants a side: a handle of it, which is not at work on it elsewhere, or somebody else.
  enum class Party : bool { side, other };

  explicit Sides(std::size_t capacity) noexcept
      : asymmetric_(capacity > largest_symmetric && Sync::has_heavy_fence()), capacity_(capacity) {}
  Sides(const Sides&) = delete;
  Sides& operator=(const Sides&) = delete;
  /// When nobody is left.
  ~Sides() { Ring<T, Sync>::destroy(ring()); }

  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  /// Null before the first value that has to stay. It stays to the end.
  [[nodiscard]] Ring<T, Sync>* ring() const noexcept { return ring_.load(std::memory_order_relaxed); }
  /// With the lock.
  Ring<T, Sync>& ensure_ring() {
    if (!ring()) ring_.store(Ring<T, Sync>::make(capacity_), std::memory_order_release);
    return *ring();
  }

  /// Rule 1. Empty when the gate is closed.
  class Hold {
   public:
    WEIR_ALWAYS_INLINE Hold(Sides& sides, Side side) noexcept {
      const Gate& gate = side == Side::put ? sides.put_gate_ : sides.take_gate_;
      // Before it was ever open there is no ring.
      if (!gate.load(std::memory_order_acquire)) [[unlikely]]
        return;
      ring_ = sides.ring_.load(std::memory_order_relaxed);
      if constexpr (Sync::concurrent) {
        lane_ = side == Side::put ? &ring_->put_lane() : &ring_->take_lane();
        if (sides.asymmetric_ && (side == Side::put ? sides.senders : sides.receivers) <= 1) [[likely]] {
          assert(!lane_->held.load(std::memory_order_relaxed) && "one handle, used by two threads at once: copy it");
          lane_->held.store(true, std::memory_order_relaxed);
          Sync::light_fence();
        } else if (lane_->held.exchange(true, std::memory_order_seq_cst)) {
          contend(*lane_);
        }
        if (!is_open(gate)) [[unlikely]] {
          let_go(*lane_);
          return;
        }
      }
      held_ = true;
    }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;
    WEIR_ALWAYS_INLINE ~Hold() {
      if constexpr (Sync::concurrent) {
        if (held_) let_go(*lane_);
      }
    }
    [[nodiscard]] explicit operator bool() const noexcept { return held_; }
    Ring<T, Sync>* operator->() const noexcept { return ring_; }

    void keep() noexcept { held_ = false; }
    static void let_go(Lane& lane) noexcept {
      if constexpr (Sync::concurrent) lane.held.store(false, std::memory_order_release);
    }

   private:
    /// Looks seldom, so that the holder's line stays with it.
    [[gnu::noinline]] static void contend(Lane& lane) noexcept {
      constexpr int pauses = 16;
      int tries = 0;
      do {
        do {
          for (int i = 0; i < pauses; ++i) Sync::pause();
          if (++tries > pauses) Sync::yield();
        } while (lane.held.load(std::memory_order_relaxed));
      } while (lane.held.exchange(true, std::memory_order_seq_cst));
    }

    Ring<T, Sync>* ring_ = nullptr;
    Lane* lane_ = nullptr;
    bool held_ = false;
  };

  /// Rule 2. With the lock.
  void own_put(Party party) noexcept { own(Side::put, put_gate_, senders, party); }
  void own_take(Party party) noexcept { own(Side::take, take_gate_, receivers, party); }
  /// Rule 4. With the lock, when it is owned.
  void open_put() noexcept { open(put_gate_); }
  void open_take() noexcept { open(take_gate_); }

  /// Looks again and again, for at most `pauses`, whether there is room (a value): true when it pays to ask again.
  bool linger_for_room(std::uint32_t pauses) noexcept {
    Ring<T, Sync>* const ring = ring_.load(std::memory_order_acquire);
    if (!ring) return false;
    return linger(ring->put_lane(), put_gate_, pauses, [ring, this] { return ring->size() < capacity_; });
  }
  bool linger_for_value(std::uint32_t pauses) noexcept {
    Ring<T, Sync>* const ring = ring_.load(std::memory_order_acquire);
    if (!ring) return false;
    return linger(ring->take_lane(), take_gate_, pauses, [ring] { return ring->size() != 0; });
  }

  /// The handles of each side.
  Counter senders{0};
  Counter receivers{0};

 private:
  /// The largest capacity at which waits are so frequent that every hold had better be fenced (rule 6).
  static constexpr std::size_t largest_symmetric = 64;

  void own(Side side, Gate& gate, const Counter& handles, Party party) noexcept {
    if (!gate.load(std::memory_order_relaxed)) return;
    gate.store(false, std::memory_order_seq_cst);
    if constexpr (Sync::concurrent) {
      if (handles <= 1) {
        if (party == Party::side) return;
        if (asymmetric_) Sync::heavy_fence();
      }
      Ring<T, Sync>* const ring = ring_.load(std::memory_order_relaxed);
      const Lane& lane = side == Side::put ? ring->put_lane() : ring->take_lane();
      for (int tries = 0; lane.held.load(std::memory_order_seq_cst); ++tries) {
        Sync::pause();
        if (tries > 64) Sync::yield();
      }
    }
  }

  static void open(Gate& gate) noexcept {
    if (!gate.load(std::memory_order_relaxed)) gate.store(true, std::memory_order_release);
  }

  template <class Ready>
  bool linger(Lane& lane, const Gate& gate, std::uint32_t pauses, Ready&& ready) noexcept {
    // With little room each wait is for one value: what is handed from thread to thread that way costs more than a
    // coroutine that is suspended and woken along.
    if (!Sync::concurrent || !asymmetric_) return false;
    // It pays for as long as it has paid: waiting in vain halves it, and now and then it is tried again.
    const std::uint32_t patience = lane.patience.load(std::memory_order_relaxed);
    const std::uint32_t limit = std::min(pauses, patience);
    const auto between = static_cast<std::uint32_t>(std::clamp<std::size_t>(capacity_ / 32, 1, 32));
    for (std::uint32_t waited = 0; waited < limit && is_open(gate); waited += between) {
      for (std::uint32_t i = 0; i < between; ++i) Sync::pause();
      if (ready()) {
        lane.patience.store(std::max(waited * 8, pauses / 4), std::memory_order_relaxed);
        return true;
      }
    }
    lane.patience.store(patience < 4 ? pauses / 8 : std::min(patience, pauses) / 2, std::memory_order_relaxed);
    return false;
  }

  // Read by every operation, written seldom.
  Gate put_gate_{false};
  Gate take_gate_{false};
  const bool asymmetric_;
  const std::size_t capacity_;
  Atomic<Ring<T, Sync>*> ring_{nullptr};
};

}  // namespace weir::detail
