#include <weir/bus/batch.hpp>

#include <vector>

#include "bus/batch_world.hpp"
#include "support/catch.hpp"

namespace {

using Scene = weir_test::BatchScene;
using weir::BatchMode;
using weir::sim::explore;
using weir::sim::explore_each_step;
using weir_test::scenario_of;

const std::vector<Scene> every_scene = {
    {.mode = BatchMode::independent, .failing = 1, .holding = true, .cancelled = 2},
    {.options = {.workers = 2, .capacity = 1}, .mode = BatchMode::independent, .events = 2, .nested = true, .crowd = 1},
    {.options = {.workers = 2, .capacity = 2}, .mode = BatchMode::atomic, .batches = 2, .events = 2, .crowd = 2},
    {.options = {.workers = 2, .capacity = 1}, .mode = BatchMode::atomic, .events = 2, .urgent = true, .cancelled = 1},
    {.failing = 2, .stubborn = 0, .hesitant = 1, .two = true},
    {.options = {.workers = 2, .capacity = 2}, .events = 2, .two = true, .holding = true, .cancelled = 1},
    {.options = {.workers = 3, .capacity = 3}, .failing = 1, .keyed = true, .holding = true},
    {.options = {.workers = 1, .capacity = 2}, .events = 2, .failing = 1, .nested = true, .holding = true, .crowd = 1},
    {.options = {.workers = 1, .capacity = 2}, .batches = 2, .events = 2, .urgent = true, .holding = true, .crowd = 2},
    {.options = {.workers = 2, .capacity = 2}, .events = 2, .failing = 1, .two = true, .leaving = true},
    {.options = {.workers = 2, .capacity = 3}, .holding = true, .cancelled = 2, .draining = true},
    {.failing = 2, .hanging = 1},
    {.options = {.workers = 2, .capacity = 3}, .failing = 2, .two = true, .leaving = true, .hanging = 0, .deaf = true},
    {.options = {.workers = 1, .capacity = 3}, .events = 2, .cancelled = 1, .kept = true},
};
/// Those of a bus with priorities of its own.
const std::vector<Scene> ranked_scenes = {
    {.mode = BatchMode::independent, .failing = 1, .cancelled = 2},
    {.options = {.workers = 2, .capacity = 2}, .mode = BatchMode::atomic, .batches = 2, .events = 2, .crowd = 2},
    {.options = {.workers = 1, .capacity = 4}, .batches = 2, .events = 2, .urgent = true, .holding = true, .crowd = 2},
};

}  // namespace

TEST_CASE("batch: ends as its mode says, under every schedule tried", "[explore]") {
  for (const auto& scene : every_scene) {
    CAPTURE(&scene - every_scene.data());
    REQUIRE_NOTHROW(explore(scenario_of(scene)));
  }
  for (const auto& scene : ranked_scenes) {
    CAPTURE(&scene - ranked_scenes.data());
    REQUIRE_NOTHROW(explore(scenario_of<weir_test::RankedBus>(scene)));
  }
}

TEST_CASE("batch: a cancel, an abort or the end of the bus or its context at any step loses nothing", "[explore]") {
  for (Scene scene : every_scene) {
    for (const auto act :
         {Scene::Act::cancel, Scene::Act::abort, Scene::Act::destroy_bus, Scene::Act::destroy_context}) {
      CAPTURE(static_cast<int>(scene.mode), scene.failing, scene.two, scene.nested, scene.batches, scene.cancelled);
      scene.act = act;
      CAPTURE(static_cast<int>(act));
      REQUIRE_NOTHROW(explore_each_step(scenario_of(scene)));
    }
  }
  Scene ranked = ranked_scenes.back();
  for (const auto act : {Scene::Act::cancel, Scene::Act::abort, Scene::Act::destroy_context}) {
    ranked.act = act;
    CAPTURE(static_cast<int>(act));
    REQUIRE_NOTHROW(explore_each_step(scenario_of<weir_test::RankedBus>(ranked)));
  }
}
