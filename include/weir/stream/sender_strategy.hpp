/// Senders that are several coroutines: `.sender(weir::parallel(n), [](Emitter<T>&, Partition) -> Task<> {…})`.
#pragma once

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include <fmt/format.h>

#include <weir/core/error.hpp>
#include <weir/stream/batch.hpp>
#include <weir/stream/emitter.hpp>
#include <weir/stream/event.hpp>
#include <weir/stream/rate_limit.hpp>
#include <weir/stream/rate_limited.hpp>
#include <weir/stream/strategy/adaptive.hpp>
#include <weir/stream/strategy/batched.hpp>
#include <weir/stream/strategy/parallel.hpp>

namespace weir {

/// Which part of the work a sender's coroutine is to do: number `index` of `count`, from 0.
struct Partition {
  std::size_t index = 0;
  std::size_t count = 1;

  /// The first of its share of so many items, and the one behind the last: shares differ by one item at most, and
  /// together are all of them, in the order of the partitions.
  [[nodiscard]] constexpr std::size_t begin(std::size_t items) const noexcept {
    return items / count * index + (index < items % count ? index : items % count);
  }
  [[nodiscard]] constexpr std::size_t end(std::size_t items) const noexcept {
    return Partition{index + 1, count}.begin(items);
  }
};

/// Into how many parts the work of an adaptive sender is divided: see `partitions`.
class Partitions {
 public:
  explicit Partitions(std::size_t count) : count_(count) {
    if (count == 0) throw Error(Errc::invalid_argument, "partitions(0): a sender needs at least 1 partition");
  }
  [[nodiscard]] std::size_t count() const noexcept { return count_; }

 private:
  std::size_t count_;
};

/// `.sender(weir::adaptive({…}), weir::partitions(1000), [](Emitter<T>&, Partition) -> Task<> {…})`. Throws
/// `Error(Errc::invalid_argument)` for 0.
[[nodiscard]] inline Partitions partitions(std::size_t count) { return Partitions(count); }

/// A coroutine, or a plain function, on an emitter of its own and a part of the work. The one function object is called
/// once for each partition, and what it captures lives until the last has ended; on a pool the partitions run at the
/// same time.
template <class F, class T>
concept PartitionSender = std::invocable<F&, Emitter<T>&, Partition>;

namespace detail {

/// How a sender emits.
struct EmitPlan {
  /// How many events go into the channel together; 1: each when it is emitted.
  std::size_t gathered = 1;
  EventTime::duration max_delay{};
  RateLimit limit;

  [[nodiscard]] bool gathers() const noexcept { return gathered > 1 && max_delay > max_delay.zero(); }
  [[nodiscard]] bool plain() const noexcept { return !gathers() && !limit; }
  /// ", in runs of 64", ", rate_limit(100)": what there is of it.
  [[nodiscard]] std::string describe() const {
    std::string text;
    if (gathers()) text += fmt::format(", in runs of {}", gathered);
    if (limit) text += ", " + limit.describe().substr(1);
    return text;
  }
};

/// A sender that emits in its own way.
template <class F>
struct PlannedSender {
  F function;
  EmitPlan plan;
};

/// A sender that is started once for each partition.
template <class F>
struct PartitionedSender {
  F function;
  std::size_t partitions = 1;
  EmitPlan plan{};
};

/// A sender whose partitions a strategy runs, as many at a time as it finds best.
template <class F>
struct AdaptiveSender {
  AdaptiveSender(F f, Adaptive strategy, std::size_t count)
      : function(std::move(f)), how(std::move(strategy)), partitions(count) {}
  /// Before it is started.
  AdaptiveSender(AdaptiveSender&& other)
      : function(std::move(other.function)), how(std::move(other.how)), partitions(other.partitions) {}

  F function;
  Adaptive how;
  std::size_t partitions;
  /// The first that was not begun.
  std::atomic<std::size_t> next{0};
};

template <class S>
inline constexpr bool is_adaptive_sender = false;
template <class F>
inline constexpr bool is_adaptive_sender<AdaptiveSender<F>> = true;
template <class S>
inline constexpr bool is_partitioned = false;
template <class F>
inline constexpr bool is_partitioned<PartitionedSender<F>> = true;
template <class S>
inline constexpr bool is_planned = false;
template <class F>
inline constexpr bool is_planned<PlannedSender<F>> = true;

[[nodiscard]] inline EmitPlan emit_plan(const Parallel& how) { return {1, {}, how.limit()}; }
[[nodiscard]] inline EmitPlan emit_plan(const RateLimited& how) { return {1, {}, how.limit()}; }
[[nodiscard]] inline EmitPlan emit_plan(const Batched& how) {
  if (how.failure() != BatchFailure::whole) {
    throw Error(Errc::invalid_argument, "sender(batched(...).split_on_error()): that is for receivers");
  }
  return {how.size(), how.max_delay(), {}};
}

template <class S>
concept SenderStrategy = requires(const S& how) {
  { emit_plan(how) } -> std::same_as<EmitPlan>;
};

template <SenderStrategy S>
[[nodiscard]] std::size_t partitions_of(const S& how) noexcept {
  return std::max<std::size_t>(how.concurrency(), 1);
}
template <SenderStrategy S>
void refuse_partitions(const S& how) {
  if (partitions_of(how) == 1) return;
  throw Error(Errc::invalid_argument,
              "sender(strategy.parallel(n), f): f is one sender; n of them are a Task<>(Emitter<T>&, Partition)");
}

/// One of them, as a sender of its own: they share the function.
template <class F>
struct PartitionOf {
  std::shared_ptr<PartitionedSender<F>> shared;
  Partition partition;

  template <class T>
  auto operator()(Emitter<T>& out) {
    return std::invoke(shared->function, out, partition);
  }
};

}  // namespace detail
}  // namespace weir
