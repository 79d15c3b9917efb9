#include <weir/bus/priority_event_bus.hpp>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "support/catch.hpp"

#include "bus/scene.hpp"

using namespace std::chrono_literals;
using weir::CancelAnswer;
using weir::EventOutcome;
using weir::EventPriority;
using weir::PriorityEventBus;
using weir::Task;
using weir_test::note;
using weir_test::play;

namespace {

/// A handler that takes a millisecond.
auto slow_note(std::string& log) {
  return [&log](weir::EventContext& event) -> Task<> {
    log += event.payload<std::string>() + " ";
    co_await weir::sleep_for(1ms);
  };
}

Task<> publish_mixed(PriorityEventBus& to) {
  constexpr EventPriority priorities[] = {EventPriority::low, EventPriority::normal, EventPriority::high,
                                          EventPriority::critical};
  for (int round = 1; round <= 2; ++round) {
    for (const EventPriority priority : priorities) {
      auto text = std::string(1, weir::name_of(priority)[0]) + std::to_string(round);
      co_await to.publish("t", std::move(text), priority);
    }
  }
}

}  // namespace

TEST_CASE("priority_event_bus: the most urgent starts first, and among equals the first admitted") {
  weir::sim::Simulator sim;
  PriorityEventBus bus(sim);
  std::string log;
  const auto handler = bus.subscribe("t", slow_note(log));
  play(sim, [](PriorityEventBus& to) -> Task<> {
    co_await to.publish("t", std::string("first"), EventPriority::low);
    co_await weir::sleep_for(100us);
    co_await publish_mixed(to);
    co_await to.drain();
  }(bus));
  CHECK(log == "first c1 c2 h1 h2 n1 n2 l1 l2 ");
  CHECK(bus.stats(EventPriority::critical).completed == 2);
  CHECK(bus.stats(EventPriority::low).completed == 3);
  CHECK(bus.stats(EventPriority::low).longest_wait == 9ms - 100us - 1ms);
}

TEST_CASE("priority_event_bus: one of so many starts is the oldest's, so that nothing starves") {
  weir::sim::Simulator sim;
  PriorityEventBus bus(sim, {.workers = 1, .quota = 3});
  std::string log;
  const auto handler = bus.subscribe("t", note(log));
  play(sim, [](PriorityEventBus& to) -> Task<> {
    // Admitted in one go: the worker has no turn between.
    (void)to.try_publish("t", std::string("low"), EventPriority::low);
    for (int i = 0; i < 6; ++i) (void)to.try_publish("t", std::to_string(i), EventPriority::critical);
    co_await to.drain();
  }(bus));
  CHECK(log == "0 1 2 low 3 4 5 ");
}

TEST_CASE("priority_event_bus: normal and low events leave a worker for the urgent") {
  weir::sim::Simulator sim;
  PriorityEventBus bus(sim, {.workers = 3});
  int most = 0;
  int now = 0;
  std::chrono::nanoseconds urgent{};
  const auto busy = bus.subscribe("t", [&](weir::EventContext&) -> Task<> {
    most = std::max(most, ++now);
    co_await weir::sleep_for(10ms);
    --now;
  });
  const auto alarm = bus.subscribe("alarm", [&](weir::EventContext&) { urgent = sim.elapsed(); });
  play(sim, [](PriorityEventBus& to) -> Task<> {
    for (int i = 0; i < 8; ++i) co_await to.publish("t", i, i % 2 ? EventPriority::low : EventPriority::normal);
    co_await weir::sleep_for(1ms);
    co_await to.publish("alarm", 0, EventPriority::high);
    co_await to.drain();
  }(bus));
  CHECK(most == 2);
  CHECK(urgent == 1ms);
}

TEST_CASE("priority_event_bus: cancelling answers what the event is") {
  weir::sim::Simulator sim;
  PriorityEventBus bus(sim);
  PriorityEventBus other(sim);
  std::string log;
  const auto handler = bus.subscribe("t", [&](weir::EventContext& event) -> Task<> {
    log += event.payload<std::string>() + " ";
    co_await weir::sleep_for(5ms);
    log += "done ";
  });
  const auto second = bus.subscribe("t", [&](weir::EventContext&) { log += "second "; });
  play(sim, [](PriorityEventBus& to, PriorityEventBus& another) -> Task<> {
    const auto running = co_await to.publish_cancellable("t", std::string("running"));
    const auto queued = co_await to.publish_cancellable("t", std::string("queued"), EventPriority::low);
    const auto last = co_await to.publish_cancellable("t", std::string("last"));
    co_await weir::sleep_for(1ms);
    CHECK(another.cancel(queued) == CancelAnswer::not_found);
    CHECK(to.cancel(queued) == CancelAnswer::cancelled);
    CHECK(to.stats(EventPriority::low).queued == 0);
    CHECK(to.stats(EventPriority::low).cancelled == 1);
    CHECK(to.cancel(queued).outcome == EventOutcome::cancelled);
    CHECK_FALSE(running.token().cancelled());
    CHECK(to.cancel(running) == CancelAnswer::signalled);
    CHECK(running.token().cancelled());
    CHECK(to.cancel(running) == CancelAnswer::signalled);
    const EventOutcome ended = co_await running.outcome();
    CHECK(ended == EventOutcome::cancelled);
    const EventOutcome completed = co_await last.outcome();
    CHECK(completed == EventOutcome::completed);
    const auto late = co_await to.cancel_event(last);
    CHECK(late == CancelAnswer::too_late);
    CHECK(late.outcome == EventOutcome::completed);
    const weir::EventTicket none;
    CHECK(to.cancel(none) == CancelAnswer::not_found);
    co_await to.drain();
    co_await another.drain();
  }(bus, other));
  CHECK(log == "running last done second ");
}

TEST_CASE("priority_event_bus: each priority has its own room, and critical is never dropped") {
  weir::sim::Simulator sim;
  PriorityEventBus bus(sim, {.workers = 1, .capacity = 1, .overflow = weir::Overflow::drop_oldest});
  bus.limit(EventPriority::low, 2, weir::Overflow::drop_newest);
  CHECK_THROWS_AS(bus.limit(EventPriority::low, 0), weir::Error);
  std::string log;
  const auto handler = bus.subscribe("t", slow_note(log));
  play(sim, [](weir::sim::Simulator& on, PriorityEventBus& to) -> Task<> {
    co_await to.publish("t", std::string("first"));
    co_await weir::sleep_for(100us);
    for (const auto* const text : {"l1", "l2", "l3"}) co_await to.publish("t", std::string(text), EventPriority::low);
    for (const auto* const text : {"n1", "n2"}) co_await to.publish("t", std::string(text));
    co_await to.publish("t", std::string("c1"), EventPriority::critical);
    CHECK(to.try_publish("t", std::string("c"), EventPriority::critical).error == weir::Errc::queue_full);
    CHECK(on.elapsed() == 100us);
    co_await to.publish("t", std::string("c2"), EventPriority::critical);
    CHECK(on.elapsed() == 1ms);
    co_await to.drain();
  }(sim, bus));
  CHECK(log == "first c1 c2 n2 l1 l2 ");
  CHECK(bus.stats(EventPriority::low).dropped == 1);
  CHECK(bus.stats(EventPriority::normal).dropped == 1);
}

TEST_CASE("priority_event_bus: any ordered priority will do") {
  weir::sim::Simulator sim;
  weir::BasicPriorityEventBus<int> bus(sim, {.workers = 1, .quota = 0});
  std::string log;
  const auto handler = bus.subscribe("t", note(log));
  play(sim, [](weir::BasicPriorityEventBus<int>& to) -> Task<> {
    for (const int priority : {5, 3, 9, 3, 1, 7, 5, 2, 8, 5}) {
      (void)to.try_publish(weir::Event("t", std::to_string(priority)), priority);
    }
    co_await to.drain();
  }(bus));
  CHECK(log == "1 2 3 3 5 5 5 7 8 9 ");
}

TEST_CASE("priority_event_bus: any ordered priority, by completion token") {
  weir::sim::Simulator sim;
  weir::BasicPriorityEventBus<int> bus(sim, {.workers = 1});
  std::string log;
  weir::EventId number = 0;
  std::optional<weir::EventOutcome> outcome;
  const auto handler = bus.subscribe("t", note(log));
  play(sim, [](weir::BasicPriorityEventBus<int>& to, weir::EventId& id, auto& end) -> Task<> {
    to.async_publish(weir::Event("t", std::string("plain")), 2, [&id](std::exception_ptr, weir::EventId n) { id = n; });
    co_await weir::sleep_for(10ms);
    weir::EventTicket ticket;
    to.async_publish_cancellable(weir::Event("t", std::string("cancellable")), 1,
                                 [&ticket](std::exception_ptr, weir::EventTicket given) { ticket = given; });
    co_await weir::sleep_for(10ms);
    end = co_await ticket.outcome();
    co_await to.drain();
  }(bus, number, outcome));
  CHECK(log == "plain cancellable ");
  CHECK(number == 1);
  CHECK(outcome == weir::EventOutcome::completed);
}

TEST_CASE("priority_event_bus: a token given with the event cancels it, queued or running") {
  weir::sim::Simulator sim;
  PriorityEventBus bus(sim);
  int started = 0;
  int cut = 0;
  const auto handler = bus.subscribe("t", [&](weir::EventContext&) -> Task<> {
    ++started;
    try {
      co_await weir::sleep_for(1h);
    } catch (const weir::Error&) {
      ++cut;
      throw;
    }
  });
  play(sim, [](weir::sim::Simulator& on, PriorityEventBus& to) -> Task<> {
    weir::CancellationSource source;
    for (int i = 0; i < 2; ++i) {
      weir::Event event("t");
      event.token(source.token());
      co_await to.publish(std::move(event));
    }
    co_await weir::sleep_for(1ms);
    source.cancel();
    co_await to.drain();
    CHECK(on.elapsed() == 1ms);
  }(sim, bus));
  CHECK(started == 1);
  CHECK(cut == 1);
  CHECK(bus.stats().cancelled == 2);
}

TEST_CASE("priority_event_bus: each event has a token of its own") {
  weir::sim::Simulator sim;
  weir::PriorityEventBus bus(sim, {.workers = 1});
  std::vector<weir::CancellationToken> tokens;
  const auto handler = bus.subscribe("t", [&](weir::EventContext& event) -> Task<> {
    tokens.push_back(event.token());
    if (event.payload<int>() == 1) co_await weir::sleep_for(10ms);
  });
  play(sim, [](weir::PriorityEventBus& to) -> Task<> {
    weir::Event late("t", 1);
    late.run_timeout(1ms);
    co_await to.publish(std::move(late));
    co_await to.publish("t", 2);
    co_await to.drain();
  }(bus));
  REQUIRE(tokens.size() == 2);
  CHECK(tokens[0].cancelled());
  CHECK_FALSE(tokens[1].cancelled());
}

TEST_CASE(
    "priority_event_bus: a linked token cancels a whole operation: what is queued, what runs, and on another bus") {
  weir::sim::Simulator sim;
  PriorityEventBus bus(sim);
  weir::EventBus other(sim);
  weir::CancellationSource program;
  const auto operation = weir::CancellationSource::linked_to(program.token());
  std::string log;
  const auto one = bus.subscribe("t", slow_note(log));
  const auto two = other.subscribe("t", slow_note(log));
  const auto of_it = [&operation](std::string text) {
    weir::Event event("t", std::move(text));
    event.token(operation.token());
    return event;
  };
  play(sim, [](PriorityEventBus& to, weir::EventBus& too, auto make, weir::CancellationSource& source) -> Task<> {
    co_await to.publish(make("running"));
    co_await to.publish(make("queued"));
    co_await to.publish("t", std::string("stranger"));
    co_await too.publish(make("elsewhere"));
    co_await weir::sleep_for(100us);
    source.cancel();
    co_await to.drain();
    co_await too.drain();
  }(bus, other, of_it, program));
  CHECK(log.find("queued") == std::string::npos);
  CHECK(log.find("stranger") != std::string::npos);
  CHECK(bus.stats().cancelled == 2);
  CHECK(bus.stats().completed == 1);
  CHECK(other.stats().cancelled == 1);
}

TEST_CASE("priority_event_bus: cancelled by its token, queued, aside or running, and by completion token") {
  weir::sim::Simulator sim;
  PriorityEventBus bus(sim);
  std::string log;
  const auto handler = bus.subscribe("t", slow_note(log));
  std::vector<CancelAnswer> answers;
  const auto take = [&answers](std::exception_ptr, weir::CancelResult result) { answers.push_back(result.answer); };
  bool drained = false;
  play(sim, [](PriorityEventBus& to, std::vector<CancelAnswer>& seen, auto done, bool& ended) -> Task<> {
    const auto keyed = [](std::string text) {
      weir::Event event("t", std::move(text));
      event.key("k");
      return event;
    };
    weir::Event first = keyed("first");
    const auto running = co_await to.publish_cancellable(std::move(first));
    weir::Event second = keyed("second");
    const auto aside = co_await to.publish_cancellable(std::move(second));
    const auto queued = co_await to.publish_cancellable("t", std::string("third"), EventPriority::low);
    co_await weir::sleep_for(100us);
    const auto of_aside = co_await to.cancel_event(aside.token());
    seen.push_back(of_aside.answer);
    const auto of_queued = co_await to.cancel_event(queued.token());
    seen.push_back(of_queued.answer);
    to.async_cancel_event(running.token(), done);
    co_await weir::sleep_for(10ms);
    const auto of_ended = to.cancel(running.token());
    seen.push_back(of_ended.answer);
    const auto of_none = to.cancel(weir::CancellationToken());
    seen.push_back(of_none.answer);
    to.async_publish_cancellable(
        weir::Event("t", std::string("fourth")),
        [&to, done](std::exception_ptr, weir::EventTicket t) { to.async_cancel_event(std::move(t), done); });
    co_await weir::sleep_for(10ms);
    to.async_drain(1s, [&ended](std::exception_ptr, weir::DrainReport report) { ended = report.complete; });
  }(bus, answers, take, drained));
  CHECK(answers == std::vector<CancelAnswer>{CancelAnswer::cancelled, CancelAnswer::cancelled, CancelAnswer::signalled,
                                             CancelAnswer::not_found, CancelAnswer::not_found,
                                             CancelAnswer::signalled});
  CHECK(drained);
}
