#include <weir/bus/subscription.hpp>

#include <weir/bus/event_bus.hpp>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/catch.hpp"

#include "bus/scene.hpp"

TEST_CASE("subscription: moves, ends by assignment, and may outlive its bus") {
  weir::sim::Simulator sim;
  int calls = 0;
  weir::Subscription subscription;
  CHECK_FALSE(subscription);
  {
    weir::EventBus bus(sim);
    subscription = bus.subscribe("t", [&](weir::EventContext&) { ++calls; });
    weir::Subscription moved(std::move(subscription));
    CHECK_FALSE(subscription);
    CHECK(moved);
    subscription = std::move(moved);
    weir_test::play(sim, [](weir::EventBus& to, weir::Subscription& s) -> weir::Task<> {
      co_await to.publish("t");
      co_await weir::yield();
      co_await weir::yield();
      co_await s.join();
      s = weir::Subscription();
      co_await to.publish("t");
      co_await to.drain();
    }(bus, subscription));
    subscription = bus.subscribe("t", [](weir::EventContext&) {});
  }
  CHECK(calls == 1);
  subscription.reset();
}

TEST_CASE("subscription: topics that come and go leave nothing behind") {
  weir::sim::Simulator sim;
  weir::EventBus bus(sim, {.capacity = 10});
  int calls = 0;
  auto all = bus.subscribe(">", [&](weir::EventContext&) { ++calls; });
  auto owned = std::make_shared<int>(0);
  const std::weak_ptr<int> watched = owned;
  std::vector<weir::Subscription> many;
  for (int i = 0; i < 100; ++i) {
    many.push_back(bus.subscribe("t.*", [kept = owned](weir::EventContext&) {}, {.phase = i % 3}));
  }
  owned.reset();
  weir_test::play(sim, [](weir::EventBus& to) -> weir::Task<> {
    for (int i = 0; i < 5000; ++i) co_await to.publish("t." + std::to_string(i));
    co_await to.drain();
  }(bus));
  CHECK(calls == 5000);
  many.clear();
  CHECK(watched.expired());
}

namespace {

/// Writes that it begins and, after a while, that it ends.
auto lasting(std::string& log, char name, int milliseconds) {
  return [&log, name, milliseconds](weir::EventContext&) -> weir::Task<> {
    log += {name, '+', ' '};
    co_await weir::sleep_for(std::chrono::milliseconds(milliseconds));
    log += {name, '-', ' '};
    if (name == 'x') throw std::runtime_error("x");
  };
}

}  // namespace

TEST_CASE("subscription: handlers that are declared parallel run beside each other, and the next after all of them") {
  weir::sim::Simulator sim;
  weir::EventBus bus(sim);
  std::string log;
  std::vector<weir::Subscription> all;
  all.push_back(bus.subscribe("t", lasting(log, 'd', 1), {.phase = 1, .parallel = true}));
  all.push_back(bus.subscribe("t", lasting(log, 'a', 10), {.parallel = true}));
  all.push_back(bus.subscribe("t", lasting(log, 'x', 5), {.parallel = true}));
  all.push_back(bus.subscribe("t", lasting(log, 'b', 1), {.once = true, .parallel = true}));
  all.push_back(bus.subscribe("t", lasting(log, 'c', 1)));
  all.push_back(bus.subscribe("t", [&log](weir::EventContext&) { log += "p "; }, {.parallel = true}));
  weir_test::play(sim, [](weir::EventBus& to) -> weir::Task<> {
    co_await to.publish("t");
    co_await to.publish("t");
    co_await to.drain();
  }(bus));
  CHECK(log == "a+ x+ b+ b- x- a- c+ c- p d+ d- a+ x+ x- a- c+ c- p d+ d- ");
  CHECK(bus.stats().failed == 2);
}

TEST_CASE("subscription: one that runs beside others is joined when it has ended, and cancelled with its event") {
  weir::sim::Simulator sim;
  weir::EventBus bus(sim);
  std::string log;
  std::vector<weir::Subscription> all;
  all.push_back(bus.subscribe("t", lasting(log, 'a', 1000), {.parallel = true}));
  all.push_back(bus.subscribe("t", lasting(log, 'b', 1000), {.parallel = true}));
  bool joined_late = false;
  weir_test::play(sim,
                  [](weir::EventBus& to, weir::Subscription& second, const weir::sim::Simulator& clock,
                     bool& waited) -> weir::Task<> {
                    weir::Event event("t");
                    event.run_timeout(std::chrono::milliseconds(50));
                    co_await to.publish(std::move(event));
                    co_await weir::sleep_for(std::chrono::milliseconds(1));
                    co_await second.join();
                    waited = clock.elapsed() >= std::chrono::milliseconds(50);
                    co_await to.drain();
                  }(bus, all[1], sim, joined_late));
  CHECK(log == "a+ b+ ");
  CHECK(joined_late);
  CHECK(bus.stats().timed_out == 1);
}
