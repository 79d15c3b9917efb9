/// `flat_map`: a flow for each value, one after another or several at once.
#pragma once

#include <concepts>
#include <cstddef>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>

#include <weir/core/error.hpp>
#include <weir/core/task.hpp>
#include <weir/stream/detail/flat_merge.hpp>
#include <weir/stream/flow/flow.hpp>
#include <weir/stream/flow/from.hpp>
#include <weir/stream/flow/map.hpp>

namespace weir {
namespace detail {

/// `Inner` is the flow that the function's result is, or is made into.
template <Flow Up, class F, Flow Inner>
class FlatMapFlow : public FlowOver<Up> {
  static constexpr bool plain_close = std::same_as<decltype(std::declval<Inner&>().close()), FlowNothing>;

 public:
  using value_type = flow_value_t<Inner>;
  static constexpr bool synchronous = Up::synchronous && Inner::synchronous && plain_close;

  FlatMapFlow(Up up, F function) : FlowOver<Up>(std::move(up)), function_(std::move(function)) {}

  void open(const FlowSite& site) {
    site_ = site;
    this->up_.open(site);
  }
  [[nodiscard]] Pull pull(std::optional<value_type>& out) {
    if (!inner_) {
      std::optional<flow_value_t<Up>> in;
      const Pull pulled = this->up_.pull(in);
      if (pulled != Pull::value) return pulled;
      inner_.emplace(Made([&] { return weir::from(std::invoke(function_, std::move(*in))); }));
      try {
        inner_->open(site_);
      } catch (...) {
        // One that was not opened is not closed.
        inner_.reset();
        throw;
      }
    }
    if (inner_ended_) return Pull::wait;
    const Pull pulled = inner_->pull(out);
    if (pulled != Pull::end) return pulled;
    if constexpr (plain_close) {
      inner_.reset();
      return Pull::again;
    } else {
      inner_ended_ = true;
      return Pull::wait;
    }
  }
  [[nodiscard]] auto ready() {
    if constexpr (synchronous) {
      return FlowNothing();
    } else {
      return wait();
    }
  }
  [[nodiscard]] auto close() {
    if constexpr (plain_close) {
      return this->up_.close();
    } else {
      return close_both();
    }
  }

 private:
  /// Makes it in place.
  template <class Make>
  struct MadeBy {
    operator Inner() const { return make(); }
    Make make;
  };
  template <class Make>
  static MadeBy<Make> Made(Make make) {
    return {std::move(make)};
  }

  Task<> wait() {
    if (!inner_) {
      co_await this->up_.ready();
    } else if (inner_ended_) {
      co_await inner_->close();
      inner_.reset();
      inner_ended_ = false;
    } else {
      co_await inner_->ready();
    }
  }
  Task<> close_both() {
    if (inner_) co_await inner_->close();
    co_await this->up_.close();
  }

  F function_;
  FlowSite site_;
  bool inner_ended_ = false;
  std::optional<Inner> inner_;
};

/// `Made` is what the function gives.
template <class Made, Flow Up, class F>
auto flat_mapped_from(Up up, F function) {
  static_assert(
      requires(Made made) { weir::from(static_cast<Made&&>(made)); },
      "weir::flat_map(f): what f gives is neither a flow nor something that weir::from makes one of");
  using Inner = decltype(weir::from(std::declval<Made>()));
  return FlatMapFlow<Up, F, Inner>(std::move(up), std::move(function));
}

template <Flow Up, class F>
auto flat_mapped(Up up, F function) {
  using Made = std::invoke_result_t<F&, flow_value_t<Up>&&>;
  if constexpr (Awaitable<Made> && !Flow<std::remove_cvref_t<Made>>) {
    using Mapped = AwaitingMapFlow<Up, F>;
    return flat_mapped_from<flow_value_t<Mapped>&&>(Mapped(std::move(up), std::move(function)), std::identity());
  } else {
    return flat_mapped_from<Made>(std::move(up), std::move(function));
  }
}

}  // namespace detail

/// The values of the flow that `function` makes of each value, one flow after another, in order. What it returns may be
/// a flow, or anything that `from` makes one of (a container, a `Generator`, a receiver); or something to await that
/// gives one of these. A flow ends, and all that it had started, before the next value is pulled.
template <class F>
[[nodiscard]] auto flat_map(F function) {
  return FlowAdaptor([function = std::move(function)]<Flow Up>(Up up) mutable {
    static_assert(std::invocable<F&, flow_value_t<Up>&&>,
                  "weir::flat_map(f): f can't be called with the flow's values");
    return detail::flat_mapped(std::move(up), std::move(function));
  });
}

/// The same with the flows of up to `concurrency` values at once, each waiting in a child coroutine, and so does
/// `function` where what it gives has to be awaited. Values come as they are there: in the order of its own flow each,
/// and by turns among the flows that have one. A value is pulled when there is a place for it, and a place is free when
/// what its flow had started has ended. The first that fails ends all: the others are cancelled, and have ended before
/// it is thrown. Holds a flow a place, each at most one value ahead; takes O(concurrency) for a value, and memory for
/// all places when it is opened. Throws `Error(Errc::invalid_argument)` for 0.
template <class F>
[[nodiscard]] auto flat_map(std::size_t concurrency, F function) {
  if (concurrency == 0) throw Error(Errc::invalid_argument, "flat_map(0, f): at least 1 flow at a time");
  return FlowAdaptor([concurrency, function = std::move(function)]<Flow Up>(Up up) mutable {
    using In = flow_value_t<Up>;
    static_assert(std::invocable<F&, In&&>, "weir::flat_map(n, f): f can't be called with the flow's values");
    using Made = detail::inner_source_t<F, In>;
    static_assert(
        requires(Made made) { weir::from(static_cast<Made&&>(made)); },
        "weir::flat_map(n, f): what f gives is neither a flow nor something that weir::from makes one of");
    using Inner = decltype(weir::from(std::declval<Made>()));
    return detail::FlatMergeFlow<Up, F, Inner>(std::move(up), concurrency, std::move(function));
  });
}

}  // namespace weir
