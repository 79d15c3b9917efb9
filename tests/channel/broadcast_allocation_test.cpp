#include <weir/channel/broadcast.hpp>

#include <optional>

#include "channel/support.hpp"
#include "support/allocation_counter.hpp"
#include "support/catch.hpp"

namespace {

using namespace channel_test;
using weir::SlowReceiver;
using weir_test::AllocationCounter;

/// Not trivially destructible, so that its end is the broadcast's business.
struct Plain {
  explicit Plain(int v) noexcept : value(v) {}
  Plain(const Plain& other) noexcept : value(other.value) {}
  Plain& operator=(const Plain&) = default;
  ~Plain() { value = -1; }
  int value;
};

TEST_CASE("broadcast: nothing is allocated per value, whoever waits", "[allocation]") {
  const auto capacity = GENERATE(std::size_t{1}, std::size_t{16});
  const auto slow = GENERATE(SlowReceiver::wait, SlowReceiver::skip, SlowReceiver::disconnect);
  asio::io_context context;
  auto tx = weir::make_broadcast<Plain>(context, {.capacity = capacity, .slow = slow});
  std::uint64_t allocated = 1;
  std::uint64_t skipped = 0;
  const auto reads = [&skipped](weir::BroadcastReceiver<Plain> rx) -> Task<> {
    try {
      while (co_await rx.receive(skipped)) {
      }
    } catch (const weir::Error&) {
    }
  };
  Root one(context, reads(tx.subscribe()));
  Root two(context, reads(tx.subscribe()));
  Root sender(context, [&]() -> Task<> {
    for (int i = 0; i < 2000; ++i) co_await tx.send_emplace(i);
    const AllocationCounter counter;
    for (int i = 0; i < 2000; ++i) co_await tx.send_emplace(i);
    allocated = counter.count();
    tx.close();
  });
  poll(context);
  CHECK(sender.fine());
  CHECK(one.fine());
  CHECK(two.fine());
  CHECK(allocated == 0);
}

TEST_CASE("broadcast: the ring comes with the first value, and a node with each that is buffered", "[allocation]") {
  asio::io_context context;
  std::uint64_t made = 0;
  std::uint64_t subscribed = 0;
  std::uint64_t first = 0;
  std::uint64_t second = 0;
  std::uint64_t again = 0;
  std::optional<weir::BroadcastSender<Plain>> tx;
  {
    const AllocationCounter counter;
    tx = weir::make_broadcast<Plain>(context, {.capacity = 1000});
    made = counter.count();
  }
  weir::BroadcastReceiver<Plain> rx;
  {
    const AllocationCounter counter;
    rx = tx->subscribe();
    subscribed = counter.count();
  }
  {
    const AllocationCounter counter;
    static_cast<void>(tx->try_send(Plain(1)));
    first = counter.count();
  }
  {
    const AllocationCounter counter;
    static_cast<void>(tx->try_send(Plain(2)));
    second = counter.count();
  }
  {
    const AllocationCounter counter;
    static_cast<void>(rx.try_receive());
    static_cast<void>(rx.try_receive());
    static_cast<void>(tx->try_send(Plain(3)));
    static_cast<void>(tx->try_send(Plain(4)));
    again = counter.count();
  }
  if (!weir_test::counts()) return;
  CHECK(made == 1);
  CHECK(subscribed == 1);
  CHECK(first == 2);
  CHECK(second == 1);
  CHECK(again == 0);
}

}  // namespace
