#include <weir/stream/strategy/ordered.hpp>

#include "support/catch.hpp"

#include "stream/scene.hpp"

namespace {

using namespace weir_test;

}  // namespace

TEST_CASE("ordered: cancelled at each level, dropped and destroyed at every step") {
  REQUIRE_NOTHROW(explore_strategy(weir::Ordered(2), [](Scene& scene, const SceneFinal& final, weir::sim::Simulator&) {
    ensure(scene.record.at_once <= 2, "two at a time");
    int last = 0;
    for (const Found& found : final.collected()) {
      ensure(*found.value > last, "collected in the order of emission");
      last = *found.value;
    }
  }));
}
