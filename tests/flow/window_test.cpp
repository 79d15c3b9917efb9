#include <weir/stream/flow/window.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <memory>
#include <numeric>
#include <ranges>
#include <vector>

#include <weir/stream/flow/map.hpp>

#include "flow/scene.hpp"

namespace {

using namespace weir_test;
using Windows = std::vector<Ints>;

int sum(std::span<const int> window) { return std::accumulate(window.begin(), window.end(), 0); }

}  // namespace

TEST_CASE("chunk: groups of one size, and what is left") {
  CHECK(run(weir::from(Ints{1, 2, 3, 4, 5}) | weir::chunk(2) | weir::to_vector()) == Windows{{1, 2}, {3, 4}, {5}});
  CHECK(run(weir::from(Ints{1, 2}) | weir::chunk(2) | weir::to_vector()) == Windows{{1, 2}});
  CHECK(run(weir::from(Ints{}) | weir::chunk(2) | weir::to_vector()).empty());
  const auto box = [](int n) { return std::make_unique<int>(n); };
  const auto boxes = run(weir::from(Ints{1, 2, 3}) | weir::map(box) | weir::chunk(2) | weir::to_vector());
  REQUIRE(boxes.size() == 2);
  CHECK(*boxes[1][0] == 3);
}

TEST_CASE("window: tumbling, sliding and with gaps, whole and by a function") {
  const Ints five{1, 2, 3, 4, 5};
  CHECK(run(weir::from(five) | weir::window(3) | weir::to_vector()) == Windows{{1, 2, 3}, {4, 5}});
  CHECK(run(weir::from(five) | weir::window(2, sum) | weir::to_vector()) == Ints{3, 7, 5});
  CHECK(run(weir::from(five) | weir::window(3, 1) | weir::to_vector()) == Windows{{1, 2, 3}, {2, 3, 4}, {3, 4, 5}});
  CHECK(run(weir::from(five) | weir::window(3, 2, sum) | weir::to_vector()) == Ints{6, 12});
  CHECK(run(weir::from(five) | weir::window(1, 2) | weir::to_vector()) == Windows{{1}, {3}, {5}});
  CHECK(run(weir::from(five) | weir::window(2, 3) | weir::to_vector()) == Windows{{1, 2}, {4, 5}});
  CHECK(run(weir::from(five) | weir::window(6, 1) | weir::to_vector()).empty());
}

TEST_CASE("window: sliding over many is what the ranges' own gives") {
  for (const std::size_t size : {1U, 2U, 7U, 64U}) {
    for (const std::size_t step : {1U, 3U}) {
      const auto sums = run(weir::from(std::views::iota(0, 300)) | weir::window(size, step, sum) | weir::to_vector());
      Ints expected;
      for (std::size_t at = 0; at + size <= 300; at += step) {
        Ints window(size);
        std::iota(window.begin(), window.end(), static_cast<int>(at));
        expected.push_back(sum(window));
      }
      // Windows that do not overlap also have a shorter one at the end.
      if (step >= size && sums.size() > expected.size()) expected.push_back(sums.back());
      CHECK(sums == expected);
    }
  }
}

TEST_CASE("chunk, window: sizes and steps of nothing are refused where they are asked for") {
  CHECK_THROWS_WITH(weir::chunk(0), Catch::Contains("at least 1 value"));
  CHECK_THROWS_WITH(weir::window(0), Catch::Contains("at least 1 value"));
  CHECK_THROWS_WITH(weir::window(0, 1), Catch::Contains("at least 1 value"));
  CHECK_THROWS_WITH(weir::window(1, 0), Catch::Contains("at least 1 value"));
  CHECK_THROWS_WITH(weir::window(0, sum), Catch::Contains("at least 1 value"));
  CHECK_THROWS_WITH(weir::from(std::vector<std::unique_ptr<int>>()) | weir::window(2, 1),
                    Catch::Contains("give a function"));
}

TEST_CASE("window: cancelled, destroyed, failing and timed out at every step") {
  const auto make = [](FlowScene& scene) {
    return scene.source(1, 6) | weir::window(3, 1, sum) | weir::chunk(2) | weir::map([](Ints two) { return sum(two); });
  };
  const auto judge = [](FlowScene& scene, bool completed) {
    const Ints all{15, 27};
    ensure(std::equal(scene.seen.begin(), scene.seen.end(), all.begin()), "in order");
    ensure(!completed || scene.seen == all, "all of them");
    ensure(scene.pulled <= 2 * scene.taken + 4, "pulled ahead");
  };
  REQUIRE_NOTHROW(explore_flow(make, judge));
}
