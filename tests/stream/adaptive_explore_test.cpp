#include <weir/stream/strategy/adaptive.hpp>

#include "support/catch.hpp"

#include "stream/scene.hpp"

namespace {

using namespace weir_test;

/// Decides as often as it can, with workers that it parks, wakes and starts.
weir::Adaptive restless() {
  return weir::adaptive({.max_concurrency = 3,
                         .start_concurrency = 2,
                         .window = std::chrono::microseconds(100),
                         .cooling = std::chrono::microseconds(100),
                         .gain = 0.01});
}

SceneOptions many() {
  SceneOptions options;
  options.events = 10;
  options.capacity = 8;
  return options;
}

}  // namespace

TEST_CASE("adaptive: cancelled at each level, dropped and destroyed at every step") {
  const weir::Adaptive strategy = restless();
  bool more = false;
  bool less = false;
  REQUIRE_NOTHROW(explore_strategy(
      strategy,
      [&](Scene& scene, const SceneFinal& final, weir::sim::Simulator&) {
        ensure(scene.record.at_once <= 3 && final.stats().workers <= 3, "three at a time");
        for (const auto& step : strategy.trace()) {
          more = more || step.to.concurrency > step.from.concurrency;
          less = less || step.to.concurrency < step.from.concurrency;
        }
      },
      many()));
  CHECK(more);
  CHECK(less);
}

TEST_CASE("adaptive: errors, timeouts and a sender that throws lose nothing") {
  for (const bool waiting : {false, true}) {
    SceneOptions options = many();
    options.waiting_receiver = waiting;
    options.failing = 4;
    REQUIRE_NOTHROW(weir::sim::explore(
        scene_of(options, restless(), Action::none, [](Scene&, const SceneFinal& final, weir::sim::Simulator&) {
          ensure(final.outcome() == weir::Outcome::failed && final.stats().failed == 1, "failed");
        })));
    options.on_error = weir::continue_;
    options.sender_throws = true;
    REQUIRE_NOTHROW(weir::sim::explore(
        scene_of(options, restless(), Action::none, [](Scene&, const SceneFinal& final, weir::sim::Simulator&) {
          ensure(final.outcome() == weir::Outcome::failed, "failed");
          ensure(final.stats().failed == 1 && final.stats().processed == 9, "after all were processed");
        })));
    options.pausing_sender = true;
    options.timeout_ms = 4;
    REQUIRE_NOTHROW(weir::sim::explore(
        scene_of(options, restless(), Action::none, [](Scene&, const SceneFinal& final, weir::sim::Simulator&) {
          ensure(final.outcome() == weir::Outcome::timed_out, "timed out");
        })));
  }
}
