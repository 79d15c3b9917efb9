#include <weir/bus/plugin_scope.hpp>

#include <vector>

#include "bus/plugin_world.hpp"
#include "support/catch.hpp"

namespace {

using Scene = weir_test::PluginScene;
using weir::sim::explore;
using weir::sim::explore_each_step;
using weir_test::scenario_of;

const std::vector<Scene> every_scene = {
    {},
    {.options = {.workers = 2, .capacity = 1}, .quota = 2, .cancelling = true},
    {.quota = 2, .stubborn = true},
    {.options = {.workers = 2, .capacity = 2}, .timed = true, .leaving = true},
    {.options = {.workers = 1, .capacity = 1}, .quota = 2, .draining = true},
    {.options = {.workers = 1, .capacity = 2}, .leaving = true, .cancelling = true, .from_handler = true},
    {.options = {.workers = 1, .capacity = 2}, .quota = 2, .batch = weir::BatchMode::saga, .failing = true},
    {.options = {.workers = 1, .capacity = 2}, .quota = 1, .batch = weir::BatchMode::independent, .failing = true},
    {.options = {.workers = 2, .capacity = 2}, .quota = 2, .batch = weir::BatchMode::saga, .kept = true},
    {.options = {.workers = 1, .capacity = 2}, .quota = 2, .leaving = true, .kept = true},
};

}  // namespace

TEST_CASE("plugin: nothing of it lives or runs after its end, under every schedule tried", "[explore]") {
  for (const auto& scene : every_scene) {
    CAPTURE(&scene - every_scene.data());
    REQUIRE_NOTHROW(explore(scenario_of(scene)));
  }
}

TEST_CASE("plugin: a cancel, an abort, or the end of the scope, the bus or its context at any step loses nothing",
          "[explore]") {
  for (Scene scene : every_scene) {
    CAPTURE(scene.options.workers, scene.quota, scene.stubborn, scene.timed, scene.leaving, scene.cancelling);
    for (const auto act : {Scene::Act::cancel, Scene::Act::abort, Scene::Act::destroy_bus, Scene::Act::destroy_scope,
                           Scene::Act::destroy_context}) {
      scene.act = act;
      CAPTURE(static_cast<int>(act));
      REQUIRE_NOTHROW(explore_each_step(scenario_of(scene)));
    }
  }
}
