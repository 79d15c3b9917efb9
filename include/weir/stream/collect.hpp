/// What becomes of what receivers return: the policies that gather it into a collection.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <weir/core/error.hpp>

namespace weir {

/// What is collected where there is nothing to collect.
struct Nothing {
  friend bool operator==(Nothing, Nothing) = default;
};

namespace collect {
namespace detail {

template <class C, class P>
auto start(const P& policy) {
  if constexpr (requires { policy.template start<C>(); }) {
    return policy.template start<C>();
  } else {
    return policy.start();
  }
}

}  // namespace detail

/// The collection that policy `P` makes of items of type `C`.
template <class P, class C>
using collection_t = decltype(collect::detail::start<C>(std::declval<const P&>()));

/// A policy, which may be the user's own: `start()` (or a template `start<C>()`) gives the empty collection, and
/// `add(collection, item)` adds one. Both are const; `add` is called under the collector's lock, one at a time, so it
/// should be short. If it throws, the event counts as failed with that error: it should leave the collection as it was.
///
///     struct Longest {
///       std::string start() const { return {}; }
///       void add(std::string& best, std::string&& item) const { if (item.size() > best.size()) best = std::move(item);
///       }
///     };
template <class P, class C>
concept Policy = requires(const P& policy, collection_t<P, C>& collection, C&& item) {
  policy.add(collection, static_cast<C&&>(item));
};

/// A policy that can also merge two collections: `merge(into, std::move(from))` adds to `into` what `from` collected.
/// Workers that run at the same time then collect by themselves, each into a collection of its own from `start()`,
/// and these are merged when somebody looks, or at the end: so no two wait for each other. It is for policies that do
/// not care about the order, neither of items nor of merges: what counts is that of two collections that were made from
/// parts of the items any merge is as if one had got them all. Where a strategy promises an order, and for one worker,
/// it is not used. If it throws at the end, the stream ends as failed with that error, and what it threw for is lost.
///
///     struct Sum {
///       long start() const { return 0; }
///       void add(long& sum, int&& item) const { sum += item; }
///       void merge(long& sum, long&& other) const { sum += other; }
///     };
template <class P, class C>
concept MergingPolicy = Policy<P, C> && requires(const P& policy, collection_t<P, C>& into, collection_t<P, C>&& from) {
  policy.merge(into, std::move(from));
};

/// Every item, in a `std::vector`: in the order in which they were done, or, with `ordered()`, emitted.
struct List {
  [[nodiscard]] std::string describe() const { return "list"; }
  template <class C>
  [[nodiscard]] std::vector<C> start() const {
    return {};
  }
  template <class C>
  void add(std::vector<C>& items, C&& item) const {
    items.push_back(static_cast<C&&>(item));
  }

  /// At most `n` items, and what becomes of those that come when it is full: `keep_first` ignores them (their events
  /// count as processed); `keep_last` forgets the oldest, in a `std::deque`; with `refuse` the event fails with
  /// `Error(Errc::collection_full)`, and the stream's error policy decides: unless said otherwise it ends the stream as
  /// failed. Throws `Error(Errc::invalid_argument)` for 0.
  template <class WhenFull>
  [[nodiscard]] auto at_most(std::size_t n, WhenFull when_full) const {
    return when_full(n);
  }
  /// `collect::list()` is `collect::list`.
  [[nodiscard]] constexpr List operator()() const noexcept { return {}; }
};
inline constexpr List list;

/// Only how many there were.
struct Count {
  [[nodiscard]] std::string describe() const { return "count"; }
  [[nodiscard]] std::uint64_t start() const noexcept { return 0; }
  template <class C>
  void add(std::uint64_t& n, C&&) const noexcept {
    ++n;
  }
  void merge(std::uint64_t& n, std::uint64_t&& others) const noexcept { n += others; }
};
inline constexpr Count count;

/// Nothing: for receivers that return nothing.
struct None {
  [[nodiscard]] std::string describe() const { return "nothing"; }
  [[nodiscard]] Nothing start() const noexcept { return {}; }
  template <class C>
  void add(Nothing&, C&&) const noexcept {}
};
inline constexpr None nothing;

/// Every different item once, in a `std::set`.
struct Set {
  [[nodiscard]] std::string describe() const { return "set"; }
  template <class C>
  [[nodiscard]] std::set<C> start() const {
    return {};
  }
  template <class C>
  void add(std::set<C>& items, C&& item) const {
    items.insert(static_cast<C&&>(item));
  }
  template <class C>
  void merge(std::set<C>& items, std::set<C>&& others) const {
    items.merge(others);
  }
};
inline constexpr Set set;

template <class Accumulator, class F>
struct Fold {
  Accumulator init;
  F function;

  [[nodiscard]] std::string describe() const { return "fold"; }
  [[nodiscard]] Accumulator start() const { return init; }
  template <class C>
  void add(Accumulator& into, C&& item) const {
    if constexpr (std::is_void_v<std::invoke_result_t<const F&, Accumulator&, C&&>>) {
      std::invoke(function, into, static_cast<C&&>(item));
    } else {
      into = std::invoke(function, into, static_cast<C&&>(item));
    }
  }
};

template <class Accumulator, class F, class G>
struct MergingFold : Fold<Accumulator, F> {
  MergingFold(Accumulator first, F step, G both)
      : Fold<Accumulator, F>{std::move(first), std::move(step)}, merging(std::move(both)) {}

  G merging;

  void merge(Accumulator& into, Accumulator&& from) const {
    if constexpr (std::is_void_v<std::invoke_result_t<const G&, Accumulator&, Accumulator&&>>) {
      std::invoke(merging, into, std::move(from));
    } else {
      into = std::invoke(merging, into, std::move(from));
    }
  }
};

/// One value that takes in every item: `function(accumulator, item)` returns the next one, or returns nothing and
/// changes the one that it is given.
template <class Accumulator, class F>
[[nodiscard]] auto fold(Accumulator init, F function) {
  return Fold<Accumulator, F>{std::move(init), std::move(function)};
}

/// The same for workers that fold by themselves, each beginning with `init`, which changes nothing in a merge:
/// `merging(accumulator, other accumulator)` makes one of two, as `function` does. See `MergingPolicy`.
template <class Accumulator, class F, class G>
[[nodiscard]] auto fold(Accumulator init, F function, G merging) {
  return MergingFold<Accumulator, F, G>(std::move(init), std::move(function), std::move(merging));
}

template <class F>
struct Merge {
  F function;

  [[nodiscard]] std::string describe() const { return "merging"; }

  template <class C>
  [[nodiscard]] C seed(C&& first) const {
    return static_cast<C&&>(first);
  }
  template <class C>
  void add(C& into, C&& item) const {
    into = std::invoke(function, std::move(into), static_cast<C&&>(item));
  }
};

namespace detail {

template <class M>
inline constexpr bool is_merge = false;
template <class F>
inline constexpr bool is_merge<Merge<F>> = true;

template <class M, class C>
struct merged {
  using type = collection_t<M, C>;
};
template <class F, class C>
struct merged<Merge<F>, C> {
  using type = C;
};

/// The items of one key go through the policy `M`, or are merged two at a time.
template <class M>
class Grouped {
 public:
  explicit Grouped(M merge) : merge_(std::move(merge)) {}

  template <class K, class V, class Key, class C>
  void add(std::map<K, V>& groups, Key&& key, C&& item) const {
    const auto place = groups.lower_bound(key);
    const bool known = place != groups.end() && !groups.key_comp()(key, place->first);
    if (known) {
      merge_.add(place->second, static_cast<C&&>(item));
    } else if constexpr (is_merge<M>) {
      groups.emplace_hint(place, static_cast<Key&&>(key), merge_.seed(static_cast<C&&>(item)));
    } else {
      V group = detail::start<C>(merge_);
      merge_.add(group, static_cast<C&&>(item));
      groups.emplace_hint(place, static_cast<Key&&>(key), std::move(group));
    }
  }

  /// Where the policy of a key merges. Without copies, and without memory.
  template <class K, class V>
    requires requires(const M& merge, V& into, V&& from) { merge.merge(into, std::move(from)); }
  void merge(std::map<K, V>& groups, std::map<K, V>&& others) const {
    groups.merge(others);
    for (auto& [key, group] : others) merge_.merge(groups.find(key)->second, std::move(group));
  }

  [[nodiscard]] std::string describe() const {
    if constexpr (requires { merge_.describe(); }) {
      return "keyed, " + std::string(merge_.describe());
    } else {
      return "keyed";
    }
  }

 private:
  M merge_;
};

}  // namespace detail

template <class Projection, class M>
struct Keyed : detail::Grouped<M> {
  Keyed(Projection p, M m) : detail::Grouped<M>(std::move(m)), projection(std::move(p)) {}
  using detail::Grouped<M>::add;

  Projection projection;

  template <class C>
  [[nodiscard]] auto start() const {
    using Key = std::remove_cvref_t<std::invoke_result_t<const Projection&, const C&>>;
    return std::map<Key, typename detail::merged<M, C>::type>();
  }
  template <class Map, class C>
  void add(Map& groups, C&& item) const {
    typename Map::key_type key(std::invoke(projection, std::as_const(item)));
    add(groups, std::move(key), static_cast<C&&>(item));
  }
};

template <class Key, class M>
struct KeyedBy : detail::Grouped<M> {
  using detail::Grouped<M>::Grouped;
  using detail::Grouped<M>::add;

  template <class C>
  [[nodiscard]] auto start() const {
    return std::map<Key, typename detail::merged<M, C>::type>();
  }
  template <class Map, class C>
  void add(Map&, C&&) const {
    throw Error(Errc::invalid_argument, "collect::keyed<Key>() has no projection: use out.collect(key, item)");
  }
};

/// A `std::map` by what `projection` says of an item: a member pointer, or a function. What has the same key goes
/// through `merge`: another policy (`keyed(&Hit::status, count)`; `list` unless said), or `merging(function)`.
template <class Projection, class M = List>
[[nodiscard]] auto keyed(Projection projection, M merge = {}) {
  return Keyed<Projection, M>(std::move(projection), std::move(merge));
}

/// The same where the receiver says the key: `out.collect(key, item)`.
template <class Key, class M = List>
[[nodiscard]] auto keyed(M merge = {}) {
  return KeyedBy<Key, M>(std::move(merge));
}

/// For `keyed`: two items of the same key become `function(first, second)`.
template <class F>
[[nodiscard]] auto merging(F function) {
  return Merge<F>{std::move(function)};
}

template <class Compare>
struct Top {
  std::size_t limit;
  Compare compare;

  [[nodiscard]] std::string describe() const { return "top(" + std::to_string(limit) + ")"; }
  template <class C>
  [[nodiscard]] std::vector<C> start() const {
    return {};
  }
  template <class C>
  void add(std::vector<C>& best, C&& item) const {
    auto place = best.end();
    while (place != best.begin() && compare(*(place - 1), item)) --place;
    if (place == best.end() && best.size() == limit) return;
    if (best.size() == limit) {
      // The last one goes; what is between moves down by one.
      for (auto last = best.end() - 1; last != place; --last) *last = std::move(*(last - 1));
      *place = static_cast<C&&>(item);
    } else {
      best.insert(place, static_cast<C&&>(item));
    }
  }
};

/// The `n` greatest, the greatest first; among equals those that came first. O(n) an item at most.
template <class Compare = std::less<>>
[[nodiscard]] Top<Compare> top(std::size_t n, Compare compare = {}) {
  if (n == 0) throw Error(Errc::invalid_argument, "collect::top(0): keep at least 1");
  return {n, std::move(compare)};
}

struct Latest {
  std::size_t limit;

  [[nodiscard]] std::string describe() const { return "latest(" + std::to_string(limit) + ")"; }
  template <class C>
  [[nodiscard]] std::deque<C> start() const {
    return {};
  }
  template <class C>
  void add(std::deque<C>& items, C&& item) const {
    items.push_back(static_cast<C&&>(item));
    if (items.size() > limit) items.pop_front();
  }
};

/// The last `n`, the oldest first.
[[nodiscard]] inline Latest latest(std::size_t n) {
  if (n == 0) throw Error(Errc::invalid_argument, "collect::latest(0): keep at least 1");
  return {n};
}

/// What `list.at_most(n, …)` makes of `keep_first` and `refuse`.
template <bool Refuse>
struct BoundedList {
  std::size_t limit;

  [[nodiscard]] std::string describe() const {
    return "list.at_most(" + std::to_string(limit) + (Refuse ? ", refuse)" : ", keep_first)");
  }
  template <class C>
  [[nodiscard]] std::vector<C> start() const {
    return {};
  }
  template <class C>
  void add(std::vector<C>& items, C&& item) const {
    if (items.size() < limit) {
      items.push_back(static_cast<C&&>(item));
    } else if constexpr (Refuse) {
      throw Error(Errc::collection_full, "collect::list.at_most(" + std::to_string(limit) + ")");
    }
  }
};

namespace detail {

inline std::size_t at_least_one(std::size_t n) {
  if (n == 0) throw Error(Errc::invalid_argument, "collect::list.at_most(0): keep at least 1");
  return n;
}

struct KeepFirst {
  [[nodiscard]] BoundedList<false> operator()(std::size_t n) const { return {at_least_one(n)}; }
};
struct KeepLast {
  [[nodiscard]] Latest operator()(std::size_t n) const { return {at_least_one(n)}; }
};
struct Refuse {
  [[nodiscard]] BoundedList<true> operator()(std::size_t n) const { return {at_least_one(n)}; }
};

}  // namespace detail

/// What becomes of items for which there is no room: see `List::at_most`.
inline constexpr detail::KeepFirst keep_first;
inline constexpr detail::KeepLast keep_last;
inline constexpr detail::Refuse refuse;

}  // namespace collect
}  // namespace weir
