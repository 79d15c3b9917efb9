#include <weir/channel/select.hpp>

#include <memory>
#include <vector>

#include <weir/core/timer.hpp>
#include <weir/sim/simulator.hpp>

#include "channel/support.hpp"
#include "support/allocation_counter.hpp"
#include "support/catch.hpp"

namespace {

using namespace channel_test;
using namespace std::chrono_literals;
using weir::after;
using weir::select;
using weir::select_in_order;
using weir::Selectable;
using weir::when;

// A part of a run could go, and another operation win.
static_assert(!Selectable<decltype(std::declval<weir::ChannelSender<int>>().send_all(std::vector<int>()))>);
static_assert(Selectable<decltype(std::declval<weir::ChannelSender<int>>().reserve())>);

TEMPLATE_TEST_CASE("select: a permit is won when there is room, and nothing is reserved when another wins", "", Shared,
                   Local) {
  asio::io_context context;
  auto [in_tx, in_rx] = TestType::template make<int>(context);
  auto [out_tx, out_rx] = TestType::template make<int>(context, {.capacity = 1});
  auto& in = in_rx;
  auto& out = out_tx;
  std::vector<std::size_t> won;
  Root root(context, [&]() -> Task<> {
    for (int i = 0; i < 3; ++i) {
      auto got = co_await select(in.receive(), out.reserve());
      won.push_back(got.index());
      if (got.index() == 1) std::get<1>(got).send(i);
    }
  });
  poll(context);
  CHECK(won == std::vector<std::size_t>{1});
  CHECK(out_tx.stats().waiting_senders == 1);
  REQUIRE(in_tx.try_send(5));
  poll(context);
  CHECK(won == std::vector<std::size_t>{1, 0});
  CHECK(out_tx.stats().reserved == 0);
  CHECK(out_rx.try_receive() == 0);
  poll(context);
  CHECK(won == std::vector<std::size_t>{1, 0, 1});
  CHECK(out_rx.try_receive() == 2);
  CHECK(root.fine());
  CHECK(out_tx.stats().reserved == 0);
}

TEST_CASE("select: a permit that was won and not looked at is given back") {
  auto [tx, rx] = [] {
    asio::io_context context;
    auto ends = weir::make_channel<int>(context, {.capacity = 1});
    auto& out = ends.first;
    REQUIRE(out.try_send(1));
    Root root(context, [&]() -> Task<> { co_await select(out.reserve(), after(1h)); });
    poll(context);
    CHECK(ends.second.try_receive() == 1);
    CHECK(out.stats().reserved == 1);
    return ends;
  }();
  CHECK(tx.stats().reserved == 0);
  CHECK(tx.try_send(2));
}

TEST_CASE("select: a permit that can't be had is what reserve throws") {
  asio::io_context context;
  auto [closed_tx, closed_rx] = weir::make_channel<int>(context);
  auto [full_tx, full_rx] = weir::make_channel<int>(context, {.capacity = 1, .overflow = Overflow::reject});
  auto& closed = closed_tx;
  auto& full = full_tx;
  closed_tx.close();
  REQUIRE(full_tx.try_send(1));
  Root one(context, [&]() -> Task<> { co_await select(closed.reserve(), after(1h)); });
  Root two(context, [&]() -> Task<> { co_await select(full.reserve(), after(1h)); });
  poll(context);
  CHECK(one.code() == Errc::channel_closed);
  CHECK(two.code() == Errc::channel_full);
}

TEST_CASE("select: a permit that came too late goes to who is next") {
  asio::io_context context;
  auto [in_tx, in_rx] = weir::make_channel<int>(context);
  auto [out_tx, out_rx] = weir::make_channel<int>(context, {.capacity = 1});
  auto& in = in_rx;
  auto& out = out_tx;
  REQUIRE(out_tx.try_send(1));
  std::size_t won = 9;
  bool sent = false;
  Root root(context, [&]() -> Task<> { won = (co_await select(out.reserve(), in.receive())).index(); });
  poll(context);
  Root next(context, [&]() -> Task<> {
    co_await out.send(2);
    sent = true;
  });
  poll(context);
  REQUIRE(in_tx.try_send(5));
  CHECK(out_rx.try_receive() == 1);
  poll(context);
  CHECK(won == 1);
  CHECK(sent);
  CHECK(out_rx.try_receive() == 2);
  CHECK(out_tx.stats().reserved == 0);
}

TEMPLATE_TEST_CASE("select: a run takes what is there, and nothing when another wins", "", Shared, Local) {
  asio::io_context context;
  auto [a_tx, a_rx] = TestType::template make<int>(context, {.capacity = 8});
  auto [b_tx, b_rx] = TestType::template make<int>(context, {.capacity = 8});
  auto& a = a_rx;
  auto& b = b_rx;
  for (int i = 0; i < 5; ++i) REQUIRE(a_tx.try_send(i));
  REQUIRE(b_tx.try_send(9));
  std::vector<int> from_a;
  std::vector<int> from_b;
  std::vector<std::size_t> counts;
  Root root(context, [&]() -> Task<> {
    counts.push_back(std::get<0>(co_await select_in_order(a.receive_some(from_a, 3), b.receive_some(from_b, 3))));
    const auto other = co_await select_in_order(b.receive(), a.receive_some(from_a, 3));
    counts.push_back(other.index());
    counts.push_back(std::get<0>(co_await select_in_order(a.receive_some(from_a, 3), b.receive_some(from_b, 3))));
  });
  poll(context);
  CHECK(root.fine());
  CHECK(counts == std::vector<std::size_t>{3, 0, 2});
  CHECK(from_a == std::vector{0, 1, 2, 3, 4});
  CHECK(from_b.empty());
}

TEST_CASE("select: a run that waits takes what came behind the value that woke it") {
  asio::io_context context;
  auto [a_tx, a_rx] = weir::make_channel<std::unique_ptr<int>>(context, {.capacity = 8});
  auto [b_tx, b_rx] = weir::make_channel<int>(context);
  auto& a = a_rx;
  auto& b = b_rx;
  std::vector<std::unique_ptr<int>> got;
  std::vector<std::size_t> won;
  Root root(context, [&]() -> Task<> {
    for (int i = 0; i < 3; ++i) {
      const auto done = co_await select(b.receive(), a.receive_some(got, 2));
      won.push_back(done.index());
      if (done.index() == 1) won.push_back(std::get<1>(done));
    }
  });
  poll(context);
  CHECK(a_rx.stats().waiting_receivers == 1);
  for (int i = 0; i < 3; ++i) REQUIRE(a_tx.try_send(std::make_unique<int>(i)));
  poll(context);
  CHECK(won == std::vector<std::size_t>{1, 2, 1, 1});
  REQUIRE(got.size() == 3);
  for (int i = 0; i < 3; ++i) CHECK(*got[static_cast<std::size_t>(i)] == i);
  REQUIRE(b_tx.try_send(1));
  poll(context);
  CHECK(root.fine());
  CHECK(got.size() == 3);
  CHECK(a_rx.stats().waiting_receivers == 0);
}

TEST_CASE("select: the end of a run's channel is 0, or its reason") {
  asio::io_context context;
  auto [a_tx, a_rx] = weir::make_channel<int>(context);
  auto [b_tx, b_rx] = weir::make_channel<int>(context);
  auto& a = a_rx;
  auto& b = b_rx;
  std::vector<int> got;
  std::size_t count = 9;
  Root ends(context, [&]() -> Task<> { count = std::get<0>(co_await select(a.receive_some(got, 2), after(1h))); });
  Root told(context, [&]() -> Task<> { co_await select(b.receive_some(got, 2), after(1h)); });
  poll(context);
  a_tx.close();
  b_tx.close(make_error_code(std::errc::network_down));
  poll(context);
  CHECK(count == 0);
  CHECK(told.code() == std::errc::network_down);
}

TEST_CASE("select: nothing is allocated by permits and runs, whether it waits or not", "[allocation]") {
  asio::io_context context;
  auto [a_tx, a_rx] = weir::make_channel<int>(context, {.capacity = 1});
  auto [b_tx, b_rx] = weir::make_channel<int>(context, {.capacity = 1});
  const auto consume = [](weir::ChannelReceiver<int> a, weir::ChannelReceiver<int> b) -> Task<> {
    int room[4]{};
    for (bool first = true, second = true; first || second;) {
      const auto got =
          co_await select(when(first, a.receive_some(&room[0], 4)), when(second, b.receive_some(&room[0], 4)));
      if (got.index() == 0) {
        first = std::get<0>(got) != 0;
      } else {
        second = std::get<1>(got) != 0;
      }
    }
  };
  std::uint64_t allocated = 1;
  const auto produce = [&allocated](weir::ChannelSender<int> a, weir::ChannelSender<int> b) -> Task<> {
    std::uint64_t before = 0;
    for (int i = 0; i < 2000; ++i) {
      if (i == 1000) before = weir_test::allocations.load();
      auto got = co_await select(a.reserve(), b.reserve());
      (got.index() == 0 ? std::get<0>(got) : std::get<1>(got)).send(i);
    }
    allocated = weir_test::allocations.load() - before;
  };
  Root first(context, consume(a_rx, b_rx));
  Root second(context, produce(a_tx, b_tx));
  a_tx.reset();
  b_tx.reset();
  poll(context);
  CHECK(first.fine());
  CHECK(second.fine());
  CHECK(allocated == 0);
}

}  // namespace
