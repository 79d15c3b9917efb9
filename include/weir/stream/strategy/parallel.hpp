/// Several events at once.
#pragma once

#include <cstddef>
#include <utility>

#include <weir/core/error.hpp>
#include <weir/core/task.hpp>
#include <weir/stream/strategy/by_key.hpp>
#include <weir/stream/strategy/ordered.hpp>
#include <weir/stream/strategy/strategy.hpp>

namespace weir {

/// The strategy of `parallel(n)`: `n` workers, each a root of its own, take events from one channel. On a pool they run
/// at the same time, and the one receiver function is called by several of them at once. Results are collected as they
/// come.
class Parallel {
 public:
  explicit Parallel(std::size_t workers) : workers_(workers) {
    if (workers == 0) throw Error(Errc::invalid_argument, "parallel(0): a stream needs at least 1 worker");
  }

  /// Results are collected in the order in which their events were emitted: see `Ordered`.
  [[nodiscard]] Ordered ordered() const { return Ordered(workers_); }
  /// Events of one key one after another, in order: see `ByKey`.
  template <class Key>
  [[nodiscard]] ByKey<Key> by_key(Key key) const {
    return ByKey<Key>(workers_, std::move(key));
  }

  [[nodiscard]] std::size_t concurrency() const noexcept { return workers_; }

  template <class D>
  Task<> operator()(D& drain) const {
    for (std::size_t i = 1; i < workers_; ++i) drain.start_worker(Worker());
    auto own = Worker()(drain);
    co_await std::move(own);
  }

 private:
  struct Worker {
    template <class D>
    Task<> operator()(D& drain) const {
      while (co_await drain.fetch()) {
        while (auto* const event = drain.next()) co_await drain.process(*event);
      }
    }
  };

  std::size_t workers_;
};

/// Up to `workers` events at once. Throws `Error(Errc::invalid_argument)` for 0.
[[nodiscard]] inline Parallel parallel(std::size_t workers) { return Parallel(workers); }

static_assert(Strategy<Parallel>);

}  // namespace weir
