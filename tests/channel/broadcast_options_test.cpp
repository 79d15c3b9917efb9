#include <weir/channel/broadcast_options.hpp>

#include <type_traits>

#include "support/catch.hpp"

namespace {

TEST_CASE("broadcast options: the default waits for the slowest receiver") {
  const weir::BroadcastOptions options;
  CHECK(options.capacity == 1024);
  CHECK(options.slow == weir::SlowReceiver::wait);
  CHECK(std::is_trivially_destructible_v<weir::BroadcastOptions>);
}

TEST_CASE("broadcast options: counters start at zero") {
  const weir::BroadcastStats stats;
  CHECK(stats.due == stats.received + stats.skipped + stats.dropped + stats.pending);
  CHECK(stats.sent == 0);
  const weir::BroadcastReceiverStats receiver;
  CHECK(receiver.sent == receiver.received + receiver.skipped + receiver.dropped + receiver.pending);
  CHECK_FALSE(receiver.disconnected);
}

}  // namespace
