#pragma once

#include <concurrentqueue.h>

#include <cstddef>
#include <cstdint>
#include <thread>

#include "harness.hpp"
#include "parties.hpp"
#include "payload.hpp"

namespace weir_bench {

/// `try_enqueue` never allocates, which bounds this queue about as the others are bounded. It has no way to wait: both
/// sides yield.
///
/// A producer with a token keeps its blocks for ever: of several, the first takes them all, and the others find the
/// queue full when it is empty. So only a single sender has one.
template <class T, std::size_t senders>
class MoodycamelQueue {
 public:
  explicit MoodycamelQueue(std::size_t capacity) : queue_(capacity, senders == 1 ? 1 : 0, senders == 1 ? 0 : senders) {}

  void send(Share share) {
    if constexpr (senders == 1) {
      moodycamel::ProducerToken producer(queue_);
      send_by(share, [&](const T& value) { return queue_.try_enqueue(producer, value); });
    } else {
      send_by(share, [&](const T& value) { return queue_.try_enqueue(value); });
    }
  }

  void receive(std::uint64_t count, U64& sum) {
    moodycamel::ConsumerToken consumer(queue_);
    T value{};
    for (U64 i = 0; i < count; ++i) {
      while (!queue_.try_dequeue(consumer, value)) std::this_thread::yield();
      sum += digest(value);
    }
  }

 private:
  template <class TrySend>
  void send_by(Share share, TrySend try_send) {
    for (U64 i = share.first; i < share.last; ++i) {
      const T value(i);
      while (!try_send(value)) std::this_thread::yield();
    }
  }

  moodycamel::ConcurrentQueue<T> queue_;
};

}  // namespace weir_bench
