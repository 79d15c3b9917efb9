#include <weir/stream/strategy/parallel.hpp>

#include "support/catch.hpp"

#include <chrono>
#include <ranges>

#include "stream/run.hpp"
#include "stream/scene.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weir_test;

}  // namespace

TEST_CASE("parallel: cancelled at each level, dropped and destroyed at every step") {
  REQUIRE_NOTHROW(explore_strategy(weir::parallel(2), [](Scene& scene, const SceneFinal&, weir::sim::Simulator&) {
    ensure(scene.record.at_once <= 2, "two at a time");
  }));
}

TEST_CASE("parallel: events that wait hold up none that compute, as long as one worker is left") {
  weir::sim::Simulator sim;
  int waited = 0;
  int computed = 0;
  auto stream = weir::emits<int>(sim)
                    .sender(std::views::iota(0, 900))
                    .receiver(weir::parallel(4),
                              [&](const auto& event) -> weir::Task<> {
                                // Three wait, however quick those before them were.
                                if (event.data() % 300 == 99) {
                                  co_await weir::sleep_for(1s);
                                  ++waited;
                                } else {
                                  computed += sim.elapsed() == 0s;
                                }
                              })
                    .start();
  CHECK(final_of(sim, stream).stats().processed == 900);
  CHECK(waited == 3);
  CHECK(computed == 897);
  CHECK(sim.elapsed() == 1s);
}
