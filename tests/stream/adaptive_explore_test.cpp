#include <weir/stream/strategy/adaptive.hpp>

#include <algorithm>
#include <chrono>

#include "support/catch.hpp"

#include "stream/scene.hpp"

namespace {

using namespace weir_test;

/// Decides as often as it can, with workers that it parks, wakes and starts.
weir::Adaptive restless(std::size_t start = 2) {
  return weir::adaptive({.max_concurrency = 3,
                         .start_concurrency = start,
                         .window = std::chrono::microseconds(100),
                         .cooling = std::chrono::microseconds(100),
                         .gain = 0.01});
}

/// Whether it went up, and down, and up after it went down.
struct Moves {
  bool more = false;
  bool less = false;
  bool again = false;

  void look_at(const weir::Adaptive& strategy) {
    bool fewer = false;
    for (const auto& step : strategy.trace()) {
      const bool rises = step.to.concurrency > step.from.concurrency;
      fewer = fewer || step.to.concurrency < step.from.concurrency;
      more = more || rises;
      less = less || fewer;
      again = again || (fewer && rises);
    }
  }
};

SceneOptions many() {
  SceneOptions options;
  options.events = 10;
  options.capacity = 8;
  return options;
}

}  // namespace

TEST_CASE("adaptive: cancelled at each level, dropped and destroyed at every step") {
  Moves moves;
  for (const std::size_t start : {2u, 3u}) {
    const weir::Adaptive strategy = restless(start);
    REQUIRE_NOTHROW(explore_strategy(
        strategy,
        [&](Scene& scene, const SceneFinal& final, weir::sim::Simulator&) {
          ensure(scene.record.at_once <= 3 && final.stats().workers <= 3, "three at a time");
          moves.look_at(strategy);
        },
        many()));
  }
  CHECK(moves.more);
  CHECK(moves.less);
}

TEST_CASE("adaptive: those who were parked are woken, in any order") {
  Moves moves;
  SceneOptions options = many();
  options.events = 120;
  options.waiting_receiver = true;
  const weir::Adaptive strategy = restless();
  REQUIRE_NOTHROW(weir::sim::explore(
      scene_of(options, strategy, Action::none, [&](Scene&, const SceneFinal& final, weir::sim::Simulator&) {
        ensure(static_cast<bool>(final) && final.stats().processed == 120, "everything was processed");
        moves.look_at(strategy);
      })));
  CHECK(moves.again);
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

TEST_CASE("adaptive: with batches, cancelled at each level, dropped and destroyed at every step") {
  SceneOptions options = many();
  options.pausing_sender = true;
  const weir::Adaptive how = restless();
  std::size_t largest = 0;
  REQUIRE_NOTHROW(explore_strategy(
      how.batched(3, std::chrono::milliseconds(2)),
      [&](Scene& scene, const SceneFinal& final, weir::sim::Simulator&) {
        ensure(scene.record.at_once <= 9 && final.stats().workers <= 3, "three times three at a time");
        for (const auto& step : how.trace()) largest = std::max(largest, step.to.batch);
      },
      options));
  CHECK(largest > 1);
}

TEST_CASE("adaptive: with batches, a failed one is counted as a unit, and the rest is processed") {
  for (const bool waiting : {false, true}) {
    SceneOptions options = many();
    options.waiting_receiver = waiting;
    options.failing = 4;
    options.on_error = weir::continue_;
    REQUIRE_NOTHROW(weir::sim::explore(
        scene_of(options, restless().batched(3, std::chrono::milliseconds(2)), Action::none,
                 [](Scene& scene, const SceneFinal& final, weir::sim::Simulator&) {
                   ensure(final.outcome() == weir::Outcome::completed, "it completes");
                   ensure(final.stats().failed >= 1 && final.stats().failed <= 3, "one batch failed");
                   ensure(final.stats().failed + final.stats().processed == 10, "and no other");
                   ensure(std::ranges::find(scene.record.ended, 4) == scene.record.ended.end(), "with the fourth");
                 })));
  }
}
