/// What code is instantiated with to be checked by `Checker`: atomics, mutexes, counters, fences, pauses; and what
/// tests use beside it: an event to wait for, and a value whose accesses are checked for races.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "support/model/checker.hpp"

namespace weir_test::model {

[[nodiscard]] inline Checker& checker() noexcept { return *Checker::current(); }

inline void require(bool condition, const char* what) { checker().require(condition, what); }

/// An atomic, in the members that the library uses.
template <class U>
class Atomic {
  static_assert(std::is_trivially_copyable_v<U> && sizeof(U) <= sizeof(std::uint64_t));

 public:
  Atomic(U value) { checker().born(location_, kind(), pack(value)); }
  Atomic(const Atomic&) = delete;
  Atomic& operator=(const Atomic&) = delete;
  ~Atomic() { checker().died(location_); }

  [[nodiscard]] U load(std::memory_order order) const { return unpack(checker().load(location_, acquires(order))); }
  void store(U value, std::memory_order order) {
    checker().store(location_, pack(value), releases(order), order == std::memory_order_seq_cst);
  }
  U exchange(U value, std::memory_order order) {
    return unpack(
        checker().modify(location_, acquires(order), releases(order), [value](std::uint64_t) { return pack(value); }));
  }
  U fetch_add(U n, std::memory_order order) {
    return unpack(checker().modify(location_, acquires(order), releases(order),
                                   [n](std::uint64_t before) { return pack(static_cast<U>(unpack(before) + n)); }));
  }

 private:
  static bool acquires(std::memory_order order) noexcept {
    return order != std::memory_order_relaxed && order != std::memory_order_release;
  }
  static bool releases(std::memory_order order) noexcept {
    return order == std::memory_order_release || order == std::memory_order_acq_rel ||
           order == std::memory_order_seq_cst;
  }
  static const char* kind() noexcept {
    if (std::is_same_v<U, bool>) return "flag";
    if (std::is_pointer_v<U>) return "pointer";
    return sizeof(U) == 8 ? "index" : "number";
  }
  static std::uint64_t pack(U value) noexcept {
    if constexpr (std::is_pointer_v<U>) {
      return reinterpret_cast<std::uintptr_t>(value);
    } else {
      return static_cast<std::uint64_t>(value);
    }
  }
  static U unpack(std::uint64_t value) noexcept {
    if constexpr (std::is_pointer_v<U>) {
      return reinterpret_cast<U>(static_cast<std::uintptr_t>(value));
    } else {
      return static_cast<U>(value);
    }
  }

  mutable Location location_;
};

/// The index of a lane. Only the lane's holder stores to it and loads it relaxed, each time that it works with what is
/// beside it and is no atomic: so two that do it without an order between them are a race on the lane.
class LaneIndex : public Atomic<std::uint64_t> {
 public:
  using Atomic::Atomic;

  [[nodiscard]] std::uint64_t load(std::memory_order order) const {
    if (order == std::memory_order_relaxed) hold();
    return Atomic::load(order);
  }
  void store(std::uint64_t value, std::memory_order order) {
    hold();
    Atomic::store(value, order);
  }

 private:
  void hold() const { checker().data_write(this, "two parties on a lane"); }
};

class Mutex {
 public:
  Mutex() { checker().born(location_, "mutex", 0); }
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;
  ~Mutex() { checker().died(location_); }
  void lock() { checker().lock(location_); }
  void unlock() { checker().unlock(location_); }

 private:
  Location location_;
};

/// As `weir::detail::SharedCounter`.
class Counter {
 public:
  explicit Counter(std::uint32_t n) : n_(n) {}
  std::uint32_t operator++() { return n_.fetch_add(1, std::memory_order_seq_cst) + 1; }
  std::uint32_t operator--() { return n_.fetch_add(static_cast<std::uint32_t>(-1), std::memory_order_seq_cst) - 1; }
  [[nodiscard]] operator std::uint32_t() const { return n_.load(std::memory_order_seq_cst); }

 private:
  Atomic<std::uint32_t> n_;
};

/// Something to wait for, by blocking. Counts how often it was signalled.
class Event {
 public:
  Event() { checker().born(location_, "event", 0); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { checker().died(location_); }
  void signal() { checker().signal(location_); }
  void wait() { checker().wait(location_); }
  [[nodiscard]] std::uint64_t signals() const noexcept { return location_.value; }

 private:
  Location location_;
};

/// A value whose accesses must be ordered, as those to any value of a user's.
class Value {
 public:
  explicit Value(int n) : n_(n) { checker().data_write(this); }
  Value(Value&& other) noexcept : n_(other.n_) {
    checker().data_write(&other);
    checker().data_write(this);
    other.n_ = gone;
  }
  Value(const Value&) = delete;
  Value& operator=(const Value&) = delete;
  ~Value() {
    checker().data_write(this);
    n_ = dead;
  }
  [[nodiscard]] int get() const {
    checker().data_read(this);
    const int n = n_;
    require(n != dead && n != gone, "a value was read that is not there");
    return n;
  }

  static constexpr int gone = -1;
  static constexpr int dead = -2;

 private:
  /// Its end is written, for those that look after it.
  volatile int n_;
};

/// `HeavyFence`: whether the asymmetric way of holding a side is there to be chosen.
template <bool HeavyFence>
struct Sync {
  template <class U>
  using Atomic = std::conditional_t<std::is_same_v<U, std::uint64_t>, LaneIndex, model::Atomic<U>>;
  using Mutex = model::Mutex;
  using Counter = model::Counter;
  static constexpr bool copyable = true;
  static constexpr bool concurrent = true;
  static constexpr std::size_t line = 64;

  [[nodiscard]] static bool has_heavy_fence() noexcept { return HeavyFence; }
  static void heavy_fence() { checker().heavy_fence(); }
  static void light_fence() noexcept {}
  static void pause() { checker().pause(); }
  static void yield() { checker().pause(); }
};

}  // namespace weir_test::model
