#include "support/log_summary.hpp"

#include <algorithm>

#include "support/catch.hpp"

using example::LogSummary;
using example::read_log_record;

namespace {

const std::vector<std::string> lines = {
    "h - - [17/May/2015:10:05:03 +0000] \"GET /a HTTP/1.1\" 200 10",
    "h - - [17/May/2015:10:05:03 +0000] \"GET /b HTTP/1.1\" 404 -",
    "not a line",
    "h - - [17/May/2015:09:05:03 +0000] \"GET /a?x HTTP/1.1\" 200 5 \"-\" \"-\"",
    "h - - [17/May/2015:10:05:03 +0000] \"GET /b HTTP/1.1\" 200 1",
    "",
};

LogSummary summary_of(const std::vector<std::size_t>& order, bool merge_queries = false) {
  LogSummary summary;
  for (const std::size_t i : order) summary.add(read_log_record(i + 1, lines[i], merge_queries));
  return summary;
}

}  // namespace

TEST_CASE("log summary: json has the figures in their fixed order") {
  CHECK(to_json(summary_of({0, 1, 2, 3, 4, 5})).dump() ==
        R"({"lines":6,"malformed":2,"by_status":{"200":3,"404":1},"by_hour":{"09":1,"10":3},"bytes":16,)"
        R"("top_paths":[{"path":"/b","requests":2,"bytes":1},{"path":"/a","requests":1,"bytes":10},)"
        R"({"path":"/a?x","requests":1,"bytes":5}]})");
}

TEST_CASE("log summary: queries can be merged") {
  const auto json = to_json(summary_of({0, 1, 2, 3, 4, 5}, true));
  CHECK(json["top_paths"].dump() == R"([{"path":"/a","requests":2,"bytes":15},{"path":"/b","requests":2,"bytes":1}])");
}

TEST_CASE("log summary: the order of the records does not show") {
  const LogSummary first = summary_of({0, 1, 2, 3, 4, 5});
  std::vector<std::size_t> order = {0, 1, 2, 3, 4, 5};
  while (std::next_permutation(order.begin(), order.end())) REQUIRE(summary_of(order) == first);
  CHECK_FALSE(summary_of({0, 1, 2, 3, 4}) == first);
}

TEST_CASE("log summary: only the first malformed lines are kept, but all are counted") {
  LogSummary summary;
  for (std::uint64_t line = 20; line > 0; --line) summary.add(read_log_record(line, "bad\x1b", false));
  CHECK(summary.malformed() == 20);
  REQUIRE(summary.first_malformed().size() == LogSummary::shown_malformed);
  CHECK(summary.first_malformed().begin()->first == 1);
  CHECK(summary.first_malformed().rbegin()->first == LogSummary::shown_malformed);
  const std::string text = to_text(summary);
  CHECK(text.find("Malformed lines: 20\n  line 1: there is no host: bad?\n") != std::string::npos);
  CHECK(text.find("line 6") == std::string::npos);
  CHECK(text.find("and more") != std::string::npos);
}

TEST_CASE("log summary: nothing at all is a summary as well") {
  CHECK(to_json(LogSummary()).dump() ==
        R"({"lines":0,"malformed":0,"by_status":{},"by_hour":{},"bytes":0,"top_paths":[]})");
  CHECK(to_text(LogSummary()).find("0 lines, 0 bytes sent\n") == 0);
}
