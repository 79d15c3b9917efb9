/// A moment in a loop that waits for another thread.
#pragma once

#if defined(__x86_64__) || defined(__i386__)
#  include <immintrin.h>
#endif

namespace weir {

/// Tells the processor so: it saves power, and leaves the core's other thread more of it. Any thread.
inline void processor_pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace weir
