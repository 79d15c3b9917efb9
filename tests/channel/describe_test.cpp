#include <weir/channel/channel.hpp>

#include <string>
#include <thread>

#include <weir/core/this_task.hpp>
#include <weir/core/timer.hpp>
#include <weir/sim/simulator.hpp>

#include "channel/support.hpp"
#include "support/catch.hpp"

namespace {

using namespace channel_test;
using namespace std::chrono_literals;
using weir::sim::Simulator;

TEST_CASE("describe: a channel that nobody waits for shows its counters, its policy and its ends") {
  asio::io_context context;
  auto [tx, rx] = weir::make_channel<int>(context, {.capacity = 16, .overflow = Overflow::drop_oldest});
  const auto second = tx;
  CHECK(tx.describe() ==
        "channel of capacity 16 (drop_oldest): 0 buffered, 0 reserved, 2 senders, 1 receiver; waiting to send: nobody; "
        "waiting to receive: nobody; so far 0 admitted, 0 received, 0 dropped");
  tx.set_name("orders");
  for (int i = 0; i < 18; ++i) REQUIRE(tx.try_send(i));
  REQUIRE(rx.try_receive() == 2);
  CHECK(rx.describe() ==
        "channel \"orders\" of capacity 16 (drop_oldest): 15 buffered, 0 reserved, 2 senders, 1 receiver; waiting to "
        "send: nobody; waiting to receive: nobody; so far 18 admitted, 1 received, 2 dropped");
}

TEST_CASE("describe: a closed channel says so, and why") {
  asio::io_context context;
  auto [tx, rx] = weir::make_channel<int>(context);
  auto [tx2, rx2] = weir::make_channel<int>(context);
  tx.close();
  CHECK(rx.describe().find("1 receiver; closed; waiting") != std::string::npos);
  tx2.close(std::make_exception_ptr(std::runtime_error("the disk is full")));
  CHECK(rx2.describe().find("; closed (the disk is full); waiting") != std::string::npos);
}

TEMPLATE_TEST_CASE("describe: those who wait are shown by root, name and time", "", Shared, Local, Spsc) {
  Simulator sim(1);
  auto [tx, rx] = TestType::template make<int>(sim, {.capacity = 1});
  tx.set_name("orders");
  auto* const sender = &tx;
  sim.spawn(
      [sender]() -> Task<> {
        for (int i = 0; i < 3; ++i) co_await sender->send(i);
      },
      "producer");
  std::string seen;
  auto* const receiver = &rx;
  sim.spawn([&seen, receiver]() -> Task<> {
    co_await weir::sleep_for(1204ms);
    seen = receiver->describe();
    while (co_await receiver->receive() != 2) {
    }
    co_await weir::sleep_for(12ms);
  });
  sim.run();
  CHECK(seen ==
        "channel \"orders\" of capacity 1 (wait): 1 buffered, 0 reserved, 1 sender, 1 receiver; waiting to send: root "
        "1 \"producer\" for 1.204 s; waiting to receive: nobody; so far 1 admitted, 0 received, 0 dropped");
}

TEST_CASE("describe: times are given in the unit that suits them, and a handler has none") {
  Simulator sim(1);
  auto [tx, rx] = weir::make_channel<int>(sim);
  std::string seen;
  for (const auto start : {0us, 2'800us, 2'999us}) {
    auto copy = rx;
    sim.spawn([copy, start]() -> Task<> {
      co_await weir::sleep_for(start);
      co_await copy.receive();
    });
  }
  sim.spawn([&seen, out = tx, in = rx]() mutable -> Task<> {
    co_await weir::sleep_for(3ms);
    in.async_receive([](std::error_code, std::optional<int>) {});
    seen = out.describe();
    out.close();
  });
  sim.run();
  CHECK(seen.find("waiting to receive: root 1 for 3 ms, root 2 for 200 us, root 3 for 1 us, a completion handler;") !=
        std::string::npos);
}

TEST_CASE("describe: of many who wait the first are named, the others counted") {
  asio::io_context context;
  auto [tx, rx] = weir::make_channel<int>(context);
  for (int i = 0; i < 11; ++i) weir::spawn(context, [in = rx]() -> Task<> { co_await in.receive(); }, asio::detached);
  poll(context);
  const std::string text = rx.describe();
  CHECK(text.find("root 1 for ") != std::string::npos);
  CHECK(text.find("root 8 for ") != std::string::npos);
  CHECK(text.find("root 9") == std::string::npos);
  CHECK(text.find(" and 3 more;") != std::string::npos);
}

TEST_CASE("describe: a stalled simulator run prints who waits on which end since when") {
  Simulator sim(1);
  auto [tx, rx] = weir::make_channel<int>(sim, {.capacity = 1});
  auto [tx2, rx2] = weir::make_channel<int>(sim, {.capacity = 4});
  tx.set_name("requests");
  tx2.set_name("answers");
  sim.spawn(
      [out = tx]() -> Task<> {
        for (int i = 0; i < 2; ++i) co_await out.send(i);
      },
      "client");
  sim.spawn(
      [in = rx2]() -> Task<> {
        co_await weir::sleep_for(1500ms);
        co_await in.receive();
      },
      "server");
  std::string what;
  try {
    sim.run();
    FAIL("it did not stall");
  } catch (const weir::Error& error) {
    what = error.what();
  }
  CHECK(what.find("root 1 'client' waits in: send to a full channel — channel \"requests\" of capacity 1 (wait): 1 "
                  "buffered") != std::string::npos);
  CHECK(what.find("waiting to send: root 1 \"client\" for 1.500 s") != std::string::npos);
  CHECK(what.find("root 2 'server' waits in: receive from an empty channel — channel \"answers\" of capacity 4") !=
        std::string::npos);
  CHECK(what.find("waiting to receive: root 2 \"server\" for 0 us") != std::string::npos);
}

TEST_CASE("describe: any thread may describe and name while others wait") {
  asio::thread_pool pool(2);
  auto [tx, rx] = weir::make_channel<int>(pool, {.capacity = 1});
  auto* const watched = &rx;
  weir::spawn(
      pool,
      [out = std::move(tx)]() -> Task<> {
        co_await weir::this_task::set_name("before");
        for (int i = 0; i < 2000; ++i) {
          if (i % 64 == 0) co_await weir::this_task::set_name(i % 128 == 0 ? "even" : "odd");
          co_await out.send(i);
        }
      },
      asio::detached);
  int received = 0;
  weir::spawn(
      pool,
      [in = rx, &received]() -> Task<> {
        while (co_await in.receive()) ++received;
      },
      asio::detached);
  std::size_t length = 0;
  while (!watched->closed()) {
    length += watched->describe().size();
    watched->set_name("pipe");
  }
  pool.join();
  CHECK(received == 2000);
  CHECK(length + watched->describe().size() > 100);
}

}  // namespace
