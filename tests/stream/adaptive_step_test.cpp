#include <weir/stream/adaptive_step.hpp>

#include "support/catch.hpp"

#include <string>

using namespace std::chrono_literals;

TEST_CASE("adaptive step: a step as text") {
  weir::AdaptiveStep step;
  step.when = 1240ms;
  step.from = {4, 1};
  step.to = {8, 1};
  step.reason = weir::AdaptiveReason::probe_more;
  step.throughput = 812.34;
  step.latency = 0.00492;
  CHECK(weir::to_string(step) == "    1.240 s  concurrency 4 -> 8  probe more  812.3 events/s  4.920 ms");
  step.failed = 0.125;
  CHECK(weir::to_string(step) == "    1.240 s  concurrency 4 -> 8  probe more  812.3 events/s  4.920 ms  12.5 % fail");
  step.failed = 0;
  step.to.batch = 2;
  CHECK(weir::to_string(step) == "    1.240 s  concurrency 4 -> 8  batch 1 -> 2  probe more  812.3 events/s  4.920 ms");
}

TEST_CASE("adaptive step: every reason has a name") {
  CHECK(std::string(weir::to_string(weir::AdaptiveReason::probe_more)) == "probe more");
  CHECK(std::string(weir::to_string(weir::AdaptiveReason::idle)) == "idle");
  CHECK(std::string(weir::to_string(weir::AdaptiveReason::recovered)) == "recovered");
}
