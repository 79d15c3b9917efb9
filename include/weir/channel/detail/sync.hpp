/// How the parties of a channel are kept apart: the one parameter in which its three kinds differ.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>

#include <weir/channel/detail/asymmetric_fence.hpp>
#include <weir/core/spin_mutex.hpp>

namespace weir::detail {

/// A counter of owners that is shared between threads. The handles of a side are counted by one: whether there are
/// several stands in one order with the gates (rule 2 of sides.hpp).
class SharedCounter {
 public:
  explicit SharedCounter(std::uint32_t n) noexcept : n_(n) {}
  std::uint32_t operator++() noexcept { return n_.fetch_add(1, std::memory_order_seq_cst) + 1; }
  std::uint32_t operator--() noexcept { return n_.fetch_sub(1, std::memory_order_seq_cst) - 1; }
  [[nodiscard]] operator std::uint32_t() const noexcept { return n_.load(std::memory_order_seq_cst); }

 private:
  std::atomic<std::uint32_t> n_;
};

struct NoMutex {
  void lock() noexcept {}
  void unlock() noexcept {}
};

/// What looks like an atomic, for one thread.
template <class U>
class PlainAtomic {
 public:
  constexpr PlainAtomic(U value) noexcept : value_(value) {}
  [[nodiscard]] U load(std::memory_order) const noexcept { return value_; }
  void store(U value, std::memory_order) noexcept { value_ = value; }
  U exchange(U value, std::memory_order) noexcept {
    const U before = value_;
    value_ = value;
    return before;
  }

 private:
  U value_;
};

/// Many threads, many handles.
struct SharedSync {
  template <class U>
  using Atomic = std::atomic<U>;
  using Mutex = SpinMutex;
  using Counter = SharedCounter;
  static constexpr bool copyable = true;
  static constexpr bool concurrent = true;
  /// What is written by different threads stands in different lines.
  static constexpr std::size_t line = 64;

  [[nodiscard]] static bool has_heavy_fence() noexcept { return has_asymmetric_fence(); }
  static void heavy_fence() noexcept { detail::heavy_fence(); }
  static void light_fence() noexcept { detail::light_fence(); }
  /// In loops that wait for another thread; `yield` after many.
  static void pause() noexcept { processor_pause(); }
  static void yield() noexcept { std::this_thread::yield(); }
};
/// Two threads, one handle at each end.
struct SpscSync : SharedSync {
  static constexpr bool copyable = false;
};
/// One thread.
struct LocalSync {
  template <class U>
  using Atomic = PlainAtomic<U>;
  using Mutex = NoMutex;
  using Counter = std::uint32_t;
  static constexpr bool copyable = true;
  static constexpr bool concurrent = false;
  static constexpr std::size_t line = alignof(std::max_align_t);

  [[nodiscard]] static bool has_heavy_fence() noexcept { return true; }
  static void heavy_fence() noexcept {}
  static void light_fence() noexcept {}
  static void pause() noexcept {}
  static void yield() noexcept {}
};

/// An owning reference to something with `retain` and `release`.
template <class Core>
class CoreRef {
 public:
  CoreRef() noexcept = default;
  explicit CoreRef(Core& core) noexcept : core_(&core) { core.retain(); }
  CoreRef(const CoreRef& other) noexcept : core_(other.core_) {
    if (core_) core_->retain();
  }
  CoreRef(CoreRef&& other) noexcept : core_(other.core_) { other.core_ = nullptr; }
  CoreRef& operator=(CoreRef other) noexcept {
    Core* const mine = core_;
    core_ = other.core_;
    other.core_ = mine;
    return *this;
  }
  ~CoreRef() {
    if (core_) core_->release();
  }
  [[nodiscard]] explicit operator bool() const noexcept { return core_ != nullptr; }
  Core* operator->() const noexcept { return core_; }
  Core& operator*() const noexcept { return *core_; }

 private:
  Core* core_ = nullptr;
};

}  // namespace weir::detail
