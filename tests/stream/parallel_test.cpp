#include <weir/stream/strategy/parallel.hpp>

#include "support/catch.hpp"

#include "stream/scene.hpp"

namespace {

using namespace weir_test;

}  // namespace

TEST_CASE("parallel: cancelled at each level, dropped and destroyed at every step") {
  REQUIRE_NOTHROW(explore_strategy(weir::parallel(2), [](Scene& scene, const SceneFinal&, weir::sim::Simulator&) {
    ensure(scene.record.at_once <= 2, "two at a time");
  }));
}
