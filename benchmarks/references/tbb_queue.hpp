#pragma once

#include <oneapi/tbb/concurrent_queue.h>

#include <cstddef>
#include <cstdint>

#include "harness.hpp"
#include "parties.hpp"
#include "payload.hpp"

namespace weir_bench {

template <class T>
class TbbBoundedQueue {
 public:
  explicit TbbBoundedQueue(std::size_t capacity) { queue_.set_capacity(static_cast<std::ptrdiff_t>(capacity)); }

  void push(const T& value) { queue_.push(value); }

  [[nodiscard]] T pop() {
    T value{};
    queue_.pop(value);
    return value;
  }

  void send(Share share) {
    for (U64 i = share.first; i < share.last; ++i) queue_.emplace(i);
  }

  void receive(std::uint64_t count, U64& sum) {
    T value{};
    for (U64 i = 0; i < count; ++i) {
      queue_.pop(value);
      sum += digest(value);
    }
  }

 private:
  tbb::concurrent_bounded_queue<T> queue_;
};

}  // namespace weir_bench
