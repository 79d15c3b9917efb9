#pragma once

#include <cstdint>

#include "payload.hpp"

namespace weir_bench {

/// Where the last spin of this thread ended. The next begins there: spins of independent events would otherwise overlap
/// in the processor, and the more so the less a stream does between them.
inline constinit thread_local std::uint64_t spin_state = 1;

/// A chain of dependent multiplications, which neither the compiler nor the processor can shorten. It reads no clock:
/// on virtual machines that alone may cost more than the work.
inline void spin(std::uint64_t iterations) noexcept {
  std::uint64_t state = spin_state;
  for (std::uint64_t i = 0; i < iterations; ++i) {
    state = state * 6364136223846793005U + 1442695040888963407U;
#if defined(__GNUC__)
    asm volatile("" : "+r"(state));
#endif
  }
  spin_state = state;
}

/// How many iterations take that long here; measured once in a process.
[[nodiscard]] std::uint64_t iterations_for_ns(double ns);

/// What the receivers of a stream do: some work, then a result that depends on the whole event.
template <class T>
[[nodiscard]] U64 work_on(const T& event, std::uint64_t iterations) noexcept {
  if (iterations > 0) spin(iterations);
  return digest(event);
}

}  // namespace weir_bench
