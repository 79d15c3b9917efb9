/// The ring between the two sides of a channel.
///
/// Protocol:
///  1. `put_` belongs to who holds the put side, `take_` to who holds the take side (sides.hpp says how a side is
///  held).
///     Only the holder of a side writes its lane.
///  2. A slot is the put side's from the store of `take_.index` that freed it to the store of `put_.index` that gives
///     it away, and the take side's in between. Both are release stores, and the other side reads them by acquire
///     loads.
///  3. `limit` is how far a side may go without another look: never past what the other side has given, and never past
///     the end of the lap, so that one comparison does for both.
///  4. The indices count all values that ever went in and out; they never wrap (584 years at one a nanosecond).
/// The ring of one writer and one reader is Lamport's ("Specifying Concurrent Program Modules", 1983); the cached
/// limits are those of MCRingBuffer (Lee, Bu and Chandranmenon, 2010).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <utility>

#include <weir/core/always_inline.hpp>
#include <weir/core/processor.hpp>

namespace weir::detail {

/// One allocation: both lanes and `capacity` slots.
template <class T, class Sync>
class Ring {
  template <class U>
  using Atomic = typename Sync::template Atomic<U>;

 public:
  /// One side. It is written by its holder, and `index` read by the other.
  struct alignas(Sync::line) Lane {
    Atomic<std::uint64_t> index{0};
    std::uint64_t limit = 0;
    /// Where slot 0 would be if the laps lay one behind the other: the slot of an index is a multiply and an add away.
    std::uintptr_t base = 0;
    std::uint64_t lap_end = 0;
    /// Whether somebody works on this side without the channel's lock.
    Atomic<bool> held{false};
    /// How long waiting for the other side has paid lately, in pauses.
    Atomic<std::uint32_t> patience{std::numeric_limits<std::uint32_t>::max()};
  };

  [[nodiscard]] static Ring* make(std::size_t capacity) {
    constexpr std::size_t slots_at = (sizeof(Ring) + alignment - 1) / alignment * alignment;
    if (capacity > (std::numeric_limits<std::size_t>::max() - slots_at) / sizeof(T)) throw std::bad_array_new_length();
    void* const memory = ::operator new(slots_at + capacity * sizeof(T), std::align_val_t{alignment});
    return ::new (memory) Ring(reinterpret_cast<std::uintptr_t>(memory) + slots_at, capacity);
  }
  /// Destroys the values too: when nobody holds a side.
  static void destroy(Ring* ring) noexcept {
    if (!ring) return;
    while (ring->has_value()) ring->pop();
    ring->~Ring();
    ::operator delete(static_cast<void*>(ring), std::align_val_t{alignment});
  }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  [[nodiscard]] Lane& put_lane() noexcept { return put_; }
  [[nodiscard]] Lane& take_lane() noexcept { return take_; }
  [[nodiscard]] std::uint64_t put_index() const noexcept { return put_.index.load(std::memory_order_acquire); }
  [[nodiscard]] std::uint64_t take_index() const noexcept { return take_.index.load(std::memory_order_acquire); }
  /// For the holder of a side: exact in the direction that it cares for.
  [[nodiscard]] std::size_t size() const noexcept {
    const std::uint64_t taken = take_index();
    return static_cast<std::size_t>(put_index() - taken);
  }

  /// Put side: whether there is a free slot. To be asked before each `put`.
  [[nodiscard]] WEIR_ALWAYS_INLINE bool has_room() noexcept {
    if (put_.index.load(std::memory_order_relaxed) < put_.limit) [[likely]]
      return true;
    return look(put_, take_index() + capacity_);
  }
  /// Builds a value in the next slot, and publishes it. When `construct` throws, nothing changed.
  template <class Construct>
  WEIR_ALWAYS_INLINE bool put(Construct&& construct) {
    const std::uint64_t index = put_.index.load(std::memory_order_relaxed);
    prefetch_ahead(slot(put_, index));
    const bool result = construct(static_cast<void*>(slot(put_, index)));
    put_.index.store(index + 1, std::memory_order_release);
    return result;
  }
  /// Put side: up to `max` values, published together. `fill(slots, n, built)` builds up to `n` there and counts them
  /// in `built` as it does, also when it throws; fewer than `n`: there are no more.
  template <class Fill>
  std::size_t put_some(std::size_t max, Fill&& fill) {
    return move_some(put_, max, take_index() + capacity_, fill);
  }

  /// Take side: whether there is a value. To be asked before each `front` and `pop`.
  [[nodiscard]] WEIR_ALWAYS_INLINE bool has_value() noexcept {
    if (take_.index.load(std::memory_order_relaxed) < take_.limit) [[likely]]
      return true;
    return look(take_, put_index());
  }
  [[nodiscard]] T& front() noexcept { return *slot(take_, take_.index.load(std::memory_order_relaxed)); }
  WEIR_ALWAYS_INLINE void pop() noexcept {
    const std::uint64_t index = take_.index.load(std::memory_order_relaxed);
    std::destroy_at(slot(take_, index));
    take_.index.store(index + 1, std::memory_order_release);
  }
  /// Take side: up to `max` values, freed together. `use(values, n, used)` counts in `used` those that it is done with.
  template <class Use>
  std::size_t take_some(std::size_t max, Use&& use) {
    return move_some(take_, max, put_index(), [&use](T* values, std::size_t n, std::size_t& used) {
      struct Destroy {
        T* values;
        const std::size_t& used;
        ~Destroy() { std::destroy_n(values, used); }
      } const destroy{values, used};
      use(values, n, used);
    });
  }
  /// Holder of both sides: puts back what was just popped.
  void push_front(T&& value) {
    const std::uint64_t index = take_.index.load(std::memory_order_relaxed) - 1;
    if (index + capacity_ < take_.lap_end) turn(take_, std::uint64_t{0} - capacity_);
    ::new (static_cast<void*>(slot(take_, index))) T(std::move(value));
    take_.index.store(index, std::memory_order_release);
    // Both sides look again.
    take_.limit = 0;
    put_.limit = 0;
  }

 private:
  static constexpr std::size_t alignment = std::max({Sync::line, alignof(T), alignof(Lane)});

  Ring(std::uintptr_t slots, std::size_t capacity) noexcept : capacity_(capacity) {
    put_.base = take_.base = slots;
    put_.limit = put_.lap_end = take_.lap_end = capacity;
  }
  ~Ring() = default;

  [[nodiscard]] static T* slot(const Lane& lane, std::uint64_t index) noexcept {
    return reinterpret_cast<T*>(lane.base + static_cast<std::uintptr_t>(index) * sizeof(T));
  }
  /// The lines that are put into next were read by the other side, and are in its cache: asked for in time, they come
  /// while other values are put. Past the end of the ring it does no harm.
  WEIR_ALWAYS_INLINE static void prefetch_ahead(const T* current) noexcept {
    if constexpr (Sync::concurrent) {
      constexpr std::uintptr_t ahead = 8 * Sync::line;
      const auto address = reinterpret_cast<std::uintptr_t>(current) + ahead;
      prefetch_to_write(reinterpret_cast<const void*>(address));
    }
  }
  /// Goes on to the next lap, of `slots` slots.
  static void turn(Lane& lane, std::uint64_t slots) noexcept {
    lane.base -= static_cast<std::uintptr_t>(slots) * sizeof(T);
    lane.lap_end += slots;
  }
  [[gnu::noinline]] bool look(Lane& lane, std::uint64_t given) noexcept {
    const std::uint64_t index = lane.index.load(std::memory_order_relaxed);
    if (index == lane.lap_end) turn(lane, capacity_);
    lane.limit = std::min(given, lane.lap_end);
    return index < lane.limit;
  }

  /// Goes over the slots that a side has, a stretch at a time; publishes once, also when `each` throws.
  template <class Each>
  std::size_t move_some(Lane& lane, std::size_t max, std::uint64_t given, Each&& each) {
    const std::uint64_t first = lane.index.load(std::memory_order_relaxed);
    struct Publish {
      Lane& lane;
      const std::uint64_t first;
      std::uint64_t next = first;
      ~Publish() {
        if (next != first) lane.index.store(next, std::memory_order_release);
      }
    } at{lane, first};
    const std::uint64_t end = first + std::min<std::uint64_t>(max, given - first);
    while (at.next != end) {
      if (at.next == lane.lap_end) turn(lane, capacity_);
      const auto stretch = static_cast<std::size_t>(std::min(end, lane.lap_end) - at.next);
      struct Step {
        Publish& at;
        std::size_t count = 0;
        ~Step() { at.next += count; }
      } step{at};
      each(slot(lane, at.next), stretch, step.count);
      if (step.count < stretch) return static_cast<std::size_t>(at.next - first) + step.count;
    }
    return static_cast<std::size_t>(end - first);
  }

  const std::uint64_t capacity_;
  Lane put_;
  Lane take_;
};

}  // namespace weir::detail
