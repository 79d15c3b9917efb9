/// What a worker of a bus takes at once.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include <weir/bus/bus_options.hpp>
#include <weir/bus/detail/bus_record.hpp>

namespace weir::detail {

/// Events of one topic that a worker took together, because no other could run them: all are plain, and so are their
/// handlers.
///
/// The worker claims them from the front, without the lock of the bus; whoever has the lock may recall those that are
/// not claimed yet, from the back. `unclaimed_` decides between the two. Only the worker, or who finds that it has
/// begun none, uses the rest without the lock.
class BusRun {
 public:
  static constexpr std::uint32_t longest = 64;

  [[nodiscard]] bool empty() const noexcept { return claimed_ == 0; }
  /// Under the lock. The first is claimed, and `publish` makes the others claimable.
  void begin(RecordBase& first) noexcept {
    records_[0] = &first;
    size_ = 1;
    claimed_ = 1;
  }
  void add(RecordBase& record) noexcept { records_[size_++] = &record; }
  void publish() noexcept { unclaimed_.store(size_ - 1, std::memory_order_release); }

  /// The worker: the one that it has claimed last.
  [[nodiscard]] RecordBase& current() const noexcept { return *records_[claimed_ - 1]; }
  void set_outcome(EventOutcome outcome) noexcept { outcomes_[claimed_ - 1] = outcome; }
  /// The worker: whether there is another to run. `position` is where its handlers begin: whoever recalls and sees that
  /// this was claimed sees that as well.
  [[nodiscard]] bool claim(std::atomic<std::size_t>& position) noexcept {
    std::uint32_t left = unclaimed_.load(std::memory_order_relaxed);
    if (left == 0) return false;
    position.store(0, std::memory_order_relaxed);
    while (!unclaimed_.compare_exchange_weak(left, left - 1, std::memory_order_acq_rel, std::memory_order_relaxed)) {
      if (left == 0) return false;
    }
    ++claimed_;
    // It was written by another thread, and the one after it as well.
    if (left > 1) prefetch(*records_[claimed_]);
    return true;
  }
  /// Under the lock: calls `give_back(record)` for each that is not claimed, the last first.
  template <class GiveBack>
  void recall(GiveBack&& give_back) noexcept {
    for (std::uint32_t left = unclaimed_.exchange(0, std::memory_order_acq_rel); left != 0; --left) {
      give_back(*records_[--size_]);
    }
  }
  /// The worker, when all that it claimed have run: calls `visit(record, outcome)` for each.
  template <class Visit>
  void for_each_done(Visit&& visit) const {
    for (std::uint32_t i = 0; i < claimed_; ++i) visit(*records_[i], outcomes_[i]);
  }
  /// The worker: how many that are.
  [[nodiscard]] std::uint32_t done() const noexcept { return claimed_; }
  /// The worker, under the lock, when none is left to claim.
  void clear() noexcept { size_ = claimed_ = 0; }

 private:
  std::array<RecordBase*, longest> records_;
  std::array<EventOutcome, longest> outcomes_;
  std::atomic<std::uint32_t> unclaimed_{0};
  std::uint32_t size_ = 0;
  std::uint32_t claimed_ = 0;
};

}  // namespace weir::detail
