#pragma once

#include <oneapi/tbb/parallel_pipeline.h>
#include <oneapi/tbb/task_arena.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "collections.hpp"
#include "harness.hpp"
#include "payload.hpp"
#include "work.hpp"

namespace weir_bench {

// A pipeline's parallel stage has no number of receivers, only a number of items under way; this many keep two threads
// busy without going round the caches.
inline constexpr std::size_t tbb_items_under_way = 16;

inline tbb::task_arena& two_thread_arena() {
  static tbb::task_arena arena(2);
  return arena;
}

template <class T, class Into>
[[nodiscard]] Sample run_tbb_pipeline(std::uint64_t events, std::uint64_t iterations) {
  typename Into::type collection;
  U64 next = 0;
  const auto source =
      tbb::make_filter<void, T>(tbb::filter_mode::serial_in_order, [&](tbb::flow_control& control) -> T {
        if (next == events) {
          control.stop();
          return T{};
        }
        return T(next++);
      });
  const auto receivers = tbb::make_filter<T, U64>(tbb::filter_mode::parallel,
                                                  [iterations](const T& event) { return work_on(event, iterations); });
  const auto collector = tbb::make_filter<U64, void>(tbb::filter_mode::serial_out_of_order,
                                                     [&](U64 result) { Into::collect(collection, result); });
  Sample sample;
  two_thread_arena().execute([&] {
    const Measurement measurement;
    tbb::parallel_pipeline(tbb_items_under_way, source & receivers & collector);
    sample = measurement.finish(events);
  });
  Into::expect_all(collection, events, expected_digest<T>(events));
  return sample;
}

/// The same with 64 events an item: the stages' own cost is shared by them all.
template <class T, class Into>
[[nodiscard]] Sample run_tbb_pipeline_batched(std::uint64_t events, std::uint64_t iterations) {
  struct Batch {
    std::atomic<bool> in_use{false};
    std::size_t size = 0;
    std::array<T, 64> events;
    std::array<U64, 64> results;
  };
  std::array<Batch, tbb_items_under_way> batches;
  typename Into::type collection;
  U64 next = 0;

  const auto source =
      tbb::make_filter<void, Batch*>(tbb::filter_mode::serial_in_order, [&](tbb::flow_control& control) -> Batch* {
        if (next == events) {
          control.stop();
          return nullptr;
        }
        // There are as many batches as items under way, and one is given back before its item ends: one is free.
        Batch& batch = *std::find_if(batches.begin(), batches.end(),
                                     [](const Batch& b) { return !b.in_use.load(std::memory_order_acquire); });
        batch.in_use.store(true, std::memory_order_relaxed);
        batch.size = std::min<std::size_t>(batch.events.size(), events - next);
        for (std::size_t i = 0; i < batch.size; ++i) batch.events[i] = T(next++);
        return &batch;
      });
  const auto receivers =
      tbb::make_filter<Batch*, Batch*>(tbb::filter_mode::parallel, [iterations](Batch* batch) -> Batch* {
        for (std::size_t i = 0; i < batch->size; ++i) batch->results[i] = work_on(batch->events[i], iterations);
        return batch;
      });
  const auto collector =
      tbb::make_filter<Batch*, void>(tbb::filter_mode::serial_out_of_order, [&collection](Batch* batch) {
        for (std::size_t i = 0; i < batch->size; ++i) Into::collect(collection, batch->results[i]);
        batch->in_use.store(false, std::memory_order_release);
      });
  Sample sample;
  two_thread_arena().execute([&] {
    const Measurement measurement;
    tbb::parallel_pipeline(tbb_items_under_way, source & receivers & collector);
    sample = measurement.finish(events);
  });
  Into::expect_all(collection, events, expected_digest<T>(events));
  return sample;
}

}  // namespace weir_bench
