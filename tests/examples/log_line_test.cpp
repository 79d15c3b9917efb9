#include "support/log_line.hpp"

#include "support/catch.hpp"

using example::LogFault;
using example::LogHit;
using example::parse_log_line;
using example::request_path;
using example::without_query;

namespace {

LogHit hit(std::string_view line) {
  INFO("line: " << line);
  const auto parsed = parse_log_line(line);
  if (const auto* const fault = std::get_if<LogFault>(&parsed)) FAIL("malformed: " << fault->reason);
  return std::get<LogHit>(parsed);
}

std::string_view fault(std::string_view line) {
  INFO("line: " << line);
  const auto parsed = parse_log_line(line);
  REQUIRE(std::holds_alternative<LogFault>(parsed));
  return std::get<LogFault>(parsed).reason;
}

const std::string start = "10.0.0.1 - - [17/May/2015:10:05:03 +0000] ";

std::string at(std::string_view time) { return "10.0.0.1 - - [" + std::string(time) + "] \"GET / HTTP/1.1\" 200 1"; }

}  // namespace

TEST_CASE("log line: the common and the combined format give the same hit") {
  for (const std::string tail :
       {"", " \"-\" \"-\"", " \"http://a.example/\" \"Mozilla/5.0 (X11; \\\"odd\\\" [b])\"", " \"\" \"\"", "\r"}) {
    const LogHit parsed = hit(start + "\"GET /a/b.html HTTP/1.1\" 404 5043" + tail);
    CHECK(parsed.path == "/a/b.html");
    CHECK(parsed.status == 404);
    CHECK(parsed.bytes == 5043);
    CHECK(parsed.hour == 10);
  }
}

TEST_CASE("log line: hosts are any word, and users may have spaces") {
  const std::string rest = " [01/Jan/2024:00:59:60 -0330] \"GET / HTTP/1.0\" 200 7";
  for (const std::string who : {"2001:db8::1 - -", "[::1] - -", "www.example.org - frank", "::ffff:1.2.3.4 id \"\"",
                                "10.0.0.1 - frank von hand", "- - -"}) {
    CHECK(hit(who + rest).bytes == 7);
    CHECK(hit(who + rest).hour == 0);
  }
  CHECK(fault("10.0.0.1 -" + rest) == "there is no user before a [time]");
  CHECK(fault("10.0.0.1" + rest) == "there is no user before a [time]");
  CHECK(fault("10.0.0.1  - -" + rest) == "there is no identity after the host");
  CHECK(fault(" 10.0.0.1 - -" + rest) == "there is no host");
  CHECK(fault("10.0.0.1") == "there is no host");
}

TEST_CASE("log line: no bytes count as none, and a count is exact to 64 bits") {
  CHECK(hit(start + "\"GET / HTTP/1.1\" 304 -").bytes == 0);
  CHECK(hit(start + "\"GET / HTTP/1.1\" 200 0").bytes == 0);
  CHECK(hit(start + "\"GET / HTTP/1.1\" 200 18446744073709551615").bytes == 18446744073709551615U);
  const std::string_view reason = "the bytes are neither a number nor -";
  for (const std::string bytes : {" 18446744073709551616", " -1", " +1", " 1.5", " 0x10", " 12k", " --", " ", ""}) {
    CHECK(fault(start + "\"GET / HTTP/1.1\" 200" + bytes) == reason);
  }
}

TEST_CASE("log line: a status has three digits") {
  CHECK(hit(start + "\"GET / HTTP/1.1\" 100 1").status == 100);
  CHECK(hit(start + "\"GET / HTTP/1.1\" 499 1").status == 499);
  CHECK(hit(start + "\"GET / HTTP/1.1\" 999 1").status == 999);
  for (const std::string status : {"99", "099", "-", "2000", "20x", "-20", "", " 200"}) {
    CHECK(fault(start + "\"GET / HTTP/1.1\" " + status + " 1") == "the status is not a number from 100 to 999");
  }
  CHECK(fault(start + "\"GET / HTTP/1.1\"") == "the status is not a number from 100 to 999");
}

TEST_CASE("log line: a time that the calendar or the clock lacks is malformed") {
  CHECK(hit(at("29/Feb/2024:23:59:59 +1400")).hour == 23);
  CHECK(hit(at("31/Dec/1999:00:00:00 -0800")).hour == 0);
  for (const std::string_view time :
       {"29/Feb/2023:10:00:00 +0000", "31/Apr/2024:10:00:00 +0000", "00/May/2024:10:00:00 +0000",
        "17/may/2024:10:00:00 +0000", "17/Foo/2024:10:00:00 +0000", "17/05/2024:10:00:00 +0000",
        "17/May/2024:24:00:00 +0000", "17/May/2024:10:60:00 +0000", "17/May/2024:10:00:61 +0000",
        "17/May/2024:10:00:00",       "17/May/2024:10:00:00 0000",  "17/May/2024:10:00:00 +1500",
        "17/May/2024:10:00:00 +0060", "17/May/2024:10:00:00 +000",  "17/May/2024 10:00:00 +0000",
        "7/May/2024:10:00:00 +0000",  "-7/May/2024:10:00:00 +0000", "17/May/2024:+1:00:00 +0000",
        "17-May-2024:10:00:00 +0000", "2024-05-17T10:00:00+00:00",  "-"}) {
    CHECK(fault(at(time)) == "the time is not a valid dd/Mmm/yyyy:hh:mm:ss +zzzz");
  }
  CHECK(fault("10.0.0.1 - - [17/May/2015:10:05:03 +0000 \"GET / HTTP/1.1\" 200 1") ==
        "the time is not closed by a bracket");
  CHECK(fault("10.0.0.1 - - [] \"GET / HTTP/1.1\" 200 1") == "the time is not closed by a bracket");
}

TEST_CASE("log line: quotes end a field unless escaped") {
  CHECK(hit(start + R"("GET /a\"b\"c HTTP/1.1" 200 1)").path == R"(/a\"b\"c)");
  CHECK(hit(start + R"("GET /a\\" 200 1)").path == R"(/a\\)");
  CHECK(hit(start + R"("GET /\xe4\n HTTP/1.1" 200 1)").path == R"(/\xe4\n)");
  CHECK(fault(start + R"("GET /a\" 200 1)") == "the request is not in quotes");
  CHECK(fault(start + R"(GET / HTTP/1.1 200 1)") == "the request is not in quotes");
  CHECK(fault(start + R"("GET /"x" HTTP/1.1" 200 1)") == "the status is not a number from 100 to 999");
  CHECK(fault(start + R"("GET / HTTP/1.1" 200 1 -)") == "the referer is not in quotes");
  CHECK(fault(start + R"("GET / HTTP/1.1" 200 1 )") == "the referer is not in quotes");
  CHECK(fault(start + R"("GET / HTTP/1.1" 200 1 "-")") == "the user agent is not in quotes");
  CHECK(fault(start + R"("GET / HTTP/1.1" 200 1 "-" "cut short)") == "the user agent is not in quotes");
  CHECK(fault(start + R"("GET / HTTP/1.1" 200 1 "-" "-" 0.25)") == "something follows the user agent");
}

TEST_CASE("log line: every cut of a well-formed line is either malformed or the common format") {
  const std::string line = start + R"("GET /a HTTP/1.1" 200 123 "http://b.example/\"" "Agent")";
  const std::size_t common = line.find(" \"http");
  for (std::size_t length = 0; length < line.size(); ++length) {
    const bool well_formed = std::holds_alternative<LogHit>(parse_log_line(line.substr(0, length)));
    INFO("length " << length);
    // A cut in the number of bytes cannot be told from a smaller number.
    CHECK(well_formed == (length <= common && length > common - 3));
  }
  CHECK(hit(line).bytes == 123);
}

TEST_CASE("log line: an empty line is malformed, and so is one of the carriage return alone") {
  CHECK(fault("") == "the line is empty");
  CHECK(fault("\r") == "the line is empty");
  CHECK(fault(std::string_view("\0", 1)) == "there is no host");
}

TEST_CASE("request path: what stands between method and protocol") {
  CHECK(request_path("GET / HTTP/1.1") == "/");
  CHECK(request_path("GET /old") == "/old");
  CHECK(request_path("GET /a b c HTTP/1.1") == "/a b c");
  CHECK(request_path("GET /a b") == "/a b");
  CHECK(request_path("OPTIONS * HTTP/1.1") == "*");
  CHECK(request_path("CONNECT host.example:443 HTTP/1.1") == "host.example:443");
  CHECK(request_path("GET http://host.example/x?y HTTP/1.1") == "http://host.example/x?y");
  CHECK(request_path("GET /100%&%zz%20 HTTP/2.0") == "/100%&%zz%20");
  CHECK(request_path("M-SEARCH * HTTP/1.1") == "*");
  CHECK(request_path("get /lower HTTP/1.1") == "/lower");
}

TEST_CASE("request path: what is no request line has none") {
  for (const std::string_view request : {"", "-", "GET", "GET ", " / HTTP/1.1", R"(\x16\x03\x01 \x02)", "\"x\" / y"}) {
    INFO("request: " << request);
    CHECK(request_path(request) == "-");
  }
  CHECK(hit(start + "\"-\" 408 -").path == "-");
  CHECK(hit(start + R"("\x16\x03\x01\x02" 400 226)").path == "-");
}

TEST_CASE("request path: the query can be left off") {
  CHECK(without_query("/a?b=c?d") == "/a");
  CHECK(without_query("/a") == "/a");
  CHECK(without_query("?x").empty());
}
