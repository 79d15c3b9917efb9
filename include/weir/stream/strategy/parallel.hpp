/// Several events at once.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include <fmt/format.h>

#include <weir/core/error.hpp>
#include <weir/core/task.hpp>
#include <weir/core/this_task.hpp>
#include <weir/core/token_bucket.hpp>
#include <weir/stream/rate_limit.hpp>
#include <weir/stream/strategy/by_key.hpp>
#include <weir/stream/strategy/ordered.hpp>
#include <weir/stream/strategy/strategy.hpp>

namespace weir {

/// The strategy of `parallel(n)`: `n` workers, each a root of its own, take events from one channel. On a pool they run
/// at the same time, and the one receiver function is called by several of them at once. Results are collected as they
/// come.
class Parallel {
 public:
  explicit Parallel(std::size_t workers, RateLimit limit = {}) : workers_(workers), limit_(std::move(limit)) {
    if (workers == 0) throw Error(Errc::invalid_argument, "parallel(0): a stream needs at least 1 worker");
  }

  /// The workers together begin no more than `per_second` events a second, and `burst` at once after a pause; see
  /// `TokenBucket`, also for the burst that is not said. Throws `Error(Errc::invalid_argument)` for what it refuses.
  [[nodiscard]] Parallel rate_limit(double per_second, double burst = 0) const {
    return Parallel(workers_, RateLimit(per_second, burst));
  }
  /// The same with a bucket that others share, of the stream's execution context.
  [[nodiscard]] Parallel rate_limit(TokenBucket shared) const {
    return Parallel(workers_, RateLimit(std::move(shared)));
  }
  /// Results are collected in the order in which their events were emitted: see `Ordered`.
  [[nodiscard]] Ordered ordered() const { return Ordered(workers_, limit_); }
  /// Events of one key one after another, in order: see `ByKey`.
  template <class Key>
  [[nodiscard]] ByKey<Key> by_key(Key key) const {
    return ByKey<Key>(workers_, std::move(key), limit_);
  }

  [[nodiscard]] std::size_t concurrency() const noexcept { return workers_; }
  [[nodiscard]] const RateLimit& limit() const noexcept { return limit_; }
  /// For pictures of the stream.
  [[nodiscard]] std::string describe() const { return fmt::format("parallel({}){}", workers_, limit_.describe()); }

  template <class D>
  Task<> operator()(D& drain) const {
    // Apart from the await: GCC 12 destroys what owns something in the same expression twice (docs/traps.md).
    Home& home = co_await this_task::home();
    const Worker worker{limit_.bucket(home)};
    for (std::size_t i = 1; i < workers_; ++i) drain.start_worker(worker);
    auto own = worker(drain);
    co_await std::move(own);
  }

 private:
  struct Worker {
    template <class D>
    Task<> operator()(D& drain) const {
      if constexpr (D::plain) {
        if (!limit) {
          for (;;) {
            const bool more = co_await drain.fetch();
            if (!more) co_return;
            co_await drain.process_run();
          }
        }
      }
      while (co_await drain.fetch()) {
        while (auto* const event = drain.next()) {
          const bool admitted = co_await detail::admit(drain, *event, limit);
          if (admitted) co_await drain.process(*event);
        }
      }
    }
    std::optional<TokenBucket> limit;
  };

  std::size_t workers_;
  RateLimit limit_;
};

/// Up to `workers` events at once. Throws `Error(Errc::invalid_argument)` for 0.
[[nodiscard]] inline Parallel parallel(std::size_t workers) { return Parallel(workers); }

static_assert(Strategy<Parallel>);

}  // namespace weir
