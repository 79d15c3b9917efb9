/// `take`, `take_while`, `skip` and `skip_while`.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>

#include <weir/stream/flow/flow.hpp>

namespace weir {
namespace detail {

template <Flow Up>
class TakeFlow : public FlowOver<Up> {
 public:
  using value_type = flow_value_t<Up>;

  TakeFlow(Up up, std::uint64_t count) : FlowOver<Up>(std::move(up)), left_(count) {}

  [[nodiscard]] Pull pull(std::optional<value_type>& out) {
    if (left_ == 0) return Pull::end;
    const Pull pulled = this->up_.pull(out);
    if (pulled == Pull::value) --left_;
    return pulled;
  }

 private:
  std::uint64_t left_;
};

template <Flow Up>
class SkipFlow : public FlowOver<Up> {
 public:
  using value_type = flow_value_t<Up>;

  SkipFlow(Up up, std::uint64_t count) : FlowOver<Up>(std::move(up)), left_(count) {}

  [[nodiscard]] Pull pull(std::optional<value_type>& out) {
    const Pull pulled = this->up_.pull(out);
    if (pulled != Pull::value || left_ == 0) return pulled;
    --left_;
    out.reset();
    return Pull::again;
  }

 private:
  std::uint64_t left_;
};

template <Flow Up, class P>
class TakeWhileFlow : public FlowOver<Up> {
 public:
  using value_type = flow_value_t<Up>;

  TakeWhileFlow(Up up, P predicate) : FlowOver<Up>(std::move(up)), predicate_(std::move(predicate)) {}

  [[nodiscard]] Pull pull(std::optional<value_type>& out) {
    if (at_end_) return Pull::end;
    const Pull pulled = this->up_.pull(out);
    if (pulled != Pull::value || std::invoke(predicate_, std::as_const(*out))) return pulled;
    out.reset();
    at_end_ = true;
    return Pull::end;
  }

 private:
  P predicate_;
  bool at_end_ = false;
};

template <Flow Up, class P>
class SkipWhileFlow : public FlowOver<Up> {
 public:
  using value_type = flow_value_t<Up>;

  SkipWhileFlow(Up up, P predicate) : FlowOver<Up>(std::move(up)), predicate_(std::move(predicate)) {}

  [[nodiscard]] Pull pull(std::optional<value_type>& out) {
    const Pull pulled = this->up_.pull(out);
    if (pulled != Pull::value || passing_) return pulled;
    passing_ = !std::invoke(predicate_, std::as_const(*out));
    if (passing_) return pulled;
    out.reset();
    return Pull::again;
  }

 private:
  P predicate_;
  bool passing_ = false;
};

}  // namespace detail

/// The first `count` values; no further one is pulled. 0: none.
[[nodiscard]] inline auto take(std::uint64_t count) {
  return FlowAdaptor([count]<Flow Up>(Up up) { return detail::TakeFlow<Up>(std::move(up), count); });
}

/// All but the first `count` values.
[[nodiscard]] inline auto skip(std::uint64_t count) {
  return FlowAdaptor([count]<Flow Up>(Up up) { return detail::SkipFlow<Up>(std::move(up), count); });
}

/// The values before the first that `predicate` is false of, which is pulled and dropped.
template <class P>
[[nodiscard]] auto take_while(P predicate) {
  return FlowAdaptor([predicate = std::move(predicate)]<Flow Up>(Up up) mutable {
    static_assert(std::predicate<P&, const flow_value_t<Up>&>,
                  "weir::take_while(p): p is a plain function that tells a bool of the flow's values");
    return detail::TakeWhileFlow<Up, P>(std::move(up), std::move(predicate));
  });
}

/// The first value that `predicate` is false of, and all after it.
template <class P>
[[nodiscard]] auto skip_while(P predicate) {
  return FlowAdaptor([predicate = std::move(predicate)]<Flow Up>(Up up) mutable {
    static_assert(std::predicate<P&, const flow_value_t<Up>&>,
                  "weir::skip_while(p): p is a plain function that tells a bool of the flow's values");
    return detail::SkipWhileFlow<Up, P>(std::move(up), std::move(predicate));
  });
}

}  // namespace weir
