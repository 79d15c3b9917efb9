/// What the parts of a stream are called in its picture, also those that say nothing of themselves.
#pragma once

#include <memory>
#include <string>
#include <type_traits>

#include <fmt/format.h>

#include <weir/stream/detail/brief.hpp>
#include <weir/stream/detail/error_handler.hpp>
#include <weir/stream/error_policy.hpp>
#include <weir/stream/sender.hpp>
#include <weir/stream/sender_strategy.hpp>
#include <weir/stream/stream_graph.hpp>

namespace weir::detail {

template <class T, class S>
[[nodiscard]] std::string sender_text(const S& sender) {
  if constexpr (is_partitioned<S>) {
    std::string text;
    if constexpr (Described<decltype(sender.function)>) text = std::string(sender.function.describe()) + ", ";
    return text + counted(sender.partitions, "partition") + sender.plan.describe();
  } else if constexpr (is_adaptive_sender<S>) {
    return fmt::format("{}, {}", counted(sender.partitions, "partition"), sender.how.describe());
  } else if constexpr (is_planned<S>) {
    return sender_text<T>(sender.function) + sender.plan.describe();
  } else if constexpr (Described<S>) {
    return sender.describe();
  } else if constexpr (FlowSender<S, T>) {
    return "a flow";
  } else if constexpr (CoroutineSender<S, T>) {
    return "a coroutine";
  } else if constexpr (FunctionSender<S, T> || PullSender<S, T>) {
    return "a function";
  } else if constexpr (RangeSender<S, T>) {
    return is_generator<S> ? "a generator" : "a range";
  } else {
    return is_generator<std::remove_cvref_t<std::invoke_result_t<S&>>> ? "a generator" : "a range";
  }
}

template <class S>
[[nodiscard]] std::string strategy_text(const S& strategy) {
  if constexpr (Described<S>) {
    return strategy.describe();
  } else {
    return fmt::format("a strategy of {}", counted(strategy.concurrency(), "worker"));
  }
}

template <class P>
[[nodiscard]] std::string policy_text(const P& policy) {
  if constexpr (Described<P>) {
    return policy.describe();
  } else {
    return "a policy of one's own";
  }
}

template <class T>
[[nodiscard]] std::string errors_text(ErrorPolicy policy, const std::shared_ptr<const ErrorHandler<T>>& handler) {
  return handler ? handler->describe() : PolicyLink{policy}.describe();
}

}  // namespace weir::detail
