#include <weir/bus/dead_event.hpp>

#include <stdexcept>

#include "support/catch.hpp"

TEST_CASE("dead_event: keeps the event and what was thrown") {
  weir::DeadEvent dead(weir::Event("a", 7), std::make_exception_ptr(std::runtime_error("why")));
  CHECK(dead.event().payload().get<int>() == 7);
  CHECK_THROWS_WITH(std::rethrow_exception(dead.error()), "why");
  const weir::Event taken = std::move(dead.event());
  CHECK(taken.type() == "a");
}
