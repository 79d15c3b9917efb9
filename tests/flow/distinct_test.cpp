#include <weir/stream/flow/distinct.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include "flow/scene.hpp"

namespace {

using namespace weir_test;
using Words = std::vector<std::string>;

}  // namespace

TEST_CASE("distinct: a value passes that is not among the last different ones") {
  CHECK(run(weir::from(Ints{1, 2, 1, 3, 1, 2, 2}) | weir::distinct(3) | weir::to_vector()) == Ints{1, 2, 3});
  // 1 is forgotten when 3 comes, 2 when 1 comes again.
  CHECK(run(weir::from(Ints{1, 2, 1, 3, 1, 2, 2}) | weir::distinct(2) | weir::to_vector()) == Ints{1, 2, 3, 1, 2});
  CHECK(run(weir::from(Ints{1, 1, 2, 1}) | weir::distinct(1) | weir::to_vector()) == Ints{1, 2, 1});
  CHECK(run(weir::from(Words{"a", "bb", "c"}) | weir::distinct(9, &std::string::size) | weir::to_vector()) ==
        Words{"a", "bb"});
}

TEST_CASE("distinct_until_changed: a value passes that differs from the one before it") {
  CHECK(run(weir::from(Ints{1, 1, 2, 2, 1}) | weir::distinct_until_changed() | weir::to_vector()) == Ints{1, 2, 1});
  CHECK(run(weir::from(Words{"a", "b", "cc", "d"}) | weir::distinct_until_changed(&std::string::size) |
            weir::to_vector()) == Words{"a", "cc", "d"});
}

TEST_CASE("distinct: a memory of nothing is refused where it is asked for") {
  CHECK_THROWS_WITH(weir::distinct(0), Catch::Contains("from 1"));
}

TEST_CASE("distinct: cancelled, destroyed, failing and timed out at every step") {
  const auto make = [](FlowScene& scene) {
    return scene.source(1, 6) | weir::distinct(2, [](int n) { return n / 3; }) |
           weir::distinct_until_changed([](int n) { return n > 4; });
  };
  const auto judge = [](FlowScene& scene, bool completed) {
    const Ints all{1, 6};
    ensure(std::equal(scene.seen.begin(), scene.seen.end(), all.begin()), "in order");
    ensure(!completed || scene.seen == all, "all of them");
  };
  REQUIRE_NOTHROW(explore_flow(make, judge));
}
