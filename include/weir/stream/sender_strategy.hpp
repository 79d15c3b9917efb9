/// Senders that are several coroutines: `.sender(weir::parallel(n), [](Emitter<T>&, Partition) -> Task<> {…})`.
#pragma once

#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

#include <weir/core/promise.hpp>
#include <weir/stream/emitter.hpp>
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

/// A coroutine, or a plain function, on an emitter of its own and a part of the work. The one function object is called
/// once for each partition, and what it captures lives until the last has ended; on a pool the partitions run at the
/// same time.
template <class F, class T>
concept PartitionSender = std::invocable<F&, Emitter<T>&, Partition>;

namespace detail {

/// A sender that is started once for each partition.
template <class F>
struct PartitionedSender {
  F function;
  std::size_t partitions;
};

template <class S>
inline constexpr bool is_partitioned = false;
template <class F>
inline constexpr bool is_partitioned<PartitionedSender<F>> = true;

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
