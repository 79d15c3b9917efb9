#include <weir/bus/plugin_scope.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <asio/use_future.hpp>

#include <weir/bus/priority_event_bus.hpp>
#include <weir/core/shielded.hpp>

#include "support/catch.hpp"

#include "bus/scene.hpp"

using namespace std::chrono_literals;
using weir::EventPriority;
using weir::PluginScope;
using weir::Task;
using weir_test::note;
using weir_test::play;
using Bus = weir::PriorityEventBus;

namespace {

using Thing = std::shared_ptr<int>;

std::optional<weir::Errc> code_of(const std::exception_ptr& error) {
  try {
    if (error) std::rethrow_exception(error);
  } catch (const weir::Error& e) {
    return static_cast<weir::Errc>(e.code().value());
  }
  return std::nullopt;
}

template <class T>
Task<std::optional<weir::Errc>> code_of_task(Task<T> task) {
  std::exception_ptr error;
  try {
    co_await std::move(task);
  } catch (...) {
    error = std::current_exception();
  }
  co_return code_of(error);
}

Task<> sleep_long(Thing) { co_await weir::sleep_for(1h); }

}  // namespace

TEMPLATE_TEST_CASE("plugin_scope: what it publishes carries its name and is no more urgent than it may be", "",
                   weir::EventBus, weir::PriorityEventBus) {
  weir::sim::Simulator sim;
  TestType bus(sim);
  PluginScope scope(bus, "indexer");
  std::string log;
  const auto host = bus.subscribe("t.*", [&log](weir::EventContext& event) {
    CHECK(event.event().origin() == weir::EventOrigin::plugin);
    log += std::string(event.event().source_name()) + ":" + std::string(name_of(event.priority())) + " ";
  });
  const auto own = scope.subscribe("t.a", note(log));
  play(sim, [](TestType& of, PluginScope& plugin) -> Task<> {
    co_await plugin.publish("t.a", std::string("1"), EventPriority::critical);
    weir::Event event("t.b", std::string("2"), EventPriority::low);
    event.source(weir::EventOrigin::system);
    co_await plugin.publish(std::move(event));
    co_await plugin.publish_as<std::string>("t.c", 3U, 'x');
    CHECK(plugin.try_publish("t.d", std::string("4")));
    const auto ticket = co_await plugin.publish_cancellable("t.e", std::string("5"));
    const auto outcome = co_await ticket.outcome();
    CHECK(outcome == weir::EventOutcome::completed);
    const auto report = co_await plugin.close(1s);
    CHECK(report.complete);
    CHECK(report.handlers == 1);
    CHECK(report.stuck.empty());
    co_await of.drain();
  }(bus, scope));
  CHECK(std::count(log.begin(), log.end(), ':') == 5);
  CHECK(log.find("indexer:high 1 ") == 0);
  CHECK(log.find("indexer:low ") != std::string::npos);
  CHECK(scope.stats().published == 5);
  CHECK(scope.stats().capped == 1);
  CHECK(scope.stats().calls == 1);
}

TEST_CASE("plugin_scope: its end takes back all that it had, and destroys it before it answers") {
  weir::sim::Simulator sim;
  Bus bus(sim);
  PluginScope scope(bus, "p");
  const auto thing = std::make_shared<int>(0);
  // Holds the only worker, so that what the plugin publishes stays queued.
  const auto slow = bus.subscribe("slow", [](weir::EventContext&) -> Task<> { co_await weir::sleep_for(1h); });
  int calls = 0;
  auto held = scope.subscribe("t", [&calls, thing](weir::EventContext&) { ++calls; });
  const auto coroutine = scope.subscribe("t", [thing](weir::EventContext&) -> Task<> { co_return; });
  const auto picky = scope.subscribe_if("t", [thing](const weir::Event&) { return true; }, [](weir::EventContext&) {});
  play(sim, [](Bus& on, PluginScope& plugin, Thing it, int& count) -> Task<> {
    const auto token = plugin.token();
    const auto source = plugin.source();
    plugin.spawn(sleep_long(it));
    plugin.spawn([it]() -> Task<> { return sleep_long(it); });
    plugin.every(1min, [it] {});
    plugin.after(1h, [it]() -> Task<> { return sleep_long(it); });
    co_await on.publish("slow");
    const auto ticket = co_await plugin.publish_cancellable("t", it);
    weir::Event keyed("t", it);
    keyed.key("k");
    co_await plugin.publish(std::move(keyed));
    plugin.try_publish("t", it);
    CHECK(plugin.stats().queued == 3);
    CHECK(it.use_count() > 8);
    co_await weir::sleep_for(1ms);
    CHECK(plugin.stats().running == 2);

    const auto report = co_await plugin.close(1s);
    CHECK(report.complete);
    CHECK(report.handlers == 3);
    CHECK(report.withdrawn == 3);
    CHECK(report.cancelled == 0);
    CHECK(it.use_count() == 2);
    CHECK(token.cancelled());
    CHECK(source.cancelled());
    const auto outcome = co_await ticket.outcome();
    CHECK(outcome == weir::EventOutcome::discarded);
    CHECK(on.stats().discarded == 3);
    CHECK(count == 0);
    co_await on.publish("t");
    const auto again = co_await plugin.close(0s);
    CHECK((again.complete && again.handlers == 3 && again.withdrawn == 3));
    on.abort();
  }(bus, scope, thing, calls));
  CHECK(calls == 0);
  CHECK(scope.closed());
}

TEST_CASE("plugin_scope: after its end it refuses, and says so") {
  weir::sim::Simulator sim;
  Bus bus(sim);
  PluginScope scope(bus, "gone");
  play(sim, [](Bus& on, PluginScope& plugin) -> Task<> {
    co_await plugin.close(0s);
    weir::Event event("t", 1);
    const auto published = co_await code_of_task(plugin.publish(std::move(event)));
    CHECK(published == weir::Errc::bus_closed);
    CHECK(event.payload().has_value());
    const auto ticketed = co_await code_of_task(plugin.publish_cancellable("t", 1));
    CHECK(ticketed == weir::Errc::bus_closed);
    CHECK(plugin.try_publish("t", 1).error == weir::Errc::bus_closed);
    CHECK_THROWS_WITH(plugin.subscribe("t", [](weir::EventContext&) {}),
                      Catch::Matchers::Contains("the plugin \"gone\" has ended"));
    CHECK_THROWS_AS(plugin.spawn(sleep_long(nullptr)), weir::Error);
    CHECK_THROWS_AS(plugin.every(1s, [] {}), weir::Error);
    co_await on.drain();
  }(bus, scope));
  CHECK_THROWS_AS(PluginScope(bus, ""), weir::Error);
  CHECK_THROWS_AS(PluginScope(bus, "p", {.quota = 0}), weir::Error);
}

TEST_CASE("plugin_scope: at the deadline it cancels what runs, and lists what does not heed that") {
  weir::sim::Simulator sim;
  Bus bus(sim, {.workers = 4});
  PluginScope scope(bus, "p", {.grace = 10ms});
  bool heeded = false;
  bool ended = false;
  const auto heeds = scope.subscribe("t.heeds", [&heeded](weir::EventContext&) -> Task<> {
    heeded = true;
    co_await weir::sleep_for(1h);
    heeded = false;
  });
  const auto ignores = scope.subscribe("t.*", [&ended](weir::EventContext& event) -> Task<> {
    if (event.topic() != "t.ignores") co_return;
    co_await weir::shielded([]() -> Task<> { co_await weir::sleep_for(1min); }());
    ended = true;
  });
  const auto host = bus.subscribe("host", [](weir::EventContext&) -> Task<> {
    co_await weir::shielded([]() -> Task<> { co_await weir::sleep_for(1min); }());
  });
  play(sim, [](Bus& on, PluginScope& plugin, bool& was_heeded, bool& has_ended) -> Task<> {
    co_await on.publish("t.heeds", 1);
    co_await on.publish("t.ignores", 2);
    co_await plugin.publish("host", 3);
    co_await weir::sleep_for(1ms);
    const auto start = co_await weir::this_task::now();
    const auto report = co_await plugin.close(1s);
    const auto after = co_await weir::this_task::now();
    CHECK(after - start == 1010ms);
    CHECK(was_heeded);
    CHECK_FALSE(report.complete);
    CHECK(report.handlers == 2);
    CHECK(report.cancelled == 3);
    REQUIRE(report.stuck.size() == 2);
    CHECK(report.stuck[0].kind == weir::PluginStuck::Kind::handler);
    CHECK(report.stuck[0].name == "t.*");
    CHECK(report.stuck[0].event == 2);
    CHECK(report.stuck[0].running >= 1s);
    CHECK(report.stuck[1].kind == weir::PluginStuck::Kind::event);
    CHECK(report.stuck[1].name == "host");
    CHECK(report.stuck[1].event == 3);
    const auto later = co_await plugin.close(1h);
    CHECK(later.complete);
    CHECK(later.stuck.empty());
    CHECK(has_ended);
    co_await on.drain();
  }(bus, scope, heeded, ended));
}

TEST_CASE("plugin_scope: what runs for the plugin cannot wait for its end") {
  weir::sim::Simulator sim;
  Bus bus(sim, {.workers = 2});
  PluginScope scope(bus, "p");
  int refused = 0;
  const auto try_it = [&scope, &refused]() -> Task<> {
    const auto code = co_await code_of_task(scope.close(1h));
    refused += code == weir::Errc::would_deadlock;
  };
  const auto own = scope.subscribe("own", [&](weir::EventContext&) { return try_it(); });
  const auto host = bus.subscribe("host", [&](weir::EventContext&) { return try_it(); });
  scope.spawn(try_it());
  scope.after(1ms, try_it);
  bool closed = false;
  const auto other = bus.subscribe("close", [&](weir::EventContext&) -> Task<> {
    const auto report = co_await scope.close(1s);
    closed = report.complete;
  });
  play(sim, [](Bus& on, PluginScope& plugin) -> Task<> {
    co_await on.publish("own");
    co_await plugin.publish("host");
    co_await weir::sleep_for(10ms);
    co_await on.publish("close");
    co_await on.drain();
  }(bus, scope));
  CHECK(refused == 4);
  CHECK(closed);
}

TEST_CASE("plugin_scope: no more of its events are queued than its quota, and waiting for it lends the worker") {
  weir::sim::Simulator sim;
  Bus bus(sim);
  SECTION("rejected") {
    PluginScope scope(bus, "p", {.quota = 2, .on_quota = weir::PluginQuota::reject});
    const auto slow = bus.subscribe("slow", [](weir::EventContext&) -> Task<> { co_await weir::sleep_for(5ms); });
    const auto code = [&] {
      std::optional<weir::Errc> found;
      play(sim, [](Bus& on, PluginScope& plugin, std::optional<weir::Errc>& to) -> Task<> {
        co_await on.publish("slow");
        co_await weir::sleep_for(1ms);
        CHECK(plugin.try_publish("t", 1));
        CHECK(plugin.try_publish("t", 2));
        CHECK(plugin.try_publish("t", 3).error == weir::Errc::quota_exceeded);
        to = co_await code_of_task(plugin.publish("t", 4));
        CHECK(on.try_publish("t", 5));
        co_await weir::sleep_for(10ms);
        CHECK(plugin.stats().queued == 0);
        CHECK(plugin.try_publish("t", 6));
        co_await on.drain();
      }(bus, scope, found));
      return found;
    }();
    CHECK(code == weir::Errc::quota_exceeded);
    CHECK(scope.stats().refused == 2);
    CHECK(bus.stats().admitted == 5);
  }
  SECTION("waits in order, and a close ends the wait") {
    PluginScope scope(bus, "p", {.quota = 1});
    std::string log;
    const auto seen = bus.subscribe("t", [&log](weir::EventContext& event) -> Task<> {
      log += std::to_string(event.payload<int>());
      co_await weir::sleep_for(10ms);
    });
    play(sim, [](Bus& on, PluginScope& plugin) -> Task<> {
      for (int i = 1; i <= 4; ++i) {
        plugin.spawn([](PluginScope& to, int n) -> Task<> { co_await to.publish("t", n); }(plugin, i));
        co_await weir::sleep_for(1ms);
      }
      CHECK(on.stats().queued == 1);
      co_await weir::sleep_for(10ms);
      CHECK(plugin.stats().queued == 1);
      const auto report = co_await plugin.close(1s);
      CHECK(report.complete);
      CHECK(report.withdrawn == 1);
      CHECK(plugin.stats().refused == 1);
      CHECK(plugin.stats().failed == 0);
      co_await on.drain();
    }(bus, scope));
    CHECK(log == "12");
  }
  SECTION("a handler on the only worker") {
    PluginScope scope(bus, "p", {.quota = 1});
    int leaves = 0;
    const auto grow = scope.subscribe("grow", [&scope](weir::EventContext&) -> Task<> {
      for (int i = 0; i < 3; ++i) co_await scope.publish("leaf", i);
    });
    const auto count = bus.subscribe("leaf", [&leaves](weir::EventContext&) { ++leaves; });
    play(sim, [](Bus& on) -> Task<> {
      co_await on.publish("grow");
      co_await on.drain();
    }(bus));
    CHECK(leaves == 3);
    CHECK(scope.stats().queued == 0);
  }
}

TEST_CASE("plugin_scope: nothing of the plugin is in what its failures leave behind") {
  weir::sim::Simulator sim;
  Bus bus(sim);
  auto [tx, rx] = weir::make_channel<weir::DeadEvent>(sim, {.capacity = 8});
  bus.set_dead_letters(std::move(tx));
  PluginScope scope(bus, "p");
  const auto thing = std::make_shared<int>(0);
  struct Own : std::runtime_error {
    using std::runtime_error::runtime_error;
  };
  const auto plain = scope.subscribe("t.plain", [](weir::EventContext&) { throw Own("plainly"); });
  const auto later = scope.subscribe("t.later", [](weir::EventContext&) -> Task<> {
    co_await weir::yield();
    throw Own("later");
  });
  const auto odd =
      scope.subscribe_if("t.odd", [](const weir::Event&) -> bool { throw 17; }, [](weir::EventContext&) {});
  scope.spawn([]() -> Task<> {
    co_await weir::yield();
    throw Own("a task");
  }());
  play(sim, [](Bus& on, PluginScope& plugin, Thing it) -> Task<> {
    co_await on.publish("t.plain", it);
    co_await plugin.publish("t.later", it);
    co_await plugin.publish("t.odd", it);
    co_await on.drain();
    const auto report = co_await plugin.close(0s);
    CHECK(report.complete);
  }(bus, scope, thing));
  CHECK(bus.stats().failed == 3);
  CHECK(scope.stats().failed == 4);
  const bool with_payload[] = {true, false, false};
  const char* const says[] = {"p: plainly", "p: later", "p: something that is no std::exception"};
  for (int i = 0; i < 3; ++i) {
    CAPTURE(i);
    auto dead = rx.try_receive();
    REQUIRE(dead);
    CHECK(dead->event().payload().has_value() == with_payload[i]);
    CHECK(dead->event().id() == static_cast<weir::EventId>(i + 1));
    CHECK(code_of(dead->error()) == weir::Errc::handler_failed);
    try {
      std::rethrow_exception(dead->error());
    } catch (const std::exception& error) {
      CHECK(std::string(error.what()).find(says[i]) == 0);
    }
  }
  CHECK(thing.use_count() == 1);
}

TEST_CASE("plugin_scope: timers call again and again, skip what they miss, and stop when told") {
  weir::sim::Simulator sim;
  Bus bus(sim);
  PluginScope scope(bus, "p");
  int plain = 0;
  int slow = 0;
  int once = 0;
  const auto stop = scope.every(10ms, [&plain] { ++plain; });
  scope.every(10ms, [&slow]() -> Task<> {
    ++slow;
    co_await weir::sleep_for(25ms);
    throw std::runtime_error("and goes on");
  });
  scope.after(30ms, [&once] { ++once; });
  play(sim, [](Bus& on, PluginScope& plugin, weir::CancellationSource source) -> Task<> {
    co_await weir::sleep_for(55ms);
    source.cancel();
    co_await weir::sleep_for(45ms);
    const auto report = co_await plugin.close(1s);
    CHECK(report.complete);
    co_await on.drain();
  }(bus, scope, stop));
  CHECK(plain == 5);
  // At 10, 35, 60 and 85.
  CHECK(slow == 4);
  CHECK(once == 1);
  CHECK_THROWS_AS(scope.every(0s, [] {}), weir::Error);
}

TEST_CASE("plugin_scope: one that is destroyed without a close takes back what it can, and does not wait") {
  weir::sim::Simulator sim;
  Bus bus(sim);
  const auto thing = std::make_shared<int>(0);
  int calls = 0;
  std::optional<PluginScope> scope(std::in_place, bus, "p");
  auto handler = scope->subscribe("t", [&calls, thing](weir::EventContext&) -> Task<> {
    ++calls;
    co_await weir::sleep_for(1h);
    ++calls;
  });
  play(sim, [](Bus& on, std::optional<PluginScope>& plugin, Thing it) -> Task<> {
    co_await on.publish("t");
    co_await plugin->publish("t", it);
    plugin->spawn(sleep_long(it));
    co_await weir::sleep_for(1ms);
    plugin.reset();
    co_await on.publish("t");
    co_await on.drain();
  }(bus, scope, thing));
  CHECK(calls == 1);
  CHECK(thing.use_count() == 1);
  CHECK(bus.stats().failed == 1);
  CHECK(bus.stats().discarded == 1);
}

TEST_CASE("plugin_scope: a handler that the plugin takes out itself is destroyed then, and one survives its bus") {
  weir::sim::Simulator sim;
  std::optional<Bus> bus(std::in_place, sim);
  PluginScope scope(*bus, "p");
  const auto thing = std::make_shared<int>(0);
  auto handler = scope.subscribe("t", [thing](weir::EventContext&) {});
  CHECK(scope.stats().handlers == 1);
  handler.reset();
  CHECK(thing.use_count() == 1);
  CHECK(scope.stats().handlers == 0);
  auto kept = scope.subscribe("t", [thing](weir::EventContext&) {});
  bus.reset();
  CHECK(scope.try_publish("t", 1).error == weir::Errc::bus_closed);
  play(sim, [](PluginScope& plugin) -> Task<> {
    const auto report = co_await plugin.close(0s);
    CHECK(report.complete);
  }(scope));
  CHECK(thing.use_count() == 1);
}

TEST_CASE("plugin_scope: requests go both ways, and a failure of the plugin reaches the requester as the host's") {
  weir::sim::Simulator sim;
  Bus bus(sim);
  PluginScope scope(bus, "p");
  const auto doubles = bus.subscribe("host.double", [](weir::EventContext& event) { return 2 * event.payload<int>(); });
  const auto asks = scope.subscribe("plugin.ask", [&scope](weir::EventContext& event) -> Task<int> {
    const int twice = co_await scope.request<int>("host.double", event.payload<int>(), 1s);
    co_return twice + 1;
  });
  const auto throws = scope.subscribe("plugin.throws", [](weir::EventContext&) -> int { throw std::bad_alloc(); });
  play(sim, [](Bus& on, PluginScope& plugin) -> Task<> {
    const int got = co_await on.request<int>("plugin.ask", 4);
    CHECK(got == 9);
    const auto failed = co_await code_of_task(on.request<int>("plugin.throws", 4));
    CHECK(failed == weir::Errc::handler_failed);
    const auto nobody = co_await code_of_task(plugin.request<int>("nobody", 4));
    CHECK(nobody == weir::Errc::no_handler);
    const auto report = co_await plugin.close(1s);
    CHECK(report.complete);
    const auto late = co_await code_of_task(plugin.request<int>("host.double", 4));
    CHECK(late == weir::Errc::bus_closed);
    co_await on.drain();
  }(bus, scope));
}

TEST_CASE("plugin_scope: what its handlers publish by their context is the plugin's, also while a saga holds it back") {
  weir::sim::Simulator sim;
  Bus bus(sim, {.workers = 3});
  PluginScope scope(bus, "p", {.highest = EventPriority::low});
  const auto thing = std::make_shared<int>(0);
  std::string log;
  const auto host = bus.subscribe("out.*", [&log](weir::EventContext& event) -> Task<> {
    log += std::string(event.event().source_name()) + ":" + std::string(name_of(event.priority())) + " ";
    co_await weir::sleep_for(1s);
  });
  const auto plain = scope.subscribe("in", [thing](weir::EventContext& event) -> Task<> {
    const weir::EventId id = co_await event.publish("out.a", thing, EventPriority::critical);
    CHECK(id != 0);
    CHECK(event.try_publish("out.b", thing));
  });
  const auto saga = scope.subscribe("saga.*", weir::compensated(
                                                  [thing](weir::EventContext& event) -> Task<> {
                                                    const weir::EventId id = co_await event.publish("out.c", thing);
                                                    CHECK(id == 0);
                                                    if (event.topic() == "saga.slow") co_await weir::sleep_for(1h);
                                                  },
                                                  [&log, thing](const weir::Event&) { log += "undone "; }));
  play(sim, [](Bus& on, PluginScope& plugin, Thing it) -> Task<> {
    co_await on.publish("in");
    std::vector<weir::Event> events;
    events.emplace_back("saga.quick");
    events.emplace_back("saga.slow");
    auto batch = on.publish_batch(std::move(events), weir::BatchMode::saga);
    auto other = weir::spawn(co_await weir::this_task::executor(), std::move(batch), asio::use_future);
    co_await weir::sleep_for(3s);
    const auto report = co_await plugin.close(1s);
    CHECK(report.complete);
    CHECK(it.use_count() == 2);
    co_await weir::sleep_for(1h);
    // The plugin's handler was cut short, and what another call of it had done could not be undone any more.
    const weir::BatchReport ended = other.get();
    CHECK(ended.outcome == weir::BatchOutcome::rollback_incomplete);
    co_await on.drain();
  }(bus, scope, thing));
  CHECK(log == "p:low p:low ");
}
