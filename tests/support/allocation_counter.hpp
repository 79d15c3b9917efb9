// Counts what `operator new` is called for, and the bytes that it has given out, on all threads. The file of the test
// program's `main` defines WEIR_DEFINE_ALLOCATION_COUNTER before it includes this, which replaces `operator new` for
// the whole program.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>

namespace weir_test {

extern std::atomic<std::uint64_t> allocations;
/// What has been given out and not been given back; 0 where malloc does not say how large its blocks are.
extern std::atomic<std::int64_t> held_bytes;

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
#  ifdef __GLIBC__
#    include <malloc.h>
#  endif

std::atomic<std::uint64_t> weir_test::allocations{0};
std::atomic<std::int64_t> weir_test::held_bytes{0};

namespace weir_test {

inline void count_bytes([[maybe_unused]] void* memory, [[maybe_unused]] std::int64_t sign) noexcept {
#  ifdef __GLIBC__
  held_bytes.fetch_add(sign * static_cast<std::int64_t>(malloc_usable_size(memory)), std::memory_order_relaxed);
#  endif
}
inline void* given_out(void* memory) noexcept {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (memory) count_bytes(memory, 1);
  return memory;
}
inline void give_back(void* memory) noexcept {
  if (memory) count_bytes(memory, -1);
  std::free(memory);
}

}  // namespace weir_test

// Weak, because Clang brings its thread sanitizer's own as strong ones: then nothing is counted, see `counts()`.
// All forms, because a sanitizer's array and nothrow forms don't call the plain one.
[[gnu::weak]] void* operator new(std::size_t size) {
  if (void* const memory = weir_test::given_out(std::malloc(size != 0 ? size : 1))) return memory;
  throw std::bad_alloc();
}
[[gnu::weak]] void* operator new(std::size_t size, std::align_val_t align) {
  const auto alignment = static_cast<std::size_t>(align);
  const std::size_t rounded = (size + alignment - 1) / alignment * alignment;
  if (void* const memory = weir_test::given_out(std::aligned_alloc(alignment, rounded))) return memory;
  throw std::bad_alloc();
}
[[gnu::weak]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return weir_test::given_out(std::malloc(size != 0 ? size : 1));
}
[[gnu::weak]] void* operator new[](std::size_t size) { return ::operator new(size); }
[[gnu::weak]] void* operator new[](std::size_t size, std::align_val_t align) { return ::operator new(size, align); }
[[gnu::weak]] void* operator new[](std::size_t size, const std::nothrow_t& tag) noexcept {
  return ::operator new(size, tag);
}
[[gnu::weak]] void operator delete(void* memory) noexcept { weir_test::give_back(memory); }
[[gnu::weak]] void operator delete(void* memory, std::size_t) noexcept { weir_test::give_back(memory); }
[[gnu::weak]] void operator delete(void* memory, std::align_val_t) noexcept { weir_test::give_back(memory); }
[[gnu::weak]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  weir_test::give_back(memory);
}
[[gnu::weak]] void operator delete[](void* memory) noexcept { weir_test::give_back(memory); }
[[gnu::weak]] void operator delete[](void* memory, std::size_t) noexcept { weir_test::give_back(memory); }
[[gnu::weak]] void operator delete[](void* memory, std::align_val_t) noexcept { weir_test::give_back(memory); }
[[gnu::weak]] void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept {
  weir_test::give_back(memory);
}
#endif
