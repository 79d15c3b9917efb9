// What the only worker of a bus takes along: the simulator gives each event a turn of its own, so these run on a loop.
#include <weir/bus/priority_event_bus.hpp>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <weir/core/spawn.hpp>

#include "support/catch.hpp"

using weir::EventContext;
using weir::EventPriority;

namespace {

struct Loop {
  asio::io_context context{1};
  weir::PriorityEventBus bus{context, {.workers = 1, .capacity = 256}};
  std::vector<int> seen;

  void publish(int from, int to, std::string_view topic = "n") {
    for (int n = from; n <= to; ++n) REQUIRE(bus.try_publish(topic, n));
  }
  /// Calls `act` for the second event, which is in the middle of what was taken along.
  template <class Act>
  auto at_second(Act act) {
    return [this, act](EventContext& event) {
      seen.push_back(event.payload<int>());
      if (seen.size() == 2) act(event);
    };
  }
};

const std::vector<int> all{1, 2, 3, 4, 5};

}  // namespace

TEST_CASE("bus run: in order, counted, and nothing is left") {
  Loop loop;
  bool adds_up = true;
  const auto handler = loop.bus.subscribe("n", [&](EventContext& event) {
    loop.seen.push_back(event.payload<int>());
    const auto stats = loop.bus.stats();
    adds_up = adds_up && stats.running == 1 && stats.admitted == stats.queued + stats.running + stats.completed;
  });
  loop.publish(1, 100);
  loop.context.poll();
  CHECK(loop.seen.size() == 100);
  CHECK(std::is_sorted(loop.seen.begin(), loop.seen.end()));
  CHECK(adds_up);
  const auto stats = loop.bus.stats();
  CHECK(stats.completed == 100);
  CHECK(stats.queued + stats.running == 0);
}

TEST_CASE("bus run: what is more urgent overtakes the rest of it") {
  Loop loop;
  const auto handler = loop.bus.subscribe(
      "n", loop.at_second([&](EventContext&) { loop.bus.try_publish("n", 0, EventPriority::critical); }));
  loop.publish(1, 5);
  loop.context.poll();
  CHECK(loop.seen == std::vector<int>{1, 2, 0, 3, 4, 5});
}

TEST_CASE("bus run: who subscribes in the middle of it sees the rest") {
  Loop loop;
  std::vector<int> late;
  std::optional<weir::Subscription> later;
  const auto handler = loop.bus.subscribe("n", loop.at_second([&](EventContext&) {
    later.emplace(loop.bus.subscribe("*", [&](EventContext& event) { late.push_back(event.payload<int>()); }));
  }));
  loop.publish(1, 5);
  loop.context.poll();
  CHECK(loop.seen == all);
  CHECK(late == std::vector<int>{3, 4, 5});
}

TEST_CASE("bus run: who leaves in the middle of it sees nothing of the rest, and is destroyed with it") {
  Loop loop;
  std::vector<int> early;
  const auto held = std::make_shared<int>(0);
  std::optional<weir::Subscription> leaver(
      loop.bus.subscribe("n", [&early, held](EventContext& event) { early.push_back(event.payload<int>()); }));
  const auto handler = loop.bus.subscribe("n", loop.at_second([&](EventContext&) { leaver.reset(); }));
  loop.publish(1, 5);
  loop.context.poll();
  CHECK(loop.seen == all);
  CHECK(early == std::vector<int>{1, 2});
  CHECK(held.use_count() == 1);
}

TEST_CASE("bus run: the end of the bus discards the rest of it, and counts it") {
  Loop loop;
  weir::DrainReport report;
  const auto handler = loop.bus.subscribe("n", loop.at_second([&](EventContext&) { report = loop.bus.abort(); }));
  loop.publish(1, 5);
  loop.context.poll();
  CHECK(loop.seen == std::vector<int>{1, 2});
  CHECK(report.discarded == 3);
  const auto stats = loop.bus.stats();
  CHECK(stats.discarded == 3);
  CHECK(stats.admitted == stats.completed + stats.cancelled + stats.discarded);
}

TEST_CASE("bus run: one that fails, one that is for another topic, one with a key, and one that is cancelled in it") {
  Loop loop;
  std::string log;
  const auto handler = loop.bus.subscribe(">", [&](EventContext& event) {
    log += std::string(event.topic()) + std::to_string(event.payload<int>()) + " ";
    if (event.payload<int>() == 2) throw 2;
  });
  loop.publish(1, 1);
  weir::CancellationSource source;
  weir::Event cancelled("n", 6);
  cancelled.token(source.token());
  REQUIRE(loop.bus.try_publish(std::move(cancelled)));
  source.cancel();
  loop.publish(2, 3);
  loop.publish(4, 4, "other");
  weir::Event keyed("n", 5);
  keyed.key("k");
  REQUIRE(loop.bus.try_publish(std::move(keyed)));
  loop.publish(7, 7);
  loop.context.poll();
  CHECK(log == "n1 n2 n3 other4 n5 n7 ");
  const auto stats = loop.bus.stats();
  CHECK(stats.failed == 1);
  CHECK(stats.cancelled == 1);
  CHECK(stats.completed == 5);
}

TEST_CASE("bus run: a context that goes between its being taken and its first event destroys all of it") {
  auto context = std::make_unique<asio::io_context>(1);
  weir::PriorityEventBus bus(*context, {.workers = 1, .capacity = 1000});
  int calls = 0;
  const auto handler = bus.subscribe("n", [&calls](EventContext&) { ++calls; });
  const auto counted = std::make_shared<int>(0);
  for (int n = 0; n < 1000; ++n) REQUIRE(bus.try_publish("n", counted));
  // Until the worker's turn is over: it has taken the next then.
  while (calls == 0) context->poll_one();
  CHECK(calls < 1000);
  context.reset();
  const auto report = bus.abort();
  CHECK(report.discarded == static_cast<std::size_t>(1000 - calls - 1));
  CHECK(bus.stats().discarded == static_cast<std::uint64_t>(1000 - calls));
  CHECK(counted.use_count() == 1);
}
