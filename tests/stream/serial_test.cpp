#include <weir/stream/strategy/serial.hpp>

#include "support/catch.hpp"

#include <algorithm>

#include "stream/scene.hpp"

namespace {

using namespace weir_test;

void in_order(Scene& scene, const SceneFinal& final, weir::sim::Simulator&) {
  ensure(std::is_sorted(scene.record.begun.begin(), scene.record.begun.end()), "begun in order");
  ensure(scene.record.at_once <= 1, "one at a time");
  int last = 0;
  for (const Found& found : final.collected()) {
    ensure(*found.value > last, "collected in order");
    last = *found.value;
  }
}

}  // namespace

TEST_CASE("serial: cancelled at each level, dropped and destroyed at every step") {
  REQUIRE_NOTHROW(explore_strategy(weir::serial(), in_order));
}
