#include <weir/channel/channel.hpp>

#include <memory>
#include <string>
#include <vector>

#include "channel/support.hpp"
#include "support/catch.hpp"

namespace {

using namespace channel_test;

TEMPLATE_TEST_CASE("channel: a cancelled send gives the value back", "[channel]", Shared, Local) {
  Channel<TestType, std::string> f({.capacity = 1});
  CHECK(f.tx.try_send(std::string("first")));
  std::string moved(40, 'm');
  std::vector<std::string> range{std::string(40, 'r')};
  const std::string copied(40, 'c');
  Root send(f.context, [&]() -> Task<> { co_await f.tx.send(std::move(moved)); });
  Root copy(f.context, [&]() -> Task<> { co_await f.tx.send(copied); });
  Root emplace(f.context, [&]() -> Task<> { co_await f.tx.send_emplace("x"); });
  Root all(f.context, [&]() -> Task<> { co_await f.tx.send_all(std::move(range)); });
  Root reserve(f.context, [&]() -> Task<> { [[maybe_unused]] const auto permit = co_await f.tx.reserve(); });
  poll(f.context);
  CHECK(f.tx.stats().waiting_senders == 5);
  for (Root* const root : {&all, &send, &reserve, &emplace, &copy}) {
    CHECK_FALSE(root->ended());
    root->cancel();
    poll(f.context);
    CHECK(root->code() == Errc::cancelled);
  }
  CHECK(f.tx.stats().waiting_senders == 0);
  CHECK(moved == std::string(40, 'm'));
  CHECK(range[0] == std::string(40, 'r'));
  CHECK(f.rx.try_receive() == "first");
  CHECK_FALSE(f.rx.try_receive());
  CHECK(f.rx.stats().admitted == 1);
}

TEMPLATE_TEST_CASE("channel: a cancelled receive loses no value", "[channel]", Shared, Local) {
  Channel<TestType> f;
  const bool some = GENERATE(false, true);
  std::vector<int> out;
  Root receiver(f.context, [&]() -> Task<> {
    if (some) {
      co_await f.rx.receive_some(out, 2);
    } else {
      co_await f.rx.receive();
    }
  });
  poll(f.context);
  receiver.cancel();
  CHECK(f.tx.stats().waiting_receivers == 1);
  poll(f.context);
  CHECK(receiver.code() == Errc::cancelled);
  CHECK(f.tx.stats().waiting_receivers == 0);
  CHECK(f.tx.try_send(1));
  CHECK(f.rx.try_receive() == 1);
}

TEMPLATE_TEST_CASE("channel: completed beats cancelled", "[channel]", Shared, Local) {
  Channel<TestType> f({.capacity = 1});
  std::optional<int> got;
  bool sent = false;
  Root receiver(f.context, [&]() -> Task<> { got = co_await f.rx.receive(); });
  poll(f.context);
  CHECK(f.tx.try_send(1));
  receiver.cancel();
  poll(f.context);
  CHECK(receiver.fine());
  CHECK(got == 1);

  CHECK(f.tx.try_send(2));
  Root sender(f.context, [&]() -> Task<> {
    co_await f.tx.send(3);
    sent = true;
  });
  poll(f.context);
  CHECK(f.rx.try_receive() == 2);
  sender.cancel();
  poll(f.context);
  CHECK(sender.fine());
  CHECK(sent);
  CHECK(f.rx.try_receive() == 3);
}

TEMPLATE_TEST_CASE("channel: what is cancelled before it begins does not begin", "[channel]", Shared, Local) {
  Channel<TestType> f;
  CHECK(f.tx.try_send(1));
  std::vector<std::error_code> codes;
  const std::vector<int> range{1};
  std::vector<int> out;
  Root root;
  auto [nobody, nothing] = TestType::template make<int>(f.context);
  root.start(f.context, [&, &never = nothing]() -> Task<> {
    root.cancel();
    // The cancel is on its way: wait for it in something that it ends.
    (void)co_await code_of([&] { return never.receive(); });
    codes.push_back(co_await code_of([&] { return f.tx.send(2); }));
    codes.push_back(co_await code_of([&] { return f.tx.send_emplace(2); }));
    codes.push_back(co_await code_of([&] { return f.tx.send_all(range); }));
    codes.push_back(co_await code_of([&] { return f.tx.reserve(); }));
    codes.push_back(co_await code_of([&] { return f.rx.receive(); }));
    codes.push_back(co_await code_of([&] { return f.rx.receive_some(out, 1); }));
  });
  poll(f.context);
  REQUIRE(root.fine());
  REQUIRE(codes.size() == 6);
  for (const auto& code : codes) CHECK(code == Errc::cancelled);
  CHECK(f.tx.stats().admitted == 1);
  CHECK(f.tx.stats().reserved == 0);
  CHECK(f.rx.try_receive() == 1);
}

TEMPLATE_TEST_CASE("channel: a context that goes leaves nothing in the channel", "[channel]", Shared, Local) {
  Ledger ledger;
  auto context = std::make_unique<asio::io_context>();
  {
    // Handles that outlive the context of those that wait.
    asio::io_context mine;
    auto [tx, rx] = TestType::template make<Item>(mine, {.capacity = 1});
    auto [full, unread] = TestType::template make<Item>(mine, {.capacity = 1});
    CHECK(full.try_send(Item(ledger, 100)));
    std::vector<Item> range;
    range.emplace_back(ledger, 101);
    std::vector<Item> out;
    Root receive(*context, [&]() -> Task<> { co_await rx.receive(); });
    Root some(*context, [&]() -> Task<> { co_await rx.receive_some(out, 2); });
    Root send(*context, [&]() -> Task<> {
      Item item(ledger, 102);
      co_await full.send(std::move(item));
    });
    Root emplace(*context, [&]() -> Task<> { co_await full.send_emplace(std::ref(ledger), 103); });
    Root all(*context, [&]() -> Task<> { co_await full.send_all(std::move(range)); });
    Root reserve(*context, [&]() -> Task<> { [[maybe_unused]] const auto permit = co_await full.reserve(); });
    poll(*context);
    CHECK(tx.stats().waiting_receivers == 2);
    CHECK(full.stats().waiting_senders == 4);
    context.reset();
    CHECK(tx.stats().waiting_receivers == 0);
    CHECK(full.stats().waiting_senders == 0);
    CHECK(tx.try_send(Item(ledger, 104)));
    CHECK(rx.try_receive()->id() == 104);
    CHECK(unread.try_receive()->id() == 100);
    CHECK(adds_up(full.stats()));
  }
  CHECK(ledger.live == 0);
  CHECK(ledger.each_ended_once(100, 3));
}

TEMPLATE_TEST_CASE("channel: what was handed to one that is destroyed before it looked is counted as dropped",
                   "[channel]", Shared, Local) {
  Ledger ledger;
  {
    asio::io_context mine;
    auto [tx, rx] = TestType::template make<Item>(mine, {.capacity = 1});
    auto context = std::make_unique<asio::io_context>();
    std::vector<Item> out;
    const bool some = GENERATE(false, true);
    Root receiver(*context, [&]() -> Task<> {
      if (some) {
        co_await rx.receive_some(out, 2);
      } else {
        co_await rx.receive();
      }
    });
    poll(*context);
    CHECK(tx.try_send(Item(ledger, 1)));
    CHECK(tx.stats().received == 1);
    context.reset();
    CHECK(tx.stats().received == 0);
    CHECK(tx.stats().dropped == 1);
    CHECK(adds_up(tx.stats()));
    CHECK(ledger.each_ended_once(1, 1));
  }
  CHECK(ledger.live == 0);
}

TEMPLATE_TEST_CASE("channel: frames that own both ends of what they wait in are destroyed", "[channel]", Shared,
                   Local) {
  Ledger ledger;
  {
    asio::io_context context;
    auto [tx, rx] = TestType::template make<Item>(context, {.capacity = 1});
    weir::spawn(context, [&ledger, mine = std::move(tx)]() mutable -> Task<> {
      for (int i = 0;; ++i) {
        Item item(ledger, i);
        co_await mine.send(std::move(item));
      }
    });
    weir::spawn(context, [mine = std::move(rx)]() mutable -> Task<> {
      for (int i = 0; i < 3; ++i) co_await mine.receive();
      auto [never, nothing] = TestType::template make<Item>(asio::system_executor());
      co_await nothing.receive();
    });
    poll(context);
    CHECK(ledger.live > 0);
  }
  CHECK(ledger.live == 0);
  CHECK(ledger.each_ended_once(0, 4));
}

}  // namespace
