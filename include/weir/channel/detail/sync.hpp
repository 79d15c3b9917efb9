#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

namespace weir::detail {

/// A counter of owners that is shared between threads.
class SharedCounter {
 public:
  explicit SharedCounter(std::uint32_t n) noexcept : n_(n) {}
  std::uint32_t operator++() noexcept { return n_.fetch_add(1, std::memory_order_relaxed) + 1; }
  std::uint32_t operator--() noexcept { return n_.fetch_sub(1, std::memory_order_acq_rel) - 1; }
  [[nodiscard]] operator std::uint32_t() const noexcept { return n_.load(std::memory_order_acquire); }

 private:
  std::atomic<std::uint32_t> n_;
};

struct NoMutex {
  void lock() noexcept {}
  void unlock() noexcept {}
};

/// How the parties of a channel are kept apart, and whether its handles can be copied.
struct SharedSync {
  using Mutex = std::mutex;
  using Counter = SharedCounter;
  static constexpr bool copyable = true;
};
struct LocalSync {
  using Mutex = NoMutex;
  using Counter = std::uint32_t;
  static constexpr bool copyable = true;
};
struct SpscSync {
  using Mutex = std::mutex;
  using Counter = SharedCounter;
  static constexpr bool copyable = false;
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
