/// What a stream does when a receiver, or the collection's policy, throws.
#pragma once

#include <cstdint>

namespace weir {

enum class ErrorPolicy : std::uint8_t {
  /// The first error ends the stream as `failed`: the sender is cancelled, what no receiver has begun is discarded and
  /// counted, so that nothing is done after what failed; events in progress on other workers are finished. The default.
  stop,
  /// The event is counted as failed, its error is kept, and the stream goes on.
  continue_,
};

inline constexpr ErrorPolicy stop = ErrorPolicy::stop;
inline constexpr ErrorPolicy continue_ = ErrorPolicy::continue_;

}  // namespace weir
