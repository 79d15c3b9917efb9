#include <weir/bus/subscription.hpp>

#include <weir/bus/event_bus.hpp>

#include <memory>
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
