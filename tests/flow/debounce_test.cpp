#include <weir/stream/flow/debounce.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <ranges>
#include <vector>

#include <weir/stream/flow/map.hpp>

#include "flow/scene.hpp"

namespace {

using namespace weir_test;

std::vector<Timed> seven() { return {{1, 1}, {4, 2}, {9, 3}, {20, 4}, {35, 5}, {36, 6}, {50, 7}}; }

}  // namespace

TEST_CASE("debounce: a value that no newer one follows soon, when that is known; and the last one") {
  Simulator sim;
  Ints seen;
  Ints times;
  const auto note = [&](int n) {
    seen.push_back(n);
    times.push_back(static_cast<int>(sim.elapsed() / 1ms));
  };
  run(sim, at_times(seven()) | weir::debounce(6ms) | weir::for_each(note));
  CHECK(seen == Ints{3, 4, 6, 7});
  CHECK(times == Ints{15, 26, 42, 50});
  CHECK(run(weir::from(std::views::iota(0, 1000)) | weir::debounce(1ms) | weir::to_vector()) == Ints{999});
  CHECK(run(weir::from(Ints{}) | weir::debounce(1ms) | weir::to_vector()).empty());
}

TEST_CASE("throttle: a value, and no other for the period") {
  Simulator sim;
  CHECK(run(sim, at_times(seven()) | weir::throttle(10ms) | weir::to_vector()) == Ints{1, 4, 5, 7});
  CHECK(run(weir::from(std::views::iota(0, 1000)) | weir::throttle(1ms) | weir::to_vector()) == Ints{0});
}

TEST_CASE("throttle: the last of each period at its end, with the first or without") {
  const auto passed = [](weir::ThrottleEdge edge) {
    Simulator sim;
    Ints seen;
    const auto note = [&](int n) { seen.push_back(n * 100 + static_cast<int>(sim.elapsed() / 1ms)); };
    run(sim, at_times(seven()) | weir::throttle(10ms, edge) | weir::for_each(note));
    return seen;
  };
  CHECK(passed(weir::ThrottleEdge::leading) == Ints{101, 420, 535, 750});
  CHECK(passed(weir::ThrottleEdge::trailing) == Ints{311, 421, 645, 750});
  CHECK(passed(weir::ThrottleEdge::both) == Ints{101, 311, 421, 535, 645, 750});
  const auto last = weir::throttle(1ms, weir::ThrottleEdge::trailing);
  CHECK(run(weir::from(std::views::iota(0, 1000)) | last | weir::to_vector()) == Ints{999});
}

TEST_CASE("debounce, throttle: no time is refused where it is given") {
  CHECK_THROWS_WITH(weir::debounce(0s), Catch::Contains("must be longer than 0"));
  CHECK_THROWS_WITH(weir::throttle(-1s), Catch::Contains("must be longer than 0"));
}

TEST_CASE("debounce, throttle: cancelled, destroyed, failing and timed out at every step") {
  const auto judge = [](FlowScene& scene, bool completed) {
    ensure(std::adjacent_find(scene.seen.begin(), scene.seen.end(), std::greater_equal<>()) == scene.seen.end(),
           "in order");
    ensure(!completed || !scene.seen.empty(), "some pass");
  };
  const auto debounced = [](FlowScene& scene) { return scene.source(1, 6) | weir::debounce(1ms); };
  REQUIRE_NOTHROW(explore_flow(debounced, [&judge](FlowScene& scene, bool completed) {
    judge(scene, completed);
    ensure(!completed || scene.seen.back() == 6, "the last one passes");
  }));
  const auto throttled = [](FlowScene& scene) { return scene.source(1, 6) | weir::throttle(3ms); };
  REQUIRE_NOTHROW(explore_flow(throttled, [&judge](FlowScene& scene, bool completed) {
    judge(scene, completed);
    ensure(scene.seen.empty() || scene.seen.front() == 1, "the first one passes");
  }));
  const auto edges = [](FlowScene& scene) {
    return scene.source(1, 6) | weir::throttle(3ms, weir::ThrottleEdge::both);
  };
  REQUIRE_NOTHROW(explore_flow(edges, [&judge](FlowScene& scene, bool completed) {
    judge(scene, completed);
    ensure(scene.seen.empty() || scene.seen.front() == 1, "the first one passes");
    ensure(!completed || scene.seen.back() == 6, "the last one passes");
  }));
}
