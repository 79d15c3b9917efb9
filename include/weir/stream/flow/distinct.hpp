/// `distinct` and `distinct_until_changed`.
#pragma once

#include <concepts>
#include <cstddef>
#include <functional>
#include <optional>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

#include <weir/core/error.hpp>
#include <weir/stream/flow/flow.hpp>

namespace weir {
namespace detail {

template <Flow Up, class Projection>
using flow_key_t = std::remove_cvref_t<std::invoke_result_t<Projection&, const flow_value_t<Up>&>>;

/// The last `limit` keys that were new. The oldest gives its node to the newest.
template <class Key>
class RecentKeys {
 public:
  explicit RecentKeys(std::size_t limit) : limit_(limit) {}

  /// False: it is there already.
  template <class K>
  [[nodiscard]] bool insert(K&& key) {
    if (keys_.find(key) != keys_.end()) return false;
    if (order_.size() < limit_) {
      order_.push_back(&*keys_.insert(static_cast<K&&>(key)).first);
      return true;
    }
    const Key*& oldest = order_[next_];
    next_ = (next_ + 1) % limit_;
    auto node = keys_.extract(keys_.find(*oldest));
    node.value() = static_cast<K&&>(key);
    // The number of keys stays: nothing is allocated, and elements of a set stay where they are.
    oldest = &*keys_.insert(std::move(node)).position;
    return true;
  }

 private:
  std::size_t limit_;
  std::size_t next_ = 0;
  std::unordered_set<Key> keys_;
  std::vector<const Key*> order_;
};

template <Flow Up, class Projection>
class DistinctFlow : public FlowOver<Up> {
 public:
  using value_type = flow_value_t<Up>;

  DistinctFlow(Up up, std::size_t memory, Projection projection)
      : FlowOver<Up>(std::move(up)), projection_(std::move(projection)), recent_(memory) {}

  [[nodiscard]] Pull pull(std::optional<value_type>& out) {
    const Pull pulled = this->up_.pull(out);
    if (pulled != Pull::value || recent_.insert(std::invoke(projection_, std::as_const(*out)))) return pulled;
    out.reset();
    return Pull::again;
  }

 private:
  Projection projection_;
  RecentKeys<flow_key_t<Up, Projection>> recent_;
};

template <Flow Up, class Projection>
class ChangedFlow : public FlowOver<Up> {
 public:
  using value_type = flow_value_t<Up>;

  ChangedFlow(Up up, Projection projection) : FlowOver<Up>(std::move(up)), projection_(std::move(projection)) {}

  [[nodiscard]] Pull pull(std::optional<value_type>& out) {
    const Pull pulled = this->up_.pull(out);
    if (pulled != Pull::value) return pulled;
    auto&& key = std::invoke(projection_, std::as_const(*out));
    if (last_ && *last_ == key) {
      out.reset();
      return Pull::again;
    }
    last_.emplace(static_cast<decltype(key)&&>(key));
    return pulled;
  }

 private:
  Projection projection_;
  std::optional<flow_key_t<Up, Projection>> last_;
};

}  // namespace detail

/// Drops a value whose key is among the last `memory` different ones: all that is remembered is `memory` keys, in the
/// order in which they came first, so one that comes again after so many others passes again. The key is what
/// `projection` gives, the value itself unless said; it is copied, hashed by `std::hash` and compared by `==`.
/// Allocates while the memory fills, and then nothing. Throws `Error(Errc::invalid_argument)` for a memory of 0.
template <class Projection = std::identity>
[[nodiscard]] auto distinct(std::size_t memory, Projection projection = {}) {
  if (memory == 0) {
    throw Error(Errc::invalid_argument,
                "distinct(0) would drop nothing: say how many different values to remember, from 1");
  }
  return FlowAdaptor([memory, projection = std::move(projection)]<Flow Up>(Up up) mutable {
    return detail::DistinctFlow<Up, Projection>(std::move(up), memory, std::move(projection));
  });
}

/// Drops a value whose key is that of the value before it. Remembers one key.
template <class Projection = std::identity>
[[nodiscard]] auto distinct_until_changed(Projection projection = {}) {
  return FlowAdaptor([projection = std::move(projection)]<Flow Up>(Up up) mutable {
    return detail::ChangedFlow<Up, Projection>(std::move(up), std::move(projection));
  });
}

}  // namespace weir
