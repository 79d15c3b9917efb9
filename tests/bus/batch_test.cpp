#include <weir/bus/batch.hpp>
// The same tests run on both buses.
#include <weir/bus/event_bus.hpp>
#include <weir/bus/priority_event_bus.hpp>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <weir/core/sync_wait.hpp>
#include <weir/core/this_task.hpp>
#include <weir/core/timeout.hpp>

#include "support/catch.hpp"

#include "bus/scene.hpp"

using namespace std::chrono_literals;
using weir::BatchMode;
using weir::BatchOutcome;
using weir::EventOutcome;
using weir::Task;
using weir_test::play;

namespace {

weir::Errc code_of(const std::exception_ptr& error) {
  try {
    if (error) std::rethrow_exception(error);
  } catch (const std::system_error& e) {
    return static_cast<weir::Errc>(e.code().value());
  } catch (...) {
  }
  return {};
}

std::vector<weir::Event> events_of(const std::vector<std::string>& texts, std::string_view topic = "t") {
  std::vector<weir::Event> events;
  for (const auto& text : texts) events.emplace_back(topic, text);
  return events;
}

/// A handler that notes the payload and fails for one that begins with '!', and a compensator that notes it too.
class Steps {
 public:
  auto handler() {
    return [this](weir::EventContext& event) -> Task<> {
      const std::string text = event.payload<std::string>();
      log += text + " ";
      co_await weir::sleep_for(1ms);
      if (text[0] == '!') throw std::runtime_error(text);
    };
  }
  auto compensator() {
    return [this](const weir::Event& event) -> Task<> {
      co_await weir::sleep_for(1ms);
      log += "-" + *event.payload().get_if<std::string>() + " ";
    };
  }
  auto both() { return weir::compensated(handler(), compensator()); }

  std::string log;
};

/// What a batch gave, or why it was refused.
struct Answer {
  weir::BatchReport report;
  std::exception_ptr refused;
};

template <class Bus>
Answer publish(weir::sim::Simulator& sim, Bus& bus, std::vector<weir::Event> events, BatchMode mode,
               weir::BatchOptions options = {}) {
  Answer answer;
  play(sim, [](Bus& to, std::vector<weir::Event> all, BatchMode how, weir::BatchOptions with, Answer& out) -> Task<> {
    try {
      auto batch = to.publish_batch(std::move(all), how, with);
      out.report = co_await std::move(batch);
    } catch (...) {
      out.refused = std::current_exception();
    }
    co_await to.drain();
  }(bus, std::move(events), mode, options, answer));
  return answer;
}

}  // namespace

TEMPLATE_TEST_CASE("batch: independent events each have a result, and one failure stops nothing", "", weir::EventBus,
                   weir::PriorityEventBus) {
  weir::sim::Simulator sim;
  TestType bus(sim, {.capacity = 2});
  Steps steps;
  const auto handler = bus.subscribe("t", steps.handler());
  const auto [report, refused] = publish(sim, bus, events_of({"a", "!b", "c", "d", "e"}), BatchMode::independent);
  CHECK_FALSE(refused);
  CHECK(steps.log == "a !b c d e ");
  REQUIRE(report.size() == 5);
  CHECK(report.id == 1);
  CHECK(report.completed == 4);
  CHECK(report.results[1].outcome() == EventOutcome::failed);
  CHECK_THROWS_WITH(std::rethrow_exception(report.results[1].error()), "!b");
  CHECK(report.results[4].completed());
  CHECK(report.results[4].id() == 5);
  CHECK_FALSE(report);
  CHECK(report.ran == 5ms);
  CHECK(bus.stats().batches.committed == 1);
  CHECK(bus.stats().batches.running == 0);
}

TEMPLATE_TEST_CASE("batch: a saga that fails undoes what was done, the last first", "", weir::EventBus,
                   weir::PriorityEventBus) {
  weir::sim::Simulator sim;
  TestType bus(sim);
  Steps steps;
  const auto handler = bus.subscribe("t", steps.both());
  const auto [report, refused] = publish(sim, bus, events_of({"a", "b", "!c", "d"}), BatchMode::saga);
  CHECK_FALSE(refused);
  CHECK(steps.log == "a b !c -b -a ");
  CHECK(report.outcome == BatchOutcome::rolled_back);
  CHECK(report.results[0].undone());
  CHECK_FALSE(report.results[2].undone());
  CHECK(report.results[3].outcome() == EventOutcome::cancelled);
  CHECK_THROWS_WITH(std::rethrow_exception(report.error), "!c");
}

TEMPLATE_TEST_CASE("batch: what cannot be published is refused, and says why", "", weir::EventBus,
                   weir::PriorityEventBus) {
  weir::sim::Simulator sim;
  TestType bus(sim, {.capacity = 2});
  Steps steps;
  const auto handler = bus.subscribe("t", steps.both());
  const auto bare = bus.subscribe("bare.*", steps.handler());
  CHECK_THROWS_WITH(bus.publish_batch(events_of({}), BatchMode::atomic), Catch::Matchers::Contains("at least one"));
  CHECK_THROWS_WITH(bus.publish_batch(events_of({}), true), Catch::Matchers::Contains("at least one"));
  CHECK_THROWS_AS(bus.publish_batch(events_of({"a"}), BatchMode::saga, {.attempts = 0}), weir::Error);
  CHECK_THROWS_AS(bus.publish_batch(events_of({"a"}), BatchMode::saga, {.delay = -1ms}), weir::Error);
  auto moved = events_of({"a", "b"});
  const weir::Event gone = std::move(moved[1]);
  CHECK_THROWS_WITH(bus.publish_batch(moved, BatchMode::independent), Catch::Matchers::Contains("event 1"));

  play(sim, [](TestType& to, std::vector<weir::Event> large, std::vector<weir::Event> stuck) -> Task<> {
    for (const auto mode : {BatchMode::atomic, BatchMode::saga}) {
      auto batch = to.publish_batch(std::span(large), mode);
      std::string why;
      try {
        co_await std::move(batch);
      } catch (const weir::Error& error) {
        why = error.what();
      }
      CHECK_THAT(why, Catch::Matchers::Contains("3 events") && Catch::Matchers::Contains("room for 2"));
      CHECK(large[0].type() == "t");
    }
    auto batch = to.publish_batch(std::span(stuck), BatchMode::saga);
    std::string why;
    try {
      co_await std::move(batch);
    } catch (const weir::Error& error) {
      why = error.what();
    }
    CHECK_THAT(why, Catch::Matchers::Contains("\"bare.x\"") && Catch::Matchers::Contains("\"bare.*\""));
    CHECK(stuck[0].payload().get<std::string>() == "b");
    co_await to.drain();
    auto late = to.publish_batch(std::span(stuck), BatchMode::atomic);
    std::exception_ptr closed;
    try {
      co_await std::move(late);
    } catch (...) {
      closed = std::current_exception();
    }
    CHECK(code_of(closed) == weir::Errc::bus_closed);
  }(bus, events_of({"a", "b", "c"}), events_of({"b"}, "bare.x")));
  CHECK(steps.log.empty());
  CHECK(bus.stats().admitted == 0);
  CHECK(bus.stats().batches.refused == 4);
}

TEMPLATE_TEST_CASE("batch: an atomic one waits in its turn, and its events have consecutive numbers", "",
                   weir::EventBus, weir::PriorityEventBus) {
  weir::sim::Simulator sim;
  TestType bus(sim, {.workers = 1, .capacity = 3});
  Steps steps;
  const auto handler = bus.subscribe("t", steps.handler());
  weir::BatchReport report;
  const auto batch = [](TestType& to, weir::BatchReport& out) -> Task<> {
    auto whole = to.publish_batch(events_of({"a", "b", "c"}), BatchMode::atomic);
    out = co_await std::move(whole);
  };
  const auto single = [](TestType& to, const char* text) -> Task<> { co_await to.publish("t", std::string(text)); };
  play(sim, [](weir::sim::Simulator& on, TestType& to, auto whole, auto one, weir::BatchReport& out) -> Task<> {
    for (const auto* const text : {"1", "2", "3"}) co_await to.publish("t", std::string(text));
    weir::spawn(on, one(to, "before"), asio::detached);
    co_await weir::sleep_for(100us);
    weir::spawn(on, whole(to, out), asio::detached);
    co_await weir::sleep_for(100us);
    weir::spawn(on, one(to, "after"), asio::detached);
    co_await weir::sleep_for(100us);
    CHECK(to.try_publish("t", std::string("refused")).error == weir::Errc::queue_full);
    co_await weir::sleep_for(1h);
    // There is room for the second, but not before the first.
    for (const auto* const text : {"4", "5"}) co_await to.publish("t", std::string(text));
    co_await weir::sleep_for(100us);
    weir::spawn(on, whole(to, out), asio::detached);
    co_await weir::sleep_for(100us);
    auto second = to.publish_batch(events_of({"d"}), BatchMode::atomic);
    co_await std::move(second);
    co_await to.drain();
  }(sim, bus, batch, single, report));
  CHECK(steps.log == "1 2 3 before a b c after 4 5 a b c d ");
  REQUIRE(report.size() == 3);
  CHECK(report);
  CHECK(report.results[0].id() == 11);
  CHECK(report.results[2].id() == 13);
  CHECK(report.waited == 900us);
}

TEST_CASE("batch: what a full queue does to one follows the policy") {
  const auto [overflow, mode, log] = GENERATE(table<weir::Overflow, BatchMode, std::string>({
      {weir::Overflow::reject, BatchMode::atomic, "1 2 3 "},
      {weir::Overflow::drop_newest, BatchMode::atomic, "1 2 3 "},
      {weir::Overflow::drop_oldest, BatchMode::atomic, "1 a b "},
      {weir::Overflow::latest, BatchMode::atomic, "1 a b "},
      {weir::Overflow::reject, BatchMode::independent, "1 2 3 "},
      {weir::Overflow::drop_oldest, BatchMode::independent, "1 a b "},
      {weir::Overflow::drop_newest, BatchMode::independent, "1 2 3 "},
  }));
  weir::sim::Simulator sim;
  weir::EventBus bus(sim, {.workers = 1, .capacity = 2, .overflow = overflow});
  Steps steps;
  const auto handler = bus.subscribe("t", steps.handler());
  weir::BatchReport report;
  std::exception_ptr refused;
  play(sim, [](weir::EventBus& to, BatchMode how, weir::BatchReport& out, std::exception_ptr& why) -> Task<> {
    co_await to.publish("t", std::string("1"));
    co_await weir::sleep_for(500us);
    co_await to.publish("t", std::string("2"));
    if (to.options().overflow != weir::Overflow::latest) co_await to.publish("t", std::string("3"));
    auto batch = to.publish_batch(events_of({"a", "b"}), how);
    try {
      out = co_await std::move(batch);
    } catch (...) {
      why = std::current_exception();
    }
    co_await to.drain();
  }(bus, mode, report, refused));
  CHECK(steps.log == log);
  const bool whole_refused = mode == BatchMode::atomic && log == "1 2 3 ";
  CHECK((code_of(refused) == weir::Errc::queue_full) == whole_refused);
  if (mode != BatchMode::independent) return;
  REQUIRE(report.size() == 2);
  CHECK(report.completed == (log == "1 a b " ? 2 : 0));
  CHECK((report.results[1].id() == 0) == (overflow == weir::Overflow::reject));
  if (log != "1 a b ") CHECK(code_of(report.results[1].error()) == weir::Errc::queue_full);
}

TEST_CASE("batch: a saga undoes each call that returned, with what the compensator takes, and no other") {
  weir::sim::Simulator sim;
  weir::PriorityEventBus bus(sim);
  constexpr weir::Topic<std::string> typed{"typed"};
  std::string log;
  const auto note = [&log](const char* what) {
    return [&log, what](weir::EventContext&) { log += std::string(what) + " "; };
  };
  const auto unnote = [&log](const char* what) {
    return [&log, what](const weir::Event&) { log += "-" + std::string(what) + " "; };
  };
  const auto first = bus.subscribe("t", weir::compensated(note("first"), unnote("first")));
  const auto odd = bus.subscribe_if(
      "t", [](const weir::Event& event) { return event.payload().get<std::string>() != "a"; },
      weir::compensated(note("odd"), unnote("odd")));
  const auto last = bus.subscribe("t",
                                  weir::compensated(
                                      [&log](weir::EventContext& event) {
                                        log += event.payload<std::string>() + " ";
                                        if (event.payload<std::string>() == "b") throw 1;
                                      },
                                      unnote("last")),
                                  {.phase = 1});
  const auto text = bus.subscribe(typed, weir::compensated([&log](const std::string& s) { log += s + " "; },
                                                           [&log](const std::string& s) { log += "-" + s + " "; }));
  auto events = events_of({"x"}, "typed");
  for (auto& event : events_of({"a", "b"})) events.push_back(std::move(event));
  const auto answer = publish(sim, bus, std::move(events), BatchMode::saga);
  CHECK(log == "x first a first odd b -odd -first -last -first -x ");
  CHECK(answer.report.outcome == BatchOutcome::rolled_back);
  // Its first handlers are undone, too, though it failed.
  CHECK(answer.report.results[2].undone());
  CHECK(bus.stats().batches.rolled_back == 1);
}

TEST_CASE("batch: a compensator that throws is called again, and then reported") {
  weir::sim::Simulator sim;
  weir::PriorityEventBus bus(sim);
  Steps steps;
  std::vector<weir::TimeService::TimePoint> tries;
  const auto stuck = bus.subscribe("stuck", weir::compensated([](weir::EventContext&) {},
                                                              [&](const weir::Event&) -> Task<> {
                                                                tries.push_back(co_await weir::this_task::now());
                                                                throw 42;
                                                              }));
  int calls = 0;
  const auto shy = bus.subscribe("shy", weir::compensated([](weir::EventContext&) {},
                                                          [&](const weir::Event&) {
                                                            if (++calls < 3) throw weir::Error(weir::Errc::cancelled);
                                                          }));
  const auto handler = bus.subscribe("t", steps.both());
  std::vector<weir::Event> events;
  events.emplace_back("t", std::string("a"));
  events.emplace_back("stuck", 1);
  events.emplace_back("shy", 1);
  events.emplace_back("t", std::string("!b"));
  const auto [report, refused] =
      publish(sim, bus, std::move(events), BatchMode::saga, {.attempts = 4, .delay = 10ms, .longest_delay = 25ms});
  CHECK(steps.log == "a !b -a ");
  CHECK(calls == 3);
  REQUIRE(tries.size() == 4);
  CHECK(tries[1] - tries[0] == 10ms);
  CHECK(tries[2] - tries[1] == 20ms);
  CHECK(tries[3] - tries[2] == 25ms);
  CHECK(report.outcome == BatchOutcome::rollback_incomplete);
  REQUIRE(report.not_undone.size() == 1);
  CHECK(report.not_undone[0].id() == report.results[1].id());
  CHECK(report.not_undone[0].topic() == "stuck");
  CHECK_THROWS_AS(std::rethrow_exception(report.not_undone[0].error()), int);
  CHECK_FALSE(report.results[1].undone());
  CHECK(report.results[2].undone());
  CHECK(bus.stats().batches.incomplete == 1);
}

TEST_CASE("batch: every way in which an event of a saga can end but one rolls it back") {
  const auto how = GENERATE(as<std::string>(), "run timeout", "time to live", "token", "dropped", "abort", "nothing");
  weir::sim::Simulator sim;
  weir::PriorityEventBus bus(sim, {.workers = 1, .capacity = 4});
  Steps steps;
  const auto handler = bus.subscribe("t", steps.both());
  auto events = events_of({"a", "b", "c"});
  weir::CancellationSource source;
  if (how == "run timeout") events[1].run_timeout(500us);
  if (how == "time to live") events[1].time_to_live(500us);
  if (how == "token") events[1].token(source.token());
  weir::BatchReport report;
  play(sim,
       [](weir::sim::Simulator& on, weir::PriorityEventBus& to, std::vector<weir::Event> all, std::string act,
          weir::CancellationSource cancels, weir::BatchReport& out) -> Task<> {
         auto batch = to.publish_batch(std::move(all), true);
         weir::spawn(on, std::move(batch), [&out](std::exception_ptr, weir::BatchReport r) { out = std::move(r); });
         co_await weir::sleep_for(1500us);
         if (act == "token") cancels.cancel();
         if (act == "abort") to.abort();
         if (act == "dropped") {
           to.limit(weir::EventPriority::normal, 1, weir::Overflow::drop_oldest);
           to.try_publish("u", 1);
         }
         co_await weir::sleep_for(1h);
         co_await to.drain();
       }(sim, bus, std::move(events), how, source, report));
  REQUIRE(report.size() == 3);
  CAPTURE(how, steps.log);
  CHECK((report.outcome == BatchOutcome::committed) == (how == "nothing"));
  CHECK(report.results[0].undone() == (how != "nothing"));
  CHECK(report.results[1].completed() == (how == "nothing"));
  CHECK((steps.log.find("-a") == std::string::npos) == (how == "nothing"));
}

TEST_CASE("batch: an event of a saga that is rolled back is not cancelled, one that is queued takes the others along") {
  weir::sim::Simulator sim;
  weir::PriorityEventBus bus(sim);
  Steps steps;
  const auto handler = bus.subscribe("t", steps.both());
  play(sim, [](weir::sim::Simulator& on, weir::PriorityEventBus& to, Steps& seen) -> Task<> {
    auto batch = to.publish_batch(events_of({"a", "b", "c", "d"}), BatchMode::saga);
    const auto ticket = batch.ticket();
    weir::BatchReport report;
    weir::spawn(on, std::move(batch), [&report](std::exception_ptr, weir::BatchReport r) { report = std::move(r); });
    co_await weir::sleep_for(1500us);
    CHECK(seen.log == "a b ");
    CHECK(ticket.event(0).cancel() == weir::CancelAnswer::too_late);
    CHECK(to.stats().batches.running == 1);
    CHECK(ticket.event(3).cancel() == weir::CancelAnswer::cancelled);
    for (std::size_t i = 0; i < 4; ++i) CHECK(ticket.event(i).cancel() == weir::CancelAnswer::refused);
    co_await weir::sleep_for(500us);
    CHECK(to.stats().queued == 0);
    const auto answer = co_await to.cancel_event(ticket.event(0));
    CHECK(answer == weir::CancelAnswer::refused);
    co_await weir::sleep_for(1h);
    CHECK(seen.log == "a b -a ");
    CHECK(ticket.event(0).cancel().outcome == EventOutcome::completed);
    CHECK(ticket.event(3).cancel() == weir::CancelAnswer::too_late);
    CHECK(report.outcome == BatchOutcome::rolled_back);
    CHECK(code_of(report.error) == weir::Errc::cancelled);
    co_await to.drain();
  }(sim, bus, steps));
}

TEMPLATE_TEST_CASE("batch: what a handler publishes by its context is held back until its saga commits", "",
                   weir::EventBus, weir::PriorityEventBus) {
  const auto [mode, last, expected] = GENERATE(table<BatchMode, std::string, std::string>({
      {BatchMode::saga, "b", "a b from-a:0 from-b:0 "},
      {BatchMode::saga, "!b", "a !b -a "},
      {BatchMode::atomic, "b", "a b from-a:3 from-b:4 "},
  }));
  weir::sim::Simulator sim;
  TestType bus(sim);
  Steps steps;
  const auto handler = bus.subscribe("t", steps.both());
  const auto plain = bus.subscribe("t", weir::compensated(
                                            [](weir::EventContext& event) {
                                              const auto result = event.try_publish("plain", 1);
                                              CHECK(result);
                                            },
                                            [](const weir::Event&) {}));
  const auto says = bus.subscribe("t", weir::compensated(
                                           [](weir::EventContext& event) -> Task<> {
                                             auto text = "from-" + event.payload<std::string>();
                                             const auto told = co_await event.publish("said", std::string("probe"));
                                             text += ":" + std::to_string(told == 0 ? 0 : event.id() + 2);
                                             co_await event.publish("said", std::move(text));
                                           },
                                           [](const weir::Event&) {}));
  const auto said = bus.subscribe("said", [&](weir::EventContext& event) {
    if (event.payload<std::string>() != "probe") steps.log += event.payload<std::string>() + " ";
  });
  const auto [report, refused] = publish(sim, bus, events_of({"a", last}), mode);
  CHECK(steps.log == expected);
  const bool rolled_back = report.outcome != BatchOutcome::committed;
  CHECK(report.held_back == (mode == BatchMode::saga ? 6 : 0));
  CHECK(bus.stats().admitted == (rolled_back ? 2 : 8));
}

TEMPLATE_TEST_CASE("batch: a handler publishes one to its own bus of one worker and a queue of two", "", weir::EventBus,
                   weir::PriorityEventBus) {
  const auto mode = GENERATE(BatchMode::independent, BatchMode::atomic, BatchMode::saga);
  weir::sim::Simulator sim;
  TestType bus(sim, {.workers = 1, .capacity = 2, .nested = 1});
  Steps steps;
  const auto handler = bus.subscribe("t", steps.both());
  std::vector<weir::Errc> errors;
  const auto go = bus.subscribe("go", [&](weir::EventContext& event) -> Task<> {
    const int depth = event.payload<int>();
    if (depth != 0) {
      std::vector<weir::Event> deeper;
      deeper.emplace_back("go", depth - 1);
      auto batch = bus.publish_batch(std::move(deeper), BatchMode::atomic);
      co_await std::move(batch);
    }
    try {
      auto batch = bus.publish_batch(events_of({"a", "b"}), mode);
      const auto report = co_await std::move(batch);
      steps.log += report ? "done " : "failed ";
    } catch (const weir::Error& error) {
      errors.push_back(static_cast<weir::Errc>(error.code().value()));
    }
  });
  play(sim, [](TestType& to) -> Task<> {
    co_await to.publish("t", std::string("x"));
    co_await to.publish("go", 0);
    co_await weir::sleep_for(1h);
    co_await to.publish("go", 1);
    co_await weir::sleep_for(1h);
    co_await to.drain();
  }(bus));
  // The second time the outer one holds the only leave to wait.
  CHECK(steps.log == "x a b done a b done ");
  CHECK(errors == std::vector<weir::Errc>{weir::Errc::would_deadlock});
  CHECK(bus.stats().batches.running == 0);
}

TEST_CASE("batch: a publisher that is cancelled takes back what is not admitted, and has a saga rolled back") {
  const auto [mode, after, log, reported] = GENERATE(table<BatchMode, std::chrono::microseconds, std::string, bool>({
      {BatchMode::independent, 500us, "x a ", false},
      {BatchMode::atomic, 500us, "x ", false},
      {BatchMode::atomic, 2500us, "x a b c ", false},
      {BatchMode::saga, 500us, "x ", false},
      {BatchMode::saga, 2500us, "x a b -a ", true},
  }));
  weir::sim::Simulator sim;
  weir::PriorityEventBus bus(sim, {.capacity = 3});
  Steps steps;
  const auto handler = bus.subscribe("t", steps.both());
  play(sim,
       [](weir::PriorityEventBus& to, BatchMode how, std::chrono::microseconds limit, bool report_wanted) -> Task<> {
         co_await to.publish("t", std::string("x"));
         co_await weir::yield();
         if (limit < 1ms) {
           for (int i = 0; i < 2; ++i) co_await to.publish("u");
         }
         auto batch = to.publish_batch(events_of({"a", "b", "c"}), how);
         bool timed_out = false;
         std::optional<weir::BatchReport> report;
         try {
           report = co_await weir::with_timeout(limit, std::move(batch));
         } catch (const weir::Error& error) {
           timed_out = error.code() == weir::Errc::timed_out;
         }
         CHECK(timed_out == !report_wanted);
         CHECK(report.has_value() == report_wanted);
         if (report) CHECK(report->outcome == BatchOutcome::rolled_back);
         if (report) CHECK(code_of(report->error) == weir::Errc::cancelled);
         co_await to.drain();
         CHECK(to.stats().batches.running == 0);
       }(bus, mode, after, reported));
  CHECK(steps.log == log);
}

TEST_CASE("batch: the end of the bus waits for a rollback if it waits, and leaves nobody without a report") {
  const auto end = GENERATE(as<std::string>(), "drain", "abort", "destroy");
  weir::sim::Simulator sim;
  auto bus = std::make_unique<weir::PriorityEventBus>(sim);
  Steps steps;
  weir::Errc nested{};
  const auto careful =
      bus->subscribe("careful", weir::compensated([](weir::EventContext&) {},
                                                  [&](const weir::Event&) -> Task<> {
                                                    if (end != "drain") co_return;
                                                    try {
                                                      co_await bus->drain();
                                                    } catch (const weir::Error& error) {
                                                      nested = static_cast<weir::Errc>(error.code().value());
                                                    }
                                                  }));
  const auto handler = bus->subscribe("t", steps.both());
  std::vector<weir::Event> events;
  events.emplace_back("careful", 1);
  for (const auto* const text : {"a", end == "drain" ? "!b" : "b", "c"}) events.emplace_back("t", std::string(text));
  weir::BatchReport report;
  play(sim,
       [](weir::sim::Simulator& on, std::unique_ptr<weir::PriorityEventBus>& to, std::vector<weir::Event> all,
          std::string act, weir::BatchReport& out, Steps& seen) -> Task<> {
         auto batch = to->publish_batch(std::move(all), BatchMode::saga);
         weir::spawn(on, std::move(batch), [&out](std::exception_ptr, weir::BatchReport r) { out = std::move(r); });
         co_await weir::sleep_for(1500us);
         if (act == "drain") {
           const auto report_of_drain = co_await to->drain();
           CHECK(report_of_drain.complete);
           CHECK(seen.log == "a !b -a ");
         } else if (act == "abort") {
           to->abort();
           CHECK(to->stats().batches.running == 1);
         } else {
           to.reset();
         }
         co_await weir::sleep_for(1h);
       }(sim, bus, std::move(events), end, report, steps));
  REQUIRE(report.size() == 4);
  CHECK(report.outcome == BatchOutcome::rolled_back);
  CHECK(steps.log == (end == "drain" ? "a !b -a " : "a b -a "));
  CHECK(nested == (end == "drain" ? weir::Errc::would_deadlock : weir::Errc{}));
  if (end != "drain") CHECK(code_of(report.results[3].error()) == weir::Errc::bus_closed);
}

TEST_CASE("batch: a saga runs with the handlers of its admission, and their end waits for it") {
  weir::sim::Simulator sim;
  weir::PriorityEventBus bus(sim);
  Steps steps;
  auto handler = std::make_unique<weir::Subscription>(bus.subscribe("t", steps.both()));
  auto watched = std::make_shared<int>(0);
  const std::weak_ptr<int> alive = watched;
  auto owner = bus.subscribe("t", weir::compensated([kept = std::move(watched)](weir::EventContext&) {},
                                                    [&steps](const weir::Event&) { steps.log += "-own "; }));
  weir::Subscription late;
  play(sim,
       [](weir::sim::Simulator& on, weir::PriorityEventBus& to, Steps& seen, weir::Subscription& leaves,
          weir::Subscription& comes, const std::weak_ptr<int>& lives) -> Task<> {
         auto batch = to.publish_batch(events_of({"a", "b", "!c"}), BatchMode::saga);
         weir::spawn(on, std::move(batch), asio::detached);
         co_await weir::sleep_for(500us);
         comes = to.subscribe("t", [&seen](weir::EventContext&) { seen.log += "late "; });
         co_await weir::sleep_for(1ms);
         co_await leaves.join();
         CHECK(seen.log == "a b !c -b -own -a ");
         leaves.reset();
         CHECK(lives.expired());
         co_await to.drain();
       }(sim, bus, steps, owner, late, alive));
}

TEST_CASE("batch: by completion token it gives its report, or why it was refused") {
  weir::sim::Simulator sim;
  weir::EventBus bus(sim);
  Steps steps;
  const auto handler = bus.subscribe("t", steps.both());
  weir::BatchReport report;
  std::exception_ptr refused;
  asio::cancellation_signal stop;
  std::optional<weir::BatchReport> stopped;
  bus.async_publish_batch(events_of({"a"}), BatchMode::saga,
                          [&](std::exception_ptr, weir::BatchReport r) { report = std::move(r); });
  bus.async_publish_batch(events_of({}), BatchMode::saga,
                          [&](std::exception_ptr e, weir::BatchReport) { refused = std::move(e); });
  play(sim, [](weir::EventBus& to, asio::cancellation_signal& signal, std::optional<weir::BatchReport>& out) -> Task<> {
    co_await weir::sleep_for(5ms);
    to.async_publish_batch(
        events_of({"b", "c"}), BatchMode::saga,
        asio::bind_cancellation_slot(signal.slot(), [&out](std::exception_ptr, weir::BatchReport r) { out = r; }));
    co_await weir::sleep_for(500us);
    signal.emit(asio::cancellation_type::all);
    co_await weir::sleep_for(5ms);
    co_await to.drain();
  }(bus, stop, stopped));
  CHECK(report);
  CHECK(code_of(refused) == weir::Errc::invalid_argument);
  REQUIRE(stopped);
  CHECK(stopped->outcome == BatchOutcome::rolled_back);
  CHECK(steps.log == "a b ");
}

TEST_CASE("batch: a hundred thousand events are undone as one is") {
  constexpr std::size_t count = 100'000;
  asio::thread_pool pool(2);
  weir::PriorityEventBus bus(pool, {.workers = 2, .capacity = count});
  std::atomic<std::size_t> done = 0;
  std::atomic<std::size_t> undone = 0;
  const auto handler = bus.subscribe("t", weir::compensated(
                                              [&done](weir::EventContext& event) {
                                                if (event.payload<std::size_t>() == count - 1) throw 1;
                                                ++done;
                                              },
                                              [&undone](const weir::Event&) { ++undone; }));
  for (const auto mode : {BatchMode::independent, BatchMode::atomic, BatchMode::saga}) {
    done = 0;
    std::vector<weir::Event> events;
    for (std::size_t i = 0; i < count; ++i) events.emplace_back("t", i);
    const auto report = weir::sync_wait(bus.publish_batch(std::move(events), mode));
    CHECK(report.size() == count);
    CHECK(report.completed == done);
    CHECK(undone == (mode == BatchMode::saga ? done.load() : 0));
  }
  weir::sync_wait(bus.drain());
}

TEST_CASE("batch: one of several priorities holds up others no longer than it waits itself") {
  weir::sim::Simulator sim;
  weir::PriorityEventBus bus(sim, {.workers = 1, .capacity = 2});
  bus.limit(weir::EventPriority::critical, 1);
  const auto slow = bus.subscribe("t", [](weir::EventContext&) -> Task<> { co_await weir::sleep_for(10ms); });
  play(sim, [](weir::sim::Simulator& on, weir::PriorityEventBus& to) -> Task<> {
    for (int i = 0; i < 2; ++i) {
      co_await to.publish("t", i, weir::EventPriority::critical);
      co_await weir::sleep_for(100us);
    }
    std::vector<weir::Event> events;
    events.emplace_back("t", 2, weir::EventPriority::critical);
    events.emplace_back("t", 3);
    auto batch = to.publish_batch(std::move(events), BatchMode::atomic);
    weir::spawn(on, std::move(batch), asio::detached);
    co_await weir::sleep_for(100us);
    co_await to.publish("t", 4);
    CHECK(on.elapsed() == 10ms);
    co_await to.drain();
  }(sim, bus));
  CHECK(bus.stats().completed == 5);
}
