/// The lock of a bus.
#pragma once

#include <mutex>

#include <weir/core/processor_pause.hpp>

namespace weir::detail {

/// A mutex that is tried for a moment before the thread is put to sleep: what is done under it takes a tenth of a
/// microsecond, being put to sleep and woken a hundred times that.
class BusMutex {
 public:
  void lock() {
    for (int i = 0; i < tries; ++i) {
      if (mutex_.try_lock()) return;
      for (int k = 0; k < pauses; ++k) processor_pause();
    }
    mutex_.lock();
  }
  void unlock() { mutex_.unlock(); }

 private:
  static constexpr int tries = 64;
  static constexpr int pauses = 4;

  std::mutex mutex_;
};

}  // namespace weir::detail
