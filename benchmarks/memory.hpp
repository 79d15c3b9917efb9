#pragma once

namespace weir_bench {

/// What malloc has given out and not got back, its own headers included, in all threads' arenas. 0 where that is not
/// known (not glibc).
[[nodiscard]] double heap_bytes() noexcept;

/// The pages of this process that are in memory. 0 where that is not known (not Linux).
[[nodiscard]] double resident_bytes();

/// Returns the pages that hold nothing but freed memory, so that using them again is seen.
void give_back_freed_memory() noexcept;

/// Has malloc give memory back to the system as it does in other programs: the benchmarks keep it. For good.
void forget_allocation_settings() noexcept;

}  // namespace weir_bench
