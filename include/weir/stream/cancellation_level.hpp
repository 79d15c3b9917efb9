/// How hard a stream is stopped.
#pragma once

#include <cstdint>

namespace weir {

/// Each level includes those before it. A stream that is being stopped can be stopped harder, never softer.
enum class CancellationLevel : std::uint8_t {
  graceful = 1,  ///< the sender is cancelled; what it emitted is processed
  forceful,      ///< also what no receiver has begun is discarded, and counted
  immediate,     ///< also the receivers are cancelled where they wait
};

}  // namespace weir
