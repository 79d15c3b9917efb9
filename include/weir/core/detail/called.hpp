#pragma once

#include <functional>
#include <type_traits>

#include <weir/core/promise.hpp>
#include <weir/core/task.hpp>

namespace weir::detail {

template <class R>
struct called {
  using type = R;
};
template <Awaitable R>
struct called<R> {
  using type = await_result_t<R>;
};
/// What a function gives in the end, plain or not.
template <class F>
using called_t = typename called<std::invoke_result_t<F&>>::type;

/// Calls it, and waits if there is something to wait for.
template <class F>
Task<called_t<F>> call_as_task(F& function) {
  if constexpr (Awaitable<std::invoke_result_t<F&>>) {
    co_return co_await std::invoke(function);
  } else {
    co_return std::invoke(function);
  }
}

}  // namespace weir::detail
