/// What ends a pipeline: operators that run the flow and give a task of what came of it.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include <weir/core/task.hpp>
#include <weir/stream/detail/flow_run.hpp>
#include <weir/stream/flow/flow.hpp>

namespace weir {

/// An operator that ends a pipeline: `flow | FlowEnd(make)` is `make(flow)`.
template <class Make>
class [[nodiscard("nothing runs before a flow is piped into it and the task is awaited")]] FlowEnd {
 public:
  explicit FlowEnd(Make make) : make_(std::move(make)) {}

  template <Flow F>
  [[nodiscard]] auto operator()(F flow) && {
    return std::move(make_)(std::move(flow));
  }

 private:
  Make make_;
};

template <class F, class Make>
  requires Flow<std::remove_cvref_t<F>>
[[nodiscard]] auto operator|(F&& flow, FlowEnd<Make> end) {
  return std::move(end)(std::remove_cvref_t<F>(static_cast<F&&>(flow)));
}

/// A pipeline without its source: `map(f) | to_vector()`.
template <class Make, class EndMake>
[[nodiscard]] auto operator|(FlowAdaptor<Make> adaptor, FlowEnd<EndMake> end) {
  return FlowEnd([adaptor = std::move(adaptor), end = std::move(end)]<Flow F>(F flow) mutable {
    return std::move(end)(std::move(adaptor)(std::move(flow)));
  });
}

namespace detail {

template <Flow F, class G>
Task<> for_each_of(F flow, G function) {
  auto running = run_flow(flow, function);
  co_await std::move(running);
}

template <Flow F, class A, class G>
Task<A> fold_of(F flow, A total, G function) {
  using Step = std::invoke_result_t<G&, A, flow_value_t<F>&&>;
  auto step = [&](flow_value_t<F>&& value) {
    if constexpr (Awaitable<Step>) {
      return [](A& sum, G& add, flow_value_t<F>&& next) -> Task<> {
        sum = co_await std::invoke(add, std::move(sum), std::move(next));
      }(total, function, std::move(value));
    } else {
      total = std::invoke(function, std::move(total), std::move(value));
    }
  };
  auto running = run_flow(flow, step);
  co_await std::move(running);
  co_return total;
}

template <Flow F, class G>
Task<std::optional<flow_value_t<F>>> reduce_of(F flow, G function) {
  using T = flow_value_t<F>;
  std::optional<T> total;
  auto step = [&](T&& value) {
    if (total) {
      total.emplace(std::invoke(function, T(std::move(*total)), std::move(value)));
    } else {
      total.emplace(std::move(value));
    }
  };
  auto running = run_flow(flow, step);
  co_await std::move(running);
  co_return total;
}

template <Flow F>
Task<std::optional<flow_value_t<F>>> first_of(F flow) {
  std::optional<flow_value_t<F>> first;
  auto keep = [&first](flow_value_t<F>&& value) {
    first.emplace(std::move(value));
    return false;
  };
  auto running = run_flow(flow, keep);
  co_await std::move(running);
  co_return first;
}

template <Flow F>
Task<std::uint64_t> count_of(F flow) {
  std::uint64_t count = 0;
  auto add = [&count](flow_value_t<F>&&) { ++count; };
  auto running = run_flow(flow, add);
  co_await std::move(running);
  co_return count;
}

template <Flow F>
Task<std::vector<flow_value_t<F>>> vector_of(F flow) {
  std::vector<flow_value_t<F>> values;
  auto append = [&values](flow_value_t<F>&& value) { values.push_back(std::move(value)); };
  auto running = run_flow(flow, append);
  co_await std::move(running);
  co_return values;
}

}  // namespace detail

/// Each of these gives a `Task`, which runs the flow where it is awaited, to its end or until it has enough, and throws
/// what the flow or the function throws; cancelling the task cancels the flow. In any case what the flow had started
/// has ended when the task has. Being tasks, they go wherever tasks do: `spawn(pool, flow | to_vector(),
/// asio::use_future)`, `co_await as_awaitable(flow | count())` in an `asio::awaitable`, `with_timeout(1s, flow |
/// first())`, `sync_wait`. They allocate their frames, and nothing for a value.

/// Calls `function` with each value, an rvalue: a plain function or one that returns something to await, which is
/// awaited before the next value is pulled. It may give a bool: false ends the flow.
template <class G>
[[nodiscard]] auto for_each(G function) {
  return FlowEnd([function = std::move(function)]<Flow F>(F flow) mutable {
    static_assert(std::invocable<G&, flow_value_t<F>&&>, "weir::for_each(f): f can't be called with the flow's values");
    return detail::for_each_of(std::move(flow), std::move(function));
  });
}

/// `function(function(initial, first), second)` and so on. The function may return something to await.
template <class A, class G>
[[nodiscard]] auto fold(A initial, G function) {
  return FlowEnd([initial = std::move(initial), function = std::move(function)]<Flow F>(F flow) mutable {
    static_assert(std::invocable<G&, A, flow_value_t<F>&&>,
                  "weir::fold(a, f): f can't be called with what it gives and the flow's values");
    return detail::fold_of(std::move(flow), std::move(initial), std::move(function));
  });
}

/// The same that begins with the first value; empty for a flow without values. A plain function.
template <class G>
[[nodiscard]] auto reduce(G function) {
  return FlowEnd([function = std::move(function)]<Flow F>(F flow) mutable {
    return detail::reduce_of(std::move(flow), std::move(function));
  });
}

/// The number of values.
[[nodiscard]] inline auto count() {
  return FlowEnd([]<Flow F>(F flow) { return detail::count_of(std::move(flow)); });
}

/// The first value, without pulling a second; empty if there is none.
[[nodiscard]] inline auto first() {
  return FlowEnd([]<Flow F>(F flow) { return detail::first_of(std::move(flow)); });
}

/// All values, in order.
[[nodiscard]] inline auto to_vector() {
  return FlowEnd([]<Flow F>(F flow) { return detail::vector_of(std::move(flow)); });
}

/// What `with_flow` gives its function.
template <Flow F>
class FlowReader {
 public:
  explicit FlowReader(F& flow) noexcept : flow_(flow) {}
  FlowReader(const FlowReader&) = delete;
  FlowReader& operator=(const FlowReader&) = delete;

  /// The next value; empty at the end, and then always. One at a time, from the coroutine that it was given to. After
  /// it has thrown, the flow is at its end. A frame from the pool.
  [[nodiscard]] Task<std::optional<flow_value_t<F>>> next() {
    std::optional<flow_value_t<F>> value;
    if (at_end_) co_return value;
    at_end_ = true;
    auto pulling = detail::next_of(flow_);
    value = co_await std::move(pulling);
    at_end_ = !value;
    co_return value;
  }

 private:
  F& flow_;
  bool at_end_ = false;
};

namespace detail {

template <Flow F, class Body>
auto pull_by_hand(F flow, Body body) -> Task<await_result_t<std::invoke_result_t<Body&, FlowReader<F>&>>> {
  using R = await_result_t<std::invoke_result_t<Body&, FlowReader<F>&>>;
  Promise& self = co_await FlowRunner();
  flow.open(FlowSite{&self.home(), &self.scope()});
  FlowReader<F> reader(flow);
  std::exception_ptr error;
  std::conditional_t<std::is_void_v<R>, bool, std::optional<R>> result{};
  try {
    auto&& running = std::invoke(body, reader);
    if constexpr (std::is_void_v<R>) {
      co_await std::move(running);
    } else {
      result.emplace(co_await std::move(running));
    }
  } catch (...) {
    error = std::current_exception();
  }
  co_await flow.close();
  if (error) std::rethrow_exception(std::move(error));
  if constexpr (!std::is_void_v<R>) co_return std::move(*result);
}

}  // namespace detail

/// Pulls a flow by hand: calls `body(reader)`, which awaits `reader.next()` as often as it likes, and gives what that
/// gives; then what the flow had started has ended. A task.
///
///     co_await weir::with_flow(std::move(flow), [](auto& in) -> weir::Task<> {
///       while (auto value = co_await in.next()) use(*value);
///     });
template <Flow F, class Body>
[[nodiscard]] auto with_flow(F flow, Body body) {
  return detail::pull_by_hand(std::move(flow), std::move(body));
}

}  // namespace weir
