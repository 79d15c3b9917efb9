/// Waiting for another thread without leaving this one.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>

#include <weir/core/processor_pause.hpp>

namespace weir::detail {

/// It waits as long as that has paid lately: waiting in vain halves the time, and now and then it is tried again. Any
/// number of threads.
class BusLinger {
 public:
  /// `between`: looks only so often, in pauses of the processor, so that work piles up and the lines of memory stay
  /// where they are written. False: `pauses`, or less, have gone by.
  template <class Ready>
  bool wait(std::uint32_t pauses, std::uint32_t between, Ready&& ready) noexcept {
    const std::uint32_t patience = patience_.load(std::memory_order_relaxed);
    const std::uint32_t limit = std::min(pauses, patience);
    for (std::uint32_t waited = 0; waited < limit; waited += between) {
      for (std::uint32_t i = 0; i < between; ++i) processor_pause();
      if (!ready()) continue;
      patience_.store(std::max(waited * 8, pauses / 4), std::memory_order_relaxed);
      return true;
    }
    patience_.store(patience < 4 ? pauses / 8 : std::min(patience, pauses) / 2, std::memory_order_relaxed);
    return false;
  }

 private:
  std::atomic<std::uint32_t> patience_{std::numeric_limits<std::uint32_t>::max()};
};

}  // namespace weir::detail
