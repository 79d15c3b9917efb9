#include <weir/bus/topic.hpp>

#include <string>

#include "support/catch.hpp"

using weir::topic_matches;

TEST_CASE("topic: a pattern chooses level by level") {
  CHECK(topic_matches("a.b", "a.b"));
  CHECK_FALSE(topic_matches("a.b", "a.bc"));
  CHECK_FALSE(topic_matches("a.b", "a"));
  CHECK_FALSE(topic_matches("a", "a.b"));
  CHECK(topic_matches("*", "a"));
  CHECK_FALSE(topic_matches("*", "a.b"));
  CHECK(topic_matches("a.*.c", "a.b.c"));
  CHECK_FALSE(topic_matches("a.*.c", "a.b.d"));
  CHECK(topic_matches(">", "a"));
  CHECK(topic_matches(">", "a.b.c"));
  CHECK(topic_matches("a.>", "a.b.c"));
  CHECK_FALSE(topic_matches("a.>", "a"));
  CHECK(topic_matches("*.b.>", "a.b.c"));
  STATIC_REQUIRE(topic_matches("disk.*", "disk.full"));
}

TEST_CASE("topic: a typed topic is checked when it is made") {
  constexpr weir::Topic<int> good{"a.b"};
  STATIC_REQUIRE(good.name() == "a.b");
  CHECK_THROWS_WITH(weir::Topic<int>("a..b"), Catch::Matchers::Contains("it has an empty level"));
  CHECK_THROWS_WITH(weir::Topic<int>("a.*"), Catch::Matchers::Contains("wildcards are for subscriptions"));
  CHECK_THROWS_WITH(weir::Topic<int>(""), Catch::Matchers::Contains("it is empty"));
  CHECK_THROWS_WITH(weir::Topic<int>("a b"), Catch::Matchers::Contains("space"));
}
