#pragma once

#include <cstddef>
#include <cstdint>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <weir/asio.hpp>
#include <weir/core/sync_wait.hpp>
#include <weir/core/task.hpp>
#include <weir/stream/collect.hpp>
#include <weir/stream/emits.hpp>
#include <weir/stream/strategy/adaptive.hpp>
#include <weir/stream/strategy/batched.hpp>
#include <weir/stream/strategy/parallel.hpp>
#include <weir/stream/strategy/serial.hpp>

#include "collections.hpp"
#include "harness.hpp"
#include "payload.hpp"
#include "pool_subject.hpp"
#include "work.hpp"

namespace weir_bench {

template <class Into>
[[nodiscard]] auto weir_collection_policy() {
  if constexpr (std::is_same_v<Into, IntoMap>) {
    return weir::collect::keyed(&IntoMap::key_of, weir::collect::count);
  } else {
    return weir::collect::list;
  }
}

struct SerialReceivers {
  static constexpr bool in_batches = false;
  static constexpr bool emits_runs = false;
  static auto strategy() { return weir::serial(); }
};

struct ParallelReceivers {
  static constexpr bool in_batches = false;
  static constexpr bool emits_runs = false;
  static auto strategy() { return weir::parallel(4); }
};

/// The same where the sender is a range, which is emitted by the run: what receivers one by one cost.
struct ParallelReceiversOfRange : ParallelReceivers {
  static constexpr bool emits_runs = true;
};

struct AdaptiveReceivers {
  static constexpr bool in_batches = false;
  static constexpr bool emits_runs = false;
  static auto strategy() { return weir::adaptive({.max_concurrency = 4}); }
};

/// As the pipeline in batches that it is compared with: emitted and received 64 at a time, by as many as there are
/// threads.
struct BatchedReceivers {
  static constexpr bool in_batches = true;
  static constexpr bool emits_runs = true;
  static auto strategy() { return weir::batched(64).parallel(2); }
};

template <class T, class Receivers>
[[nodiscard]] auto weir_sender(std::uint64_t events) {
  if constexpr (Receivers::emits_runs) {
    return [events](weir::Emitter<T>& out) -> weir::Task<> {
      const auto numbers = std::views::iota(U64{0}, events);
      auto emitting = out.emit_all(numbers);
      co_await std::move(emitting);
    };
  } else {
    return [events](weir::Emitter<T>& out) -> weir::Task<> {
      for (U64 i = 0; i < events; ++i) co_await out.emit_emplace(i);
    };
  }
}

template <class T, class Receivers>
[[nodiscard]] auto weir_receiver(std::uint64_t iterations) {
  if constexpr (Receivers::in_batches) {
    return [iterations](std::span<const weir::ReceiverEvent<T>> events, auto& out) {
      for (const auto& event : events) out.collect(work_on(event.data(), iterations));
    };
  } else {
    return [iterations](const auto& event) { return work_on(event.data(), iterations); };
  }
}

/// The clock runs from before the stream is built until its final event is here: what a user waits for.
template <class T, class Into, class Receivers>
[[nodiscard]] Sample run_weir_stream(std::uint64_t events, std::uint64_t iterations) {
  asio::thread_pool pool(pool_threads);
  const Measurement measurement;
  auto stream = weir::emits<T>(pool)
                    .capacity(default_capacity)
                    .sender(weir_sender<T, Receivers>(events))
                    .receiver(Receivers::strategy(), weir_receiver<T, Receivers>(iterations))
                    .collect(weir_collection_policy<Into>())
                    .template collecting<U64>()
                    .start();
  const auto result = weir::sync_wait(stream.final_event());
  const Sample sample = measurement.finish(events);
  pool.join();
  if (!result) throw std::runtime_error("the stream ended as " + std::string(weir::to_string(result.outcome())));
  Into::expect_all(result.collected(), events, expected_digest<T>(events));
  return sample;
}

}  // namespace weir_bench
