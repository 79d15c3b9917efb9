/// `rate_limited`: a sender that emits no more than so many events a second.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include <fmt/format.h>

#include <weir/core/error.hpp>
#include <weir/core/token_bucket.hpp>
#include <weir/stream/rate_limit.hpp>

namespace weir {

/// The sender strategy of `rate_limited(per_second, burst)`: an emit takes a token of a `TokenBucket` first, and then
/// waits for room. So no more than `burst + t · per_second` tokens are taken in any time t, by the clock of the
/// stream's execution context; who waits for room has its token already. `try_emit` refuses while there is none. An
/// emit that is cancelled leaves its token to the next. Emitting still allocates nothing.
///
///     .sender(weir::rate_limited(100), weir::lines_of("requests.txt"))
class RateLimited {
 public:
  explicit RateLimited(RateLimit limit) : limit_(std::move(limit)) {}

  /// `partitions` coroutines at once, which share the rate: the sender is a `PartitionSender`. Throws
  /// `Error(Errc::invalid_argument)` for 0.
  [[nodiscard]] RateLimited parallel(std::size_t partitions) const {
    if (partitions == 0) {
      throw Error(Errc::invalid_argument, "rate_limited().parallel(0): a sender needs at least 1 partition");
    }
    RateLimited copy(*this);
    copy.partitions_ = partitions;
    return copy;
  }

  [[nodiscard]] const RateLimit& limit() const noexcept { return limit_; }
  [[nodiscard]] std::size_t concurrency() const noexcept { return partitions_; }

 private:
  RateLimit limit_;
  std::size_t partitions_ = 1;
};

/// A sender that emits up to `per_second` events a second, and `burst` at once after a pause; see `TokenBucket`, also
/// for the burst that is not said. Throws `Error(Errc::invalid_argument)` for what it refuses.
[[nodiscard]] inline RateLimited rate_limited(double per_second, double burst = 0) {
  return RateLimited(RateLimit(per_second, burst));
}
/// The same with a bucket that others share, of the stream's execution context.
[[nodiscard]] inline RateLimited rate_limited(TokenBucket shared) { return RateLimited(RateLimit(std::move(shared))); }

}  // namespace weir
