/// Lets a sender emit as often as a bucket has tokens: `.sender(rate_limited(per_second), …)`.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include <weir/channel/channel.hpp>
#include <weir/core/task.hpp>
#include <weir/core/token_bucket.hpp>
#include <weir/stream/detail/emit_hook.hpp>

namespace weir::detail {

template <class T>
class EmitPaced final : public EmitHook<T> {
 public:
  EmitPaced(EmitOutlet<T>& outlet, TokenBucket bucket) : outlet_(outlet), bucket_(std::move(bucket)) {}

  [[nodiscard]] bool emit_at_once(SenderEvent<T>& event) override {
    if (!take_spare() && !bucket_.try_acquire()) return false;
    if (outlet_.try_send(event)) return true;
    spare_.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  [[nodiscard]] Task<> emit(SenderEvent<T>& event) override {
    if (!take_spare()) co_await bucket_.acquire();
    Spare spare{spare_, 1};
    auto sending = send_one(outlet_, event);
    co_await std::move(sending);
    spare.tokens = 0;
  }
  [[nodiscard]] Task<> emit_run(std::vector<SenderEvent<T>>& run) override {
    std::span<SenderEvent<T>> rest(run);
    while (!rest.empty()) {
      if (!take_spare()) co_await bucket_.acquire();
      const std::size_t more = std::min(rest.size() - 1, static_cast<std::size_t>(bucket_.available()));
      const std::size_t now = more != 0 && bucket_.try_acquire(more) ? 1 + more : 1;
      Spare spare{spare_, now};
      try {
        auto sending = outlet_.send(rest.first(now));
        co_await std::move(sending);
      } catch (const PartialSend& refused) {
        spare.tokens -= refused.sent();
        throw;
      }
      spare.tokens = 0;
      rest = rest.subspan(now);
    }
  }

 private:
  /// Tokens that were taken for events that did not go are for the next ones.
  struct Spare {
    std::atomic<std::size_t>& spare;
    std::size_t tokens;
    ~Spare() { spare.fetch_add(tokens, std::memory_order_relaxed); }
  };
  [[nodiscard]] bool take_spare() noexcept {
    std::size_t n = spare_.load(std::memory_order_relaxed);
    while (n != 0) {
      if (spare_.compare_exchange_weak(n, n - 1, std::memory_order_relaxed)) return true;
    }
    return false;
  }

  EmitOutlet<T>& outlet_;
  TokenBucket bucket_;
  std::atomic<std::size_t> spare_{0};
};

}  // namespace weir::detail
