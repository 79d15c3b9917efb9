#include <weir/bus/bus_options.hpp>

#include "support/catch.hpp"

TEST_CASE("bus_options: figures of several priorities are added up") {
  weir::BusStats a;
  a.admitted = 3;
  a.completed = 2;
  a.queued = 1;
  a.longest_wait = std::chrono::seconds(2);
  weir::BusStats b = a;
  b.longest_wait = std::chrono::seconds(1);
  a.add(b);
  CHECK(a.admitted == 6);
  CHECK(a.completed == 4);
  CHECK(a.queued == 2);
  CHECK(a.longest_wait == std::chrono::seconds(2));
}

TEST_CASE("bus_options: outcomes have names, and answers are compared") {
  CHECK(weir::name_of(weir::EventOutcome::timed_out) == "timed out");
  CHECK(weir::name_of(weir::EventOutcome::discarded) == "discarded");
  const weir::CancelResult late{weir::CancelAnswer::too_late, weir::EventOutcome::completed};
  CHECK(late == weir::CancelAnswer::too_late);
  CHECK_FALSE(late == weir::CancelAnswer::not_found);
  CHECK_FALSE(weir::PublishResult{0, weir::Errc::queue_full});
}
