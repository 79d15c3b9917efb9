#include <weir/bus/batch.hpp>
// The same tests run on both buses.
#include <weir/bus/event_bus.hpp>
#include <weir/bus/priority_event_bus.hpp>

#include <chrono>
#include <span>
#include <string>
#include <vector>

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
