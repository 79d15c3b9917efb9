#include <weir/channel/channel.hpp>

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <weir/core/sync_wait.hpp>

#include "channel/support.hpp"
#include "support/catch.hpp"

namespace {

using namespace channel_test;

TEMPLATE_TEST_CASE("channel: after a close, what is buffered is received, then the end", "[channel]", Shared, Local) {
  Channel<TestType> f({.capacity = 4});
  CHECK(f.tx.try_send(1));
  CHECK(f.tx.try_send(2));
  CHECK_FALSE(f.rx.closed());
  f.tx.close();
  CHECK(f.rx.closed());
  CHECK(f.tx.closed());
  std::vector<int> seen;
  int ends = 0;
  Root receiver(f.context, [&]() -> Task<> {
    for (int i = 0; i < 4; ++i) {
      if (const auto value = co_await f.rx.receive()) {
        seen.push_back(*value);
      } else {
        ++ends;
      }
    }
  });
  poll(f.context);
  CHECK(receiver.fine());
  CHECK(seen == std::vector<int>{1, 2});
  CHECK(ends == 2);
}

TEMPLATE_TEST_CASE("channel: a reason is thrown after draining, by every way to receive", "[channel]", Shared, Local) {
  Channel<TestType> f({.capacity = 4});
  CHECK(f.tx.try_send(1));
  f.tx.close(std::make_exception_ptr(std::runtime_error("power cut")));
  f.tx.close();  // a second close is nothing
  std::optional<int> value;
  std::vector<std::string> thrown;
  std::vector<int> out;
  Root receiver(f.context, [&]() -> Task<> {
    value = co_await f.rx.receive();
    for (int i = 0; i < 2; ++i) {
      try {
        co_await f.rx.receive();
      } catch (const std::runtime_error& error) {
        thrown.emplace_back(error.what());
      }
    }
    try {
      co_await f.rx.receive_some(out, 2);
    } catch (const std::runtime_error& error) {
      thrown.emplace_back(error.what());
    }
  });
  poll(f.context);
  CHECK(receiver.fine());
  CHECK(value == 1);
  CHECK(thrown == std::vector<std::string>(3, "power cut"));
  CHECK_FALSE(f.rx.try_receive());
}

TEMPLATE_TEST_CASE("channel: a reason reaches a receiver that waits", "[channel]", Shared, Local) {
  Channel<TestType> f;
  std::vector<int> out;
  const bool some = GENERATE(false, true);
  Root receiver(f.context, [&]() -> Task<> {
    if (some) {
      co_await f.rx.receive_some(out, 2);
    } else {
      co_await f.rx.receive();
    }
  });
  poll(f.context);
  f.rx.close(make_error_code(std::errc::host_unreachable));
  poll(f.context);
  CHECK(receiver.code() == std::errc::host_unreachable);
}

TEMPLATE_TEST_CASE("channel: a reason that comes after the last receiver's end reaches nobody", "[channel]", Shared,
                   Local) {
  asio::io_context context;
  auto [tx, rx] = TestType::template make<int>(context);
  auto& last = rx;
  bool ended = false;
  Root receiver(context, [&]() -> Task<> {
    const auto value = co_await last.receive();
    ended = !value;
  });
  poll(context);
  rx.reset();
  tx.close(std::make_exception_ptr(std::runtime_error("too late")));
  poll(context);
  CHECK(receiver.fine());
  CHECK(ended);
}

TEMPLATE_TEST_CASE("channel: a close wakes each operation that waits to send, and it keeps its value", "[channel]",
                   Shared, Local) {
  Channel<TestType, std::string> f({.capacity = 1});
  CHECK(f.tx.try_send(std::string("first")));
  const std::string copied(40, 'c');
  std::string moved(40, 'm');
  std::vector<std::string> range{std::string(40, 'r')};
  std::error_code codes[5];
  Root send(f.context, [&]() -> Task<> { codes[0] = co_await code_of([&] { return f.tx.send(std::move(moved)); }); });
  Root copy(f.context, [&]() -> Task<> { codes[1] = co_await code_of([&] { return f.tx.send(copied); }); });
  Root emplace(f.context, [&]() -> Task<> { codes[2] = co_await code_of([&] { return f.tx.send_emplace("x"); }); });
  Root all(f.context,
           [&]() -> Task<> { codes[3] = co_await code_of([&] { return f.tx.send_all(std::move(range)); }); });
  Root reserve(f.context, [&]() -> Task<> { codes[4] = co_await code_of([&] { return f.tx.reserve(); }); });
  poll(f.context);
  CHECK(f.tx.stats().waiting_senders == 5);
  const bool by_receiver = GENERATE(false, true);
  if (by_receiver) {
    f.rx.reset();
  } else {
    f.rx.close();
  }
  poll(f.context);
  for (const auto& code : codes) CHECK(code == Errc::channel_closed);
  CHECK(moved == std::string(40, 'm'));
  CHECK(range[0] == std::string(40, 'r'));
  CHECK(f.tx.stats().waiting_senders == 0);
  CHECK(f.tx.stats().admitted == 1);
  CHECK(f.tx.stats().dropped == (by_receiver ? 1 : 0));
  CHECK(adds_up(f.tx.stats()));
}

TEMPLATE_TEST_CASE("channel: each operation that begins after a close fails", "[channel]", Shared, Local) {
  Channel<TestType, std::string> f;
  const bool by_receiver = GENERATE(false, true);
  if (by_receiver) {
    f.rx.reset();
  } else {
    f.rx.close();
  }
  CHECK(f.tx.closed());
  std::string moved(40, 'm');
  const std::string copied(40, 'c');
  const std::vector<std::string> range{copied};
  std::vector<std::error_code> codes;
  Root root(f.context, [&]() -> Task<> {
    codes.push_back(co_await code_of([&] { return f.tx.send(std::move(moved)); }));
    codes.push_back(co_await code_of([&] { return f.tx.send(copied); }));
    codes.push_back(co_await code_of([&] { return f.tx.send_emplace("x"); }));
    codes.push_back(co_await code_of([&] { return f.tx.send_all(range); }));
    codes.push_back(co_await code_of([&] { return f.tx.reserve(); }));
  });
  poll(f.context);
  CHECK(root.fine());
  REQUIRE(codes.size() == 5);
  for (const auto& code : codes) CHECK(code == Errc::channel_closed);
  CHECK(moved == std::string(40, 'm'));
  CHECK(f.tx.try_send(std::move(moved)).closed());
}

TEMPLATE_TEST_CASE("channel: a send_all that is closed on the way tells how many went", "[channel]", Shared, Local) {
  Channel<TestType> f({.capacity = 3});
  const std::vector<int> values{1, 2, 3, 4, 5};
  std::size_t sent = 0;
  std::error_code code;
  Root sender(f.context, [&]() -> Task<> {
    try {
      co_await f.tx.send_all(values);
    } catch (const weir::PartialSend& error) {
      sent = error.sent();
      code = error.code();
    }
  });
  poll(f.context);
  CHECK(f.rx.try_receive() == 1);
  poll(f.context);
  const bool by_cancel = GENERATE(false, true);
  if (by_cancel) {
    sender.cancel();
  } else {
    f.tx.close();
  }
  poll(f.context);
  CHECK(sender.fine());
  CHECK(sent == 4);
  CHECK(code == (by_cancel ? Errc::cancelled : Errc::channel_closed));
  CHECK(f.tx.stats().admitted == 4);
}

TEST_CASE("channel: the last sender's end closes it, and not the one before", "[channel]") {
  asio::io_context context;
  auto [tx, rx] = weir::make_channel<int>(context);
  auto second = tx;
  CHECK(second == tx);
  tx.reset();
  CHECK_FALSE(rx.closed());
  CHECK(second.try_send(1));
  second = {};
  CHECK(rx.closed());
  CHECK(rx.try_receive() == 1);
}

TEST_CASE("channel: the last receiver's end refuses sends and drops what is buffered", "[channel]") {
  Ledger ledger;
  asio::io_context context;
  auto [tx, rx] = weir::make_channel<Item>(context);
  auto second = rx;
  CHECK(tx.try_send(Item(ledger, 1)));
  rx.reset();
  CHECK_FALSE(tx.closed());
  CHECK(ledger.ends.empty());
  second.reset();
  CHECK(tx.closed());
  CHECK(ledger.each_ended_once(1, 1));
  Item kept(ledger, 2);
  CHECK(tx.try_send(std::move(kept)).closed());
  CHECK(kept.id() == 2);
  CHECK(tx.stats().dropped == 1);
  CHECK(adds_up(tx.stats()));
}

TEMPLATE_TEST_CASE("channel: a handle that was moved from or reset says so", "[channel]", Shared, Local, Spsc) {
  Channel<TestType> f;
  const bool by_move = GENERATE(false, true);
  auto tx = std::move(f.tx);
  auto rx = std::move(f.rx);
  if (!by_move) {
    f.tx = std::move(tx);
    f.rx = std::move(rx);
    f.tx.reset();
    f.rx.reset();
  }
  CHECK_FALSE(f.tx);
  CHECK_FALSE(f.rx);
  const auto empty = [](auto operation) {
    try {
      operation();
    } catch (const weir::Error& error) {
      return error.code() == Errc::empty_handle;
    }
    return false;
  };
  int value = 0;
  const std::vector<int> range;
  std::vector<int> out;
  CHECK(empty([&] { (void)f.tx.send(value); }));
  CHECK(empty([&] { (void)f.tx.send(1); }));
  CHECK(empty([&] { (void)f.tx.send_emplace(1); }));
  CHECK(empty([&] { (void)f.tx.try_send(1); }));
  CHECK(empty([&] { (void)f.tx.try_send(value); }));
  CHECK(empty([&] { (void)f.tx.reserve(); }));
  CHECK(empty([&] { (void)f.tx.send_all(range); }));
  CHECK(empty([&] { f.tx.async_send(1, [](std::error_code, std::optional<int>) {}); }));
  CHECK(empty([&] { (void)f.tx.stats(); }));
  CHECK(empty([&] { (void)f.tx.closed(); }));
  CHECK(empty([&] { (void)f.tx.capacity(); }));
  CHECK(empty([&] { (void)f.rx.receive(); }));
  CHECK(empty([&] { (void)f.rx.receive_some(out, 1); }));
  CHECK(empty([&] { (void)f.rx.try_receive(); }));
  CHECK(empty([&] { f.rx.discard(); }));
  CHECK(empty([&] { f.rx.async_receive([](std::error_code, std::optional<int>) {}); }));
  CHECK(empty([&] { (void)f.rx.stats(); }));
  // These end something that has ended already.
  f.tx.close();
  f.rx.close(make_error_code(Errc::cancelled));
  f.tx.reset();
  f.rx.reset();
}

TEMPLATE_TEST_CASE("channel: handles can be assigned and moved to themselves", "[channel]", Shared, Local, Spsc) {
  Channel<TestType> f;
  Channel<TestType> g;
  auto& same = f.tx;
  f.tx = std::move(same);
  CHECK(f.tx.try_send(1));
  CHECK_FALSE(f.rx.closed());
  f.tx = std::move(g.tx);
  CHECK(f.rx.closed());
  CHECK_FALSE(g.rx.closed());
  CHECK(f.tx.try_send(2));
  CHECK(g.rx.try_receive() == 2);
}

TEST_CASE("channel: only the handles of an spsc channel can't be copied", "[channel]") {
  STATIC_REQUIRE(std::is_copy_constructible_v<weir::ChannelSender<int>>);
  STATIC_REQUIRE(std::is_copy_assignable_v<weir::ChannelReceiver<int>>);
  STATIC_REQUIRE(std::is_copy_constructible_v<weir::LocalChannelSender<int>>);
  STATIC_REQUIRE_FALSE(std::is_copy_constructible_v<weir::SpscChannelSender<int>>);
  STATIC_REQUIRE_FALSE(std::is_copy_assignable_v<weir::SpscChannelReceiver<int>>);
  STATIC_REQUIRE(std::is_nothrow_move_constructible_v<weir::SpscChannelSender<int>>);
  STATIC_REQUIRE(std::is_nothrow_move_assignable_v<weir::SpscChannelReceiver<int>>);
}

TEST_CASE("channel: an operation is awaited once", "[channel]") {
  asio::io_context context;
  auto [tx, rx] = weir::make_channel<int>(context);
  CHECK(tx.try_send(1));
  CHECK(tx.try_send(2));
  std::optional<int> got;
  Root root(context, [&, &from = rx]() -> Task<> {
    auto operation = from.receive();
    got = co_await std::move(operation);
    co_await std::move(operation);
  });
  poll(context);
  CHECK(got == 1);
  CHECK(root.code() == Errc::task_consumed);
  CHECK(rx.try_receive() == 2);
}

TEST_CASE("channel: handles dropped while operations wait on them end those", "[channel]") {
  asio::io_context context;
  auto [tx, rx] = weir::make_channel<int>(context, {.capacity = 1});
  Root receiver(context, [&, &from = rx]() -> Task<> {
    const auto value = co_await from.receive();
    CHECK_FALSE(value);
  });
  poll(context);
  rx.reset();
  poll(context);
  CHECK(receiver.fine());
  tx.reset();

  auto [tx2, rx2] = weir::make_channel<int>(context, {.capacity = 1});
  CHECK(tx2.try_send(1));
  Root sender(context, [&, &to = tx2]() -> Task<> { co_await to.send(2); });
  poll(context);
  tx2.reset();
  poll(context);
  CHECK(sender.code() == Errc::channel_closed);
  CHECK(rx2.try_receive() == 1);
  rx2.reset();
}

/// Uses the channel when it is destroyed, unless it was moved from.
class Caller {
 public:
  explicit Caller(std::function<void()> call) : call_(std::move(call)) {}
  Caller(Caller&& other) noexcept : call_(std::exchange(other.call_, nullptr)) {}
  Caller& operator=(Caller&& other) noexcept {
    std::swap(call_, other.call_);
    return *this;
  }
  ~Caller() {
    if (call_) call_();
  }

 private:
  std::function<void()> call_;
};

TEST_CASE("channel: a value may use the channel when it is destroyed", "[channel]") {
  asio::io_context context;
  const auto policy = GENERATE(Overflow::wait, Overflow::drop_newest, Overflow::drop_oldest, Overflow::latest);
  auto [tx, rx] = weir::make_channel<Caller>(context, {.capacity = 1, .overflow = policy});
  int calls = 0;
  const auto call = [&calls, &sending = tx, &receiving = rx] {
    ++calls;
    if (sending) CHECK(adds_up(sending.stats()));
    if (receiving) CHECK(adds_up(receiving.stats()));
    if (receiving) (void)receiving.closed();
  };
  CHECK(tx.try_send(Caller(call)));
  CHECK(calls == 0);
  (void)tx.try_send(Caller(call));
  CHECK(calls == 1);  // refused or dropped
  CHECK(rx.discard() == 1);
  CHECK(calls == 2);
  Root sender(context, [&, &to = tx]() -> Task<> {
    co_await to.send_emplace(call);
    std::vector<Caller> more;
    more.emplace_back(call);
    more.emplace_back(call);
    co_await to.send_all(std::move(more));
  });
  poll(context);
  (void)rx.try_receive();
  poll(context);
  CHECK(adds_up(rx.stats()));
  rx.reset();
  poll(context);
  CHECK(sender.ended());
  CHECK(calls == 5);
}

TEST_CASE("channel: a reason may use the channel when it is destroyed", "[channel]") {
  struct Reason : std::runtime_error {
    explicit Reason(std::function<void()> f)
        : std::runtime_error("reason"), call(std::make_shared<Caller>(std::move(f))) {}
    std::shared_ptr<Caller> call;
  };
  asio::io_context context;
  auto [tx, rx] = weir::make_channel<int>(context);
  int calls = 0;
  auto call = [&calls, &receiving = rx] {
    ++calls;
    CHECK(receiving.closed());
  };
  tx.close();
  tx.close(std::make_exception_ptr(Reason(call)));
  CHECK(calls == 1);
}

TEST_CASE("channel: sync_wait receives from a channel", "[channel]") {
  asio::io_context context;
  auto [tx, rx] = weir::make_channel<int>(context);
  CHECK(tx.try_send(42));
  CHECK(weir::sync_wait([](weir::ChannelReceiver<int> from) -> Task<int> {
          const auto value = co_await from.receive();
          co_return *value;
        }(rx)) == 42);
}

}  // namespace
