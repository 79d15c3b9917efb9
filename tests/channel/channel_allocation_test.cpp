#include <weir/channel/channel.hpp>

#include <vector>

#include "channel/support.hpp"
#include "support/allocation_counter.hpp"
#include "support/catch.hpp"

namespace {

using namespace channel_test;
using weir_test::AllocationCounter;

/// What 2000 values allocate when as many have gone before. The ends of the roots are not in it.
template <class Sender, class Receiver>
std::uint64_t steady(std::size_t capacity, Overflow overflow, Sender sends, Receiver receives) {
  constexpr int rounds = 2000;
  asio::io_context context;
  auto [tx, rx] = weir::make_channel<int>(context, {.capacity = capacity, .overflow = overflow});
  std::uint64_t allocated = 0;
  Root sender(context, sends(tx, 3 * rounds));
  Root receiver(context, receives(rx, rounds, allocated));
  tx.reset();
  rx.reset();
  context.poll();
  CHECK(sender.fine());
  CHECK(receiver.fine());
  return allocated;
}

const auto send = [](weir::ChannelSender<int> tx, int count) -> Task<> {
  for (int i = 0; i < count; ++i) co_await tx.send(i);
};
const auto receive = [](weir::ChannelReceiver<int> rx, int warm, std::uint64_t& allocated) -> Task<> {
  for (int i = 0; i < warm; ++i) co_await rx.receive();
  const AllocationCounter counter;
  for (int i = 0; i < warm; ++i) co_await rx.receive();
  allocated = counter.count();
  while (co_await rx.receive()) {
  }
};

TEST_CASE("channel: nothing is allocated per value, whoever waits", "[allocation]") {
  CHECK(steady(1, Overflow::wait, send, receive) == 0);
  CHECK(steady(64, Overflow::wait, send, receive) == 0);
}

TEST_CASE("channel: nothing is allocated per value that is dropped", "[allocation]") {
  const auto policy = GENERATE(Overflow::drop_newest, Overflow::drop_oldest, Overflow::latest);
  asio::io_context context;
  auto [tx, rx] = weir::make_channel<int>(context, {.capacity = 4, .overflow = policy});
  std::uint64_t allocated = 1;
  Root sender(context, [&, &to = tx]() -> Task<> {
    for (int i = 0; i < 100; ++i) co_await to.send(i);
    const AllocationCounter counter;
    for (int i = 0; i < 2000; ++i) co_await to.send(i);
    allocated = counter.count();
  });
  context.poll();
  CHECK(sender.fine());
  CHECK(allocated == 0);
  CHECK(rx.stats().dropped >= 2000);
}

TEST_CASE("channel: nothing is allocated per value by emplace, permits and runs", "[allocation]") {
  const auto mixed = [](weir::ChannelSender<int> tx, int count) -> Task<> {
    const std::vector<int> run(5, 1);
    for (int i = 0; i < count; i += 7) {
      co_await tx.send_emplace(i);
      auto permit = co_await tx.reserve();
      permit.send(i);
      co_await tx.send_all(run);
    }
  };
  const auto some = [](weir::ChannelReceiver<int> rx, int warm, std::uint64_t& allocated) -> Task<> {
    std::vector<int> out;
    out.reserve(8);
    for (int i = 0; i < warm; i += 8) {
      co_await rx.receive_some(out, 8);
      out.clear();
    }
    const AllocationCounter counter;
    for (int i = 0; i < warm; i += 8) {
      co_await rx.receive_some(out, 8);
      out.clear();
    }
    allocated = counter.count();
    while (co_await rx.receive_some(out, 8) != 0) out.clear();
  };
  CHECK(steady(1, Overflow::wait, mixed, some) == 0);
  CHECK(steady(16, Overflow::wait, mixed, some) == 0);
}

TEST_CASE("channel: a cancelled wait allocates no more than its exception", "[allocation]") {
  asio::io_context context;
  auto [tx, rx] = weir::make_channel<int>(context, {.capacity = 1});
  Root receiver(context, [&, &from = rx]() -> Task<> { co_await from.receive(); });
  poll(context);
  const AllocationCounter counter;
  receiver.cancel();
  const auto allocated = counter.count();
  CHECK(allocated == 0);
  poll(context);
  CHECK(receiver.code() == Errc::cancelled);
}

TEST_CASE("channel: making one allocates its block, and the first value its ring", "[allocation]") {
  asio::io_context context;
  const AllocationCounter making;
  auto [tx, rx] = weir::make_channel<int>(context, {.capacity = 1000});
  const auto made = making.count();
  CHECK((made == 1 || !weir_test::counts()));
  const AllocationCounter first;
  const bool one = static_cast<bool>(tx.try_send(1));
  const auto for_first = first.count();
  CHECK(one);
  CHECK((for_first == 1 || !weir_test::counts()));
  const AllocationCounter more;
  for (int i = 0; i < 3000; ++i) {
    (void)tx.try_send(i);
    (void)rx.try_receive();
  }
  const auto for_more = more.count();
  CHECK(for_more == 0);
}

}  // namespace
