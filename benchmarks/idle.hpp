#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <latch>

#include "allocation_count.hpp"
#include "harness.hpp"
#include "memory.hpp"
#include "payload.hpp"

namespace weir_bench {

/// Some of the references take the memory for it at once.
inline constexpr std::size_t idle_capacity = 16;

/// What a crowd of receivers that each wait for one value share.
class IdleCrowd {
 public:
  explicit IdleCrowd(std::uint64_t size) noexcept
      : waiting_(static_cast<std::ptrdiff_t>(size)), received_(static_cast<std::ptrdiff_t>(size)) {}

  void about_to_wait() noexcept { waiting_.count_down(); }
  template <class T>
  void has_received(const T& value) noexcept {
    sum_.fetch_add(digest(value), std::memory_order_relaxed);
    received_.count_down();
  }

  void wait_until_all_wait() const noexcept { waiting_.wait(); }
  void wait_until_all_received() const noexcept { received_.wait(); }
  [[nodiscard]] U64 sum() const noexcept { return sum_.load(std::memory_order_relaxed); }

 private:
  std::latch waiting_;
  std::latch received_;
  std::atomic<U64> sum_{0};
};

/// What `size` idle channels cost: `make_idle()` makes them and returns when their receivers wait; `send_to_each()`
/// returns when each has got its value. To be called in a process of its own (`run_in_a_copy`).
template <class MakeIdle, class SendToEach>
[[nodiscard]] Sample measure_idle(std::uint64_t size, MakeIdle make_idle, SendToEach send_to_each) {
  const double each = 1 / static_cast<double>(size);
  Sample sample;
  give_back_freed_memory();
  const double heap = heap_bytes();
  const double resident = resident_bytes();
  make_idle();
  sample.figures["bytes"] = (heap_bytes() - heap) * each;
  sample.figures["resident_bytes"] = (resident_bytes() - resident) * each;

  const Measurement measurement;
  send_to_each();
  const Sample pass = measurement.finish(size);
  sample.figures["ns_per_value"] = pass.ns_per_event;
  sample.ns_per_event = pass.ns_per_event;
  sample.allocs_per_event = pass.allocs_per_event;
  return sample;
}

}  // namespace weir_bench
