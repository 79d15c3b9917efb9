#include "support/progress.hpp"

#include "support/catch.hpp"

using example::abbreviated;
using example::progress_line;
using example::ProgressState;
using example::RateMeter;

TEST_CASE("progress: a share is shown when the whole is known") {
  CHECK(progress_line({12000, 34, std::nullopt}, 1500, "lines", 79) == "12,000 lines  1.5k/s  backlog 34");
  CHECK(progress_line({12000, 34, 0.5}, 1500, "lines", 79) ==
        "[###############...............]  50%  12,000 lines  1.5k/s  backlog 34");
  CHECK(progress_line({1, 0, 7.0}, 0, "lines", 79).find("] 100%") != std::string::npos);
  CHECK(progress_line({1, 0, -1.0}, 0, "lines", 79).find("]   0%") != std::string::npos);
  CHECK(progress_line({1, 0, 0.999}, 0, "lines", 79).find("]  99%") != std::string::npos);
}

TEST_CASE("progress: it never wraps, however narrow the terminal") {
  const ProgressState state{123456789, 1024, 0.42};
  for (std::size_t columns = 0; columns < 200; ++columns) {
    REQUIRE(progress_line(state, 98765, "headers", columns).size() <= columns);
  }
}

TEST_CASE("progress: rates are short") {
  CHECK(abbreviated(0) == "0");
  CHECK(abbreviated(999.4) == "999");
  CHECK(abbreviated(999.6) == "1.0k");
  CHECK(abbreviated(9940) == "9.9k");
  CHECK(abbreviated(9960) == "10k");
  CHECK(abbreviated(999600) == "1.0M");
  CHECK(abbreviated(5e15) == "5000T");
}

TEST_CASE("progress: the rate is that of the last seconds") {
  using std::chrono::milliseconds;
  RateMeter meter;
  const RateMeter::Time start{};
  CHECK(meter.sample(start, 0) == 0);
  CHECK(meter.sample(start, 5) == 0);
  CHECK(meter.sample(start + milliseconds(500), 500) == 1000.0);
  for (int i = 2; i < 20; ++i) meter.sample(start + milliseconds(500 * i), 500);
  CHECK(meter.sample(start + milliseconds(10000), 500) == 0);
  CHECK(meter.sample(start + milliseconds(10100), 3) == 0);
  CHECK(meter.sample(start + milliseconds(10200), 13) == 100.0);
}
