#include <weir/bus/event_context.hpp>

#include <string>

#include "support/catch.hpp"

namespace {

struct Running : weir::detail::RunningEvent {
  weir::CancellationToken token() override { return source.token(); }
  weir::CancellationSource source;
};

}  // namespace

TEST_CASE("event_context: shows the event, its token and its end") {
  const weir::Event event("a.b", std::string("x"), weir::EventPriority::low);
  Running running;
  running.event = &event;
  weir::EventContext context(running);
  CHECK(context.topic() == "a.b");
  CHECK(context.payload<std::string>() == "x");
  CHECK(context.priority() == weir::EventPriority::low);
  CHECK_THROWS_AS(context.payload<int>(), weir::Error);
  CHECK_FALSE(context.cancelled());
  running.cut = true;
  CHECK(context.cancelled());
  CHECK_FALSE(context.token().cancelled());
  running.source.cancel();
  CHECK(context.token().cancelled());
  context.stop_propagation();
  CHECK(running.stopped);
}
