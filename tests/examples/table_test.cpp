#include "support/table.hpp"

#include <map>

#include "support/catch.hpp"

using example::grouped;
using example::shown;
using example::Table;
using example::top_of;

TEST_CASE("table: numbers stand to the right, the last column to the left") {
  Table table({"n", "name"});
  table.add({"1,000", "a"});
  table.add({"7", "longer"});
  CHECK(table.text() == "      n  name\n  1,000  a\n      7  longer\n");
}

TEST_CASE("table: numbers are grouped by three") {
  CHECK(grouped(0) == "0");
  CHECK(grouped(999) == "999");
  CHECK(grouped(1000) == "1,000");
  CHECK(grouped(123456) == "123,456");
  CHECK(grouped(18446744073709551615U) == "18,446,744,073,709,551,615");
}

TEST_CASE("table: text is cut at a character, and cannot control the terminal") {
  CHECK(shown("abc", 3) == "abc");
  CHECK(shown("abcd", 3) == "abc...");
  CHECK(shown("a\x1b[2Jb\n", 10) == "a?[2Jb?");
  CHECK(shown("a\xc3\xa4z", 2) == "a...");
  CHECK(shown("a\xc3\xa4z", 4) == "a\xc3\xa4z");
}

TEST_CASE("table: the greatest come first, equals by key, and a short map is no error") {
  const std::map<std::string, int> counts = {{"a", 1}, {"b", 3}, {"c", 3}, {"d", 2}};
  const std::vector<std::pair<std::string, int>> top = {{"b", 3}, {"c", 3}, {"d", 2}};
  CHECK(top_of(counts, 3) == top);
  CHECK(top_of(counts, 10).size() == 4);
  CHECK(top_of(std::map<int, int>(), 10).empty());
}
