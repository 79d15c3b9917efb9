#include <weir/bus/plugin_scope.hpp>
#include <weir/bus/priority_event_bus.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <weir/core/sync_wait.hpp>

#include "support/catch.hpp"

#include "bus/scene.hpp"

using namespace std::chrono_literals;
using weir::EventOutcome;
using weir::EventPriority;
using weir::Task;
using weir_test::play;

namespace {

constexpr weir::SubscribeOptions late{.last_value = true};

using Value = std::shared_ptr<const std::string>;
Value made(std::string text) { return std::make_shared<const std::string>(std::move(text)); }

/// Writes each value down, "!" before one that is given to this handler alone.
auto note_values(std::string& log) {
  return
      [&log](weir::EventContext& event) { log += (event.is_last_value() ? "!" : "") + *event.payload<Value>() + " "; };
}

/// A bus with an execution context that runs when it is told to.
template <class Bus>
struct Here {
  explicit Here(weir::BusOptions options = {}) : bus(context, options) { bus.keep_last_values("t.>"); }
  void run() {
    context.restart();
    context.poll();
  }
  void publish(std::string_view topic, std::string text, EventPriority priority = EventPriority::normal) {
    bus.try_publish(topic, made(std::move(text)), priority);
  }

  asio::io_context context;
  Bus bus;
};
using Priorities = Here<weir::PriorityEventBus>;

weir::Event event_of(std::string_view topic, const Value& value) { return weir::Event(topic, value); }

}  // namespace

TEMPLATE_TEST_CASE("last value: a late handler gets that of each of its topics, and then what comes", "",
                   weir::EventBus, weir::PriorityEventBus) {
  Here<TestType> here;
  std::string early;
  std::string log;
  const auto first = here.bus.subscribe("t.*", note_values(early), late);
  for (const char* text : {"1", "2", "3"}) here.publish("t.a", text);
  here.publish("t.b", "4");
  here.publish("u", "5");
  here.run();
  const auto second = here.bus.subscribe("t.*", note_values(log), late);
  here.publish("t.a", "6");
  here.run();
  CHECK(early == "1 2 3 4 6 ");
  CHECK(log == "!3 !4 6 ");
  const auto stats = here.bus.stats();
  CHECK(stats.admitted == 8);
  CHECK(stats.completed == 8);
  CHECK(stats.last_values.kept == 2);
  CHECK(stats.last_values.delivered == 2);
}

TEST_CASE("last value: a bus with priorities of its own keeps them, too") {
  asio::io_context context;
  weir::BasicPriorityEventBus<int> bus(context);
  bus.keep_last_values("t");
  bus.try_publish(event_of("t", made("1")), 7);
  context.poll();
  std::string log;
  bus.try_publish(event_of("t", made("2")), 3);
  bus.try_publish(event_of("t", made("3")), 9);
  const auto handler = bus.subscribe("t", note_values(log), late);
  context.restart();
  context.poll();
  CHECK(log == "!1 2 3 ");
}

TEST_CASE("last value: many of one key and of as many priorities are delivered one after another, by these") {
  weir::sim::Simulator sim;
  weir::BasicPriorityEventBus<int> bus(sim, {.workers = 3});
  bus.keep_last_values("t.*");
  std::string log;
  play(sim, [](weir::BasicPriorityEventBus<int>& to, std::string& into) -> Task<> {
    for (int i = 9; i >= 0; --i) {
      weir::Event event("t." + std::to_string(i), made(std::to_string(i)));
      event.key("k");
      co_await to.publish(std::move(event), i);
    }
    co_await weir::sleep_for(1ms);
    int running = 0;
    const auto handler = to.subscribe(
        "t.*",
        [&](weir::EventContext& event) -> Task<> {
          CHECK(++running == 1);
          co_await weir::sleep_for(1ms);
          into += *event.payload<Value>() + " ";
          --running;
        },
        late);
    co_await to.drain();
  }(bus, log));
  CHECK(log == "0 1 2 3 4 5 6 7 8 9 ");
}

TEST_CASE("last value: what was queued before the handler came is no value yet, and comes after it") {
  Priorities here;
  std::string log;
  here.publish("t.a", "1", EventPriority::low);
  here.run();
  here.publish("t.a", "2", EventPriority::critical);
  here.publish("t.a", "3", EventPriority::normal);
  here.publish("t.b", "4", EventPriority::high);
  const auto handler = here.bus.subscribe("t.*", note_values(log), late);
  here.publish("t.a", "5", EventPriority::critical);
  here.run();
  // The low value goes before the critical events of its topic, and with their place.
  CHECK(log == "!1 2 5 4 3 ");
}

TEST_CASE("last value: one that goes first for an urgent event takes no place that normal ones have to leave") {
  weir::sim::Simulator sim;
  weir::PriorityEventBus bus(sim, {.workers = 2});
  bus.keep_last_values("t");
  std::string log;
  play(sim, [](weir::PriorityEventBus& to, std::string& into) -> Task<> {
    const auto slow = to.subscribe("slow", [](weir::EventContext&) -> Task<> { co_await weir::sleep_for(1s); });
    const auto other = to.subscribe("other", [&into](weir::EventContext&) { into += "other "; });
    co_await to.publish("t", made("1"), EventPriority::low);
    co_await weir::sleep_for(1ms);
    co_await to.publish("slow", 0, EventPriority::low);
    co_await weir::sleep_for(1ms);
    const auto handler = to.subscribe(
        "t",
        [&into](weir::EventContext& event) -> Task<> {
          into += *event.payload<Value>() + " ";
          if (event.is_last_value()) co_await weir::sleep_for(10s);
        },
        late);
    co_await weir::sleep_for(1ms);
    // Of two workers the slow one holds the only place that there is for the low.
    const std::string before = into;
    CHECK(before.empty());
    co_await to.publish("t", made("2"), EventPriority::critical);
    co_await weir::sleep_for(1ms);
    const std::string first = into;
    CHECK(first == "1 ");
    co_await weir::sleep_for(2s);
    co_await to.publish("other");
    co_await weir::sleep_for(1ms);
    // It has the place of the urgent one.
    const std::string beside = into;
    CHECK(beside == "1 2 other ");
    co_await to.drain();
  }(bus, log));
}

TEST_CASE("last value: what never starts is none; what fails is one") {
  weir::sim::Simulator sim;
  weir::PriorityEventBus bus(sim);
  bus.keep_last_values("t");
  std::string log;
  play(sim, [](weir::PriorityEventBus& to, std::string& into) -> Task<> {
    const auto fails = to.subscribe("t", [](weir::EventContext& event) -> Task<> {
      co_await weir::sleep_for(2ms);
      if (*event.payload<Value>() == "fails") throw std::runtime_error("refused");
    });
    co_await to.publish("t", made("fails"));
    const auto cancelled = co_await to.publish_cancellable("t", made("cancelled"));
    auto expiring = event_of("t", made("expired"));
    expiring.time_to_live(1ms);
    co_await to.publish(std::move(expiring));
    cancelled.cancel();
    co_await weir::sleep_for(10ms);
    const auto handler = to.subscribe("t", note_values(into), late);
    co_await to.drain();
  }(bus, log));
  CHECK(log == "!fails ");
  CHECK(bus.stats().expired == 1);
}

TEST_CASE("last value: the handler's conditions hold of it, and so do the event's") {
  weir::sim::Simulator sim;
  weir::PriorityEventBus bus(sim);
  bus.keep_last_values("t.>");
  std::string log;
  std::string once;
  std::string chosen;
  play(sim, [&](weir::PriorityEventBus& to) -> Task<> {
    weir::CancellationSource source;
    for (const char* name : {"t.a", "t.b", "t.expires", "t.cancelled", "t.times_out"}) {
      auto event = event_of(name, made(name));
      event.metadata("from", "a test");
      if (event.type() == "t.expires") event.time_to_live(5ms);
      if (event.type() == "t.cancelled") event.token(source.token());
      if (event.type() == "t.times_out") event.run_timeout(1ms);
      co_await to.publish(std::move(event));
    }
    co_await weir::sleep_for(6ms);
    source.cancel();
    const auto all = to.subscribe(
        "t.*",
        [&](weir::EventContext& event) -> Task<> {
          log += *event.payload<Value>() + " ";
          const bool whole = event.event().metadata("from") == "a test" && event.id() != 0 && event.id() <= 5;
          CHECK(whole);
          co_await weir::sleep_for(2ms);
          log += ". ";
        },
        late);
    const auto one = to.subscribe("t.*", note_values(once), {.once = true, .last_value = true});
    const auto some = to.subscribe_if(
        "t.*", [](const weir::Event& event) { return event.type() == "t.b"; }, note_values(chosen), late);
    co_await to.drain();
  }(bus));
  CHECK(log == "t.a . t.b . t.times_out ");
  CHECK(once == "!t.a ");
  CHECK(chosen == "!t.b ");
  const auto stats = bus.stats();
  CHECK(stats.timed_out == 1);
  // Those that the one that was called once had no use for.
  CHECK(stats.cancelled == 2);
  CHECK(stats.longest_wait < 6ms);
}

TEST_CASE("last value: one that expires while it waits for its delivery is not delivered") {
  weir::sim::Simulator sim;
  weir::EventBus bus(sim);
  bus.keep_last_values("t");
  std::string log;
  play(sim, [](weir::EventBus& to, std::string& into) -> Task<> {
    const auto busy = to.subscribe("busy", [](weir::EventContext&) -> Task<> { co_await weir::sleep_for(20ms); });
    auto event = event_of("t", made("1"));
    event.time_to_live(10ms);
    co_await to.publish(std::move(event));
    co_await to.publish("busy");
    co_await weir::sleep_for(5ms);
    const auto handler = to.subscribe("t", note_values(into), late);
    co_await to.drain();
  }(bus, log));
  CHECK(log.empty());
  CHECK(bus.stats().expired == 1);
}

TEST_CASE("last value: so many topics are kept, can be cleared, and nothing of them is left") {
  Priorities here({.last_values = 2});
  const auto a = made("a");
  here.bus.try_publish("t.a", a);
  for (const char* name : {"t.b", "t.c"}) here.publish(name, name);
  here.run();
  CHECK(a.use_count() == 1);
  here.publish("t.b", "again");
  const auto d = made("d");
  here.bus.try_publish("t.d", d);
  here.run();
  std::string log;
  {
    const auto handler = here.bus.subscribe("t.*", note_values(log), late);
    here.run();
  }
  CHECK(log == "!again !d ");
  CHECK(here.bus.stats().last_values.kept == 2);
  CHECK(here.bus.stats().last_values.evicted == 2);
  CHECK(here.bus.clear_last_values("t.d") == 1);
  CHECK(d.use_count() == 1);
  CHECK(here.bus.clear_last_values(">") == 1);
  CHECK(here.bus.stats().last_values.kept == 0);
}

TEST_CASE("last value: a handler that goes before its delivery, and the end of the bus, leave nothing") {
  const auto value = made("1");
  Priorities here;
  here.bus.try_publish("t.a", value);
  here.run();
  std::string log;
  {
    auto handler = here.bus.subscribe("t.*", note_values(log), late);
    CHECK(here.bus.stats().queued == 1);
    CHECK(value.use_count() == 2);
    handler.unsubscribe();
    CHECK(here.bus.stats().queued == 0);
    CHECK(here.bus.stats().cancelled == 1);
  }
  const auto other = here.bus.subscribe("t.*", note_values(log), late);
  here.bus.abort();
  CHECK(here.bus.stats().discarded == 1);
  CHECK(value.use_count() == 1);
  const auto after = here.bus.subscribe("t.*", note_values(log), late);
  here.run();
  CHECK(log.empty());
}

TEST_CASE("last value: a dead letter shares it") {
  Priorities here;
  auto [letters, dead] = weir::make_channel<weir::DeadEvent>(here.context, {.capacity = 4});
  here.bus.set_dead_letters(std::move(letters));
  here.publish("t.a", "1");
  here.run();
  const auto fails = here.bus.subscribe("t.a", [](weir::EventContext&) { throw std::runtime_error("refused"); }, late);
  here.run();
  auto letter = dead.try_receive();
  REQUIRE(letter);
  CHECK(*letter->event().payload().get<Value>() == "1");
  // Others may look at it at the same time.
  CHECK(letter->event().payload().get_if<Value>() == nullptr);
  CHECK_THROWS_WITH(std::as_const(letter->event()).payload().get<int>(), Catch::Matchers::Contains("shared_ptr"));
  here.bus.clear_last_values(">");
  CHECK(letter->event().payload().get_if<Value>() != nullptr);
}

TEST_CASE("last value: one with a key waits for it, and goes before the events of its topic that do") {
  weir::sim::Simulator sim;
  weir::PriorityEventBus bus(sim, {.workers = 3});
  bus.keep_last_values("t");
  std::string log;
  play(sim, [](weir::PriorityEventBus& to, std::string& into) -> Task<> {
    const auto slow = to.subscribe("slow", [&into](weir::EventContext&) -> Task<> {
      co_await weir::sleep_for(5ms);
      into += "slow ";
    });
    const auto keyed = [](std::string_view topic, const char* text) {
      auto event = event_of(topic, made(text));
      event.key("k");
      return event;
    };
    auto value = keyed("t", "1");
    co_await to.publish(std::move(value));
    auto before = keyed("slow", "");
    co_await to.publish(std::move(before));
    co_await weir::sleep_for(1ms);
    const auto handler = to.subscribe("t", note_values(into), late);
    auto urgent = keyed("t", "2");
    urgent.priority(EventPriority::critical);
    co_await to.publish(std::move(urgent));
    co_await to.drain();
  }(bus, log));
  CHECK(log == "slow !1 2 ");
}

TEST_CASE("last value: a saga's is one when it commits, also for who came in between") {
  weir::sim::Simulator sim;
  weir::PriorityEventBus bus(sim);
  bus.keep_last_values("t");
  std::string before;
  std::string between;
  std::string after;
  play(sim, [&](weir::PriorityEventBus& to) -> Task<> {
    co_await to.publish("t", made("0"));
    co_await weir::sleep_for(1ms);
    const auto works = to.subscribe("t", weir::compensated(
                                             [](weir::EventContext& event) -> Task<> {
                                               co_await weir::sleep_for(2ms);
                                               if (*event.payload<Value>() == "fails") throw std::runtime_error("no");
                                             },
                                             [](const weir::Event&) {}));
    for (const char* last : {"fails", "2"}) {
      std::vector<weir::Event> events;
      for (const char* text : {"1", last}) events.push_back(event_of("t", made(text)));
      weir::Subscription meanwhile;
      weir::spawn(
          co_await weir::this_task::executor(),
          [](auto& b, auto& sub, auto& log) -> Task<> {
            co_await weir::sleep_for(3ms);
            sub = b.subscribe("t", note_values(log), late);
          }(to, meanwhile, between),
          asio::detached);
      auto batch = to.publish_batch(std::move(events), weir::BatchMode::saga);
      const auto report = co_await std::move(batch);
      CHECK((report.outcome == weir::BatchOutcome::committed) == (std::string(last) == "2"));
      const auto late_one = to.subscribe("t", note_values(after), late);
      co_await weir::sleep_for(5ms);
      between += "| ";
      after += "| ";
    }
    co_await to.drain();
  }(bus));
  CHECK(between == "!0 | !0 !1 !2 | ");
  CHECK(after == "!0 | !2 | ");
}

TEST_CASE("last value: those of a plugin go with it, and what waits for its handlers") {
  Priorities here;
  std::string log;
  const auto own = made("own");
  const auto hosts = made("host's");
  std::optional<weir::PluginScope> scope(std::in_place, here.bus, "p");
  weir::Event event("t.a", own);
  scope->try_publish(std::move(event));
  here.bus.try_publish("t.b", hosts);
  here.run();
  CHECK(own.use_count() == 2);
  const auto first = here.bus.subscribe("t.*", note_values(log), late);
  here.run();
  const auto second = here.bus.subscribe("t.*", note_values(log), late);
  const auto of_plugin = scope->subscribe("t.*", note_values(log), late);
  bool complete = false;
  scope->async_close(
      1s, [&complete](const std::exception_ptr&, const weir::PluginReport& report) { complete = report.complete; });
  scope.reset();
  CHECK(own.use_count() == 1);
  CHECK(here.bus.stats().discarded == 1);
  CHECK(here.bus.stats().cancelled == 2);
  here.run();
  CHECK(complete);
  CHECK(log == "!own !host's !host's ");
}

TEST_CASE("last value: bad input") {
  asio::io_context context;
  weir::EventBus bus(context);
  CHECK_THROWS_AS(bus.keep_last_values("a..b"), weir::Error);
  CHECK_THROWS_AS(bus.clear_last_values(""), weir::Error);
  CHECK_THROWS_WITH(weir::EventBus(context, {.last_values = 0}), Catch::Matchers::Contains("last_values"));
}
