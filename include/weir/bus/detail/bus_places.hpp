/// How many events of a bus may run at the same time, and of which kind.
#pragma once

#include <cstddef>

namespace weir::detail {

/// The places of a bus, each of which lets one event run. Modest ones, those that are not urgent, leave one for the
/// others. Not thread-safe: it is used under the lock of the bus.
class BusPlaces {
 public:
  explicit BusPlaces(std::size_t count) noexcept
      : count_(count), modest_limit_(count > 1 ? count - 1 : std::size_t{1}) {}

  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  [[nodiscard]] std::size_t taken() const noexcept { return taken_; }
  [[nodiscard]] bool has(bool modest) const noexcept { return taken_ < count_ && (!modest || modest_ < modest_limit_); }
  void take(bool modest) noexcept {
    ++taken_;
    if (modest) ++modest_;
  }
  void give(bool modest) noexcept {
    --taken_;
    if (modest) --modest_;
  }

 private:
  const std::size_t count_;
  const std::size_t modest_limit_;
  std::size_t taken_ = 0;
  std::size_t modest_ = 0;
};

}  // namespace weir::detail
