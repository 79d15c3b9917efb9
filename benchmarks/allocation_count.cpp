#include "allocation_count.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace weir_bench {
namespace {

// One cache line for each of the first threads, so that counting does not make the threads of a subject share a line.
struct alignas(64) Count {
  std::atomic<std::uint64_t> value{0};
};

constexpr std::size_t lines = 64;
constinit std::array<Count, lines> counts{};
constinit std::atomic<std::size_t> next_line{0};
constinit thread_local std::size_t own_line = lines;

void count_one() noexcept {
  if (own_line == lines) own_line = next_line.fetch_add(1, std::memory_order_relaxed) % lines;
  counts[own_line].value.fetch_add(1, std::memory_order_relaxed);
}

void* allocate_aligned(std::size_t size, std::size_t alignment) noexcept {
  void* memory = nullptr;
  if (alignment < sizeof(void*)) alignment = sizeof(void*);
  return posix_memalign(&memory, alignment, size == 0 ? 1 : size) == 0 ? memory : nullptr;
}

}  // namespace

std::uint64_t allocations() noexcept {
  std::uint64_t sum = 0;
  for (const Count& count : counts) sum += count.value.load(std::memory_order_relaxed);
  return sum;
}

}  // namespace weir_bench

void* operator new(std::size_t size) {
  weir_bench::count_one();
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}

void* operator new(std::size_t size, std::align_val_t alignment) {
  weir_bench::count_one();
  if (void* memory = weir_bench::allocate_aligned(size, static_cast<std::size_t>(alignment))) return memory;
  throw std::bad_alloc();
}

void* operator new[](std::size_t size) { return operator new(size); }
void* operator new[](std::size_t size, std::align_val_t alignment) { return operator new(size, alignment); }

void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

#if defined(__GLIBC__)
// Asio takes its operations' memory from aligned_alloc where C++17 has it; unseen, Asio would appear to allocate
// nothing.
extern "C" void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  weir_bench::count_one();
  return weir_bench::allocate_aligned(size, alignment);
}
#endif
