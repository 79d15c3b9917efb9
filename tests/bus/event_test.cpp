#include <weir/bus/event.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "support/catch.hpp"
#include "support/counted.hpp"

using namespace std::chrono_literals;
using weir::Event;

TEST_CASE("event: keeps what it was given, and moves it") {
  Event event("a.b", std::string("payload"), weir::EventPriority::high);
  event.source(weir::EventOrigin::plugin, "spell").metadata("lang", "en").key("k").time_to_live(5s).run_timeout(1s);
  Event moved(std::move(event));
  CHECK(moved.type() == "a.b");
  CHECK(moved.id() == 0);
  CHECK(moved.payload().get<std::string>() == "payload");
  CHECK(moved.priority() == weir::EventPriority::high);
  CHECK(moved.origin() == weir::EventOrigin::plugin);
  CHECK(moved.source_name() == "spell");
  CHECK(moved.metadata("lang") == "en");
  CHECK(moved.metadata("none").empty());
  CHECK(moved.key() == "k");
  CHECK(moved.time_to_live() == 5s);
  CHECK(moved.run_timeout() == 1s);
  Event other("c");
  CHECK(other.metadata().empty());
  CHECK_FALSE(other.time_to_live());
  other = std::move(moved);
  CHECK(other.type() == "a.b");
  CHECK(other.payload().get<std::string>() == "payload");
}

TEST_CASE("event: a payload is asked for by its type") {
  const Event number("n", 7);
  CHECK(*number.payload().get_if<int>() == 7);
  CHECK(number.payload().get_if<long>() == nullptr);
  CHECK_THROWS_AS(number.payload().get<std::string>(), weir::Error);
  const Event none("n");
  CHECK_FALSE(none.payload().has_value());
  CHECK(none.payload().type() == typeid(void));
  CHECK_THROWS_WITH(none.payload().get<int>(), Catch::Matchers::Contains("carries nothing"));
  const Event pair("p", std::in_place_type<std::pair<int, std::string>>, 1, "one");
  CHECK(pair.payload().get<std::pair<int, std::string>>().second == "one");
}

TEST_CASE("event: what cannot be is refused") {
  CHECK_THROWS_AS(Event("a.>"), weir::Error);
  CHECK_THROWS_AS(Event("a..b", 1), weir::Error);
  Event event("a");
  CHECK_THROWS_WITH(event.time_to_live(0s), Catch::Matchers::Contains("time to live"));
  CHECK_THROWS_WITH(event.run_timeout(-1s), Catch::Matchers::Contains("run timeout"));
}
