#include <weir/channel/channel.hpp>

#include <functional>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include <weir/core/sync_wait.hpp>

#include "channel/support.hpp"
#include "support/catch.hpp"

namespace {

using namespace channel_test;

TEMPLATE_TEST_CASE("channel: values come out in the order in which they were sent", "[channel]", Shared, Local, Spsc) {
  Channel<TestType> f({.capacity = 3});
  std::vector<int> seen;
  Root sender(f.context, [&]() -> Task<> {
    for (int i = 0; i < 100; ++i) co_await f.tx.send(i);
    f.tx.close();
  });
  Root receiver(f.context, [&]() -> Task<> {
    while (auto value = co_await f.rx.receive()) seen.push_back(*value);
  });
  poll(f.context);
  REQUIRE(sender.fine());
  REQUIRE(receiver.fine());
  std::vector<int> expected(100);
  std::iota(expected.begin(), expected.end(), 0);
  CHECK(seen == expected);
  const auto stats = f.rx.stats();
  CHECK(stats.admitted == 100);
  CHECK(stats.received == 100);
  CHECK(stats.dropped == 0);
  CHECK(adds_up(stats));
}

TEMPLATE_TEST_CASE("channel: a sender waits while it is full, and no longer", "[channel]", Shared, Local) {
  Channel<TestType> f({.capacity = 2});
  int sent = 0;
  Root sender(f.context, [&]() -> Task<> {
    for (int i = 0; i < 4; ++i) {
      co_await f.tx.send(i);
      ++sent;
    }
  });
  poll(f.context);
  CHECK(sent == 2);
  CHECK(f.tx.stats().waiting_senders == 1);
  CHECK(f.rx.try_receive() == 0);
  poll(f.context);
  CHECK(sent == 3);
  CHECK(f.rx.try_receive() == 1);
  poll(f.context);
  CHECK(sent == 4);
  CHECK(sender.fine());
  CHECK(f.tx.stats().buffered == 2);
  CHECK(f.tx.stats().waiting_senders == 0);
}

TEMPLATE_TEST_CASE("channel: a receiver waits while it is empty, and no longer", "[channel]", Shared, Local) {
  Channel<TestType> f({.capacity = 2});
  std::optional<int> got;
  Root receiver(f.context, [&]() -> Task<> { got = co_await f.rx.receive(); });
  poll(f.context);
  CHECK_FALSE(receiver.ended());
  CHECK(f.tx.stats().waiting_receivers == 1);
  CHECK(f.tx.try_send(7));
  CHECK(f.tx.stats().waiting_receivers == 0);
  CHECK_FALSE(got);
  poll(f.context);
  CHECK(got == 7);
}

TEMPLATE_TEST_CASE("channel: capacity 1 alternates", "[channel]", Shared, Local) {
  Channel<TestType> f({.capacity = 1});
  CHECK(f.tx.capacity() == 1);
  int sum = 0;
  Root sender(f.context, [&]() -> Task<> {
    for (int i = 1; i <= 1000; ++i) co_await f.tx.send(i);
    f.tx.reset();
  });
  Root receiver(f.context, [&]() -> Task<> {
    while (auto value = co_await f.rx.receive()) sum += *value;
  });
  poll(f.context);
  CHECK(sender.fine());
  CHECK(receiver.fine());
  CHECK(sum == 500500);
}

TEMPLATE_TEST_CASE("channel: capacity 0 is refused", "[channel]", Shared, Local) {
  asio::io_context context;
  try {
    (void)TestType::template make<int>(context, {.capacity = 0});
    FAIL("it was accepted");
  } catch (const weir::Error& error) {
    CHECK(error.code() == Errc::invalid_argument);
    CHECK(std::string(error.what()).find("capacity") != std::string::npos);
  }
}

TEMPLATE_TEST_CASE("channel: send_emplace builds in place, from arguments that it keeps", "[channel]", Shared, Local) {
  Channel<TestType, std::pair<std::string, int>> f({.capacity = 1});
  Root sender(f.context, [&]() -> Task<> {
    for (int i = 0; i < 3; ++i) {
      std::string text(40, static_cast<char>('a' + i));
      co_await f.tx.send_emplace(std::move(text), i);
    }
  });
  poll(f.context);
  for (int i = 0; i < 3; ++i) {
    const auto value = f.rx.try_receive();
    poll(f.context);
    REQUIRE(value);
    CHECK(value->first == std::string(40, static_cast<char>('a' + i)));
    CHECK(value->second == i);
  }
  CHECK(sender.fine());
}

TEMPLATE_TEST_CASE("channel: send copies what is const, and moves what is not", "[channel]", Shared, Local) {
  Channel<TestType, std::string> f({.capacity = 2});
  const std::string kept(40, 'k');
  std::string given(40, 'g');
  Root sender(f.context, [&]() -> Task<> {
    co_await f.tx.send(kept);
    co_await f.tx.send(std::move(given));
  });
  poll(f.context);
  CHECK(sender.fine());
  CHECK(kept == std::string(40, 'k'));
  CHECK(given.empty());
  CHECK(f.rx.try_receive() == kept);
  CHECK(f.rx.try_receive() == std::string(40, 'g'));
  CHECK_FALSE(f.rx.try_receive());
}

TEMPLATE_TEST_CASE("channel: try_send tells full from closed, and leaves the value in both", "[channel]", Shared,
                   Local) {
  Channel<TestType, std::string> f({.capacity = 1});
  std::string value(40, 'v');
  std::string other(40, 'o');
  CHECK(f.tx.try_send(std::move(value)));
  CHECK(value.empty());
  const auto full = f.tx.try_send(std::move(other));
  CHECK_FALSE(full);
  CHECK(full.full());
  CHECK_FALSE(full.closed());
  CHECK(other == std::string(40, 'o'));
  f.tx.close();
  const auto closed = f.tx.try_send(std::move(other));
  CHECK_FALSE(closed);
  CHECK(closed.closed());
  CHECK_FALSE(closed.full());
  CHECK(other == std::string(40, 'o'));
  CHECK(f.tx.stats().admitted == 1);
}

TEMPLATE_TEST_CASE("channel: a value that is neither default-constructible nor copyable goes through every operation",
                   "[channel]", Shared, Local) {
  Ledger ledger;
  {
    Channel<TestType, Item> f({.capacity = 2});
    Root sender(f.context, [&]() -> Task<> {
      Item item(ledger, 0);
      co_await f.tx.send(std::move(item));
      co_await f.tx.send_emplace(std::ref(ledger), 1);
      Item third(ledger, 2);
      CHECK_FALSE(f.tx.try_send(std::move(third)));
      CHECK(third.id() == 2);
      co_await f.tx.send(std::move(third));
      CHECK(third.moved_from());
      auto permit = co_await f.tx.reserve();
      permit.emplace(ledger, 3);
      std::vector<Item> more;
      for (int i = 4; i < 12; ++i) more.emplace_back(ledger, i);
      const std::size_t sent = co_await f.tx.send_all(std::move(more));
      CHECK(sent == 8);
      f.tx.close();
    });
    poll(f.context);
    std::vector<int> ids;
    Root receiver(f.context, [&]() -> Task<> {
      auto first = co_await f.rx.receive();
      ids.push_back(first->id());
      std::vector<Item> out;
      while (co_await f.rx.receive_some(out, 3) != 0 && out.size() < 7) {
      }
      for (const auto& item : out) ids.push_back(item.id());
      while (auto value = f.rx.try_receive()) ids.push_back(value->id());
      while (auto value = co_await f.rx.receive()) ids.push_back(value->id());
    });
    poll(f.context);
    CHECK(sender.fine());
    CHECK(receiver.fine());
    std::vector<int> expected(12);
    std::iota(expected.begin(), expected.end(), 0);
    CHECK(ids == expected);
  }
  CHECK(ledger.live == 0);
  CHECK(ledger.each_ended_once(0, 12));
}

TEST_CASE("channel: each value goes to one of the receivers, and waiters are served in order", "[channel]") {
  asio::io_context context;
  auto [tx, rx] = weir::make_channel<int>(context, {.capacity = 4});
  std::vector<std::pair<int, int>> got;
  const auto receives = [&got](weir::ChannelReceiver<int> from, int who) -> Task<> {
    for (int i = 0; i < 2; ++i) {
      const auto value = co_await from.receive();
      got.emplace_back(who, *value);
    }
  };
  Root first(context, receives(rx, 1));
  Root second(context, receives(rx, 2));
  Root third(context, receives(rx, 3));
  poll(context);
  CHECK(rx.stats().waiting_receivers == 3);
  for (int i = 0; i < 6; ++i) {
    CHECK(tx.try_send(i));
    poll(context);
  }
  using Got = std::vector<std::pair<int, int>>;
  CHECK(got == Got{{1, 0}, {2, 1}, {3, 2}, {1, 3}, {2, 4}, {3, 5}});
}

TEST_CASE("channel: waiting senders are let in in their order, whatever they wait with", "[channel]") {
  asio::io_context context;
  auto [tx, rx] = weir::make_channel<int>(context, {.capacity = 1});
  CHECK(tx.try_send(0));
  Root first(context, [&]() -> Task<> { co_await tx.send(1); });
  Root second(context, [&]() -> Task<> {
    auto permit = co_await tx.reserve();
    permit.send(2);
  });
  Root third(context, [&]() -> Task<> {
    const std::vector<int> values{3, 4, 5};
    co_await tx.send_all(values);
  });
  Root fourth(context, [&]() -> Task<> { co_await tx.send_emplace(6); });
  poll(context);
  CHECK(tx.stats().waiting_senders == 4);
  std::vector<int> seen;
  while (auto value = rx.try_receive()) {
    seen.push_back(*value);
    poll(context);
  }
  CHECK(seen == std::vector<int>{0, 1, 2, 3, 4, 5, 6});
}

TEST_CASE("channel: a million operations that are done at once don't grow the stack", "[channel]") {
  constexpr int count = 1'000'000;
  std::uint64_t sum = 0;
  asio::io_context context;
  auto [tx, rx] = weir::make_channel<int>(context, {.capacity = 1});
  Root root(context, [&]() -> Task<> {
    for (int i = 0; i < count; ++i) {
      co_await tx.send(i);
      sum += static_cast<std::uint64_t>(*co_await rx.receive());
    }
  });
  poll(context);
  CHECK(root.fine());
  CHECK(sum == std::uint64_t{count} * (count - 1) / 2);
}

TEST_CASE("channel: operations that are done at once let others run", "[channel]") {
  asio::io_context context;
  auto [tx, rx] = weir::make_channel<int>(context, {.capacity = 1});
  bool stop = false;
  int rounds = 0;
  Root busy(context, [&]() -> Task<> {
    while (!stop && rounds < 10'000'000) {
      co_await tx.send(++rounds);
      co_await rx.receive();
    }
  });
  Root other(context, [&]() -> Task<> {
    stop = true;
    co_return;
  });
  poll(context);
  CHECK(busy.fine());
  CHECK(rounds < 10'000);
}

}  // namespace
