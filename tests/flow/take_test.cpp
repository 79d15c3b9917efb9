#include <weir/stream/flow/take.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <ranges>
#include <vector>

#include "flow/scene.hpp"

namespace {

using namespace weir_test;

bool small(int n) { return n < 3; }

}  // namespace

TEST_CASE("take: the first ones, and nothing more is pulled") {
  int calls = 0;
  const auto count = [&calls]() -> std::optional<int> { return ++calls; };
  CHECK(run(weir::from(count) | weir::take(2) | weir::to_vector()) == Ints{1, 2});
  CHECK(calls == 2);
  CHECK(run(weir::from(count) | weir::take(0) | weir::to_vector()).empty());
  CHECK(calls == 2);
  CHECK(run(weir::from(Ints{1}) | weir::take(5) | weir::to_vector()) == Ints{1});
}

TEST_CASE("skip: all but the first ones") {
  CHECK(run(weir::from(Ints{1, 2, 3}) | weir::skip(2) | weir::to_vector()) == Ints{3});
  CHECK(run(weir::from(Ints{1, 2, 3}) | weir::skip(0) | weir::to_vector()) == Ints{1, 2, 3});
  CHECK(run(weir::from(Ints{1}) | weir::skip(2) | weir::to_vector()).empty());
}

TEST_CASE("take_while, skip_while: until the predicate is false for the first time") {
  CHECK(run(weir::from(Ints{1, 2, 3, 1}) | weir::take_while(small) | weir::to_vector()) == Ints{1, 2});
  CHECK(run(weir::from(Ints{1, 2, 3, 1}) | weir::skip_while(small) | weir::to_vector()) == Ints{3, 1});
  CHECK(run(weir::from(Ints{1, 2}) | weir::skip_while(small) | weir::to_vector()).empty());
  CHECK(run(weir::from(Ints{5}) | weir::take_while(small) | weir::to_vector()).empty());
}

TEST_CASE("take, skip: cancelled, destroyed, failing and timed out at every step") {
  const auto make = [](FlowScene& scene) {
    return scene.source(1, 9) | weir::skip(1) | weir::skip_while(small) |
           weir::take_while([](int n) { return n < 8; }) | weir::take(3);
  };
  const auto judge = [](FlowScene& scene, bool completed) {
    const Ints all{3, 4, 5};
    ensure(std::equal(scene.seen.begin(), scene.seen.end(), all.begin()), "in order");
    ensure(!completed || scene.seen == all, "all of them");
    ensure(scene.pulled <= 5, "more than it takes");
  };
  REQUIRE_NOTHROW(explore_flow(make, judge));
}
