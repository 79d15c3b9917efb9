/// `flat_map(n, f)`: the flows of several values at once.
#pragma once

#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include <weir/core/task.hpp>
#include <weir/stream/detail/flow_child.hpp>
#include <weir/stream/flow/flow.hpp>
#include <weir/stream/flow/from.hpp>

namespace weir::detail {

template <class F, class In>
using made_by_t = std::invoke_result_t<F&, In&&>;
/// Whether the function's result has to be awaited before it is a flow, or is made into one.
template <class F, class In>
inline constexpr bool awaits_flow = Awaitable<made_by_t<F, In>> && !Flow<std::remove_cvref_t<made_by_t<F, In>>>;
template <class F, class In>
using inner_source_t = typename std::conditional_t<awaits_flow<F, In>, await_result<made_by_t<F, In>>,
                                                   std::type_identity<made_by_t<F, In>>>::type;

/// A place for one of the inner flows, which waits in its child: for what the function gives, for its values, and for
/// its end. Taken from `begin` to the `pull` that gives `end`.
template <class F, class In, Flow Inner>
class FlatMergePlace {
 public:
  using value_type = flow_value_t<Inner>;

  void open(const FlowSite& site, FlowSignal& signal) { child_.open(site, signal); }

  [[nodiscard]] bool taken() const noexcept { return taken_; }
  void begin(F& function, In&& value) {
    taken_ = true;
    if constexpr (awaits_flow<F, In>) {
      child_.start(begin_later(function, std::move(value)));
    } else {
      begin_with(std::invoke(function, std::move(value)));
    }
  }
  [[nodiscard]] Pull pull(std::optional<value_type>& out) {
    if (child_.running()) return Pull::wait;
    if (child_.ended()) child_.take();
    if (closing_) return free();
    const Pull pulled = inner_->pull(out);
    if (pulled == Pull::wait) {
      child_.start(wait());
    } else if (pulled == Pull::end) {
      closing_ = true;
      if constexpr (plain_close) return free();
      child_.start(close_inner());
      return Pull::wait;
    }
    return pulled;
  }

  void cancel() noexcept { child_.cancel(); }
  /// After `cancel`.
  Task<> close() {
    co_await child_.join();
    if (inner_ && !closing_) co_await inner_->close();
  }

 private:
  static constexpr bool plain_close = std::same_as<decltype(std::declval<Inner&>().close()), FlowNothing>;

  template <class Made>
  void begin_with(Made&& made) {
    inner_.emplace(weir::from(static_cast<Made&&>(made)));
    try {
      inner_->open(child_.site());
    } catch (...) {
      // One that was not opened is not closed.
      inner_.reset();
      throw;
    }
  }
  Task<> begin_later(F& function, In value) { begin_with(co_await std::invoke(function, std::move(value))); }
  Task<> wait() { co_await inner_->ready(); }
  Task<> close_inner() { co_await inner_->close(); }
  Pull free() {
    inner_.reset();
    taken_ = closing_ = false;
    return Pull::end;
  }

  bool taken_ = false;
  bool closing_ = false;
  std::optional<Inner> inner_;
  FlowChild child_;
};

template <Flow Up, class F, Flow Inner>
class FlatMergeFlow {
  using In = flow_value_t<Up>;
  using Place = FlatMergePlace<F, In, Inner>;

 public:
  using value_type = flow_value_t<Inner>;
  static constexpr bool synchronous = false;

  FlatMergeFlow(Up up, std::size_t places, F function)
      : function_(std::move(function)), arm_(std::move(up)), count_(places) {}

  void open(const FlowSite& site) {
    places_ = std::make_unique<Place[]>(count_);
    for (std::size_t i = 0; i < count_; ++i) places_[i].open(site, signal_);
    arm_.open(site, signal_);
  }
  [[nodiscard]] Pull pull(std::optional<value_type>& out) {
    signal_.lower();
    const Pull begun = begin_one();
    if (begun == Pull::value) return Pull::again;
    bool again = begun == Pull::again;
    for (std::size_t tried = 0; tried < count_; ++tried) {
      Place& place = places_[next_];
      next_ = next_ + 1 == count_ ? 0 : next_ + 1;
      if (!place.taken()) continue;
      const Pull pulled = place.pull(out);
      if (pulled == Pull::value) return pulled;
      if (pulled == Pull::end) --taken_;
      again = again || pulled != Pull::wait;
    }
    if (again) return Pull::again;
    return taken_ == 0 && arm_.at_end() ? Pull::end : Pull::wait;
  }
  [[nodiscard]] FlowSignal::Wait ready() { return signal_.wait(); }
  /// All are cancelled before one is waited for.
  Task<> close() {
    for (std::size_t i = 0; i < count_; ++i) places_[i].cancel();
    arm_.cancel();
    for (std::size_t i = 0; i < count_; ++i) co_await places_[i].close();
    co_await arm_.close();
  }

 private:
  /// Nothing is pulled for which there is no place.
  Pull begin_one() {
    if (taken_ == count_) return Pull::wait;
    std::optional<In> in;
    const Pull pulled = arm_.pull(in);
    if (pulled != Pull::value) return pulled;
    std::size_t free = 0;
    while (places_[free].taken()) ++free;
    ++taken_;
    places_[free].begin(function_, std::move(*in));
    return pulled;
  }

  F function_;
  FlowSignal signal_;
  FlowArm<Up> arm_;
  std::size_t count_;
  std::size_t taken_ = 0;
  std::size_t next_ = 0;
  std::unique_ptr<Place[]> places_;
};

}  // namespace weir::detail
