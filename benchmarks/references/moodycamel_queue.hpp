#pragma once

#include <concurrentqueue.h>

#include <cstdint>
#include <thread>

#include "harness.hpp"
#include "payload.hpp"
#include "two_threads.hpp"

namespace weir_bench {

/// `try_enqueue` never allocates, which bounds this queue about as the others are bounded. It has no way to wait: both
/// sides yield.
template <class T>
[[nodiscard]] Sample run_moodycamel(std::uint64_t events) {
  moodycamel::ConcurrentQueue<T> queue(default_capacity);
  moodycamel::ProducerToken producer(queue);
  moodycamel::ConsumerToken consumer(queue);
  U64 sum = 0;
  const Sample sample = measure_two_threads(
      events,
      [&] {
        for (U64 i = 0; i < events; ++i) {
          const T value(i);
          while (!queue.try_enqueue(producer, value)) std::this_thread::yield();
        }
      },
      [&] {
        T value{};
        for (U64 i = 0; i < events; ++i) {
          while (!queue.try_dequeue(consumer, value)) std::this_thread::yield();
          sum += digest(value);
        }
      });
  expect_delivered(expected_digest<T>(events), sum);
  return sample;
}

}  // namespace weir_bench
