/// `chunk` and `window`, by count: groups of values that follow each other. For those by time see timed_window.hpp.
#pragma once

#include <concepts>
#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <weir/core/error.hpp>
#include <weir/stream/detail/window_buffer.hpp>
#include <weir/stream/flow/flow.hpp>

namespace weir {
namespace detail {

template <Flow Up, class F>
class CountWindowFlow : public FlowOver<Up> {
  using T = flow_value_t<Up>;

 public:
  using value_type = typename window_result<F, T>::type;

  CountWindowFlow(Up up, std::size_t size, std::size_t step, F function)
      : FlowOver<Up>(std::move(up)), size_(size), step_(step), function_(std::move(function)) {}

  [[nodiscard]] Pull pull(std::optional<value_type>& out) {
    if (at_end_) return Pull::end;
    std::optional<T> in;
    const Pull pulled = this->up_.pull(in);
    if (pulled == Pull::end) {
      at_end_ = true;
      if (step_ < size_ || window_.empty()) return Pull::end;
      give(out);
      return Pull::value;
    }
    if (pulled != Pull::value) return pulled;
    if (left_out_ != 0) {
      --left_out_;
      return Pull::again;
    }
    window_.push(std::move(*in));
    if (window_.size() < size_) return Pull::again;
    give(out);
    return Pull::value;
  }

 private:
  void give(std::optional<value_type>& out) {
    if constexpr (!std::same_as<F, WholeWindow>) {
      out.emplace(std::invoke(function_, window_.view()));
    } else if constexpr (std::copy_constructible<T>) {
      if (step_ < size_) {
        const std::span<const T> view = window_.view();
        out.emplace(view.begin(), view.end());
      } else {
        out.emplace(window_.take());
      }
    } else {
      out.emplace(window_.take());
    }
    window_.drop_front(step_);
    if (step_ > size_) left_out_ = step_ - size_;
  }

  std::size_t size_;
  std::size_t step_;
  [[no_unique_address]] F function_;
  std::size_t left_out_ = 0;
  bool at_end_ = false;
  WindowBuffer<T> window_;
};

template <class F>
auto count_window(std::size_t size, std::size_t step, F function) {
  return FlowAdaptor([size, step, function = std::move(function)]<Flow Up>(Up up) mutable {
    using T = flow_value_t<Up>;
    static_assert(std::same_as<F, WholeWindow> || std::invocable<F&, std::span<const T>>,
                  "weir::window(n, step, f): f can't be called with a std::span<const T> of the flow's values");
    return CountWindowFlow<Up, F>(std::move(up), size, step, std::move(function));
  });
}

inline void check_window(std::size_t size, std::size_t step) {
  if (size == 0) throw Error(Errc::invalid_argument, "window(0): a window has at least 1 value");
  if (step == 0) throw Error(Errc::invalid_argument, "window(n, 0): the step to the next window is at least 1 value");
}

}  // namespace detail

/// `std::vector`s of `size` values; what is left at the end makes a shorter one. Allocates one block a chunk. Throws
/// `Error(Errc::invalid_argument)` for a size of 0.
[[nodiscard]] inline auto chunk(std::size_t size) {
  if (size == 0) throw Error(Errc::invalid_argument, "chunk(0): a chunk has at least 1 value");
  return detail::count_window(size, size, detail::WholeWindow());
}

/// Windows of `size` values, side by side: tumbling. Each becomes what `function` gives for a `std::span<const T>`,
/// which is valid for that call; what is left at the end makes a shorter one. Allocates nothing for a window.
template <class F>
  requires(!std::convertible_to<F, std::size_t>)
[[nodiscard]] auto window(std::size_t size, F function) {
  detail::check_window(size, size);
  return detail::count_window(size, size, std::move(function));
}

/// Windows of `size` values that begin `step` values after each other: sliding, or with gaps where the step is larger.
/// Sliding windows are full ones: a flow with fewer than `size` values has none. Without a function a window is a
/// `std::vector`, of copies where windows overlap (only so are values copied), and allocates a block; with one see
/// above. At most `size` values are remembered, and as many again whose memory waits to be used again. Throws
/// `Error(Errc::invalid_argument)` where one of the two is 0.
[[nodiscard]] inline auto window(std::size_t size, std::size_t step) {
  detail::check_window(size, step);
  return FlowAdaptor([size, step]<Flow Up>(Up up) {
    if constexpr (!std::copy_constructible<flow_value_t<Up>>) {
      if (step < size) {
        throw Error(Errc::invalid_argument,
                    "window(n, step): the values can't be copied, so give a function of the window, or step by n");
      }
    }
    return detail::count_window(size, step, detail::WholeWindow())(std::move(up));
  });
}
template <class F>
[[nodiscard]] auto window(std::size_t size, std::size_t step, F function) {
  detail::check_window(size, step);
  return detail::count_window(size, step, std::move(function));
}

/// The same as `chunk`.
[[nodiscard]] inline auto window(std::size_t size) {
  detail::check_window(size, size);
  return chunk(size);
}

}  // namespace weir
