#include <weir/channel/permit.hpp>

#include <memory>
#include <string>
#include <vector>

#include <weir/channel/channel.hpp>

#include "channel/support.hpp"
#include "support/catch.hpp"

namespace {

using namespace channel_test;
using Text = std::string;

struct Fixture {
  explicit Fixture(weir::ChannelOptions options = {.capacity = 2}) {
    auto [sender, receiver] = weir::make_channel<Text>(context, options);
    tx = std::move(sender);
    rx = std::move(receiver);
  }
  /// A permit, or what its reservation threw.
  weir::Permit<Text> permit() {
    weir::Permit<Text> result;
    Root root(context, [&]() -> Task<> { result = co_await tx.reserve(); });
    poll(context);
    if (root.error()) std::rethrow_exception(root.error());
    return result;
  }
  std::error_code refusal() {
    try {
      const auto granted = permit();
    } catch (const weir::Error& error) {
      return error.code();
    }
    return {};
  }
  asio::io_context context;
  weir::ChannelSender<Text> tx;
  weir::ChannelReceiver<Text> rx;
};

TEST_CASE("permit: holds room, and sends without waiting", "[permit]") {
  Fixture f;
  auto permit = f.permit();
  CHECK(permit);
  CHECK(f.tx.stats().reserved == 1);
  CHECK(f.tx.try_send(Text("one")));
  CHECK(f.tx.try_send(Text("two")).full());
  permit.send(Text("three"));
  CHECK_FALSE(permit);
  CHECK(f.tx.stats().reserved == 0);
  CHECK(f.tx.stats().buffered == 2);
  CHECK(f.rx.try_receive() == "one");
  CHECK(f.rx.try_receive() == "three");
}

TEST_CASE("permit: is used once", "[permit]") {
  Fixture f;
  auto permit = f.permit();
  permit.emplace(3U, 'x');
  Text kept = "kept";
  try {
    permit.send(std::move(kept));
    FAIL("it was used twice");
  } catch (const weir::Error& error) {
    CHECK(error.code() == Errc::empty_handle);
  }
  CHECK(kept == "kept");
  CHECK(f.rx.try_receive() == "xxx");
  permit.release();
  permit.release();
  CHECK(f.tx.stats().reserved == 0);
}

TEST_CASE("permit: gives its room back when it is released, destroyed or assigned to", "[permit]") {
  Fixture f({.capacity = 1});
  {
    auto permit = f.permit();
    CHECK(f.tx.try_send(Text("no")).full());
  }
  CHECK(f.tx.stats().reserved == 0);
  auto permit = f.permit();
  auto other = std::move(permit);
  CHECK_FALSE(permit);
  CHECK(other);
  CHECK(f.tx.stats().reserved == 1);
  auto& same = other;
  other = std::move(same);
  CHECK(other);
  other = weir::Permit<Text>();
  CHECK(f.tx.stats().reserved == 0);
}

TEST_CASE("permit: a release lets the sender in that waits longest", "[permit]") {
  Fixture f({.capacity = 1});
  auto permit = f.permit();
  Root first(f.context, [&]() -> Task<> { co_await f.tx.send_emplace("one"); });
  Root second(f.context, [&]() -> Task<> { co_await f.tx.send_emplace("two"); });
  poll(f.context);
  CHECK(f.tx.stats().waiting_senders == 2);
  permit.release();
  poll(f.context);
  CHECK(first.fine());
  CHECK_FALSE(second.ended());
  CHECK(f.rx.try_receive() == "one");
}

TEST_CASE("permit: a value that goes straight to a receiver makes room for a sender that waits", "[permit]") {
  Fixture f({.capacity = 1});
  auto permit = f.permit();
  std::vector<Text> got;
  Root receiver(f.context, [&]() -> Task<> {
    for (int i = 0; i < 2; ++i) {
      auto value = co_await f.rx.receive();
      got.push_back(*value);
    }
  });
  Root sender(f.context, [&]() -> Task<> { co_await f.tx.send_emplace("two"); });
  poll(f.context);
  CHECK(f.tx.stats().waiting_senders == 1);
  CHECK(f.tx.stats().waiting_receivers == 1);
  permit.send(Text("one"));
  poll(f.context);
  CHECK(sender.fine());
  CHECK(receiver.fine());
  CHECK(got == std::vector<Text>{"one", "two"});
}

TEST_CASE("permit: outlives a close, and the receivers wait for it", "[permit]") {
  Fixture f;
  auto first = f.permit();
  auto second = f.permit();
  std::vector<Text> got;
  int ends = 0;
  const auto receives = [&](weir::ChannelReceiver<Text> from) -> Task<> {
    while (auto value = co_await from.receive()) got.push_back(*value);
    ++ends;
  };
  Root one(f.context, receives(f.rx));
  Root two(f.context, receives(f.rx));
  poll(f.context);
  f.tx.close();
  CHECK(f.refusal() == Errc::channel_closed);
  poll(f.context);
  CHECK(ends == 0);
  CHECK(f.tx.stats().waiting_receivers == 2);
  first.send(Text("late"));
  poll(f.context);
  CHECK(got == std::vector<Text>{"late"});
  CHECK(ends == 0);
  const bool used = GENERATE(false, true);
  if (used) {
    second.send(Text("later"));
  } else {
    second.release();
  }
  poll(f.context);
  CHECK(ends == 2);
  CHECK(got.size() == (used ? 2 : 1));
  CHECK(adds_up(f.tx.stats()));
}

TEST_CASE("permit: a reason waits for the last permit", "[permit]") {
  Fixture f;
  auto permit = f.permit();
  f.tx.close(make_error_code(std::errc::network_down));
  Root receiver(f.context, [&]() -> Task<> { co_await f.rx.receive(); });
  poll(f.context);
  CHECK_FALSE(receiver.ended());
  permit.release();
  poll(f.context);
  CHECK(receiver.code() == std::errc::network_down);
}

TEST_CASE("permit: without a receiver it leaves the value alone", "[permit]") {
  Fixture f;
  auto permit = f.permit();
  f.rx.reset();
  Text kept(40, 'k');
  try {
    permit.send(std::move(kept));
    FAIL("it was sent");
  } catch (const weir::Error& error) {
    CHECK(error.code() == Errc::channel_closed);
  }
  CHECK(kept == Text(40, 'k'));
  CHECK(permit);
  CHECK(f.tx.stats().admitted == 0);
}

TEST_CASE("permit: outlives every handle", "[permit]") {
  Fixture f;
  auto permit = f.permit();
  auto other = f.permit();
  f.tx.reset();
  f.rx.reset();
  CHECK_THROWS_AS(permit.send(Text("x")), weir::Error);
  CHECK(permit);
}

TEST_CASE("permit: no policy takes reserved room away", "[permit]") {
  const auto policy = GENERATE(Overflow::drop_oldest, Overflow::latest, Overflow::drop_newest);
  Fixture f({.capacity = 2, .overflow = policy});
  auto first = f.permit();
  auto second = f.permit();
  for (int i = 0; i < 3; ++i) CHECK(f.tx.try_send(Text("dropped")));
  CHECK(f.tx.stats().dropped == 3);
  CHECK(f.tx.stats().buffered == 0);
  CHECK(f.tx.stats().reserved == 2);
  first.send(Text("first"));
  CHECK(f.tx.stats().buffered == 1);
  CHECK(adds_up(f.tx.stats()));
  second.send(Text("second"));
  if (policy == Overflow::latest) {
    CHECK(f.tx.stats().buffered == 1);
  } else {
    CHECK(f.rx.try_receive() == "first");
  }
  CHECK(f.rx.try_receive() == "second");
  CHECK(adds_up(f.tx.stats()));
}

TEST_CASE("permit: a reservation drops the oldest where that is the policy, and is refused where none waits",
          "[permit]") {
  const auto policy = GENERATE(Overflow::drop_oldest, Overflow::latest, Overflow::drop_newest, Overflow::reject);
  Fixture f({.capacity = 1, .overflow = policy});
  CHECK(f.tx.try_send(Text("old")));
  const bool drops = policy == Overflow::drop_oldest || policy == Overflow::latest;
  if (drops) {
    auto permit = f.permit();
    CHECK(f.tx.stats().dropped == 1);
    CHECK(f.tx.stats().buffered == 0);
    CHECK(f.refusal() == Errc::channel_full);
    permit.send(Text("new"));
    CHECK(f.rx.try_receive() == "new");
  } else {
    CHECK(f.refusal() == Errc::channel_full);
    CHECK(f.rx.try_receive() == "old");
  }
  CHECK(adds_up(f.tx.stats()));
}

TEST_CASE("permit: one that was granted to a root that is destroyed before it looks is given back", "[permit]") {
  asio::io_context mine;
  auto [tx, rx] = weir::make_channel<int>(mine, {.capacity = 1});
  auto context = std::make_unique<asio::io_context>();
  CHECK(tx.try_send(1));
  Root root(*context, [&, &to = tx]() -> Task<> { auto permit = co_await to.reserve(); });
  poll(*context);
  CHECK(rx.try_receive() == 1);
  CHECK(tx.stats().reserved == 1);
  context.reset();
  CHECK(tx.stats().reserved == 0);
  CHECK(tx.try_send(2));
}

}  // namespace
