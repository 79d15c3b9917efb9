#include <weir/stream/collect.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <cctype>
#include <functional>
#include <memory>
#include <string>

namespace collect = weir::collect;

namespace {

struct Hit {
  int status;
  int bytes;
};

template <class P, class C>
auto gather(const P& policy, std::vector<C> items) {
  auto collection = collect::detail::start<C>(policy);
  for (C& item : items) policy.add(collection, std::move(item));
  return collection;
}

struct Longest {
  std::string start() const { return {}; }
  void add(std::string& best, std::string&& item) const {
    if (item.size() > best.size()) best = std::move(item);
  }
};

static_assert(collect::Policy<Longest, std::string>);
static_assert(!collect::Policy<Longest, int>);
static_assert(collect::Policy<collect::List, std::unique_ptr<int>>);

}  // namespace

TEST_CASE("collect: list, set and count") {
  CHECK(gather(collect::list, std::vector{3, 1, 3}) == std::vector{3, 1, 3});
  CHECK(gather(collect::set, std::vector{3, 1, 3}) == std::set{1, 3});
  CHECK(gather(collect::count, std::vector{3, 1, 3}) == 3);
}

TEST_CASE("collect: keyed by a member, merged by a policy or a function") {
  const std::vector<Hit> hits{{200, 5}, {404, 1}, {200, 7}};
  const auto counts = gather(collect::keyed(&Hit::status, collect::count), hits);
  CHECK(counts == std::map<int, std::uint64_t>{{200, 2}, {404, 1}});
  const auto bytes =
      gather(collect::keyed(&Hit::status, collect::fold(0L, [](long& sum, Hit&& h) { sum += h.bytes; })), hits);
  CHECK(bytes == std::map<int, long>{{200, 12}, {404, 1}});
  const auto lists = gather(collect::keyed([](int i) { return i % 2; }), std::vector{1, 2, 3});
  CHECK(lists == std::map<int, std::vector<int>>{{0, {2}}, {1, {1, 3}}});
  const auto greatest =
      gather(collect::keyed([](int i) { return i % 2; }, collect::merging([](int a, int b) { return std::max(a, b); })),
             std::vector{5, 2, 3, 8});
  CHECK(greatest == std::map<int, int>{{0, 8}, {1, 5}});
}

namespace {

/// As two workers would, each with every other item.
template <class P, class C>
auto gather_in_parts(const P& policy, const std::vector<C>& items) {
  static_assert(collect::MergingPolicy<P, C>);
  std::vector<C> halves[2];
  for (std::size_t i = 0; i < items.size(); ++i) halves[i % 2].push_back(items[i]);
  auto whole = gather(policy, halves[0]);
  policy.merge(whole, gather(policy, halves[1]));
  return whole;
}
template <class P, class C>
bool merges_well(const P& policy, const std::vector<C>& items) {
  return gather_in_parts(policy, items) == gather(policy, items);
}

static_assert(!collect::MergingPolicy<collect::List, int>);
static_assert(!collect::MergingPolicy<Longest, std::string>);
static_assert(!collect::MergingPolicy<decltype(collect::keyed(&Hit::status)), Hit>);

}  // namespace

TEST_CASE("collect: what is merged of parts is what one would have collected") {
  const std::vector<int> items{5, 2, 3, 8, 2, 5, 5, 1};
  const auto last_digit = [](int i) { return i % 3; };
  CHECK(merges_well(collect::count, items));
  CHECK(merges_well(collect::set, items));
  CHECK(merges_well(collect::keyed(last_digit, collect::count), items));
  CHECK(merges_well(collect::keyed(last_digit, collect::set), items));
  const auto add = [](int& sum, int item) { sum += item; };
  CHECK(merges_well(collect::fold(0, add, add), items));
  CHECK(merges_well(collect::keyed(last_digit, collect::fold(0, add, std::plus<>())), items));
}

TEST_CASE("collect: keyed where the receiver says the key") {
  const auto policy = collect::keyed<std::string>(collect::count);
  auto words = collect::detail::start<int>(policy);
  policy.add(words, std::string("a"), 1);
  policy.add(words, std::string("b"), 1);
  policy.add(words, std::string("a"), 1);
  CHECK(words == std::map<std::string, std::uint64_t>{{"a", 2}, {"b", 1}});
  CHECK_THROWS_AS(policy.add(words, 1), weir::Error);
}

TEST_CASE("collect: a policy that throws for the first item of a key adds no key") {
  const auto policy = collect::keyed([](int i) { return i; }, collect::fold(0, [](int&, int&&) { throw 1; }));
  auto groups = collect::detail::start<int>(policy);
  CHECK_THROWS(policy.add(groups, 7));
  CHECK(groups.empty());
}

TEST_CASE("collect: fold changes or replaces its accumulator") {
  CHECK(gather(collect::fold(10, [](int sum, int i) { return sum + i; }), std::vector{1, 2}) == 13);
  CHECK(gather(collect::fold(std::string("<"), [](std::string& s, int&& i) { s += std::to_string(i); }),
               std::vector{1, 2}) == "<12");
}

TEST_CASE("collect: the greatest and the latest, and none of them is refused") {
  CHECK(gather(collect::top(3), std::vector{4, 9, 1, 9, 5}) == std::vector{9, 9, 5});
  CHECK(gather(collect::top(2, std::greater<>()), std::vector{4, 9, 1}) == std::vector{1, 4});
  CHECK(gather(collect::latest(2), std::vector{1, 2, 3}) == std::deque{2, 3});
  CHECK_THROWS_AS(collect::top(0), weir::Error);
  CHECK_THROWS_AS(collect::latest(0), weir::Error);
}

TEST_CASE("collect: a bounded list keeps the first, the last, or refuses, as it is told") {
  const std::vector items{1, 2, 3, 4};
  CHECK(gather(collect::list.at_most(2, collect::keep_first), items) == std::vector{1, 2});
  CHECK(gather(collect::list().at_most(2, collect::keep_last), items) == std::deque{3, 4});
  CHECK(gather(collect::list.at_most(4, collect::refuse), items) == items);
  const auto refusing = collect::list.at_most(2, collect::refuse);
  auto full = collect::detail::start<int>(refusing);
  refusing.add(full, 1);
  refusing.add(full, 2);
  try {
    refusing.add(full, 3);
    CHECK(false);
  } catch (const weir::Error& error) {
    CHECK(error.code() == weir::Errc::collection_full);
    CHECK(std::string(error.what()).find("at_most(2)") != std::string::npos);
  }
  CHECK(full == std::vector{1, 2});
  CHECK_THROWS_AS(collect::list.at_most(0, collect::keep_first), weir::Error);
  CHECK_THROWS_AS(collect::list.at_most(0, collect::keep_last), weir::Error);
  CHECK_THROWS_AS(collect::list.at_most(0, collect::refuse), weir::Error);
}

TEST_CASE("collect: a policy of one's own") {
  CHECK(gather(Longest(), std::vector<std::string>{"a", "ccc", "bb"}) == "ccc");
}
