#include "support/strategy.hpp"

#include "support/catch.hpp"

using example::parse_strategy;
using example::Strategy;

TEST_CASE("strategy: what is written is what is read") {
  for (const std::string_view text : {"serial", "parallel:1", "parallel:4", "parallel:1024", "parallel:2:ordered"}) {
    CHECK(to_string(parse_strategy(text)) == text);
  }
  CHECK(parse_strategy("serial").serial());
  CHECK(parse_strategy("parallel:3").workers == 3);
  CHECK_FALSE(parse_strategy("parallel:3").ordered);
  CHECK(parse_strategy("parallel:3:ordered").ordered);
}

TEST_CASE("strategy: what cannot be is refused, with its name in the message") {
  for (const std::string text : {"",
                                 "Serial",
                                 "serial:2",
                                 "serial ",
                                 "quick",
                                 "parallel",
                                 "parallel:",
                                 "parallel:0",
                                 "parallel:-1",
                                 "parallel:+2",
                                 "parallel:x",
                                 "parallel:4x",
                                 "parallel:1.5",
                                 "parallel: 4",
                                 "parallel4",
                                 "parallel:1025",
                                 "parallel:99999999999999999999",
                                 "parallel:ordered",
                                 "parallel::ordered",
                                 "parallel:2:ordered:ordered"}) {
    INFO("text: " << text);
    REQUIRE_THROWS_AS(parse_strategy(text), std::invalid_argument);
    try {
      static_cast<void>(parse_strategy(text));
    } catch (const std::invalid_argument& error) {
      CHECK(std::string(error.what()).find("'" + text + "'") != std::string::npos);
      CHECK(std::string(error.what()).find('\n') == std::string::npos);
    }
  }
}

TEST_CASE("strategy: the message says which part was wrong") {
  const auto message = [](std::string_view text) -> std::string {
    try {
      static_cast<void>(parse_strategy(text));
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "accepted";
  };
  CHECK(message("quick") == "there is no strategy 'quick': it is serial or parallel:N");
  CHECK(message("parallel") == "'parallel' does not say how many workers, as in parallel:4");
  CHECK(message("parallel:x") == "'x' in 'parallel:x' is not a number of workers");
  CHECK(message("parallel:0") == "'parallel:0' asks for 0 workers: it can be 1 to 1024");
  CHECK(message("parallel:-1") == "'-1' in 'parallel:-1' is not a number of workers");
}
