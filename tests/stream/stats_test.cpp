#include <weir/stream/stats.hpp>

#include "support/catch.hpp"

TEST_CASE("stats: the conservation law notices one event too many") {
  weir::StreamStats stats;
  stats.emitted = 10;
  stats.processed = 4;
  stats.failed = 1;
  stats.dead_lettered = 1;
  stats.dropped = 1;
  stats.discarded = 1;
  stats.buffered = 1;
  stats.in_progress = 1;
  CHECK(stats.settled() == 8);
  CHECK(stats.balanced());
  ++stats.processed;
  CHECK_FALSE(stats.balanced());
}

TEST_CASE("stats: the rate of a progress, also at the start") {
  weir::StreamProgress progress;
  CHECK(progress.rate() == 0);
  progress.settled = 50;
  progress.elapsed = std::chrono::seconds(2);
  CHECK(progress.rate() == 25);
}
