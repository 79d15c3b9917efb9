#include <weir/bus/stuck_event.hpp>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include <weir/bus/event_bus.hpp>
#include <weir/core/shielded.hpp>

#include "support/catch.hpp"

#include "bus/scene.hpp"

using namespace std::chrono_literals;
using weir::Task;
using weir_test::play;

TEST_CASE("stuck_event: says which event, for how long, and whether it was told to end") {
  const weir::StuckEvent event(7, "a.b", weir::EventPriority::low, 3s, true);
  CHECK(event.id() == 7);
  CHECK(event.topic() == "a.b");
  CHECK(event.priority() == weir::EventPriority::low);
  CHECK(event.running() == 3s);
  CHECK(event.cancelled());
}

TEST_CASE("stuck_event: a watchdog reports each once: one that does not react, one that takes long, and no other") {
  weir::sim::Simulator sim;
  weir::EventBus bus(sim, {.workers = 3});
  const auto deaf = bus.subscribe(
      "deaf", [](weir::EventContext&) -> Task<> { co_await weir::shielded(weir::into_task(weir::sleep_for(1h))); });
  const auto slow = bus.subscribe("slow", [](weir::EventContext&) -> Task<> { co_await weir::sleep_for(10s); });
  const auto quick = bus.subscribe("quick", [](weir::EventContext&) -> Task<> { co_await weir::sleep_for(10ms); });
  std::vector<std::string> reports;
  bool ended = false;
  weir::spawn(sim,
              bus.watch(2s, 500ms,
                        [&reports](const weir::StuckEvent& event) {
                          reports.push_back(event.topic() + (event.cancelled() ? " cancelled" : ""));
                        }),
              [&ended](std::exception_ptr error) { ended = !error; });
  play(sim, [](weir::EventBus& to) -> Task<> {
    weir::Event event("deaf");
    event.run_timeout(1s);
    co_await to.publish(std::move(event));
    co_await to.publish("slow");
    for (int i = 0; i < 1000; ++i) co_await to.publish("quick");
    co_await weir::sleep_for(5s);
    const auto stuck = to.stuck(4s);
    if (stuck.size() != 2) throw std::runtime_error("not two are stuck");
    co_await to.drain(10s);
  }(bus));
  CHECK_THROWS_WITH(bus.watch(2s, 0s, [](const weir::StuckEvent&) {}), Catch::Contains("has to be positive"));
  REQUIRE(reports.size() == 2);
  CHECK(std::find(reports.begin(), reports.end(), "deaf cancelled") != reports.end());
  CHECK(std::find(reports.begin(), reports.end(), "slow") != reports.end());
  CHECK(ended);
}
