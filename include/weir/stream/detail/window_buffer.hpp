/// The values of a window, side by side.
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <span>
#include <utility>
#include <vector>

namespace weir::detail {

/// A queue that is contiguous. What leaves it at the front is destroyed now and then, in O(1) amortised; nothing is
/// allocated once it has been as large as it gets.
template <class T>
class WindowBuffer {
 public:
  [[nodiscard]] std::size_t size() const noexcept { return values_.size() - head_; }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  [[nodiscard]] const T& front() const noexcept { return values_[head_]; }
  [[nodiscard]] std::span<const T> view() const noexcept { return std::span<const T>(values_).subspan(head_); }

  void push(T&& value) {
    if (head_ != 0 && head_ >= size()) {
      values_.erase(values_.begin(), values_.begin() + static_cast<std::ptrdiff_t>(head_));
      head_ = 0;
    }
    values_.push_back(std::move(value));
  }
  void drop_front(std::size_t count) noexcept {
    head_ += std::min(count, size());
    if (empty()) clear();
  }
  void clear() noexcept {
    values_.clear();
    head_ = 0;
  }
  /// All of them, out of it; for one that nothing has left.
  [[nodiscard]] std::vector<T> take() {
    std::vector<T> taken;
    taken.reserve(values_.capacity());
    std::swap(taken, values_);
    return taken;
  }

 private:
  std::vector<T> values_;
  std::size_t head_ = 0;
};

/// A window as it is: moved out if that is its last use, else copied.
struct WholeWindow {};

template <class F, class T>
struct window_result {
  using type = std::remove_cvref_t<std::invoke_result_t<F&, std::span<const T>>>;
};
template <class T>
struct window_result<WholeWindow, T> {
  using type = std::vector<T>;
};

}  // namespace weir::detail
