/// A few blocks of memory that are kept instead of freed, so that what one root does again and again allocates once.
///
/// Protocol of a place: null, or a free block that whoever exchanges it out owns. Blocks only move through `exchange`
/// and a compare-exchange from null, so no place is ever read through, and there is no ABA. (core/use_task_test.cpp:
/// "no allocation per await", and "called from a foreign thread" under TSan.)
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <new>

namespace weir::detail {

/// Any thread; lock-free. `deallocate` wants the size that `allocate` was given.
class MemoryCache {
 public:
  MemoryCache() = default;
  MemoryCache(const MemoryCache&) = delete;
  MemoryCache& operator=(const MemoryCache&) = delete;
  ~MemoryCache() {
    for (auto& place : places_) ::operator delete(place.load(std::memory_order_relaxed));
  }

  /// Aligned for any fundamental type. O(1). Allocates `block_size` bytes when no free block is kept, or `size` when it
  /// is more.
  [[nodiscard]] void* allocate(std::size_t size) {
    if (size > block_size) return ::operator new(size);
    for (auto& place : places_) {
      if (!place.load(std::memory_order_relaxed)) continue;
      if (void* const block = place.exchange(nullptr, std::memory_order_acquire)) return block;
    }
    return ::operator new(block_size);
  }

  void deallocate(void* memory, std::size_t size) noexcept {
    if (size <= block_size) {
      for (auto& place : places_) {
        void* empty = nullptr;
        if (place.load(std::memory_order_relaxed)) continue;
        if (place.compare_exchange_strong(empty, memory, std::memory_order_release, std::memory_order_relaxed)) return;
      }
    }
    ::operator delete(memory);
  }

 private:
  /// Holds the operations of sockets and timers with their handler, and leaves room for a composed one.
  static constexpr std::size_t block_size = 384;

  std::array<std::atomic<void*>, 6> places_{};
};

}  // namespace weir::detail
