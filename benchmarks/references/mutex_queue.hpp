#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "harness.hpp"
#include "parties.hpp"
#include "payload.hpp"

namespace weir_bench {

/// What everybody writes first: a bounded ring under a mutex, with a condition variable for each side.
template <class T>
class MutexQueue {
 public:
  explicit MutexQueue(std::size_t capacity) : slots_(capacity) {}

  void push(const T& value) {
    {
      std::unique_lock lock(mutex_);
      not_full_.wait(lock, [this] { return size_ < slots_.size(); });
      slots_[(head_ + size_) % slots_.size()] = value;
      ++size_;
    }
    not_empty_.notify_one();
  }

  [[nodiscard]] T pop() {
    std::unique_lock lock(mutex_);
    not_empty_.wait(lock, [this] { return size_ > 0; });
    T value = slots_[head_];
    head_ = (head_ + 1) % slots_.size();
    --size_;
    lock.unlock();
    not_full_.notify_one();
    return value;
  }

  void send(Share share) {
    for (U64 i = share.first; i < share.last; ++i) push(T(i));
  }

  void receive(std::uint64_t count, U64& sum) {
    for (U64 i = 0; i < count; ++i) sum += digest(pop());
  }

 private:
  std::mutex mutex_;
  std::condition_variable not_full_;
  std::condition_variable not_empty_;
  std::vector<T> slots_;
  std::size_t head_ = 0;
  std::size_t size_ = 0;
};

/// On one thread nobody ever waits: this is the price of the locks alone.
template <class T>
[[nodiscard]] Sample run_mutex_queue_one_thread(std::uint64_t events) {
  MutexQueue<T> queue(default_capacity);
  U64 sum = 0;
  const Measurement measurement;
  for (U64 sent = 0; sent < events; sent += default_capacity) {
    for (U64 i = 0; i < default_capacity; ++i) queue.push(T(sent + i));
    for (U64 i = 0; i < default_capacity; ++i) sum += digest(queue.pop());
  }
  const Sample sample = measurement.finish(events);
  expect_delivered(expected_digest<T>(events), sum);
  return sample;
}

}  // namespace weir_bench
