#include <weir/bus/batch_ticket.hpp>

#include <chrono>
#include <string>
#include <vector>

#include <weir/bus/priority_event_bus.hpp>

#include "support/catch.hpp"

#include "bus/scene.hpp"

using namespace std::chrono_literals;
using weir::CancelAnswer;
using weir::Task;

TEST_CASE("batch_ticket: reaches the events of a batch, from their admission to the end") {
  weir::sim::Simulator sim;
  weir::PriorityEventBus bus(sim);
  const auto handler = bus.subscribe("t", [](weir::EventContext&) -> Task<> { co_await weir::sleep_for(10ms); });
  CHECK_FALSE(weir::BatchTicket());
  CHECK(weir::BatchTicket().size() == 0);
  weir_test::play(sim, [](weir::sim::Simulator& on, weir::PriorityEventBus& to) -> Task<> {
    std::vector<weir::Event> events;
    for (int i = 0; i < 3; ++i) events.emplace_back("t", i);
    auto batch = to.publish_batch(std::move(events), weir::BatchMode::atomic);
    const auto ticket = batch.ticket();
    CHECK(ticket.id() == batch.id());
    CHECK(ticket.size() == 3);
    CHECK_FALSE(ticket.event(0));
    CHECK_THROWS_AS(ticket.event(3), weir::Error);

    weir::BatchReport report;
    weir::spawn(on, std::move(batch), [&report](std::exception_ptr, weir::BatchReport r) { report = std::move(r); });
    co_await weir::sleep_for(1ms);
    CHECK(ticket.event(2).id() == 3);
    const auto token = ticket.event(0).token();
    CHECK_FALSE(token.cancelled());
    CHECK(to.cancel(ticket.event(1)) == CancelAnswer::cancelled);
    CHECK(ticket.event(0).cancel() == CancelAnswer::signalled);
    CHECK(token.cancelled());
    const auto last = ticket.event(2);
    const auto outcome = co_await last.outcome();
    CHECK(outcome == weir::EventOutcome::completed);
    CHECK(last.cancel() == CancelAnswer::too_late);
    co_await to.drain();
    CHECK(report.completed == 1);
    CHECK(report.results[0].outcome() == weir::EventOutcome::cancelled);
    CHECK(report.results[1].outcome() == weir::EventOutcome::cancelled);
  }(sim, bus));
}
