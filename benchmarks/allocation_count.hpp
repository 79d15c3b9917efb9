#pragma once

#include <cstdint>

namespace weir_bench {

/// Allocations made by all threads so far, through `operator new` and through `aligned_alloc` (which Asio calls
/// directly). Libraries with an allocator of their own, such as oneTBB, pass both by.
[[nodiscard]] std::uint64_t allocations() noexcept;

}  // namespace weir_bench
