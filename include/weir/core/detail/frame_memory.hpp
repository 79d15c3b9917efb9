/// Where the frames of coroutines come from: lists of free blocks that a thread keeps, or the user's allocator.
///
/// Protocol of the kept blocks (core/frame_memory_test.cpp, also on threads and under TSan):
///  1. A set of lists belongs to the thread whose thread pointer is in `thread`, which is set once, from 0, by a
///     compare-exchange. No other thread touches its lists, so they need neither a lock nor a read-modify-write.
///  2. Two threads that live at the same time have different thread pointers. One that is started after another has
///     ended may have its pointer, and then has its lists too; the release of the store and the acquire of the load are
///     for it.
///  3. Each block comes from `operator new` by itself and goes back there by itself, so it may be freed on another
///     thread, which keeps it then, and through another copy of this code in another shared object.
/// This is no `thread_local`, which plugins and hidden visibility break: with a copy of the lists in each shared object
/// all is as right as with one.
#pragma once

#include <array>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

// Not under the address sanitizer, which is to see the end of each frame; and WEIR_NO_FRAME_RECYCLING is for tests that
// let allocations fail.
#if defined(__has_feature)
#  if __has_feature(address_sanitizer)
#    define WEIR_FRAMES_TO_HEAP 1
#  endif
#endif
#if defined(WEIR_NO_FRAME_RECYCLING) || defined(__SANITIZE_ADDRESS__)
#  define WEIR_FRAMES_TO_HEAP 1
#endif
#if !defined(WEIR_FRAMES_TO_HEAP) && defined(__linux__) && defined(__LP64__) && \
    (defined(__x86_64__) || defined(__aarch64__))
#  define WEIR_RECYCLES_FRAMES 1
#else
#  define WEIR_RECYCLES_FRAMES 0
#endif

namespace weir::detail {

/// Any thread. `deallocate` wants the size that `allocate` was given, on whichever thread. O(1).
class FramePool {
 public:
  /// Aligned for any fundamental type. Calls `operator new` when this thread keeps no block of the size's class, or the
  /// size is above `largest`.
  [[nodiscard]] static void* allocate(std::size_t size) {
    const std::size_t which = class_of(size);
    if (which >= classes) return ::operator new(size);
    if (Lists* const lists = own()) [[likely]] {
      auto& list = lists->free[which];
      if (Free* const block = list.load(std::memory_order_acquire)) [[likely]] {
        list.store(block->below, std::memory_order_release);
        return block;
      }
    }
    return ::operator new(size_of(which));
  }

  static void deallocate(void* memory, std::size_t size) noexcept {
    const std::size_t which = class_of(size);
    if (which < classes) {
      if (Lists* const lists = own()) [[likely]] {
        auto& list = lists->free[which];
        Free* const below = list.load(std::memory_order_acquire);
        const std::size_t count = below ? below->count + 1 : 1;
        if (count * size_of(which) <= kept_bytes) [[likely]] {
          list.store(::new (memory) Free{below, count}, std::memory_order_release);
          return;
        }
      }
    }
    ::operator delete(memory);
  }

  /// Frees what all threads keep, and forgets the threads. Only while no thread uses the pool: for a plugin that is
  /// about to be unloaded.
  static void clear() noexcept {
    for (auto& lists : lists_) {
      for (auto& list : lists.free) {
        while (Free* const block = list.load(std::memory_order_acquire)) {
          list.store(block->below, std::memory_order_release);
          ::operator delete(static_cast<void*>(block));
        }
      }
      lists.thread.store(0, std::memory_order_relaxed);
    }
  }

  /// Frames above it are not kept.
  static constexpr std::size_t largest = 1016;
  /// What a thread keeps of each class at most: 256 KiB of all of them.
  static constexpr std::size_t kept_bytes = 8 * 1024;
  /// What is allocated for a frame of `size`. The common allocators spend 8 bytes of each multiple of 16 themselves.
  [[nodiscard]] static constexpr std::size_t rounded(std::size_t size) noexcept { return size_of(class_of(size)); }

 private:
  static constexpr std::size_t step = 32;
  static constexpr std::size_t overhead = 8;
  static constexpr std::size_t classes = (largest + overhead) / step;
  static constexpr std::size_t threads = 128;

  struct Free {
    Free* below;
    std::size_t count;  ///< of this one and those below
  };
  struct alignas(64) Lists {
    std::atomic<std::uintptr_t> thread;
    std::array<std::atomic<Free*>, classes> free;
  };

  [[nodiscard]] static constexpr std::size_t class_of(std::size_t size) noexcept {
    return (size + overhead - 1) / step;
  }
  [[nodiscard]] static constexpr std::size_t size_of(std::size_t which) noexcept {
    return (which + 1) * step - overhead;
  }

  /// The thread pointer, or 0: then nothing is kept. By volatile assembly, because a compiler may take the thread of a
  /// coroutine to be the same before and after a suspension.
  [[nodiscard]] static std::uintptr_t this_thread() noexcept {
    std::uintptr_t pointer = 0;
#if WEIR_RECYCLES_FRAMES && defined(__x86_64__)
    asm volatile("movq %%fs:0, %0" : "=r"(pointer));
#elif WEIR_RECYCLES_FRAMES
    asm volatile("mrs %0, tpidr_el0" : "=r"(pointer));
#endif
    return pointer;
  }

  /// The lists of this thread; null when there are more threads than places.
  [[nodiscard]] static Lists* own() noexcept {
    const std::uintptr_t thread = this_thread();
    if (thread == 0) return nullptr;
    // The high bits of the product with the golden ratio: thread pointers differ in their middle.
    const auto place = static_cast<std::size_t>((std::uint64_t{thread} * 0x9e3779b97f4a7c15ULL) >> 57);
    Lists& lists = lists_[place];
    if (lists.thread.load(std::memory_order_relaxed) == thread) [[likely]] {
      return &lists;
    }
    return find(thread, place);
  }
  [[gnu::noinline]] static Lists* find(std::uintptr_t thread, std::size_t place) noexcept {
    constexpr std::size_t tries = 4;
    for (std::size_t i = 0; i < tries; ++i) {
      Lists& lists = lists_[(place + i) % threads];
      std::uintptr_t owner = lists.thread.load(std::memory_order_relaxed);
      if (owner == 0 && lists.thread.compare_exchange_strong(owner, thread, std::memory_order_relaxed)) return &lists;
      if (owner == thread) return &lists;
    }
    return nullptr;
  }

  static inline constinit std::array<Lists, threads> lists_{};
};

/// Whether threads keep blocks in this build.
inline constexpr bool frames_are_recycled = WEIR_RECYCLES_FRAMES != 0;

/// Base of a promise: its frames come from the pool. Costs nothing in the frame.
class PooledFrame {
 public:
  [[nodiscard]] static void* operator new(std::size_t size) { return FramePool::allocate(size); }
  static void operator delete(void* memory, std::size_t size) noexcept { FramePool::deallocate(memory, size); }
};

/// The frames of a coroutine that was given an allocator `A`, rebound. The allocator is kept behind the frame, unless
/// any other would do.
template <class A>
class AllocatedFrame {
  struct alignas(__STDCPP_DEFAULT_NEW_ALIGNMENT__) Unit {
    std::byte bytes[__STDCPP_DEFAULT_NEW_ALIGNMENT__];
  };
  using Allocator = typename std::allocator_traits<A>::template rebind_alloc<Unit>;
  using Traits = std::allocator_traits<Allocator>;
  static_assert(std::is_pointer_v<typename Traits::pointer>, "the allocator of a coroutine must give plain pointers");

  static constexpr bool stored = !(Traits::is_always_equal::value && std::is_default_constructible_v<Allocator>);

  /// Where the allocator is, or would be.
  static constexpr std::size_t tail(std::size_t size) noexcept {
    return (size + alignof(Allocator) - 1) / alignof(Allocator) * alignof(Allocator);
  }
  static constexpr std::size_t units(std::size_t size) noexcept {
    const std::size_t all = stored ? tail(size) + sizeof(Allocator) : size;
    return (all + sizeof(Unit) - 1) / sizeof(Unit);
  }

 public:
  /// Throws what the allocator throws.
  [[nodiscard]] static void* allocate(std::size_t size, const A& given) {
    Allocator allocator(given);
    std::byte* const memory = reinterpret_cast<std::byte*>(Traits::allocate(allocator, units(size)));
    if constexpr (stored) ::new (static_cast<void*>(memory + tail(size))) Allocator(std::move(allocator));
    return memory;
  }
  static void deallocate(void* memory, std::size_t size) noexcept {
    Unit* const first = static_cast<Unit*>(memory);
    if constexpr (stored) {
      // Out of the memory before that goes.
      auto* const kept = std::launder(reinterpret_cast<Allocator*>(static_cast<std::byte*>(memory) + tail(size)));
      Allocator allocator(std::move(*kept));
      kept->~Allocator();
      Traits::deallocate(allocator, first, units(size));
    } else {
      Allocator allocator;
      Traits::deallocate(allocator, first, units(size));
    }
  }
};

/// The promise of a coroutine that was given an allocator: that of any other, but for its operators new and delete.
/// Which promise it is, the coroutine's own functions know, so a frame of the pool pays nothing for those of the
/// allocators. The operators new are no templates, because GCC's -Wmismatched-new-delete believes those are no match
/// for the operator delete.
template <class Base, class A, class... Rest>
class AllocatedPromise final : public Base {
 public:
  [[nodiscard]] static void* operator new(std::size_t size, const std::allocator_arg_t&, const A& allocator,
                                          const std::remove_reference_t<Rest>&...) {
    // The handles of tasks and generators are made from the base: it must be in the same place of the same frame.
    static_assert(sizeof(AllocatedPromise) == sizeof(Base) && alignof(AllocatedPromise) == alignof(Base));
    return AllocatedFrame<A>::allocate(size, allocator);
  }
  static void operator delete(void* memory, std::size_t size) noexcept { AllocatedFrame<A>::deallocate(memory, size); }
};

/// The same behind the object of a member function or of a lambda, which Clang leaves out for a lambda.
template <class Base, class Object, class A, class... Rest>
class AllocatedMemberPromise final : public Base {
 public:
  [[nodiscard]] static void* operator new(std::size_t size, const Object&, const std::allocator_arg_t&,
                                          const A& allocator, const std::remove_reference_t<Rest>&...) {
    static_assert(sizeof(AllocatedMemberPromise) == sizeof(Base) && alignof(AllocatedMemberPromise) == alignof(Base));
    return AllocatedFrame<A>::allocate(size, allocator);
  }
  [[nodiscard]] static void* operator new(std::size_t size, const std::allocator_arg_t&, const A& allocator,
                                          const std::remove_reference_t<Rest>&...) {
    return AllocatedFrame<A>::allocate(size, allocator);
  }
  static void operator delete(void* memory, std::size_t size) noexcept { AllocatedFrame<A>::deallocate(memory, size); }
};

template <class T>
concept AllocatorTag = std::same_as<std::remove_cvref_t<T>, std::allocator_arg_t>;

/// Whether a coroutine's parameters begin with `std::allocator_arg_t` and an allocator, the object of a member function
/// or of a lambda aside; and the promise that it has then.
template <class Base, class... Args>
struct AllocatorFirst {
  static constexpr bool found = false;
};
template <class Base, AllocatorTag Tag, class A, class... Rest>
struct AllocatorFirst<Base, Tag, A, Rest...> {
  static constexpr bool found = true;
  using promise_type = AllocatedPromise<Base, std::remove_cvref_t<A>, Rest...>;
};
template <class Base, class Object, AllocatorTag Tag, class A, class... Rest>
  requires(!AllocatorTag<Object>)
struct AllocatorFirst<Base, Object, Tag, A, Rest...> {
  static constexpr bool found = true;
  using promise_type = AllocatedMemberPromise<Base, std::remove_cvref_t<Object>, std::remove_cvref_t<A>, Rest...>;
};

}  // namespace weir::detail

#undef WEIR_FRAMES_TO_HEAP
#undef WEIR_RECYCLES_FRAMES
