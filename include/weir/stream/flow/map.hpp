/// `map` and `filter`.
#pragma once

#include <concepts>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>

#include <weir/core/task.hpp>
#include <weir/stream/flow/flow.hpp>

namespace weir {
namespace detail {

template <Flow Up, class F>
class MapFlow : public FlowOver<Up> {
 public:
  using value_type = std::remove_cvref_t<std::invoke_result_t<F&, flow_value_t<Up>&&>>;

  MapFlow(Up up, F function) : FlowOver<Up>(std::move(up)), function_(std::move(function)) {}

  [[nodiscard]] Pull pull(std::optional<value_type>& out) {
    std::optional<flow_value_t<Up>> in;
    const Pull pulled = this->up_.pull(in);
    if (pulled == Pull::value) out.emplace(std::invoke(function_, std::move(*in)));
    return pulled;
  }

 private:
  F function_;
};

/// A function that has to be awaited: it runs while the flow waits.
template <Flow Up, class F>
class AwaitingMapFlow : public FlowOver<Up> {
 public:
  using value_type = std::remove_cvref_t<awaited_result_t<F&, flow_value_t<Up>&&>>;
  static constexpr bool synchronous = false;

  AwaitingMapFlow(Up up, F function) : FlowOver<Up>(std::move(up)), function_(std::move(function)) {}

  [[nodiscard]] Pull pull(std::optional<value_type>& out) {
    if (result_) {
      out.emplace(std::move(*result_));
      result_.reset();
      return Pull::value;
    }
    const Pull pulled = this->up_.pull(in_);
    return pulled == Pull::value ? Pull::wait : pulled;
  }
  [[nodiscard]] Task<> ready() {
    if (!in_) {
      co_await this->up_.ready();
      co_return;
    }
    // Until its end, as the function may take it by reference.
    const Emptied emptied{in_};
    result_.emplace(co_await std::invoke(function_, std::move(*in_)));
  }

 private:
  struct Emptied {
    std::optional<flow_value_t<Up>>& in;
    ~Emptied() { in.reset(); }
  };

  F function_;
  std::optional<flow_value_t<Up>> in_;
  std::optional<value_type> result_;
};

template <Flow Up, class P>
class FilterFlow : public FlowOver<Up> {
 public:
  using value_type = flow_value_t<Up>;

  FilterFlow(Up up, P predicate) : FlowOver<Up>(std::move(up)), predicate_(std::move(predicate)) {}

  [[nodiscard]] Pull pull(std::optional<value_type>& out) {
    const Pull pulled = this->up_.pull(out);
    if (pulled != Pull::value || std::invoke(predicate_, std::as_const(*out))) return pulled;
    out.reset();
    return Pull::again;
  }

 private:
  P predicate_;
};

/// A predicate that has to be awaited, as a function that gives back what passes.
template <class T, class P>
class AwaitingPredicate {
 public:
  explicit AwaitingPredicate(P predicate) : predicate_(std::move(predicate)) {}

  Task<std::optional<T>> operator()(T&& value) {
    std::optional<T> passed;
    if (co_await std::invoke(predicate_, std::as_const(value))) passed.emplace(std::move(value));
    co_return passed;
  }

 private:
  P predicate_;
};

/// Passes on the values of optionals that have one.
template <Flow Up>
class PresentFlow : public FlowOver<Up> {
 public:
  using value_type = typename flow_value_t<Up>::value_type;

  using FlowOver<Up>::FlowOver;

  [[nodiscard]] Pull pull(std::optional<value_type>& out) {
    std::optional<flow_value_t<Up>> in;
    const Pull pulled = this->up_.pull(in);
    if (pulled != Pull::value) return pulled;
    if (!*in) return Pull::again;
    out.emplace(std::move(**in));
    return Pull::value;
  }
};

}  // namespace detail

/// The flow of what `function` gives for each value: a plain function, or one that returns something to await, such as
/// a coroutine; then the next value is pulled when that has ended. It is called with an rvalue, which lives until then.
template <class F>
[[nodiscard]] auto map(F function) {
  return FlowAdaptor([function = std::move(function)]<Flow Up>(Up up) mutable {
    static_assert(std::invocable<F&, flow_value_t<Up>&&>, "weir::map(f): f can't be called with the flow's values");
    static_assert(!std::is_void_v<detail::awaited_result_t<F&, flow_value_t<Up>&&>>,
                  "weir::map(f): f gives nothing back; for_each(f) ends a pipeline with such a function");
    if constexpr (Awaitable<std::invoke_result_t<F&, flow_value_t<Up>&&>>) {
      return detail::AwaitingMapFlow<Up, F>(std::move(up), std::move(function));
    } else {
      return detail::MapFlow<Up, F>(std::move(up), std::move(function));
    }
  });
}

/// Passes on the values that `predicate` is true of: a plain function, or one that returns something to await. It is
/// called with a const lvalue.
template <class P>
[[nodiscard]] auto filter(P predicate) {
  return FlowAdaptor([predicate = std::move(predicate)]<Flow Up>(Up up) mutable {
    using T = flow_value_t<Up>;
    static_assert(std::invocable<P&, const T&>, "weir::filter(p): p can't be called with the flow's values");
    if constexpr (Awaitable<std::invoke_result_t<P&, const T&>>) {
      using Passing = detail::AwaitingPredicate<T, P>;
      using Mapped = detail::AwaitingMapFlow<Up, Passing>;
      return detail::PresentFlow<Mapped>(Mapped(std::move(up), Passing(std::move(predicate))));
    } else {
      return detail::FilterFlow<Up, P>(std::move(up), std::move(predicate));
    }
  });
}

}  // namespace weir
