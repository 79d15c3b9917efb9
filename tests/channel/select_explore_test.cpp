#include <weir/channel/select.hpp>

#include <vector>

#include <weir/sim/explore.hpp>

#include "channel/select_world.hpp"
#include "support/catch.hpp"

namespace {

using channel_test::Act;
using channel_test::scenario_of;
using Scene = channel_test::SelectScene;
using weir::sim::explore;
using weir::sim::explore_each_step;

const std::vector<Scene> every_scene = {
    {},
    {.plain_senders = 2, .plain_receivers = 1, .receiving = 1, .sending = 1},
    {.plain_senders = 0, .receiving = 2, .sending = 2},
    {.plain_senders = 1, .receiving = 1, .sending = 1, .both = 1},
    {.plain_senders = 2, .receiving = 2, .sending = 0, .permits = true},
    {.plain_senders = 1, .receiving = 1, .sending = 1, .timed = true},
    {.plain_senders = 1, .receiving = 1, .sending = 0, .reserving = 2},
    {.plain_senders = 2, .receiving = 1, .sending = 0, .in_runs = 1},
    {.plain_senders = 0, .receiving = 0, .sending = 1, .reserving = 1, .in_runs = 2, .timed = true},
};

TEST_CASE("select: no value is lost, and nobody sleeps on, under every schedule tried", "[explore]") {
  for (const auto& scene : every_scene) {
    CAPTURE(&scene - every_scene.data());
    REQUIRE_NOTHROW(explore(scenario_of(scene)));
    REQUIRE_NOTHROW(explore({.seeds = 2000, .scheduling = {.pct_depth = 3}}, scenario_of(scene)));
  }
}

TEST_CASE("select: a cancel, a close or the end of the context at any step loses nothing", "[explore]") {
  for (Scene scene : every_scene) {
    CAPTURE(scene.plain_senders, scene.receiving, scene.sending, scene.both, scene.reserving, scene.in_runs);
    const std::size_t receivers = scene.plain_receivers + scene.receiving + scene.in_runs;
    const std::size_t roots = receivers + scene.plain_senders + scene.sending + scene.both + scene.reserving;
    for (const auto act : {Act::close, Act::destroy}) {
      scene.act = act;
      scene.victim = 0;
      REQUIRE_NOTHROW(explore_each_step(scenario_of(scene)));
    }
    // A receiver whose fellows are gone leaves senders that wait for ever: cancel the producers.
    scene.act = Act::cancel;
    for (scene.victim = 0; scene.victim + receivers < roots; ++scene.victim) {
      REQUIRE_NOTHROW(explore_each_step(scenario_of(scene)));
    }
    if (scene.receiving + scene.in_runs < 2) continue;
    scene.victim = roots - 1;
    REQUIRE_NOTHROW(explore_each_step(scenario_of(scene)));
  }
}

}  // namespace
