#include <weir/channel/channel.hpp>

#include <array>
#include <memory>
#include <numeric>
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

TEST_CASE("timed: receive_some gives what came in time, and does not wait for more") {
  Simulator sim(1);
  auto [tx, rx] = weir::make_channel<int>(sim, {.capacity = 4});
  auto& in = rx;
  std::vector<int> got;
  std::vector<std::size_t> counts;
  sim.spawn([&]() -> Task<> {
    counts.push_back(co_await in.receive_some_for(got, 10, 1h));
    counts.push_back(co_await in.receive_some_until(got, 2, (co_await weir::this_task::now()) + 1h));
    counts.push_back(co_await in.receive_some_for(std::back_inserter(got), 10, 1h));
    counts.push_back(co_await in.receive_some_for(got, 10, 1h));
  });
  sim.spawn([out = std::move(tx)]() -> Task<> {
    co_await weir::sleep_for(3ms);
    for (int i = 1; i <= 4; ++i) static_cast<void>(out.try_send(i));
  });
  sim.run();
  CHECK(got == std::vector{1, 2, 3, 4});
  REQUIRE(counts.size() == 4);
  CHECK(std::accumulate(counts.begin(), counts.end(), std::size_t{0}) == 4);
  CHECK(counts.back() == 0);
  CHECK(sim.elapsed() == 3ms);
}

TEST_CASE("timed: receive_some that nothing comes for throws timed_out at its time, and has taken nothing") {
  Simulator sim(1);
  auto [tx, rx] = weir::make_channel<int>(sim);
  auto& in = rx;
  std::vector<int> got;
  std::vector<std::error_code> codes;
  sim.spawn([&]() -> Task<> {
    codes.push_back(co_await code_of([&] { return in.receive_some_for(got, 3, 20ms); }));
    codes.push_back(co_await code_of([&] { return in.receive_some_for(got, 3, 0ms); }));
    codes.push_back(co_await code_of([&] { return in.receive_some_until(got, 3, weir::TimeService::TimePoint()); }));
  });
  sim.run();
  CHECK(codes == std::vector<std::error_code>(3, make_error_code(Errc::timed_out)));
  CHECK(got.empty());
  CHECK(sim.elapsed() == 20ms);
  CHECK(rx.stats().waiting_receivers == 0);
  REQUIRE(tx.try_send(1));
  CHECK(rx.try_receive() == 1);
  CHECK_THROWS_AS(rx.receive_some_for(got, 0, 1ms), weir::Error);
}

TEST_CASE("timed: a permit that is not to be had in time throws timed_out, and one that is is held") {
  Simulator sim(1);
  auto [tx, rx] = weir::make_channel<int>(sim, {.capacity = 1});
  auto& out = tx;
  std::vector<std::error_code> codes;
  sim.spawn([&]() -> Task<> {
    auto held = co_await out.reserve_for(20ms);
    codes.push_back(co_await code_of([&] { return out.reserve_for(20ms); }));
    codes.push_back(co_await code_of([&] { return out.reserve_for(0ms); }));
    held.release();
    auto next = co_await out.reserve_until((co_await weir::this_task::now()) + 1ms);
    next.send(5);
  });
  sim.run();
  CHECK(codes == std::vector<std::error_code>(2, make_error_code(Errc::timed_out)));
  CHECK(sim.elapsed() == 20ms);
  CHECK(tx.stats().reserved == 0);
  CHECK(tx.stats().waiting_senders == 0);
  CHECK(rx.try_receive() == 5);
}

TEST_CASE("timed: a permit that is given back in time goes to who waits") {
  Simulator sim(1);
  auto [tx, rx] = weir::make_channel<int>(sim, {.capacity = 1});
  auto& out = tx;
  bool got = false;
  sim.spawn([&]() -> Task<> {
    auto held = co_await out.reserve();
    co_await weir::sleep_for(3ms);
    held.release();
  });
  sim.spawn([&]() -> Task<> {
    co_await weir::sleep_for(1ms);
    const auto permit = co_await out.reserve_for(1h);
    got = static_cast<bool>(permit);
  });
  sim.run();
  CHECK(got);
  CHECK(sim.elapsed() == 3ms);
  CHECK(tx.stats().reserved == 0);
}

TEST_CASE("timed: send_all says how many went before its time was up") {
  Simulator sim(1);
  auto [tx, rx] = weir::make_channel<int>(sim, {.capacity = 2});
  auto& out = tx;
  auto& in = rx;
  const std::vector<int> values{1, 2, 3, 4, 5};
  const std::vector<int> others{4, 5};
  std::size_t sent = 0;
  std::size_t rest = 0;
  std::error_code code;
  std::vector<int> got;
  sim.spawn([&]() -> Task<> {
    try {
      sent = co_await out.send_all_for(values, 20ms);
    } catch (const weir::PartialSend& partial) {
      sent = partial.sent();
      code = partial.code();
    }
    rest = co_await out.send_all_until(others, (co_await weir::this_task::now()) + 20ms);
  });
  sim.spawn([&]() -> Task<> {
    co_await weir::sleep_for(15ms);
    got.push_back(*co_await in.receive());
    co_await weir::sleep_for(15ms);
    for (int i = 0; i < 4; ++i) got.push_back(*co_await in.receive());
  });
  sim.run();
  CHECK(code == Errc::timed_out);
  CHECK(sent == 3);
  CHECK(rest == 2);
  CHECK(got == values);
  CHECK(tx.stats().waiting_senders == 0);
}

TEST_CASE("timed: an emplaced send builds its value only when there is a place for it in time") {
  Simulator sim(1);
  auto [tx, rx] = weir::make_channel<std::unique_ptr<int>>(sim, {.capacity = 1});
  auto& out = tx;
  std::vector<std::error_code> codes;
  sim.spawn([&]() -> Task<> {
    codes.push_back(co_await code_of([&] { return out.send_emplace_for(20ms, std::make_unique<int>(1)); }));
    codes.push_back(co_await code_of([&] { return out.send_emplace_for(20ms, std::make_unique<int>(2)); }));
    const auto soon = (co_await weir::this_task::now()) + 5ms;
    codes.push_back(co_await code_of([&] { return out.send_emplace_until(soon); }));
  });
  sim.run();
  const std::error_code late = make_error_code(Errc::timed_out);
  CHECK(codes == std::vector<std::error_code>{{}, late, late});
  CHECK(sim.elapsed() == 25ms);
  CHECK(*rx.try_receive().value() == 1);
  CHECK(rx.stats().admitted == 1);
}

TEST_CASE("timed: nothing is allocated by receive_some, reserve or send_all, whether the time comes or not",
          "[allocation]") {
  Simulator sim(1);
  auto [tx, rx] = weir::make_channel<int>(sim, {.capacity = 2});
  auto& out = tx;
  auto& in = rx;
  int timed_out = 0;
  std::uint64_t allocated = 1;
  std::array<int, 4> room{};
  const std::array<int, 5> values{};
  sim.spawn([&]() -> Task<> {
    for (;;) {
      try {
        if (co_await in.receive_some_for(room.data(), room.size(), 3ms) == 0) co_return;
      } catch (const weir::Error&) {
        ++timed_out;
      }
    }
  });
  sim.spawn([&]() -> Task<> {
    std::uint64_t before = 0;
    for (int i = 0; i < 200; ++i) {
      if (i == 100) before = weir_test::allocations.load();
      co_await out.send_all_for(values, 1h);
      auto permit = co_await out.reserve_for(1h);
      permit.send(i);
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

/// Items to be moved from: unlike a view, it may be given away.
class Rest {
 public:
  Rest(Item* first, Item* last) noexcept : first_(first), last_(last) {}
  [[nodiscard]] Item* begin() const noexcept { return first_; }
  [[nodiscard]] Item* end() const noexcept { return last_; }

 private:
  Item* first_;
  Item* last_;
};

Task<> sends_by_permits(Impatient& kept, int first) {
  const auto out = *kept.tx;
  for (int i = 0; i < 3; ++i) {
    for (int tries = 0;; ++tries) {
      try {
        auto permit = co_await out.reserve_for(1ms);
        permit.emplace(kept.ledger, first + i);
        kept.sent.push_back(first + i);
        break;
      } catch (const weir::Error& error) {
        if (error.code() != Errc::timed_out) throw;
        if (tries == 5) co_return;
      }
    }
  }
}
Task<> sends_in_runs(Impatient& kept, int first) {
  const auto out = *kept.tx;
  std::vector<Item> items;
  for (int i = 0; i < 4; ++i) items.emplace_back(kept.ledger, first + i);
  std::size_t gone = 0;
  for (int tries = 0; gone < items.size() && tries < 6; ++tries) {
    Errc code{};
    Rest rest(items.data() + gone, items.data() + items.size());
    const std::size_t before = gone;
    try {
      gone += co_await out.send_all_for(std::move(rest), 2ms);
    } catch (const weir::PartialSend& partial) {
      gone += partial.sent();
      code = static_cast<Errc>(partial.code().value());
    }
    for (std::size_t i = before; i < gone; ++i) kept.sent.push_back(first + static_cast<int>(i));
    for (std::size_t i = 0; i < items.size(); ++i) {
      ensure(items[i].moved_from() == (i < gone), "what was sent is not what was moved from");
    }
    if (code != Errc{} && code != Errc::timed_out) throw weir::Error(code);
  }
}
Task<> receives_runs(Impatient& kept) {
  const auto in = *kept.rx;
  for (int idle = 0; idle < 6;) {
    std::vector<Item> items;
    try {
      const auto count = co_await in.receive_some_for(items, 2, 1ms);
      ensure(count == items.size() && count != 0, "an open channel gave nothing");
      for (const auto& item : items) ++kept.received[item.id()];
      co_await weir::sleep_for(1ms);
    } catch (const weir::Error& error) {
      for (const auto& item : items) ensure(kept.received.contains(item.id()), "a value came with the end of its time");
      if (error.code() != Errc::timed_out) throw;
      ++idle;
    }
  }
}

/// One sends by permits, one in runs, two receive in runs.
auto race(Disturbance how) {
  return race_of(2, how, [](Impatient& kept) {
    kept.in_runs = true;
    kept.start(sends_by_permits(kept, 100));
    kept.start(sends_in_runs(kept, 200));
    for (int i = 0; i < 2; ++i) kept.start(receives_runs(kept));
  });
}

TEST_CASE("timed: runs and permits whose time ends just as they are served lose nothing, under every schedule tried",
          "[explore]") {
  REQUIRE_NOTHROW(explore(race({})));
}

TEST_CASE("timed: a cancel at any step of runs and permits loses nothing", "[explore]") {
  for (const std::size_t victim : {0U, 1U, 2U}) {
    REQUIRE_NOTHROW(explore_each_step(race({.cancels = true, .victim = victim})));
  }
}

TEST_CASE("timed: the end of the context at any step of runs and permits leaves nothing behind", "[explore]") {
  REQUIRE_NOTHROW(explore_each_step(race({})));
}

}  // namespace
