#include <weir/stream/flow/ticks.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <cstdint>
#include <vector>

#include <weir/stream/flow/map.hpp>
#include <weir/stream/flow/take.hpp>

#include "flow/scene.hpp"

namespace {

using namespace weir_test;
using Numbers = std::vector<std::uint64_t>;

}  // namespace

TEST_CASE("ticks: the number of periods that have passed, when each has") {
  Simulator sim;
  std::vector<int> times;
  const auto now = [&](std::uint64_t) { return static_cast<int>(sim.elapsed() / 1ms); };
  CHECK(run(sim, weir::ticks(10ms) | weir::take(3) | weir::map(now) | weir::to_vector()) == Ints{10, 20, 30});
  CHECK(run(weir::ticks(10ms) | weir::take(3) | weir::to_vector()) == Numbers{1, 2, 3});
}

TEST_CASE("ticks: a slow consumer misses some, and the number tells") {
  Numbers seen;
  const auto slow = [&seen](std::uint64_t tick) -> weir::Task<> {
    seen.push_back(tick);
    co_await weir::sleep_for(25ms);
  };
  run(weir::ticks(10ms) | weir::take(3) | weir::for_each(slow));
  CHECK(seen == Numbers{1, 3, 6});
}

TEST_CASE("ticks: no period is refused where it is given") {
  CHECK_THROWS_WITH(weir::ticks(0s), Catch::Contains("must be longer than 0"));
  CHECK_THROWS_WITH(weir::ticks(-1s), Catch::Contains("must be longer than 0"));
}

TEST_CASE("ticks: cancelled, destroyed and timed out at every step") {
  const auto make = [](FlowScene& scene) {
    return weir::ticks(1ms) | weir::take(4) |
           weir::map([guard = Guard(scene.ledger)](std::uint64_t tick) { return static_cast<int>(tick); });
  };
  const auto judge = [](FlowScene& scene, bool completed) {
    ensure(!completed || scene.seen.size() == 4, "all of them");
    ensure(std::adjacent_find(scene.seen.begin(), scene.seen.end(), std::greater_equal<>()) == scene.seen.end(),
           "rising");
  };
  REQUIRE_NOTHROW(explore_flow(make, judge));
}
