#include <weir/channel/channel.hpp>

#include <memory>
#include <vector>

#include <weir/core/this_task.hpp>
#include <weir/core/timer.hpp>
#include <weir/sim/explore.hpp>

#include "channel/support.hpp"
#include "channel/timed_world.hpp"
#include "support/allocation_counter.hpp"
#include "support/catch.hpp"

namespace {

using namespace channel_test;
using namespace std::chrono_literals;
using weir::sim::ensure;
using weir::sim::explore;
using weir::sim::explore_each_step;
using weir::sim::Simulator;

TEMPLATE_TEST_CASE("timed: a receive that nothing comes for throws timed_out at its time", "", Shared, Local) {
  Simulator sim(1);
  auto [tx, rx] = TestType::template make<int>(sim);
  auto& in = rx;
  std::error_code code;
  sim.spawn([&]() -> Task<> { code = co_await code_of([&in] { return in.receive_for(20ms); }); });
  sim.run();
  CHECK(code == Errc::timed_out);
  CHECK(sim.elapsed() == 20ms);
  CHECK(rx.stats().waiting_receivers == 0);
  // And the channel goes on.
  REQUIRE(tx.try_send(1));
  CHECK(rx.try_receive() == 1);
}

TEMPLATE_TEST_CASE("timed: a send that finds no room throws timed_out and gives the value back", "", Shared, Local) {
  Simulator sim(1);
  auto [tx, rx] = TestType::template make<std::unique_ptr<int>>(sim, {.capacity = 1});
  auto& out = tx;
  REQUIRE(tx.try_send(std::make_unique<int>(1)));
  auto kept = std::make_unique<int>(2);
  std::error_code code;
  sim.spawn([&]() -> Task<> { code = co_await code_of([&] { return out.send_for(std::move(kept), 20ms); }); });
  sim.run();
  CHECK(code == Errc::timed_out);
  CHECK(sim.elapsed() == 20ms);
  REQUIRE(kept);
  CHECK(*kept == 2);
  CHECK(tx.stats().waiting_senders == 0);
  CHECK(tx.stats().buffered == 1);
}

TEST_CASE("timed: what comes in time is given, and the time is not waited for") {
  Simulator sim(1);
  auto [tx, rx] = weir::make_channel<int>(sim, {.capacity = 1});
  auto& out = tx;
  auto& in = rx;
  std::optional<int> got;
  std::optional<int> last = 1;
  sim.spawn([&]() -> Task<> {
    got = co_await in.receive_for(1h);
    last = co_await in.receive_for(1h);
  });
  sim.spawn([&]() -> Task<> {
    co_await weir::sleep_for(3ms);
    co_await out.send_for(7, 1h);
    co_await weir::sleep_for(1ms);
    out.close();
  });
  sim.run();
  CHECK(got == 7);
  CHECK(!last);
  CHECK(sim.elapsed() == 4ms);
}

TEST_CASE("timed: a send is let in by the room that comes in time") {
  Simulator sim(1);
  auto [tx, rx] = weir::make_channel<int>(sim, {.capacity = 1});
  auto& out = tx;
  auto& in = rx;
  sim.spawn([&]() -> Task<> {
    co_await out.send_for(1, 1h);
    const int second = 2;
    co_await out.send_until(second, (co_await weir::this_task::now()) + 1h);
  });
  std::vector<int> got;
  sim.spawn([&]() -> Task<> {
    co_await weir::sleep_for(3ms);
    for (int i = 0; i < 2; ++i) got.push_back(*co_await in.receive());
  });
  sim.run();
  CHECK(got == std::vector{1, 2});
  CHECK(sim.elapsed() == 3ms);
}

TEST_CASE("timed: no time at all tries once") {
  Simulator sim(1);
  auto [tx, rx] = weir::make_channel<int>(sim, {.capacity = 1});
  auto& out = tx;
  auto& in = rx;
  const int one = 1;
  std::vector<std::error_code> codes;
  sim.spawn([&]() -> Task<> {
    for (const auto time : {0ms, -5ms}) {
      codes.push_back(co_await code_of([&] { return in.receive_for(time); }));
      codes.push_back(co_await code_of([&] { return out.send_for(one, time); }));
      codes.push_back(co_await code_of([&] { return out.send_for(one, time); }));
      codes.push_back(co_await code_of([&] { return in.receive_for(time); }));
    }
    codes.push_back(co_await code_of([&] { return in.receive_until(weir::TimeService::TimePoint::min()); }));
  });
  sim.run();
  const std::error_code late = make_error_code(Errc::timed_out);
  CHECK(codes == std::vector<std::error_code>{late, {}, late, {}, late, {}, late, {}, late});
  CHECK(sim.elapsed() == 0ms);
}

TEST_CASE("timed: closed and cancelled end the wait as they end an untimed one") {
  Simulator sim(1);
  auto [tx, rx] = weir::make_channel<int>(sim, {.capacity = 1});
  auto& out = tx;
  auto [other_tx, other_rx] = weir::make_channel<int>(sim);
  auto& never = other_rx;
  Root cancelled(sim, [&]() -> Task<> { co_await never.receive_for(1h); });
  Root closed(sim, [&]() -> Task<> {
    for (;;) co_await out.send_for(1, 1h);
  });
  Root ender(sim, [&]() -> Task<> {
    co_await weir::sleep_for(1ms);
    cancelled.cancel();
    co_await weir::sleep_for(1ms);
    out.close();
  });
  sim.run();
  CHECK(cancelled.code() == Errc::cancelled);
  CHECK(closed.code() == Errc::channel_closed);
  CHECK(sim.elapsed() == 2ms);
}

TEST_CASE("timed: nothing is allocated, whether the time comes or not", "[allocation]") {
  Simulator sim(1);
  auto [tx, rx] = weir::make_channel<int>(sim, {.capacity = 1});
  auto& out = tx;
  auto& in = rx;
  int timed_out = 0;
  std::uint64_t allocated = 1;
  sim.spawn([&]() -> Task<> {
    for (;;) {
      try {
        if (!co_await in.receive_for(3ms)) co_return;
      } catch (const weir::Error&) {
        ++timed_out;
      }
    }
  });
  sim.spawn([&]() -> Task<> {
    std::uint64_t before = 0;
    for (int i = 0; i < 200; ++i) {
      if (i == 100) before = weir_test::allocations.load();
      for (int k = 0; k < 3; ++k) co_await out.send_for(k, 1h);
      co_await weir::sleep_for(1ms);
    }
    allocated = weir_test::allocations.load() - before;
    co_await weir::sleep_for(10ms);
    out.close();
  });
  sim.run();
  CHECK(allocated == 0);
  CHECK(timed_out == 3);
}

/// Each sends three values, or receives until nothing has come for a while.
struct Race {
  std::size_t senders = 2;
  std::size_t receivers = 2;
  Disturbance how{};
};

Task<> sends(Impatient& kept, int first) {
  const auto out = *kept.tx;
  for (int i = 0; i < 3; ++i) {
    const int id = first + i;
    Item item(kept.ledger, id);
    for (int tries = 0;; ++tries) {
      try {
        co_await out.send_for(std::move(item), 2ms);
        kept.sent.push_back(id);
        break;
      } catch (const weir::Error& error) {
        ensure(item.id() == id, "a value that was not sent is not with its sender");
        if (error.code() != Errc::timed_out) throw;
        if (tries == 5) co_return;
      }
    }
    co_await weir::sleep_for(1ms);
  }
}
Task<> receives(Impatient& kept) {
  const auto in = *kept.rx;
  for (int idle = 0; idle < 6;) {
    std::optional<Item> item;
    try {
      item = co_await in.receive_for(1ms);
    } catch (const weir::Error& error) {
      if (error.code() != Errc::timed_out) throw;
      ++idle;
      continue;
    }
    ensure(item.has_value(), "an open channel ended");
    ++kept.received[item->id()];
    co_await weir::sleep_for(1ms);
  }
}

auto race(Race plan) {
  return race_of(1, plan.how, [plan](Impatient& kept) {
    for (std::size_t i = 0; i < plan.senders; ++i) kept.start(sends(kept, static_cast<int>(i) * 100));
    for (std::size_t i = 0; i < plan.receivers; ++i) kept.start(receives(kept));
  });
}

TEST_CASE("timed: a value that comes at the very instant is received or stays, under every schedule tried",
          "[explore]") {
  REQUIRE_NOTHROW(explore(race({})));
  REQUIRE_NOTHROW(explore(race({.senders = 3, .receivers = 1})));
  REQUIRE_NOTHROW(explore(race({.senders = 1, .receivers = 3})));
}

TEST_CASE("timed: a cancel at any step loses nothing", "[explore]") {
  for (const std::size_t victim : {0U, 2U}) {
    REQUIRE_NOTHROW(explore_each_step(race({.how = {.cancels = true, .victim = victim}})));
  }
}

TEST_CASE("timed: the end of the context at any step leaves nothing behind", "[explore]") {
  REQUIRE_NOTHROW(explore_each_step(race({})));
}

}  // namespace
