/// A fence whose cost lies with one party alone: what runs often pays for a compiler barrier, what runs seldom for a
/// system call that makes every running thread of the process pass a full fence (Linux's `membarrier`, private and
/// expedited; the idea is that of folly's and Java's asymmetric fences).
#pragma once

#include <atomic>

#if defined(__linux__)
#  include <linux/membarrier.h>
#  include <sys/syscall.h>
#  include <unistd.h>
#endif

namespace weir::detail {

/// True when the process may use `heavy_fence`: asked for once. Otherwise both parties need fences of their own.
[[nodiscard]] inline bool has_asymmetric_fence() noexcept {
#if defined(__linux__) && defined(__NR_membarrier)
  static const bool registered = ::syscall(__NR_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
  return registered;
#else
  return false;
#endif
}

/// Orders what the compiler might reorder; what the processor might, `heavy_fence` orders from the other side.
inline void light_fence() noexcept { std::atomic_signal_fence(std::memory_order_seq_cst); }

/// A full fence on every thread that runs now. 0.2 to 10 microseconds. Only where `has_asymmetric_fence()`.
inline void heavy_fence() noexcept {
#if defined(__linux__) && defined(__NR_membarrier)
  ::syscall(__NR_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
#endif
}

}  // namespace weir::detail
