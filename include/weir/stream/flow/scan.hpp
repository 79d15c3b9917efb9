/// `scan`: every intermediate result of a fold.
#pragma once

#include <concepts>
#include <functional>
#include <optional>
#include <utility>

#include <weir/core/task.hpp>
#include <weir/stream/flow/flow.hpp>
#include <weir/stream/flow/map.hpp>

namespace weir {
namespace detail {

/// A step that is mapped over the values.
template <class A, class F, class T>
class ScanStep {
 public:
  ScanStep(A initial, F function) : total_(std::move(initial)), function_(std::move(function)) {}

  A operator()(T&& value)
    requires(!Awaitable<std::invoke_result_t<F&, A, T &&>>)
  {
    total_ = std::invoke(function_, std::move(total_), std::move(value));
    return total_;
  }
  Task<A> operator()(T&& value)
    requires Awaitable<std::invoke_result_t<F&, A, T&&>>
  {
    total_ = co_await std::invoke(function_, std::move(total_), std::move(value));
    co_return total_;
  }

 private:
  A total_;
  F function_;
};

}  // namespace detail

/// A value for each value: `function(initial, first)`, then `function(that, second)`, and so on. The function may
/// return something to await. The intermediate results are copied; `initial` itself is none of them.
template <std::copy_constructible A, class F>
[[nodiscard]] auto scan(A initial, F function) {
  return FlowAdaptor([initial = std::move(initial), function = std::move(function)]<Flow Up>(Up up) mutable {
    using T = flow_value_t<Up>;
    static_assert(std::invocable<F&, A, T&&>,
                  "weir::scan(a, f): f can't be called with what it gives and the flow's values");
    return map(detail::ScanStep<A, F, T>(std::move(initial), std::move(function)))(std::move(up));
  });
}

}  // namespace weir
