// Counts what `operator new` is called for, on all threads. The file of the test program's `main` defines
// WEIR_DEFINE_ALLOCATION_COUNTER before it includes this, which replaces `operator new` for the whole program.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>

namespace weir_test {

extern std::atomic<std::uint64_t> allocations;

/// How often was allocated since it was made. Catch2's macros allocate: read it into a variable first, check after.
class AllocationCounter {
 public:
  [[nodiscard]] std::uint64_t count() const noexcept { return allocations.load(std::memory_order_relaxed) - start_; }

 private:
  std::uint64_t start_ = allocations.load(std::memory_order_relaxed);
};

/// Whether anything is counted in this build. A test that expects allocations asks first; one that expects none need
/// not.
[[nodiscard]] inline bool counts() {
  const AllocationCounter counter;
  ::operator delete(::operator new(1));
  return counter.count() != 0;
}

}  // namespace weir_test

#ifdef WEIR_DEFINE_ALLOCATION_COUNTER
#  include <cstdlib>

std::atomic<std::uint64_t> weir_test::allocations{0};

// Weak, because Clang brings its thread sanitizer's own as strong ones: then nothing is counted, see `counts()`.
// All forms, because a sanitizer's array and nothrow forms don't call the plain one.
[[gnu::weak]] void* operator new(std::size_t size) {
  weir_test::allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* const memory = std::malloc(size != 0 ? size : 1)) return memory;
  throw std::bad_alloc();
}
[[gnu::weak]] void* operator new(std::size_t size, std::align_val_t align) {
  weir_test::allocations.fetch_add(1, std::memory_order_relaxed);
  const auto alignment = static_cast<std::size_t>(align);
  if (void* const memory = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment)) return memory;
  throw std::bad_alloc();
}
[[gnu::weak]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  weir_test::allocations.fetch_add(1, std::memory_order_relaxed);
  return std::malloc(size != 0 ? size : 1);
}
[[gnu::weak]] void* operator new[](std::size_t size) { return ::operator new(size); }
[[gnu::weak]] void* operator new[](std::size_t size, std::align_val_t align) { return ::operator new(size, align); }
[[gnu::weak]] void* operator new[](std::size_t size, const std::nothrow_t& tag) noexcept {
  return ::operator new(size, tag);
}
[[gnu::weak]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::weak]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::weak]] void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
[[gnu::weak]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
[[gnu::weak]] void operator delete[](void* memory) noexcept { std::free(memory); }
[[gnu::weak]] void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::weak]] void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
[[gnu::weak]] void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
#endif
