// Batches where they are not a matter of course: compensators with a time limit, priorities of one's own, plugins.
#include <weir/bus/plugin_scope.hpp>
#include <weir/bus/priority_event_bus.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <weir/core/shielded.hpp>

#include "support/catch.hpp"

#include "bus/scene.hpp"

using namespace std::chrono_literals;
using weir::BatchMode;
using weir::BatchOutcome;
using weir::EventOutcome;
using weir::EventPriority;
using weir::PriorityEventBus;
using weir::Task;
using weir_test::note;
using weir_test::play;

namespace {

using Text = std::shared_ptr<const std::string>;
Text made(std::string text) { return std::make_shared<const std::string>(std::move(text)); }

std::vector<weir::Event> events_of(const std::vector<Text>& texts, std::string_view topic = "t") {
  std::vector<weir::Event> events;
  for (const auto& text : texts) events.emplace_back(topic, text);
  return events;
}
weir::Errc code_of(const std::exception_ptr& error) {
  try {
    if (error) std::rethrow_exception(error);
  } catch (const std::system_error& e) {
    return static_cast<weir::Errc>(e.code().value());
  } catch (...) {
  }
  return {};
}

/// Takes ten milliseconds, cancelled or not.
Task<> take_long() {
  auto sleeping = weir::sleep_for(10ms);
  co_await weir::shielded(std::move(sleeping));
}

/// A handler that fails for "fails", and a compensator that hangs for "hangs", until it is cancelled, and for "deaf"
/// and "late" whether it is cancelled or not.
struct Steps {
  auto handler() {
    return weir::compensated(
        [](weir::EventContext& event) {
          if (*event.payload<Text>() == "fails") throw std::runtime_error("no");
        },
        [this](const weir::Event& event) -> Task<> {
          const std::string text = *event.payload().get<Text>();
          log += text + " ";
          if (text == "hangs") co_await weir::sleep_for(1h);
          if (text == "deaf") co_await take_long();
          if (text == "late") co_await weir::shielded(weir::sleep_for(3ms));
          log += text + ". ";
        });
  }
  std::string log;
};

Task<weir::BatchReport> publish_limited(PriorityEventBus& to, std::vector<weir::Event> events) {
  weir::BatchOptions options;
  options.attempts = 2;
  options.delay = 1ms;
  options.undo_timeout = 2ms;
  auto batch = to.publish_batch(std::move(events), BatchMode::saga, options);
  co_return co_await std::move(batch);
}

}  // namespace

TEST_CASE("rollback: a compensator that hangs is cancelled at its limit, and called again") {
  weir::sim::Simulator sim;
  PriorityEventBus bus(sim);
  Steps steps;
  const auto handler = bus.subscribe("t", steps.handler());
  play(sim, [](weir::sim::Simulator& s, PriorityEventBus& to) -> Task<> {
    const auto began = s.now();
    auto report_events = events_of({made("first"), made("hangs"), made("fails")});
    const auto report = co_await publish_limited(to, std::move(report_events));
    // Twice the limit, and the time between.
    const auto took = s.now() - began;
    CHECK(took == 5ms);
    CHECK(report.outcome == BatchOutcome::rollback_incomplete);
    REQUIRE(report.not_undone.size() == 1);
    CHECK(weir::is_cancellation(std::error_code(code_of(report.not_undone[0].error()))));
    CHECK(report.results[0].undone());
    CHECK(to.stats().batches.hung == 0);
    co_await to.drain();
  }(sim, bus));
  CHECK(steps.log == "hangs hangs first first. ");
}

TEST_CASE("rollback: one that ends after its limit, but in as long again, has done its work") {
  weir::sim::Simulator sim;
  PriorityEventBus bus(sim);
  Steps steps;
  const auto handler = bus.subscribe("t", steps.handler());
  play(sim, [](PriorityEventBus& to) -> Task<> {
    auto report_events = events_of({made("late"), made("fails")});
    const auto report = co_await publish_limited(to, std::move(report_events));
    CHECK(report.outcome == BatchOutcome::rolled_back);
    co_await to.drain();
  }(bus));
  CHECK(steps.log == "late late. ");
}

TEST_CASE("rollback: one that does not heed being cancelled is given up, and keeps what it needs") {
  weir::sim::Simulator sim;
  PriorityEventBus bus(sim);
  Steps steps;
  const auto handler = std::make_unique<weir::Subscription>(bus.subscribe("t", steps.handler()));
  const auto deaf = made("deaf");
  bus.keep_last_values("t");
  play(sim, [](weir::sim::Simulator& s, PriorityEventBus& to, weir::Subscription& own, const Text& text) -> Task<> {
    const auto began = s.now();
    const auto elapsed = [&] { return s.now() - began; };
    auto report_events = events_of({made("first"), text, made("fails")});
    const auto report = co_await publish_limited(to, std::move(report_events));
    CHECK(elapsed() == 4ms);
    CHECK(report.outcome == BatchOutcome::rollback_incomplete);
    REQUIRE(report.not_undone.size() == 1);
    CHECK(report.not_undone[0].id() == 2);
    CHECK(code_of(report.not_undone[0].error()) == weir::Errc::timed_out);
    CHECK(to.stats().batches.running == 0);
    CHECK(to.stats().batches.hung == 1);
    CHECK(text.use_count() == 2);
    // What was rolled back is no last value, and is not going to be one.
    const auto late = to.subscribe("t", [](weir::EventContext&) {}, {.last_value = true});
    // The handler may not go, nor the bus be said to be quiet, before it has ended.
    co_await own.join();
    CHECK(elapsed() == 10ms);
    CHECK(text.use_count() == 1);
    CHECK(to.stats().batches.hung == 0);
    const auto drained = co_await to.drain();
    CHECK(drained.complete);
  }(sim, bus, *handler, deaf));
  CHECK(steps.log == "deaf first first. deaf. ");
}

TEST_CASE("rollback: a drain waits for a compensator that was given up, and its failed event is no dead letter") {
  weir::sim::Simulator sim;
  PriorityEventBus bus(sim);
  auto [letters, dead] = weir::make_channel<weir::DeadEvent>(sim.get_executor(), {.capacity = 4});
  bus.set_dead_letters(std::move(letters));
  Steps steps;
  const auto handler = bus.subscribe("t", steps.handler());
  const auto fails = bus.subscribe("t", weir::compensated(
                                            [](weir::EventContext& event) {
                                              if (*event.payload<Text>() == "deaf") throw std::runtime_error("no");
                                            },
                                            [](const weir::Event&) {}));
  play(sim, [](weir::sim::Simulator& s, PriorityEventBus& to) -> Task<> {
    const auto began = s.now();
    auto report_events = events_of({made("deaf")});
    const auto report = co_await publish_limited(to, std::move(report_events));
    CHECK(report.outcome == BatchOutcome::rollback_incomplete);
    co_await to.drain();
    const auto took = s.now() - began;
    CHECK(took == 10ms);
  }(sim, bus));
  CHECK(bus.lost_dead_letters() == 1);
  CHECK_FALSE(dead.try_receive());
}

TEST_CASE("rollback: a compensator with a limit cannot wait for the drain of its bus") {
  weir::sim::Simulator sim;
  PriorityEventBus bus(sim);
  weir::Errc refused{};
  const auto handler = bus.subscribe("t", weir::compensated(
                                              [](weir::EventContext& event) {
                                                if (*event.payload<Text>() == "fails") throw std::runtime_error("no");
                                              },
                                              [&](const weir::Event&) -> Task<> {
                                                try {
                                                  co_await bus.drain();
                                                } catch (const weir::Error& error) {
                                                  refused = static_cast<weir::Errc>(error.code().value());
                                                }
                                              }));
  play(sim, [](PriorityEventBus& to) -> Task<> {
    auto report_events = events_of({made("1"), made("fails")});
    const auto report = co_await publish_limited(to, std::move(report_events));
    CHECK(report.outcome == BatchOutcome::rolled_back);
    co_await to.drain();
  }(bus));
  CHECK(refused == weir::Errc::would_deadlock);
}

TEST_CASE("rollback: a bus with priorities of its own has batches of every mode") {
  weir::sim::Simulator sim;
  weir::BasicPriorityEventBus<int> bus(sim, {.workers = 1, .capacity = 3});
  std::string log;
  const auto handler =
      bus.subscribe("t", weir::compensated(
                             [&log](weir::EventContext& event) -> Task<> {
                               const auto text = event.payload<Text>();
                               co_await weir::sleep_for(1ms);
                               if (*text == "fails") throw std::runtime_error("no");
                               log += *text + " ";
                               if (*text == "holds") co_await event.publish("t", made("held"));
                             },
                             [&log](const weir::Event& event) { log += "-" + *event.payload().get<Text>() + " "; }));
  play(sim, [](weir::BasicPriorityEventBus<int>& to) -> Task<> {
    for (const auto mode : {BatchMode::independent, BatchMode::atomic, BatchMode::saga}) {
      auto batch = to.publish_batch(events_of({made("c"), made("a"), made("b")}), {3, 1, 2}, mode);
      const auto report = co_await std::move(batch);
      CHECK(report.completed == 3);
    }
    auto saga = to.publish_batch(events_of({made("fails"), made("2"), made("1")}), {9, 2, 1}, BatchMode::saga);
    const auto undone = co_await std::move(saga);
    CHECK(undone.outcome == BatchOutcome::rolled_back);
    auto held = to.publish_batch(events_of({made("holds"), made("x")}), {7}, BatchMode::saga);
    const auto committed = co_await std::move(held);
    CHECK(committed.held_back == 1);
    CHECK(committed.results[1].id() == committed.results[0].id() + 1);
    // One that waits for room, behind others.
    for (int i = 0; i < 4; ++i) {
      weir::Event event("t", made("."));
      co_await to.publish(std::move(event), 5);
    }
    auto waits = to.publish_batch(events_of({made("first"), made("then"), made("last")}), {1, 2, 3}, BatchMode::atomic);
    const auto late = co_await std::move(waits);
    CHECK(late.completed == 3);
    CHECK(late.waited == 3ms);
    co_await to.drain();
  }(bus));
  // The first of the independent ones starts before the others are there.
  CHECK(log == "c a b a b c a b c 1 2 -2 -1 holds x . . . . held first then last ");
}

TEST_CASE("rollback: bad input for batches with priorities, limits and quotas") {
  asio::io_context context;
  weir::BasicPriorityEventBus<int> bus(context, {.capacity = 2});
  const auto refuses = [&bus](std::size_t events, std::vector<int> ranks, const std::string& what) {
    std::vector<weir::Event> batch;
    for (std::size_t i = 0; i < events; ++i) batch.emplace_back("t");
    CHECK_THROWS_WITH(bus.publish_batch(std::move(batch), std::move(ranks), BatchMode::atomic),
                      Catch::Matchers::Contains(what));
  };
  refuses(0, {1}, "at least one event");
  refuses(3, {1, 2}, "a batch of 3 events has 2 priorities");
  refuses(3, {}, "has 0 priorities");
  weir::BatchOptions options;
  options.undo_timeout = -1ms;
  CHECK_THROWS_WITH(bus.publish_batch(events_of({made("1")}), {1}, BatchMode::saga, options),
                    Catch::Matchers::Contains("negative"));
  std::exception_ptr error;
  bus.async_publish_batch(events_of({made("1"), made("2"), made("3")}), {1}, BatchMode::atomic, weir::BatchOptions(),
                          [&error](std::exception_ptr e, const weir::BatchReport&) { error = std::move(e); });
  context.poll();
  CHECK(code_of(error) == weir::Errc::invalid_argument);
}

TEST_CASE("rollback: a plugin's batches carry its name, are capped one by one, and get their quota") {
  weir::sim::Simulator sim;
  PriorityEventBus bus(sim);
  weir::PluginScope scope(bus, "p", {.highest = EventPriority::normal, .quota = 2});
  std::string log;
  const auto handler = bus.subscribe(
      "t", weir::compensated(
               [&](weir::EventContext& event) -> Task<> {
                 const auto text = event.payload<Text>();
                 log += *text + " ";
                 CHECK(scope.stats().queued <= 2);
                 const bool stamped = event.event().source_name() == "p" && event.priority() >= EventPriority::normal;
                 CHECK(stamped);
                 co_await weir::sleep_for(1ms);
                 if (*text == "fails") throw std::runtime_error("no");
               },
               [&log](const weir::Event& event) { log += "-" + *event.payload().get<Text>() + " "; }));
  play(sim, [](PriorityEventBus& to, weir::PluginScope& plugin) -> Task<> {
    const auto all = [] {
      auto events = events_of({made("1"), made("2"), made("3")});
      events[1].priority(EventPriority::critical);
      events[2].priority(EventPriority::low);
      return events;
    };
    const auto each = co_await plugin.publish_batch(all(), BatchMode::independent);
    CHECK(each.completed == 3);
    for (const auto mode : {BatchMode::atomic, BatchMode::saga}) {
      std::exception_ptr error;
      try {
        co_await plugin.publish_batch(all(), mode);
      } catch (...) {
        error = std::current_exception();
      }
      CHECK(code_of(error) == weir::Errc::invalid_argument);
    }
    // The two places in the quota are free when what is published before has started.
    co_await plugin.publish("t", made("a"));
    co_await plugin.publish("t", made("b"));
    co_await plugin.publish("t", made("x"));
    auto failing = events_of({made("c"), made("fails")});
    const auto saga = co_await plugin.publish_batch(std::move(failing), true);
    CHECK(saga.outcome == BatchOutcome::rolled_back);
    co_await to.drain();
  }(bus, scope));
  CHECK(log == "1 2 3 a b x c fails -c ");
  const auto stats = scope.stats();
  CHECK(stats.capped == 1);
  CHECK(stats.published == 8);
  CHECK(stats.refused == 6);
  CHECK(stats.queued == 0);
}

TEST_CASE("rollback: a plugin that is closed in the middle of its saga has it rolled back, and leaves nothing") {
  weir::sim::Simulator sim;
  PriorityEventBus bus(sim);
  weir::PluginScope scope(bus, "p", {.quota = 4});
  std::string log;
  const auto slow = weir::compensated(
      [&log](weir::EventContext& event) -> Task<> {
        log += *event.payload<Text>() + " ";
        co_await weir::sleep_for(2ms);
      },
      [&log](const weir::Event& event) -> Task<> {
        co_await weir::sleep_for(2ms);
        log += "-" + *event.payload().get<Text>() + " ";
      });
  const auto of_host = bus.subscribe("t", slow);
  const auto text = made("2");
  std::optional<weir::BatchReport> report;
  const auto publish = [&]() -> Task<> {
    auto events = events_of({made("1"), text, made("3")});
    report = co_await scope.publish_batch(std::move(events), BatchMode::saga);
  };
  play(sim, [](weir::PluginScope& plugin, PriorityEventBus& to, Task<> publishing, const Text& second) -> Task<> {
    const auto executor = co_await weir::this_task::executor();
    weir::spawn(executor, std::move(publishing), asio::detached);
    co_await weir::sleep_for(3ms);
    const auto closed = co_await plugin.close(1s);
    CHECK(closed.complete);
    CHECK(closed.withdrawn == 1);
    CHECK(second.use_count() == 1);
    co_await to.drain();
  }(scope, bus, publish(), text));
  REQUIRE(report);
  CHECK(report->outcome == BatchOutcome::rolled_back);
  CHECK(report->results[2].outcome() == EventOutcome::discarded);
  CHECK(log == "1 2 -1 ");
}

TEST_CASE("rollback: what a plugin's handler did before its end is reported; what it did not is not") {
  weir::sim::Simulator sim;
  PriorityEventBus bus(sim);
  std::optional<weir::PluginScope> scope(std::in_place, bus, "p");
  int calls = 0;
  const auto counted = [&calls] {
    return weir::compensated([&calls](weir::EventContext&) { ++calls; }, [](const weir::Event&) {});
  };
  const auto first = scope->subscribe("t", counted());
  // It ends the plugin between the question and the call.
  const auto second = scope->subscribe_if(
      "t",
      [&scope](const weir::Event& event) {
        if (*event.payload().get<Text>() == "ends") scope.reset();
        return true;
      },
      counted());
  const auto fails = bus.subscribe("t", weir::compensated(
                                            [](weir::EventContext& event) {
                                              if (*event.payload<Text>() == "ends") throw std::runtime_error("no");
                                            },
                                            [](const weir::Event&) {}));
  play(sim, [](PriorityEventBus& to) -> Task<> {
    weir::BatchOptions options;
    options.attempts = 1;
    auto batch = to.publish_batch(events_of({made("ends")}), BatchMode::saga, options);
    const auto report = co_await std::move(batch);
    CHECK(report.outcome == BatchOutcome::rollback_incomplete);
    CHECK(report.not_undone.size() == 1);
    co_await to.drain();
  }(bus));
  CHECK(calls == 1);
}

TEST_CASE("rollback: a plugin's batch that waits for room is refused at the plugin's end") {
  weir::sim::Simulator sim;
  PriorityEventBus bus(sim, {.workers = 1, .capacity = 2});
  weir::PluginScope scope(bus, "p");
  const auto slow = bus.subscribe("t", [](weir::EventContext&) -> Task<> { co_await weir::sleep_for(5ms); });
  const auto text = made("1");
  weir::Errc refused{};
  const auto publish = [&]() -> Task<> {
    try {
      auto events = events_of({text, made("2")});
      co_await scope.publish_batch(std::move(events), BatchMode::atomic);
    } catch (const weir::Error& error) {
      refused = static_cast<weir::Errc>(error.code().value());
    }
  };
  play(sim, [](weir::PluginScope& plugin, PriorityEventBus& to, Task<> publishing) -> Task<> {
    for (int i = 0; i < 3; ++i) co_await to.publish("t", made("."));
    const auto executor = co_await weir::this_task::executor();
    weir::spawn(executor, std::move(publishing), asio::detached);
    co_await weir::sleep_for(1ms);
    const auto closed = co_await plugin.close(1s);
    CHECK(closed.complete);
    co_await to.drain();
  }(scope, bus, publish()));
  CHECK(refused == weir::Errc::bus_closed);
  CHECK(text.use_count() == 1);
  CHECK(scope.stats().refused == 2);
  CHECK(bus.stats().batches.refused == 1);
}
