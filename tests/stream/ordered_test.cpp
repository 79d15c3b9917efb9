#include <weir/stream/strategy/ordered.hpp>

#include "support/catch.hpp"

#include "stream/scene.hpp"

namespace {

using namespace weir_test;

}  // namespace

TEST_CASE("ordered: cancelled at each level, dropped and destroyed at every step") {
  REQUIRE_NOTHROW(explore_strategy(weir::Ordered(2), [](Scene& scene, const SceneFinal& final, weir::sim::Simulator&) {
    ensure(scene.record.at_once <= 2, "two at a time");
    int last = 0;
    for (const Found& found : final.collected()) {
      ensure(*found.value > last, "collected in the order of emission");
      last = *found.value;
    }
  }));
}

TEST_CASE("ordered: an error amid a run keeps the results of later runs") {
  SceneOptions options;
  options.capacity = 64;
  options.events = 30;
  options.failing = 8;
  REQUIRE_NOTHROW(weir::sim::explore(
      scene_of(options, weir::Ordered(2), Action::none, [](Scene&, const SceneFinal& final, weir::sim::Simulator&) {
        ensure(final.outcome() == weir::Outcome::failed && final.stats().failed == 1, "one failed");
        int last = 0;
        for (const Found& found : final.collected()) {
          ensure(*found.value > last, "collected in the order of emission");
          last = *found.value;
        }
      })));
}

TEST_CASE("ordered: an event that takes long holds up the others at the window") {
  weir::sim::Simulator sim;
  const weir::Ordered strategy(2);
  int begun = 0;
  auto stream = weir::emits<int>(sim)
                    .sender([](weir::Emitter<int>& out) -> weir::Task<> {
                      for (int i = 0; i < 1000; ++i) co_await out.emit(i);
                    })
                    .receiver(strategy,
                              [&begun](const auto& e) -> weir::Task<int> {
                                ++begun;
                                if (e.data() == 0) co_await weir::sleep_for(std::chrono::hours(1));
                                co_return e.data();
                              })
                    .start();
  std::size_t before = 0;
  sim.spawn([&]() -> weir::Task<> {
    co_await weir::sleep_for(std::chrono::minutes(1));
    before = static_cast<std::size_t>(begun);
  });
  sim.run();
  CHECK(before == strategy.window());
  CHECK(begun == 1000);
  CHECK(stream.stats().processed == 1000);
}
