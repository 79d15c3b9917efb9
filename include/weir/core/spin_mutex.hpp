/// `SpinMutex`: what guards some tens of nanoseconds.
#pragma once

#include <atomic>
#include <thread>

#include <weir/core/processor.hpp>

namespace weir {

/// A lock for critical sections of some tens of nanoseconds: one byte, one read-modify-write. Who finds it taken looks
/// for a while and then yields its thread, so that a holder that was preempted gets on: nothing that takes long, waits,
/// allocates or is a user's may run under it. Not recursive, not fair. For `std::lock_guard`.
class SpinMutex {
 public:
  void lock() noexcept {
    if (!taken_.exchange(true, std::memory_order_acquire)) [[likely]]
      return;
    contend();
  }
  void unlock() noexcept { taken_.store(false, std::memory_order_release); }

 private:
  [[gnu::noinline]] void contend() noexcept {
    constexpr int looks = 64;
    int looked = 0;
    do {
      while (taken_.load(std::memory_order_relaxed)) {
        if (++looked < looks) {
          detail::processor_pause();
        } else {
          std::this_thread::yield();
        }
      }
    } while (taken_.exchange(true, std::memory_order_acquire));
  }

  std::atomic<bool> taken_{false};
};

}  // namespace weir
