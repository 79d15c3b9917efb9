/// Hints to the processor, which change nothing but the time that something takes. Any address will do.
#pragma once

#if defined(__x86_64__) || defined(__i386__)
#  include <immintrin.h>
#endif

namespace weir::detail {

/// A moment in a loop that waits for another thread.
inline void processor_pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// The line is read soon.
[[gnu::always_inline]] inline void prefetch_to_read(const void* where) noexcept {
#if defined(__GNUC__)
  __builtin_prefetch(where);
#endif
}
/// The line is written soon, and another thread has used it last.
[[gnu::always_inline]] inline void prefetch_to_write(const void* where) noexcept {
#if defined(__GNUC__) && defined(__x86_64__)
  // The builtin becomes a prefetch for reading unless the compiler is told of a newer processor; older ones take this
  // for a no-operation.
  asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(where)));
#elif defined(__GNUC__)
  __builtin_prefetch(where, 1);
#endif
}

}  // namespace weir::detail
