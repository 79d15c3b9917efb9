/// `merge` and `zip`: several flows at once.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <optional>
#include <tuple>
#include <utility>

#include <weir/core/task.hpp>
#include <weir/stream/detail/flow_child.hpp>
#include <weir/stream/flow/flow.hpp>

namespace weir {
namespace detail {

/// What both are: flows that wait beside each other.
template <Flow... Ups>
class FlowOfMany {
 public:
  static constexpr bool synchronous = (Ups::synchronous && ...);

  explicit FlowOfMany(Ups... ups) : arms_(FlowArm<Ups>(std::move(ups))...) {}

  void open(const FlowSite& site) {
    std::apply([&](auto&... arm) { (arm.open(site, signal_), ...); }, arms_);
  }
  [[nodiscard]] FlowSignal::Wait ready() { return signal_.wait(); }
  /// All are cancelled before one is waited for.
  [[nodiscard]] auto close() {
    if constexpr (synchronous && (std::same_as<decltype(std::declval<Ups&>().close()), FlowNothing> && ...)) {
      return FlowNothing();
    } else {
      return close_arms();
    }
  }

 protected:
  std::tuple<FlowArm<Ups>...> arms_;
  FlowSignal signal_;

 private:
  Task<> close_arms() {
    std::apply([](auto&... arm) { (arm.cancel(), ...); }, arms_);
    auto closing = std::apply([](auto&... arm) { return std::array<Task<>, sizeof...(Ups)>{arm.close()...}; }, arms_);
    for (Task<>& one : closing) co_await std::move(one);
  }
};

template <class T, Flow... Ups>
class MergeFlow : public FlowOfMany<Ups...> {
 public:
  using value_type = T;

  using FlowOfMany<Ups...>::FlowOfMany;

  [[nodiscard]] Pull pull(std::optional<T>& out) {
    this->signal_.lower();
    bool all_ended = true;
    for (std::size_t tried = 0; tried < sizeof...(Ups); ++tried) {
      const std::size_t which = next_;
      next_ = (next_ + 1) % sizeof...(Ups);
      const Pull pulled = pull_from(which, out, std::index_sequence_for<Ups...>());
      if (pulled == Pull::value || pulled == Pull::again) return pulled;
      if (pulled == Pull::wait) all_ended = false;
    }
    return all_ended ? Pull::end : Pull::wait;
  }

 private:
  template <std::size_t... I>
  Pull pull_from(std::size_t which, std::optional<T>& out, std::index_sequence<I...>) {
    Pull pulled = Pull::end;
    static_cast<void>(((I == which && (pulled = pull_one(std::get<I>(this->arms_), out), true)) || ...));
    return pulled;
  }
  template <class Arm>
  static Pull pull_one(Arm& arm, std::optional<T>& out) {
    if constexpr (std::same_as<typename Arm::value_type, T>) {
      return arm.pull(out);
    } else {
      std::optional<typename Arm::value_type> in;
      const Pull pulled = arm.pull(in);
      if (pulled == Pull::value) out.emplace(std::move(*in));
      return pulled;
    }
  }

  std::size_t next_ = 0;
};

template <Flow... Ups>
class ZipFlow : public FlowOfMany<Ups...> {
 public:
  using value_type = std::tuple<flow_value_t<Ups>...>;

  using FlowOfMany<Ups...>::FlowOfMany;

  [[nodiscard]] Pull pull(std::optional<value_type>& out) {
    this->signal_.lower();
    return pull_all(out, std::index_sequence_for<Ups...>());
  }

 private:
  template <std::size_t... I>
  Pull pull_all(std::optional<value_type>& out, std::index_sequence<I...>) {
    bool again = false;
    bool waits = false;
    bool ended = false;
    const auto pull_one = [&](auto& arm, auto& held) {
      if (held || ended) return;
      const Pull pulled = arm.pull(held);
      again = again || pulled == Pull::again;
      waits = waits || pulled == Pull::wait;
      ended = ended || pulled == Pull::end;
    };
    (pull_one(std::get<I>(this->arms_), std::get<I>(held_)), ...);
    if (ended) return Pull::end;
    if (again) return Pull::again;
    if (waits) return Pull::wait;
    out.emplace(std::move(*std::get<I>(held_))...);
    (std::get<I>(held_).reset(), ...);
    return Pull::value;
  }

  std::tuple<std::optional<flow_value_t<Ups>>...> held_;
};

}  // namespace detail

/// The values of all the flows, as they come: in the order of its own flow each, and fair, by turns, among those that
/// have one. It ends when all have ended, and with the first that fails. Their values are of one type, or have a common
/// one. A flow that has to wait does so in a child coroutine, and is at most one value ahead.
template <Flow First, Flow... Rest>
  requires(sizeof...(Rest) != 0)
[[nodiscard]] auto merge(First first, Rest... rest) {
  using T = std::common_type_t<flow_value_t<First>, flow_value_t<Rest>...>;
  return detail::MergeFlow<T, First, Rest...>(std::move(first), std::move(rest)...);
}

/// A `std::tuple` of the first values of the flows, then of the second ones, and so on. They are waited for at the same
/// time. It ends with the first flow that ends: what the others were ahead, one value at most, is dropped.
template <Flow First, Flow... Rest>
  requires(sizeof...(Rest) != 0)
[[nodiscard]] auto zip(First first, Rest... rest) {
  return detail::ZipFlow<First, Rest...>(std::move(first), std::move(rest)...);
}

/// `a | merge_with(b, c)` is `merge(a, b, c)`.
template <Flow... Others>
  requires(sizeof...(Others) != 0)
[[nodiscard]] auto merge_with(Others... others) {
  return FlowAdaptor([others = std::tuple(std::move(others)...)]<Flow Up>(Up up) mutable {
    return std::apply([&up](Others&... other) { return merge(std::move(up), std::move(other)...); }, others);
  });
}

/// `a | zip_with(b, c)` is `zip(a, b, c)`.
template <Flow... Others>
  requires(sizeof...(Others) != 0)
[[nodiscard]] auto zip_with(Others... others) {
  return FlowAdaptor([others = std::tuple(std::move(others)...)]<Flow Up>(Up up) mutable {
    return std::apply([&up](Others&... other) { return zip(std::move(up), std::move(other)...); }, others);
  });
}

}  // namespace weir
