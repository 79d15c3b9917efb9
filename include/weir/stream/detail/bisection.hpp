#pragma once

#include <array>
#include <cstddef>
#include <limits>

namespace weir::detail {

/// The parts of a batch that are still to be tried, from left to right: first the whole, later the halves of what
/// failed.
class Bisection {
 public:
  struct Part {
    std::size_t first = 0;
    std::size_t count = 0;
  };

  void start(std::size_t count) noexcept {
    open_ = 0;
    if (count != 0) push({0, count});
  }

  [[nodiscard]] bool next(Part& part) noexcept {
    if (open_ == 0) return false;
    part = parts_[--open_];
    return true;
  }
  /// One of at least two, which was given by `next` last.
  void halve(const Part& part) noexcept {
    const std::size_t left = part.count / 2;
    push({part.first + left, part.count - left});
    push({part.first, left});
  }

 private:
  void push(const Part& part) noexcept { parts_[open_++] = part; }

  // Of each size there is one right half that waits, at most.
  std::array<Part, std::numeric_limits<std::size_t>::digits + 1> parts_;
  std::size_t open_ = 0;
};

}  // namespace weir::detail
