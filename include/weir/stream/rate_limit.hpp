/// How many events a second the receivers of a stream begin.
#pragma once

#include <cmath>
#include <optional>
#include <string>
#include <utility>

#include <fmt/format.h>

#include <weir/core/error.hpp>
#include <weir/core/home.hpp>
#include <weir/core/task.hpp>
#include <weir/core/token_bucket.hpp>
#include <weir/stream/detail/now_or_later.hpp>

namespace weir {

/// What `parallel(n).rate_limit(…)` keeps: nothing, a rate, or a bucket that others share. For strategies.
class RateLimit {
 public:
  RateLimit() = default;
  /// Throws `Error(Errc::invalid_argument)` for what `TokenBucket` refuses.
  RateLimit(double per_second, double burst) : per_second_(per_second), burst_(burst) {
    if (!(per_second > 0) || std::isinf(per_second)) {
      throw Error(Errc::invalid_argument, "rate_limit: the rate must be above 0, and finite");
    }
    if (burst != 0 && (!(burst >= 1) || std::isinf(burst))) {
      throw Error(Errc::invalid_argument, "rate_limit: the burst must be at least 1, and finite");
    }
  }
  explicit RateLimit(TokenBucket shared) : shared_(std::move(shared)) {}

  /// Whether there is one.
  [[nodiscard]] explicit operator bool() const noexcept { return shared_ || per_second_ != 0; }
  /// What the workers of a stream share: nothing where there is no limit.
  [[nodiscard]] std::optional<TokenBucket> bucket(Home& home) const { return bucket(home.context()); }
  [[nodiscard]] std::optional<TokenBucket> bucket(asio::execution_context& context) const {
    if (shared_ || per_second_ == 0) return shared_;
    return TokenBucket(context, per_second_, burst_);
  }
  /// ".rate_limit(100)", or nothing where there is no limit.
  [[nodiscard]] std::string describe() const {
    if (shared_) return fmt::format(".rate_limit({:g}, {:g})", shared_->per_second(), shared_->burst());
    if (per_second_ == 0) return {};
    if (burst_ == 0) return fmt::format(".rate_limit({:g})", per_second_);
    return fmt::format(".rate_limit({:g}, {:g})", per_second_, burst_);
  }

 private:
  double per_second_ = 0;
  double burst_ = 0;
  std::optional<TokenBucket> shared_;
};

namespace detail {

template <class D>
Task<bool> admitted_later(D& drain, typename D::event_type& event, const TokenBucket& limit) {
  auto waiting = drain.wait_for(limit.acquire());
  const bool admitted = co_await std::move(waiting);
  if (admitted) {
    drain.begin(event);
  } else {
    drain.discard(event);
  }
  co_return admitted;
}

/// Whether the event may be processed now, or once there is a token; false: it was discarded.
template <class D>
NowOrLater<bool> admit(D& drain, typename D::event_type& event, const std::optional<TokenBucket>& limit) {
  if (!limit || limit->try_acquire()) return NowOrLater<bool>(true);
  return NowOrLater<bool>(admitted_later(drain, event, *limit));
}

}  // namespace detail
}  // namespace weir
