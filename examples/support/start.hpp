/// From the strategy that was asked for to the one that the library takes.
#pragma once

#include <weir/stream/strategy/ordered.hpp>
#include <weir/stream/strategy/parallel.hpp>
#include <weir/stream/strategy/serial.hpp>

#include "support/strategy.hpp"

namespace example {

/// Calls `start` with the library's strategy. The streams that it starts have the same type, whatever their strategy.
template <class Start>
[[nodiscard]] auto start_with(const Strategy& strategy, Start start) {
  if (strategy.serial()) return start(weir::serial());
  if (strategy.ordered) return start(weir::parallel(strategy.workers).ordered());
  return start(weir::parallel(strategy.workers));
}

/// How many threads let every worker run, and the sender beside them.
[[nodiscard]] inline std::size_t threads_for(const Strategy& strategy) {
  return (strategy.serial() ? 1 : strategy.workers) + 1;
}

}  // namespace example
