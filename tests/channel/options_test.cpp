#include <weir/channel/options.hpp>

#include <type_traits>
#include <vector>

#include <weir/channel/channel.hpp>

#include "channel/support.hpp"
#include "support/catch.hpp"

namespace {

using namespace channel_test;

TEST_CASE("channel options: trivially destructible, with room for 1024 and backpressure unless said otherwise",
          "[options]") {
  STATIC_REQUIRE(std::is_trivially_destructible_v<weir::ChannelOptions>);
  asio::io_context context;
  auto [tx, rx] = weir::make_channel<int>(context);
  CHECK(tx.capacity() == 1024);
  for (int i = 0; i < 1024; ++i) (void)tx.try_send(i);
  CHECK(tx.try_send(0).full());
  CHECK(rx.stats().buffered == 1024);
}

/// What is received after 1 to 5 were sent into a channel of 2, and what the sends said.
struct Seen {
  std::vector<int> received;
  std::vector<bool> sent;
  weir::ChannelStats stats;
};

template <class Kind>
Seen five_into_two(Overflow overflow, bool awaited) {
  asio::io_context context;
  auto [tx, rx] = Kind::template make<int>(context, {.capacity = 2, .overflow = overflow});
  Seen seen;
  Root root(context, [&, &to = tx]() -> Task<> {
    for (int i = 1; i <= 5; ++i) {
      if (awaited) {
        const auto code = co_await code_of([&] { return to.send(i); });
        seen.sent.push_back(!code);
        if (code) CHECK(code == Errc::channel_full);
      } else {
        const auto result = to.try_send(i);
        seen.sent.push_back(static_cast<bool>(result));
        if (!result) CHECK(result.full());
      }
    }
  });
  poll(context);
  CHECK(root.fine());
  seen.stats = tx.stats();
  while (const auto value = rx.try_receive()) seen.received.push_back(*value);
  CHECK(adds_up(tx.stats()));
  CHECK(adds_up(seen.stats));
  return seen;
}

TEMPLATE_TEST_CASE("channel options: what each policy does with a full channel", "[options]", Shared, Local, Spsc) {
  const bool awaited = GENERATE(false, true);
  const std::vector<bool> all(5, true);
  const std::vector<bool> two{true, true, false, false, false};
  {
    const auto seen = five_into_two<TestType>(Overflow::reject, awaited);
    CHECK(seen.sent == two);
    CHECK(seen.received == std::vector<int>{1, 2});
    CHECK(seen.stats.admitted == 2);
    CHECK(seen.stats.dropped == 0);
  }
  {
    const auto seen = five_into_two<TestType>(Overflow::drop_newest, awaited);
    CHECK(seen.sent == all);
    CHECK(seen.received == std::vector<int>{1, 2});
    CHECK(seen.stats.admitted == 5);
    CHECK(seen.stats.dropped == 3);
  }
  {
    const auto seen = five_into_two<TestType>(Overflow::drop_oldest, awaited);
    CHECK(seen.sent == all);
    CHECK(seen.received == std::vector<int>{4, 5});
    CHECK(seen.stats.admitted == 5);
    CHECK(seen.stats.dropped == 3);
  }
  {
    const auto seen = five_into_two<TestType>(Overflow::latest, awaited);
    CHECK(seen.sent == all);
    CHECK(seen.received == std::vector<int>{5});
    CHECK(seen.stats.admitted == 5);
    CHECK(seen.stats.dropped == 4);
  }
}

TEST_CASE("channel options: what send_all does under each policy", "[options]") {
  const std::vector<int> values{1, 2, 3, 4, 5};
  const auto policy = GENERATE(Overflow::reject, Overflow::drop_newest, Overflow::drop_oldest, Overflow::latest);
  asio::io_context context;
  auto [tx, rx] = weir::make_channel<int>(context, {.capacity = 2, .overflow = policy});
  std::size_t sent = 0;
  std::error_code code;
  Root root(context, [&, &to = tx]() -> Task<> {
    try {
      sent = co_await to.send_all(values);
    } catch (const weir::PartialSend& error) {
      sent = error.sent();
      code = error.code();
    }
  });
  poll(context);
  CHECK(root.fine());
  std::vector<int> received;
  while (const auto value = rx.try_receive()) received.push_back(*value);
  if (policy == Overflow::reject) {
    CHECK(sent == 2);
    CHECK(code == Errc::channel_full);
  } else {
    CHECK(sent == 5);
    CHECK_FALSE(code);
  }
  if (policy == Overflow::drop_oldest) CHECK(received == std::vector<int>{4, 5});
  if (policy == Overflow::latest) CHECK(received == std::vector<int>{5});
  if (policy == Overflow::drop_newest || policy == Overflow::reject) CHECK(received == std::vector<int>{1, 2});
  CHECK(adds_up(tx.stats()));
}

TEST_CASE("channel options: a dropped value is destroyed once", "[options]") {
  const auto policy = GENERATE(Overflow::drop_newest, Overflow::drop_oldest, Overflow::latest);
  Ledger ledger;
  {
    asio::io_context context;
    auto [tx, rx] = weir::make_channel<Item>(context, {.capacity = 2, .overflow = policy});
    for (int i = 0; i < 5; ++i) CHECK(tx.try_send(Item(ledger, i)));
    const auto stats = tx.stats();
    CHECK(ledger.ends.size() == stats.dropped);
    CHECK(adds_up(stats));
  }
  CHECK(ledger.live == 0);
  CHECK(ledger.each_ended_once(0, 5));
}

TEST_CASE("channel options: the counters tell who waits, what is there and what was reserved", "[options]") {
  asio::io_context context;
  auto [tx, rx] = weir::make_channel<int>(context, {.capacity = 2});
  Root receiver(context, [&, &from = rx]() -> Task<> { co_await from.receive(); });
  poll(context);
  CHECK(tx.stats().waiting_receivers == 1);
  CHECK(tx.stats().capacity == 2);
  Root sender(context, [&, &to = tx]() -> Task<> {
    auto permit = co_await to.reserve();
    for (int i = 0; i < 3; ++i) co_await to.send(i);
  });
  poll(context);
  const auto stats = tx.stats();
  CHECK(stats.admitted == 2);
  CHECK(stats.received == 1);
  CHECK(stats.buffered == 1);
  CHECK(stats.reserved == 1);
  CHECK(stats.waiting_senders == 1);
  CHECK(stats.waiting_receivers == 0);
  CHECK(adds_up(stats));
}

}  // namespace
