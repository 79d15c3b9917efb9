#include <weir/channel/select.hpp>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include <weir/core/this_task.hpp>
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
using weir::when;
using weir::sim::Simulator;

TEMPLATE_TEST_CASE("select: what is there is received, and nothing else is touched", "", Shared, Local) {
  asio::io_context context;
  auto [a_tx, a_rx] = TestType::template make<int>(context, {.capacity = 4});
  auto [b_tx, b_rx] = TestType::template make<std::string>(context, {.capacity = 4});
  auto& a = a_rx;
  auto& b = b_rx;
  REQUIRE(b_tx.try_send("b"));
  bool right = false;
  Root root(context, [&]() -> Task<> {
    const auto got = co_await select(a.receive(), b.receive());
    right = got.index() == 1 && std::get<1>(got) == "b";
  });
  poll(context);
  CHECK(root.fine());
  CHECK(right);
  CHECK(a_rx.stats().waiting_receivers == 0);
  CHECK(b_rx.stats().received == 1);
}

TEMPLATE_TEST_CASE("select: a value that comes later wakes it, and the other channels are left", "", Shared, Local,
                   Spsc) {
  asio::io_context context;
  auto [a_tx, a_rx] = TestType::template make<int>(context, {.capacity = 4});
  auto [b_tx, b_rx] = TestType::template make<std::string>(context, {.capacity = 4});
  auto& a = a_rx;
  auto& b = b_rx;
  std::optional<int> value;
  Root root(context, [&]() -> Task<> {
    const auto got = co_await select(a.receive(), b.receive());
    if (got.index() == 0) value = std::get<0>(got);
  });
  poll(context);
  CHECK(a_rx.stats().waiting_receivers == 1);
  CHECK(b_rx.stats().waiting_receivers == 1);
  REQUIRE(a_tx.try_send(7));
  // It is served already, though it has not run: this one is for others.
  REQUIRE(b_tx.try_send("kept"));
  CHECK(b_rx.stats().waiting_receivers == 0);
  poll(context);
  CHECK(value == 7);
  CHECK(b_rx.stats().buffered == 1);
  CHECK(b_rx.try_receive() == "kept");
  // And the gates are open again for who comes next.
  REQUIRE(a_tx.try_send(8));
  CHECK(a_rx.try_receive() == 8);
}

TEST_CASE("select: a send wins when there is room, and else its value stays with the caller") {
  asio::io_context context;
  auto [in_tx, in_rx] = weir::make_channel<int>(context);
  auto [out_tx, out_rx] = weir::make_channel<std::unique_ptr<int>>(context, {.capacity = 1});
  auto& in = in_rx;
  auto& out = out_tx;
  std::vector<std::size_t> won;
  auto second = std::make_unique<int>(2);
  Root root(context, [&]() -> Task<> {
    auto first = std::make_unique<int>(1);
    won.push_back((co_await select(in.receive(), out.send(std::move(first)))).index());
    won.push_back((co_await select(in.receive(), out.send(std::move(second)))).index());
    won.push_back((co_await select(in.receive(), out.send(std::move(second)))).index());
  });
  poll(context);
  CHECK(won == std::vector<std::size_t>{1});
  CHECK(out_tx.stats().waiting_senders == 1);
  REQUIRE(in_tx.try_send(5));
  poll(context);
  CHECK(won == std::vector<std::size_t>{1, 0});
  REQUIRE(second);
  CHECK(**out_rx.try_receive() == 1);
  poll(context);
  CHECK(won == std::vector<std::size_t>{1, 0, 1});
  CHECK(!second);
  CHECK(**out_rx.try_receive() == 2);
  CHECK(root.fine());
}

TEST_CASE("select: a closed channel is an outcome, with its reason, until it is taken out") {
  asio::io_context context;
  auto [a_tx, a_rx] = weir::make_channel<int>(context);
  auto [b_tx, b_rx] = weir::make_channel<int>(context);
  auto& a = a_rx;
  auto& b = b_rx;
  std::vector<int> seen;
  Root root(context, [&]() -> Task<> {
    for (bool a_open = true, b_open = true; a_open || b_open;) {
      const auto got = co_await select(when(a_open, a.receive()), when(b_open, b.receive()));
      if (got.index() == 0) {
        a_open = std::get<0>(got).has_value();
        seen.push_back(std::get<0>(got).value_or(-1));
      } else {
        b_open = std::get<1>(got).has_value();
        seen.push_back(std::get<1>(got).value_or(-2));
      }
    }
  });
  poll(context);
  a_tx.close();
  poll(context);
  CHECK(seen == std::vector{-1});
  REQUIRE(b_tx.try_send(3));
  b_tx.close();
  poll(context);
  CHECK(seen == std::vector{-1, 3, -2});
  CHECK(root.fine());

  auto [c_tx, c_rx] = weir::make_channel<int>(context);
  auto& c = c_rx;
  Root waits(context, [&]() -> Task<> { co_await select(c.receive(), after(1h)); });
  poll(context);
  c_tx.close(make_error_code(std::errc::network_down));
  poll(context);
  CHECK(waits.code() == std::errc::network_down);
  Root sends(context, [&out = c_tx]() -> Task<> { co_await select(out.send(1)); });
  poll(context);
  CHECK(sends.code() == Errc::channel_closed);
}

TEST_CASE("select: with nothing to wait for it is refused") {
  asio::io_context context;
  auto [tx, rx] = weir::make_channel<int>(context);
  auto& in = rx;
  Root nothing(context, [&]() -> Task<> { co_await select(when(false, in.receive()), when(false, after(1s))); });
  Root twice(context, [&]() -> Task<> {
    auto once = select(in.receive(), after(0s));
    co_await std::move(once);
    co_await std::move(once);
  });
  poll(context);
  CHECK(nothing.code() == Errc::invalid_argument);
  CHECK(twice.code() == Errc::task_consumed);
}

TEST_CASE("select: a time wins when nothing else comes, and does not hold up what does") {
  Simulator sim(1);
  auto [tx, rx] = weir::make_channel<int>(sim);
  auto& in = rx;
  auto& out = tx;
  std::vector<std::size_t> won;
  sim.spawn([&]() -> Task<> {
    won.push_back((co_await select(after(5ms), in.receive(), after(3ms))).index());
    CHECK(sim.elapsed() == 3ms);
    co_await out.send(1);
    won.push_back((co_await select(after(0ms), in.receive())).index());
    won.push_back((co_await select(after(0ms), in.receive())).index());
    won.push_back((co_await select(in.receive(), after(1h))).index());
  });
  sim.spawn([&]() -> Task<> {
    co_await weir::sleep_for(10ms);
    co_await out.send(2);
  });
  sim.run();
  CHECK(won == std::vector<std::size_t>{2, 1, 0, 0});
  CHECK(sim.elapsed() == 10ms);
}

TEST_CASE("select: it is fair between those that are always ready, unless it is asked to keep an order") {
  asio::io_context context;
  auto [a_tx, a_rx] = weir::make_channel<int>(context, {.capacity = 1000});
  auto [b_tx, b_rx] = weir::make_channel<int>(context, {.capacity = 1000});
  for (int i = 0; i < 1000; ++i) REQUIRE((a_tx.try_send(i) && b_tx.try_send(i)));
  auto& a = a_rx;
  auto& b = b_rx;
  int first = 0;
  int first_in_order = 0;
  Root root(context, [&]() -> Task<> {
    for (int i = 0; i < 300; ++i) first += (co_await select(a.receive(), b.receive())).index() == 0;
    for (int i = 0; i < 300; ++i) first_in_order += (co_await select_in_order(a.receive(), b.receive())).index() == 0;
  });
  context.run();
  CHECK(root.fine());
  CHECK(first > 100);
  CHECK(first < 200);
  CHECK(first_in_order == 300);
}

TEST_CASE("select: cancelled while it waits it leaves every channel") {
  asio::io_context context;
  auto [a_tx, a_rx] = weir::make_channel<int>(context);
  auto [b_tx, b_rx] = weir::make_channel<int>(context, {.capacity = 1});
  REQUIRE(b_tx.try_send(1));
  auto& a = a_rx;
  auto& b = b_tx;
  Root root(context, [&]() -> Task<> { co_await select(a.receive(), b.send(2), after(1h)); });
  poll(context);
  CHECK(b_tx.stats().waiting_senders == 1);
  root.cancel();
  poll(context);
  CHECK(root.code() == Errc::cancelled);
  CHECK(a_rx.stats().waiting_receivers == 0);
  CHECK(b_tx.stats().waiting_senders == 0);
}

/// Its move throws when it is told to.
struct Brittle {
  explicit Brittle(int v, int* moves) : value(v), moves_left(moves) {}
  Brittle(Brittle&& other) : value(other.value), moves_left(other.moves_left) {
    if (moves_left && (*moves_left)-- == 0) throw std::runtime_error("brittle");
  }
  int value;
  int* moves_left;
};

TEST_CASE("select: a value that can't be moved to it fails its sender, and it waits on, everywhere") {
  asio::io_context context;
  auto [a_tx, a_rx] = weir::make_channel<Brittle>(context);
  auto [b_tx, b_rx] = weir::make_channel<int>(context);
  auto& a = a_rx;
  auto& b = b_rx;
  std::vector<std::size_t> won;
  Root root(context, [&]() -> Task<> {
    for (int i = 0; i < 2; ++i) won.push_back((co_await select(a.receive(), b.receive())).index());
  });
  poll(context);
  int moves = 0;
  CHECK_THROWS_AS(static_cast<void>(a_tx.try_send(Brittle(1, &moves))), std::runtime_error);
  // It has been claimed in vain: this one passes it by, and is found when it begins again.
  REQUIRE(b_tx.try_send(5));
  CHECK(won.empty());
  poll(context);
  CHECK(won == std::vector<std::size_t>{1});
  REQUIRE(a_tx.try_send(Brittle(2, nullptr)));
  poll(context);
  CHECK(won == std::vector<std::size_t>{1, 0});
  CHECK(adds_up(a_rx.stats()));
}

TEST_CASE("select: a stalled run says what each of its operations waits for") {
  Simulator sim(1);
  auto [a_tx, a_rx] = weir::make_channel<int>(sim);
  auto [b_tx, b_rx] = weir::make_channel<int>(sim, {.capacity = 1});
  a_tx.set_name("orders");
  b_tx.set_name("answers");
  REQUIRE(b_tx.try_send(0));
  sim.spawn([in = a_rx, out = b_tx]() -> Task<> { co_await select(in.receive(), out.send(1)); }, "clerk");
  std::string what;
  try {
    sim.run();
    FAIL("it did not stall");
  } catch (const weir::Error& error) {
    what = error.what();
  }
  CHECK(what.find("root 1 'clerk' waits in: select — 0: receive from channel \"orders\"") != std::string::npos);
  CHECK(what.find("waiting to receive: root 1 \"clerk\" for 0 us") != std::string::npos);
  CHECK(what.find(" | 1: send to channel \"answers\"") != std::string::npos);
}

TEST_CASE("select: nothing is allocated, whether it waits or not", "[allocation]") {
  asio::io_context context;
  auto [a_tx, a_rx] = weir::make_channel<int>(context, {.capacity = 1});
  auto [b_tx, b_rx] = weir::make_channel<int>(context, {.capacity = 1});
  const auto echo = [](weir::ChannelReceiver<int> in, weir::ChannelSender<int> out) -> Task<> {
    for (;;) {
      const auto got = co_await select(in.receive(), out.send(-1));
      if (got.index() == 0 && !std::get<0>(got)) co_return;
    }
  };
  std::uint64_t allocated = 1;
  const auto drive = [&allocated](weir::ChannelSender<int> out, weir::ChannelReceiver<int> in) -> Task<> {
    std::uint64_t before = 0;
    for (int i = 0; i < 2000; ++i) {
      if (i == 1000) before = weir_test::allocations.load();
      co_await select(in.receive(), out.send(i));
    }
    allocated = weir_test::allocations.load() - before;
  };
  Root first(context, echo(a_rx, b_tx));
  Root second(context, drive(a_tx, b_rx));
  a_tx.reset();
  b_rx.reset();
  poll(context);
  CHECK(second.fine());
  CHECK(allocated == 0);
}

TEST_CASE("select: four threads that select on two channels lose nothing", "[threads]") {
  constexpr int count = 4000;
  asio::thread_pool pool(4);
  auto [a_tx, a_rx] = weir::make_channel<int>(pool, {.capacity = 2});
  auto [b_tx, b_rx] = weir::make_channel<int>(pool, {.capacity = 2});
  std::atomic<std::int64_t> sum{0};
  std::atomic<int> received{0};
  for (int who = 0; who < 2; ++who) {
    weir::spawn(
        pool,
        [in1 = a_rx, in2 = b_rx, &sum, &received]() -> Task<> {
          for (bool first = true, second = true; first || second;) {
            const auto got = co_await select(when(first, in1.receive()), when(second, in2.receive()));
            const auto& value = got.index() == 0 ? std::get<0>(got) : std::get<1>(got);
            if (value) {
              sum += *value;
              ++received;
            } else {
              (got.index() == 0 ? first : second) = false;
            }
          }
        },
        asio::detached);
    weir::spawn(
        pool,
        [out1 = a_tx, out2 = b_tx]() -> Task<> {
          for (int i = 1; i <= count; ++i) co_await select(out1.send(i), out2.send(i));
        },
        asio::detached);
  }
  a_tx.reset();
  b_tx.reset();
  a_rx.reset();
  b_rx.reset();
  pool.join();
  CHECK(received == 2 * count);
  CHECK(sum == std::int64_t{count} * (count + 1));
}

TEST_CASE("select: threads that cancel selects lose nothing", "[threads]") {
  constexpr int rounds = 400;
  asio::thread_pool pool(4);
  auto [a_tx, a_rx] = weir::make_channel<int>(pool, {.capacity = 1});
  auto [b_tx, b_rx] = weir::make_channel<int>(pool, {.capacity = 1});
  std::atomic<int> received{0};
  std::atomic<int> sent{0};
  std::vector<std::unique_ptr<Root>> roots;
  for (int i = 0; i < rounds; ++i) {
    roots.push_back(std::make_unique<Root>());
    roots.back()->start(pool, [in1 = a_rx, in2 = b_rx, &received]() -> Task<> {
      const auto got = co_await select(in1.receive(), in2.receive());
      received += (got.index() == 0 ? std::get<0>(got) : std::get<1>(got)).has_value();
    });
    for (auto* const tx : {&a_tx, &b_tx}) {
      weir::spawn(
          pool,
          [out = *tx, &sent]() -> Task<> {
            sent += static_cast<bool>(out.try_send(1));
            co_return;
          },
          asio::detached);
    }
    roots.back()->cancel();
  }
  pool.join();
  int left = 0;
  for (auto* const rx : {&a_rx, &b_rx}) {
    while (rx->try_receive()) ++left;
    CHECK(adds_up(rx->stats()));
    CHECK(rx->stats().waiting_receivers == 0);
    CHECK(rx->stats().dropped == 0);
  }
  CHECK(sent == received + left);
}

}  // namespace
