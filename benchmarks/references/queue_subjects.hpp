#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "harness.hpp"
#include "mutex_queue.hpp"
#include "queue_on_threads.hpp"
#if WEIR_BENCH_HAS_TBB
#  include "tbb_queue.hpp"
#endif
#if WEIR_BENCH_HAS_MOODYCAMEL
#  include "moodycamel_queue.hpp"
#endif

namespace weir_bench {

template <class T, std::size_t senders = 1, std::size_t receivers = 1, std::size_t capacity = default_capacity>
[[nodiscard]] Subject mutex_queue_subject(std::string variant = {}) {
  return {.name = "mutex_condvar",
          .variant = std::move(variant),
          .run = &run_queue_on_threads<MutexQueue<T>, T, senders, receivers, capacity>};
}

template <class T, std::size_t senders = 1, std::size_t receivers = 1, std::size_t capacity = default_capacity>
[[nodiscard]] Subject tbb_queue_subject(std::string variant = {}) {
#if WEIR_BENCH_HAS_TBB
  return {.name = "tbb_bounded_queue",
          .variant = std::move(variant),
          .run = &run_queue_on_threads<TbbBoundedQueue<T>, T, senders, receivers, capacity>,
          .allocations_counted = false};
#else
  return Subject::absent("tbb_bounded_queue", std::move(variant), "built without oneTBB");
#endif
}

template <class T, std::size_t senders = 1, std::size_t receivers = 1>
[[nodiscard]] Subject moodycamel_subject() {
#if WEIR_BENCH_HAS_MOODYCAMEL
  return {.name = "moodycamel",
          .variant = {},
          .run = &run_queue_on_threads<MoodycamelQueue<T, senders>, T, senders, receivers>,
          .allocations_counted = false};
#else
  return Subject::absent("moodycamel", {}, "built without concurrentqueue");
#endif
}

}  // namespace weir_bench
