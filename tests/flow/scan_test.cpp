#include <weir/stream/flow/scan.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "flow/scene.hpp"

namespace {

using namespace weir_test;

}  // namespace

TEST_CASE("scan: every intermediate result, without the initial one") {
  CHECK(run(weir::from(Ints{1, 2, 3}) | weir::scan(10, std::plus<>()) | weir::to_vector()) == Ints{11, 13, 16});
  CHECK(run(weir::from(Ints{}) | weir::scan(10, std::plus<>()) | weir::to_vector()).empty());
  const auto append = [](std::string text, int n) { return std::move(text) + std::to_string(n); };
  CHECK(run(weir::from(Ints{1, 2}) | weir::scan(std::string(">"), append) | weir::to_vector()) ==
        std::vector<std::string>{">1", ">12"});
}

TEST_CASE("scan: cancelled, destroyed, failing and timed out at every step") {
  const auto make = [](FlowScene& scene) {
    const auto add_later = [&scene, guard = Guard(scene.ledger)](int sum, int n) -> weir::Task<int> {
      const Guard frame(scene.ledger);
      co_await weir::sleep_for(1ms);
      co_return sum + n;
    };
    return scene.source() | weir::scan(0, add_later) | weir::scan(0, std::plus<>());
  };
  const auto judge = [](FlowScene& scene, bool completed) {
    const Ints all{1, 4, 10, 20};
    ensure(std::equal(scene.seen.begin(), scene.seen.end(), all.begin()), "in order");
    ensure(!completed || scene.seen == all, "all of them");
    ensure(scene.pulled <= scene.taken + 1, "pulled ahead");
  };
  REQUIRE_NOTHROW(explore_flow(make, judge));
}
