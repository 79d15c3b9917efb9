#include <weir/bus/priority_event_bus.hpp>

#include <atomic>
#include <chrono>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include <asio/use_future.hpp>

#include <weir/core/processor.hpp>
#include <weir/core/sync_wait.hpp>
#include <weir/core/when_all.hpp>

#include "support/catch.hpp"
#include "support/stress.hpp"

using namespace std::chrono_literals;
using weir::EventPriority;
using weir::Task;

namespace {

struct Counts {
  std::atomic<std::uint64_t> calls{0};
  std::atomic<std::uint64_t> others{0};
  std::atomic<std::uint64_t> cancelled{0};
  std::atomic<std::uint64_t> outcomes{0};
  std::atomic<bool> done{false};
};

Task<> publish(weir::PriorityEventBus& bus, Counts& counts, std::uint64_t seed, std::uint64_t events) {
  std::uint64_t dice = seed * 2654435761U + 1;
  const auto roll = [&dice](std::uint64_t n) {
    dice = dice * 6364136223846793005U + 1442695040888963407U;
    return (dice >> 33) % n;
  };
  for (std::uint64_t i = 0; i < events; ++i) {
    const auto priority = static_cast<EventPriority>(roll(4));
    switch (roll(4)) {
      case 0: {
        const auto ticket = co_await bus.publish_cancellable("a.cancellable", i, priority);
        if (roll(2) == 0 && ticket.cancel() == weir::CancelAnswer::cancelled) ++counts.cancelled;
        if (roll(8) == 0) {
          co_await ticket.outcome();
          ++counts.outcomes;
        }
        break;
      }
      case 1: {
        weir::Event event("a.keyed", i, priority);
        event.key(roll(2) == 0 ? "x" : "y");
        co_await bus.publish(std::move(event));
        break;
      }
      case 2:
        while (!bus.try_publish("a.tried", i, priority)) co_await weir::yield();
        break;
      default:
        co_await bus.publish("a.plain", i, priority);
    }
  }
}

Task<> come_and_go(weir::PriorityEventBus& bus, Counts& counts) {
  while (!counts.done) {
    auto subscription = bus.subscribe("a.*", [&counts](weir::EventContext&) { ++counts.others; });
    co_await weir::yield();
    co_await subscription.join();
    const auto after = counts.others.load();
    co_await weir::yield();
    if (counts.others.load() != after) throw std::runtime_error("a handler was called after its join");
  }
}

Task<> drive(weir::PriorityEventBus& bus, Counts& counts, std::uint64_t events) {
  co_await weir::when_all(publish(bus, counts, 1, events), publish(bus, counts, 2, events));
}

}  // namespace

TEST_CASE("bus threads: events that are published, cancelled and kept in order on a pool all end once") {
  const auto events = static_cast<std::uint64_t>(weir_test::stress(5000));
  asio::thread_pool pool(3);
  Counts counts;
  int keyed[2] = {0, 0};
  {
    weir::PriorityEventBus bus(pool, {.workers = 4, .capacity = 64});
    const auto handler = bus.subscribe("a.>", [&](weir::EventContext& event) -> Task<> {
      ++counts.calls;
      if (event.payload<std::uint64_t>() % 3 == 0) co_await weir::yield();
    });
    // Not guarded: events of one key do not overlap, and happen before the next of it.
    const auto ordered =
        bus.subscribe("a.keyed", [&](weir::EventContext& event) { ++keyed[event.event().key() == "x"]; });
    auto leaver = weir::spawn(pool, come_and_go(bus, counts), asio::use_future);
    std::vector<std::future<void>> publishers;
    for (int i = 0; i < 2; ++i) publishers.push_back(weir::spawn(pool, drive(bus, counts, events), asio::use_future));
    for (auto& publisher : publishers) publisher.get();
    counts.done = true;
    leaver.get();
    const auto report = weir::sync_wait(bus.drain());
    CHECK(report.complete);
    const auto stats = bus.stats();
    CHECK(stats.admitted == 4 * events);
    CHECK(stats.cancelled >= counts.cancelled);
    CHECK(stats.completed + stats.cancelled == stats.admitted);
    CHECK(counts.calls >= stats.completed);
    // One that was signalled before its first handler was called has none.
    CHECK(counts.calls + counts.cancelled <= stats.admitted);
    CHECK(static_cast<std::uint64_t>(keyed[0] + keyed[1]) > events / 2);
  }
  pool.join();
}

TEST_CASE("bus threads: a bus that is destroyed while others publish ends them with a clear error") {
  for (int round = 0; round < 50; ++round) {
    asio::thread_pool pool(3);
    std::atomic<int> calls{0};
    auto bus = std::make_unique<weir::PriorityEventBus>(pool, weir::BusOptions{.workers = 2, .capacity = 4});
    auto handler = bus->subscribe("t", [&](weir::EventContext&) -> Task<> {
      ++calls;
      co_await weir::yield();
    });
    auto publishing = weir::spawn(
        pool,
        [](weir::PriorityEventBus& to) -> Task<> {
          for (;;) co_await to.publish("t", 1);
        }(*bus),
        asio::use_future);
    while (calls < 20) std::this_thread::yield();
    bus->abort();
    CHECK_THROWS_AS(publishing.get(), weir::Error);
    bus.reset();
    pool.join();
    const int at_end = calls;
    handler.reset();
    CHECK(calls == at_end);
  }
}

TEST_CASE("bus threads: what the only worker takes along is recalled by others, and all of it ends once") {
  const auto events = static_cast<std::uint64_t>(weir_test::long_stress(100'000));
  asio::thread_pool pool(3);
  Counts counts;
  // Not guarded: there is one worker. More urgent events come between, and do not change the order of these.
  std::uint64_t last[2] = {0, 0};
  bool ordered = true;
  {
    weir::PriorityEventBus bus(pool, {.workers = 1, .capacity = 256});
    const auto handler = bus.subscribe("a.*", [&](weir::EventContext& event) {
      ++counts.calls;
      if (event.priority() != EventPriority::normal) return;
      std::uint64_t& before = last[event.topic() == "a.x"];
      ordered = ordered && event.payload<std::uint64_t>() > before;
      before = event.payload<std::uint64_t>();
    });
    const auto produce = [](weir::PriorityEventBus& to, std::string_view topic, std::uint64_t count) -> Task<> {
      for (std::uint64_t i = 1; i <= count; ++i) {
        co_await to.publish(topic, i);
        if (i % 7 == 0) co_await to.publish(topic, i, EventPriority::critical);
      }
    };
    auto leaver = weir::spawn(pool, come_and_go(bus, counts), asio::use_future);
    auto one = weir::spawn(pool, produce(bus, "a.x", events), asio::use_future);
    auto other = weir::spawn(pool, produce(bus, "a.y", events), asio::use_future);
    one.get();
    other.get();
    counts.done = true;
    leaver.get();
    CHECK(weir::sync_wait(bus.drain()).complete);
    const auto stats = bus.stats();
    CHECK(stats.admitted == 2 * (events + events / 7));
    CHECK(stats.completed == stats.admitted);
    CHECK(counts.calls == stats.admitted);
    CHECK(ordered);
  }
  pool.join();
}

TEST_CASE("bus threads: handlers that come while events flow get the last value, and then each, in order") {
  const auto events = static_cast<std::uint64_t>(weir_test::long_stress(20'000));
  asio::thread_pool pool(3);
  std::atomic<bool> done{false};
  std::atomic<bool> gapless{true};
  std::atomic<std::uint64_t> late{0};
  {
    weir::PriorityEventBus bus(pool, {.workers = 1, .capacity = 256});
    bus.keep_last_values("a.*");
    const auto come = [&]() -> Task<> {
      while (!done) {
        // Not guarded: there is one worker.
        auto before = std::make_shared<std::uint64_t>(0);
        auto subscription =
            bus.subscribe("a.x",
                          [&, before](weir::EventContext& event) {
                            const auto value = *event.payload<std::shared_ptr<std::uint64_t>>();
                            if (*before == 0 ? value != 1 && !event.is_last_value() : value != *before + 1)
                              gapless = false;
                            *before = value;
                            late += event.is_last_value() ? 1 : 0;
                          },
                          {.last_value = true});
        for (int i = 0; i < 20; ++i) co_await weir::yield();
        co_await subscription.join();
      }
    };
    auto first = weir::spawn(pool, come(), asio::use_future);
    auto second = weir::spawn(pool, come(), asio::use_future);
    weir::sync_wait([](weir::PriorityEventBus& to, std::uint64_t count) -> Task<> {
      for (std::uint64_t i = 1; i <= count; ++i) {
        const auto priority = i % 5 == 0 ? EventPriority::critical : EventPriority::normal;
        // Awaited on either side of an urgent one, so that they start in the order of their numbers.
        weir::Event event("a.x", std::make_shared<std::uint64_t>(i), priority);
        const auto ticket = co_await to.publish_cancellable(std::move(event));
        if (i % 5 == 0 || i % 5 == 4) co_await ticket.outcome();
        if (i % 64 == 0) to.clear_last_values("b.*");
      }
    }(bus, events));
    done = true;
    first.get();
    second.get();
    CHECK(weir::sync_wait(bus.drain()).complete);
    CHECK(gapless);
    CHECK(late > 0);
    CHECK(bus.stats().last_values.delivered >= late);
  }
  pool.join();
}

TEST_CASE("bus threads: what is published while the worker goes idle is not left lying") {
  asio::thread_pool pool(1);
  weir::EventBus bus(pool, {.workers = 1});
  std::atomic<int> delivered{0};
  std::atomic<int> disordered{0};
  const auto handler = bus.subscribe("a", [&](weir::EventContext& event) {
    if (event.payload<int>() != delivered.load(std::memory_order_relaxed)) ++disordered;
    ++delivered;
  });
  int published = 0;
  for (int round = 0; round < weir_test::long_stress(50000); ++round) {
    for (int i = 0; i <= round % 4; ++i) {
      REQUIRE(bus.try_publish("a", published++));
      for (int pause = 0; pause < round % 97; ++pause) weir::detail::processor_pause();
    }
    // Were one left, nobody would come for it.
    while (delivered.load() != published) std::this_thread::yield();
  }
  CHECK(delivered == published);
  CHECK(disordered == 0);
}
