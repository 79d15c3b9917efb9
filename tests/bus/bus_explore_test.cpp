#include <weir/bus/priority_event_bus.hpp>

#include <vector>

#include "bus/bus_world.hpp"
#include "support/catch.hpp"

namespace {

using Scene = weir_test::BusScene;
using weir::sim::explore;
using weir::sim::explore_each_step;
using weir_test::scenario_of;

const std::vector<Scene> every_scene = {
    {},
    {.options = {.workers = 1, .capacity = 1}, .cancelling = true},
    {.keyed = true, .cancelling = true},
    {.options = {.workers = 1, .capacity = 1}, .nested = true},
    {.options = {.workers = 2, .capacity = 1}, .keyed = false, .nested = true, .cancelling = true},
    {.options = {.workers = 1, .capacity = 1}, .nested = true, .asking = true},
    {.options = {.workers = 2, .capacity = 2}, .keyed = false, .nested = true, .asking = true, .cancelling = true},
    {.publishers = 1, .events = 3, .leaving = true},
    {.options = {.workers = 2, .capacity = 4}, .keyed = true, .cancelling = true, .timed = true},
};

}  // namespace

TEST_CASE("bus: every event ends once, as its outcome says, under every schedule tried", "[explore]") {
  for (const auto& scene : every_scene) {
    CAPTURE(&scene - every_scene.data());
    REQUIRE_NOTHROW(explore(scenario_of(scene)));
  }
}

TEST_CASE("bus: a cancel, an abort or the end of the bus or its context at any step loses nothing", "[explore]") {
  for (Scene scene : every_scene) {
    CAPTURE(scene.options.workers, scene.keyed, scene.nested, scene.cancelling, scene.leaving, scene.timed);
    for (const auto act :
         {Scene::Act::cancel, Scene::Act::abort, Scene::Act::destroy_bus, Scene::Act::destroy_context}) {
      scene.act = act;
      CAPTURE(static_cast<int>(act));
      REQUIRE_NOTHROW(explore_each_step(scenario_of(scene)));
    }
  }
}
