#include <weir/stream/flow/timed_window.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

#include <weir/stream/flow/map.hpp>

#include "flow/scene.hpp"

namespace {

using namespace weir_test;
using Windows = std::vector<Ints>;

int sum(std::span<const int> window) { return std::accumulate(window.begin(), window.end(), 0); }

std::vector<Timed> seven() { return {{1, 1}, {4, 2}, {9, 3}, {11, 4}, {35, 5}, {36, 6}, {50, 7}}; }

}  // namespace

TEST_CASE("window: tumbling by time begins with the flow, and leaves out windows without values") {
  CHECK(run(at_times(seven()) | weir::window(10ms) | weir::to_vector()) == Windows{{1, 2, 3}, {4}, {5, 6}, {7}});
  CHECK(run(at_times(seven()) | weir::window(10ms, sum) | weir::to_vector()) == Ints{6, 4, 11, 7});
  CHECK(run(at_times(seven()) | weir::window(10ms, weir::at_most(2)) | weir::to_vector()) ==
        Windows{{1, 2}, {3}, {4}, {5, 6}, {7}});
  CHECK(run(at_times({}) | weir::window(10ms) | weir::to_vector()).empty());
}

TEST_CASE("window: it passes when its time is up, not when the next value comes") {
  Simulator sim;
  std::vector<int> times;
  const auto note = [&](const Ints&) { times.push_back(static_cast<int>(sim.elapsed() / 1ms)); };
  run(sim, at_times(seven()) | weir::window(10ms) | weir::for_each(note));
  CHECK(times == Ints{10, 20, 40, 50});
}

TEST_CASE("window: sliding by time") {
  const auto slides = run(at_times(seven()) | weir::window(10ms, 5ms) | weir::to_vector());
  CHECK(slides == Windows{{1, 2}, {1, 2, 3}, {3, 4}, {4}, {5, 6}, {5, 6}, {7}});
  CHECK(run(at_times(seven()) | weir::window(10ms, 5ms, sum) | weir::to_vector()) == Ints{3, 6, 7, 4, 11, 11, 7});
  CHECK(run(at_times(seven()) | weir::window(10ms, 10ms, weir::at_most(1)) | weir::to_vector()) ==
        Windows{{3}, {4}, {6}, {7}});
}

TEST_CASE("session: values that follow each other sooner than the gap") {
  CHECK(run(at_times(seven()) | weir::session(6ms) | weir::to_vector()) == Windows{{1, 2, 3, 4}, {5, 6}, {7}});
  CHECK(run(at_times(seven()) | weir::session(6ms, weir::at_most(3), sum) | weir::to_vector()) == Ints{6, 4, 11, 7});
  CHECK(run(at_times(seven()) | weir::session(5ms, sum) | weir::to_vector()) == Ints{3, 7, 11, 7});
}

TEST_CASE("window: a consumer that is slow gets what has come, and what is left") {
  Simulator sim;
  Windows seen;
  const auto slow = [&](Ints window) -> weir::Task<> {
    seen.push_back(std::move(window));
    co_await weir::sleep_for(100ms);
  };
  run(sim, at_times(seven()) | weir::window(10ms) | weir::for_each(slow));
  // The rest is pulled when it is asked for, at 110 ms and later.
  Ints all;
  for (const Ints& window : seen) all.insert(all.end(), window.begin(), window.end());
  CHECK(all == Ints{1, 2, 3, 4, 5, 6, 7});
  CHECK(seen.front() == Ints{1, 2, 3});
}

TEST_CASE("window, session: times and bounds of nothing are refused where they are asked for") {
  CHECK_THROWS_WITH(weir::window(0ms), Catch::Contains("must be longer than 0"));
  CHECK_THROWS_WITH(weir::window(-1s, 1s), Catch::Contains("must be longer than 0"));
  CHECK_THROWS_WITH(weir::window(1s, 0s), Catch::Contains("to the next window"));
  CHECK_THROWS_WITH(weir::session(0s), Catch::Contains("session(gap)"));
  CHECK_THROWS_WITH(weir::at_most(0), Catch::Contains("at least 1 value"));
  CHECK(run(at_times(seven()) | weir::window(std::chrono::hours::max()) | weir::to_vector()).size() == 1);
  CHECK(run(at_times(seven()) | weir::window(std::chrono::hours::max(), 1h) | weir::to_vector()).size() == 1);
}

TEST_CASE("window, session: cancelled, destroyed, failing and timed out at every step") {
  const auto judge = [](FlowScene& scene, bool completed) {
    ensure(!completed || sum(scene.seen) == 10, "nothing is lost");
    ensure(std::is_sorted(scene.seen.begin(), scene.seen.end()) || scene.seen.size() > 2, "in order");
    ensure(scene.pulled <= 4, "pulled");
  };
  const auto tumbling = [](FlowScene& scene) { return scene.source() | weir::window(2ms, sum); };
  REQUIRE_NOTHROW(explore_flow(tumbling, judge));
  const auto session = [](FlowScene& scene) { return scene.source() | weir::session(1ms, weir::at_most(2), sum); };
  REQUIRE_NOTHROW(explore_flow(session, judge));
  const auto sliding = [](FlowScene& scene) {
    return scene.source() | weir::window(2ms, 1ms, [](std::span<const int> window) { return window.back(); });
  };
  REQUIRE_NOTHROW(explore_flow(sliding, [](FlowScene& scene, bool completed) {
    ensure(!completed || scene.seen.back() == 4, "the last value is in the last window");
    ensure(std::is_sorted(scene.seen.begin(), scene.seen.end()), "in order");
  }));
}
