/// Work that is longer than a turn.
#pragma once

#include <cstdint>

#include <weir/core/home.hpp>

namespace weir_test {

/// Whether turns go by time on this processor.
[[nodiscard]] inline bool turns_have_time() noexcept { return weir::detail::ticks() != 0; }

/// Keeps the thread busy until the turn that it is called in has lasted long.
inline void outlast_a_turn() noexcept {
  const std::uint64_t began = weir::detail::ticks();
  while (turns_have_time() && weir::detail::ticks() - began <= weir::detail::ticks_of_a_long_turn) {
  }
}

}  // namespace weir_test
