#include <weir/stream/cancellation_level.hpp>

#include "support/catch.hpp"

#include <weir/stream/strategy/serial.hpp>

#include "stream/scene.hpp"

namespace {

using namespace weir_test;
using weir::CancellationLevel;

/// Cancels gently, and then, whenever the seed has it, harder and harder.
void escalate(weir::sim::Simulator& sim) {
  auto& scene = sim.keep<Scene>(SceneOptions{});
  scene.options.waiting_receiver = true;
  scene.start(sim, weir::serial());
  bool graceful = false;
  bool forceful = false;
  bool gentler = true;
  sim.spawn([&]() -> weir::Task<> {
    co_await weir::sleep_for(std::chrono::milliseconds(1));
    graceful = scene.stream.cancel(CancellationLevel::graceful);
    co_await weir::sleep_for(std::chrono::milliseconds(1));
    forceful = scene.stream.cancel(CancellationLevel::forceful);
    gentler = scene.stream.cancel(CancellationLevel::graceful);
    scene.stream.cancel(CancellationLevel::immediate);
  });
  sim.on_step([&] { scene.check(scene.stream.stats()); });
  SceneFinal final;
  weir::spawn(sim, scene.stream.final_event(),
              [&final](std::exception_ptr, SceneFinal event) { final = std::move(event); });
  sim.run();
  ensure(graceful && forceful && !gentler, "harder is possible, softer is not");
  ensure(final.outcome() == weir::Outcome::cancelled, "cancelled");
  ensure(final.stats().balanced() && final.stats().failed == 0, "nothing lost, nothing failed");
  ensure(scene.record.alive == 0, "no value is left");
}

}  // namespace

TEST_CASE("cancellation_level: each includes those before it") {
  STATIC_REQUIRE(CancellationLevel::graceful < CancellationLevel::forceful);
  STATIC_REQUIRE(CancellationLevel::forceful < CancellationLevel::immediate);
}

TEST_CASE("cancellation_level: a stream can be stopped harder, never softer") {
  REQUIRE_NOTHROW(weir::sim::explore(&escalate));
}
