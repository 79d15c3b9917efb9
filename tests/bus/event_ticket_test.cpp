#include <weir/bus/event_ticket.hpp>

#include <weir/bus/priority_event_bus.hpp>

#include <string>

#include "support/catch.hpp"

#include "bus/scene.hpp"

using weir::Task;

TEST_CASE("event_ticket: one of no event says so") {
  const weir::EventTicket none;
  CHECK_FALSE(none);
  CHECK(none.cancel() == weir::CancelAnswer::not_found);
  CHECK_FALSE(none.token().connected());
  CHECK_THROWS_AS(none.outcome(), weir::Error);
}

TEST_CASE("event_ticket: tells each that asks how the event ended, and outlives the bus") {
  weir::sim::Simulator sim;
  weir::EventTicket ticket;
  int told = 0;
  {
    weir::PriorityEventBus bus(sim);
    const auto handler = bus.subscribe("t", [](weir::EventContext&) -> Task<> {
      co_await weir::sleep_for(std::chrono::milliseconds(1));
      throw std::runtime_error("no");
    });
    const auto ask = [](weir::EventTicket of, int& count) -> Task<> {
      const weir::EventOutcome outcome = co_await of.outcome();
      if (outcome == weir::EventOutcome::failed) ++count;
    };
    weir_test::play(sim,
                    [](weir::sim::Simulator& on, weir::PriorityEventBus& to, weir::EventTicket& kept, auto& asks,
                       int& count) -> Task<> {
                      kept = co_await to.publish_cancellable("t", 1);
                      weir::spawn(on, asks(kept, count), asio::detached);
                      weir::spawn(on, asks(kept, count), asio::detached);
                      co_await to.drain();
                    }(sim, bus, ticket, ask, told));
  }
  CHECK(told == 2);
  CHECK(ticket.id() == 1);
  CHECK(ticket.cancel() == weir::CancelAnswer::too_late);
  CHECK(ticket.cancel().outcome == weir::EventOutcome::failed);
}
