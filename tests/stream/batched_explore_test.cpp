#include <weir/stream/strategy/batched.hpp>

#include "support/catch.hpp"

#include "stream/scene.hpp"

namespace {

using namespace weir_test;
using std::chrono::milliseconds;

SceneOptions pausing(std::size_t capacity) {
  SceneOptions options;
  options.capacity = capacity;
  options.pausing_sender = true;
  return options;
}

const auto unjudged = [](Scene&, const SceneFinal&, weir::sim::Simulator&) {};

}  // namespace

TEST_CASE("batched: cancelled at each level, dropped and destroyed at every step") {
  REQUIRE_NOTHROW(explore_strategy(
      weir::batched(3, milliseconds(2)),
      [](Scene& scene, const SceneFinal&, weir::sim::Simulator&) {
        ensure(scene.record.at_once <= 3, "three at a time");
        ensure(std::ranges::is_sorted(scene.record.ended), "in order");
      },
      pausing(4)));
}

TEST_CASE("batched: with several workers, cancelled, dropped and destroyed at every step") {
  REQUIRE_NOTHROW(explore_strategy(
      weir::batched(2, milliseconds(2)).parallel(2),
      [](Scene& scene, const SceneFinal&, weir::sim::Simulator&) {
        ensure(scene.record.at_once <= 4, "two times two at a time");
      },
      pausing(2)));
}

TEST_CASE("batched: a batch fails as a unit, and the law of conservation holds with errors and timeouts") {
  for (const bool waiting : {false, true}) {
    SceneOptions options = pausing(4);
    options.waiting_receiver = waiting;
    options.on_error = weir::continue_;
    options.failing = 2;
    REQUIRE_NOTHROW(weir::sim::explore(scene_of(
        options, weir::batched(3, milliseconds(2)), Action::none,
        [](Scene& scene, const SceneFinal& final, weir::sim::Simulator&) {
          ensure(final.outcome() == weir::Outcome::completed, "it completes");
          ensure(final.stats().failed >= 1 && final.stats().failed <= 3, "the batch of the second event failed");
          ensure(final.stats().failed + final.stats().processed == 6, "and no other");
          ensure(std::ranges::find(scene.record.ended, 2) == scene.record.ended.end(), "the second event failed");
        })));
    options.timeout_ms = 3;
    REQUIRE_NOTHROW(weir::sim::explore(scene_of(options, weir::batched(3, milliseconds(2)).parallel(2), Action::none,
                                                [](Scene&, const SceneFinal& final, weir::sim::Simulator&) {
                                                  ensure(final.outcome() == weir::Outcome::timed_out, "timed out");
                                                })));
  }
}

TEST_CASE("batched: split_on_error loses nothing, whatever is done to it") {
  const auto strategy = weir::batched(4, milliseconds(2)).split_on_error();
  for (const bool waiting : {false, true}) {
    SceneOptions options = pausing(4);
    options.waiting_receiver = waiting;
    options.failing = 3;
    options.on_error = weir::continue_;
    REQUIRE_NOTHROW(weir::sim::explore(
        scene_of(options, strategy, Action::none, [](Scene&, const SceneFinal& final, weir::sim::Simulator&) {
          ensure(final.stats().failed == 1 && final.stats().processed == 5, "the bad one alone");
        })));
    REQUIRE_NOTHROW(weir::sim::explore_each_step(scene_of(options, strategy, Action::immediate, unjudged)));
    REQUIRE_NOTHROW(weir::sim::explore_each_step(scene_of(options, strategy, Action::end_context, unjudged)));
    options.on_error = weir::stop;
    REQUIRE_NOTHROW(weir::sim::explore(
        scene_of(options, strategy, Action::none, [](Scene&, const SceneFinal& final, weir::sim::Simulator&) {
          ensure(final.outcome() == weir::Outcome::failed && final.stats().failed == 1, "the bad one stops it");
        })));
  }
}

TEST_CASE("batched: a sender that throws ends the stream after its events were processed") {
  SceneOptions options = pausing(2);
  options.sender_throws = true;
  REQUIRE_NOTHROW(weir::sim::explore(scene_of(options, weir::batched(64, std::chrono::hours(1)), Action::none,
                                              [](Scene&, const SceneFinal& final, weir::sim::Simulator& sim) {
                                                ensure(final.outcome() == weir::Outcome::failed, "failed");
                                                ensure(final.stats().processed == 6, "after what was emitted");
                                                ensure(sim.elapsed() < std::chrono::minutes(1), "without the delay");
                                              })));
}
