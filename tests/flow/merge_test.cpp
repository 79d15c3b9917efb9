#include <weir/stream/flow/merge.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <ranges>
#include <tuple>
#include <vector>

#include <weir/stream/flow/map.hpp>

#include "flow/scene.hpp"

namespace {

using namespace weir_test;
using Pairs = std::vector<std::tuple<int, int>>;

/// Does not stand being asked after its end.
class Strict : public weir::FlowSource {
 public:
  using value_type = int;
  explicit Strict(int count) : left_(count) {}
  [[nodiscard]] weir::Pull pull(std::optional<int>& out) {
    ensure(left_ >= 0, "asked after its end");
    if (left_-- == 0) return weir::Pull::end;
    out.emplace(left_);
    return weir::Pull::value;
  }

 private:
  int left_;
};

}  // namespace

TEST_CASE("merge: a flow that has ended is not asked again") {
  CHECK(run(weir::merge(Strict(1), weir::from(Ints{1, 2, 3}), Strict(0)) | weir::count()) == 4);
}

TEST_CASE("merge: the values of all, by turns among those that have one") {
  CHECK(run(weir::merge(weir::from(Ints{1, 2, 3}), weir::from(Ints{}), weir::from(Ints{10, 20})) | weir::to_vector()) ==
        Ints{1, 10, 2, 20, 3});
  Simulator sim;
  auto merged = at_times({{2, 1}, {9, 2}}) | weir::merge_with(at_times({{1, 10}, {10, 20}}), weir::from(Ints{7, 8}));
  CHECK(run(sim, std::move(merged) | weir::to_vector()) == Ints{7, 8, 10, 1, 2, 20});
  CHECK(sim.elapsed() == 10ms);
}

TEST_CASE("merge: values of different types become their common one") {
  const auto merged = run(weir::merge(weir::from(Ints{1}), weir::from(std::vector<double>{2.5})) | weir::to_vector());
  CHECK(merged == std::vector<double>{1, 2.5});
}

TEST_CASE("merge: the first that fails ends all") {
  const auto refuse = weir::from([]() -> weir::Task<std::optional<int>> {
    co_await weir::sleep_for(5ms);
    throw std::runtime_error("this one broke");
  });
  Simulator sim;
  CHECK_THROWS_WITH(run(sim, weir::merge(at_times({{1, 1}, {100, 2}}), refuse) | weir::to_vector()), "this one broke");
  CHECK(sim.elapsed() == 5ms);
}

TEST_CASE("merge: when downstream has enough, all are cancelled before one of them is waited for") {
  Simulator sim;
  auto merged = weir::merge(reluctant(), reluctant(), weir::from(Ints{1}));
  CHECK(run(sim, std::move(merged) | weir::first()) == 1);
  CHECK(sim.elapsed() == 5ms);
}

TEST_CASE("zip: the first of each, the second of each, until one ends; they are waited for at the same time") {
  CHECK(run(weir::zip(weir::from(Ints{1, 2, 3}), weir::from(Ints{4, 5})) | weir::to_vector()) == Pairs{{1, 4}, {2, 5}});
  CHECK(run(weir::from(Ints{}) | weir::zip_with(weir::from(Ints{4, 5})) | weir::to_vector()).empty());
  Simulator sim;
  auto slow = [] {
    return weir::from([n = 0]() mutable -> weir::Task<std::optional<int>> {
      co_await weir::sleep_for(10ms);
      co_return ++n;
    });
  };
  Pairs zipped;
  const auto twice = [&](std::tuple<int, int> pair) {
    zipped.push_back(pair);
    return zipped.size() < 2;
  };
  run(sim, weir::zip(slow(), slow()) | weir::for_each(twice));
  CHECK(zipped == Pairs{{1, 1}, {2, 2}});
  CHECK(sim.elapsed() == 20ms);
}

TEST_CASE("merge: cancelled, destroyed, failing and timed out at every step") {
  const auto make = [](FlowScene& scene) {
    return weir::merge(scene.source(1), scene.source(11), scene.source(22, 1));
  };
  const auto judge = [](FlowScene& scene, bool completed) {
    Ints sorted = scene.seen;
    std::ranges::sort(sorted);
    ensure(!completed || sorted == Ints{1, 2, 3, 4, 11, 12, 13, 14, 22}, "all of them");
    ensure(std::ranges::adjacent_find(sorted) == sorted.end(), "a value twice");
    for (const int first : {1, 11}) {
      int expected = first;
      for (const int value : scene.seen) {
        if (value / 10 == first / 10) ensure(value == expected++, "each flow in its order");
      }
    }
    ensure(scene.pulled <= scene.taken + 3, "more than one ahead of each");
  };
  REQUIRE_NOTHROW(explore_flow(make, judge));
}

TEST_CASE("zip: cancelled, destroyed, failing and timed out at every step") {
  const auto make = [](FlowScene& scene) {
    return weir::zip(scene.source(1), scene.source(11, 5)) |
           weir::map([](std::tuple<int, int> both) { return std::get<0>(both) * 100 + std::get<1>(both); });
  };
  const auto judge = [](FlowScene& scene, bool completed) {
    const Ints all{111, 212, 313, 414};
    ensure(scene.seen.size() <= all.size() && std::equal(scene.seen.begin(), scene.seen.end(), all.begin()), "in step");
    ensure(!completed || scene.seen.size() == all.size(), "all of them");
    ensure(scene.pulled <= 2 * scene.taken + 2, "more than one ahead of each");
  };
  REQUIRE_NOTHROW(explore_flow(make, judge));
}
