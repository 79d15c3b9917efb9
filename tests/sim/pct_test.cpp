#include <weir/sim/pct.hpp>

#include <array>
#include <cstdlib>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include <weir/core/task.hpp>
#include <weir/core/timer.hpp>
#include <weir/sim/explore.hpp>

#include "sim/environment.hpp"
#include "support/catch.hpp"

namespace {

using weir::Task;
using weir::sim::PctOptions;
using weir::sim::PctStrategy;
using weir::sim::Ready;
using weir::sim::Simulator;

Task<> writes(std::string& order, char name, int times) {
  for (int i = 0; i < times; ++i) {
    order += name;
    co_await weir::yield();
  }
}

/// The order in which three roots of five turns write their names.
std::string order_of(std::uint64_t seed, unsigned depth, std::uint64_t length = 18) {
  std::string order;
  Simulator sim(weir::sim::pct(seed, depth, length), "pct");
  for (const char name : {'a', 'b', 'c'}) sim.spawn(writes(order, name, 5));
  sim.run();
  return order;
}

std::size_t switches_in(const std::string& order) {
  std::size_t switches = 0;
  for (std::size_t i = 1; i < order.size(); ++i) switches += order[i] != order[i - 1] ? 1 : 0;
  return switches;
}

TEST_CASE("pct: with a depth of 1 the priorities hold to the end, and every order of them comes") {
  std::set<std::string> seen;
  for (std::uint64_t seed = 0; seed < 100; ++seed) seen.insert(order_of(seed, 1));
  CHECK(seen == std::set<std::string>{"aaaaabbbbbccccc", "aaaaacccccbbbbb", "bbbbbaaaaaccccc", "bbbbbcccccaaaaa",
                                      "cccccaaaaabbbbb", "cccccbbbbbaaaaa"});
}

TEST_CASE("pct: each depth more interrupts one root more, somewhere") {
  for (const unsigned depth : {2U, 3U, 4U}) {
    std::set<std::string> seen;
    std::size_t most = 0;
    for (std::uint64_t seed = 0; seed < 1000; ++seed) {
      const std::string order = order_of(seed, depth);
      CHECK(switches_in(order) <= 2 + depth - 1);
      most = std::max(most, switches_in(order));
      seen.insert(order);
    }
    CHECK(most == 2 + depth - 1);
    CHECK(seen.size() > 6 * 4 * (depth - 1));
  }
}

TEST_CASE("pct: the same seed and options give the same order, and seeds different ones") {
  std::size_t different = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    const std::string order = order_of(seed, 3);
    CHECK(order == order_of(seed, 3));
    different += order != order_of(seed + 1, 3) ? 1 : 0;
  }
  CHECK(different > 90);
}

TEST_CASE("pct: one that was woken goes before all of a lower priority at once") {
  // Whoever has the lower priority gets nothing done between the wake of the other and its next turn.
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    std::string order;
    Simulator sim(weir::sim::pct(seed, 1), "pct");
    sim.spawn([](std::string& o) -> Task<> {
      for (int i = 0; i < 3; ++i) {
        co_await weir::sleep_for(std::chrono::seconds(1));
        o += "ww";
      }
    }(order));
    sim.spawn([](std::string& o) -> Task<> {
      for (int i = 0; i < 3; ++i) {
        co_await weir::sleep_for(std::chrono::seconds(1));
        for (int turn = 0; turn < 3; ++turn) {
          o += "l";
          co_await weir::yield();
        }
      }
    }(order));
    sim.run();
    CHECK((order == "wwlllwwlllwwlll" || order == "lllwwlllwwlllww"));
  }
}

TEST_CASE("pct: handlers that are no root's have a priority each") {
  std::set<std::string> seen;
  for (std::uint64_t seed = 0; seed < 1000; ++seed) {
    std::string order;
    Simulator sim(weir::sim::pct(seed, 1), "pct");
    for (const char name : {'a', 'b', 'c', 'd'}) asio::post(sim, [&order, name] { order += name; });
    sim.run();
    seen.insert(order);
  }
  CHECK(seen.size() == 24);
}

TEST_CASE("pct: one that polls for what others do does not keep them from it") {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    bool done = false;
    Simulator sim(weir::sim::pct(seed, 3), "pct");
    sim.limit_steps(2000);
    const auto polls = [](const bool& d) -> Task<> {
      while (!d) co_await weir::yield();
    };
    for (int i = 0; i < 3; ++i) sim.spawn(polls(done));
    sim.spawn([](bool& d) -> Task<> {
      for (int i = 0; i < 20; ++i) co_await weir::yield();
      d = true;
    }(done));
    REQUIRE_NOTHROW(sim.run());
    CHECK(done);
  }
}

TEST_CASE("pct: options of 0 are refused") {
  CHECK_THROWS_AS(PctStrategy(1, {.depth = 0}), weir::Error);
  CHECK_THROWS_AS(PctStrategy(1, {.length = 0}), weir::Error);
  CHECK_THROWS_AS(PctStrategy(1, {.patience = 0}), weir::Error);
}

TEST_CASE("pct: a depth of 1 alone picks the same party in whichever place it stands") {
  PctStrategy strategy(5, {.depth = 1});
  const std::array<Ready, 3> one{Ready{1, 1}, Ready{2, 2}, Ready{3, 3}};
  const std::array<Ready, 3> other{Ready{4, 3}, Ready{5, 1}, Ready{6, 2}};
  const std::uint64_t root = one[strategy.choose(one)].root;
  CHECK(other[strategy.choose(other)].root == root);
}

/// A bug of depth 3: two roots must come in three bursts, each long enough.
///   `a` makes 6 turns before the first of `b`; `b` makes 10 before the 9th of `a`; `a` makes 14 before the 14th of
///   `b`.
struct Bursts {
  static constexpr int turns = 16;
  int a = 0;
  int b = 0;
  bool first = false;
  bool second = false;
  bool third = false;

  [[nodiscard]] bool found() const noexcept { return first && second && third; }
};

Task<> first_party(Bursts& bursts) {
  for (int i = 1; i <= Bursts::turns; ++i) {
    if (i == 9) bursts.second = bursts.b >= 10;
    bursts.a = i;
    co_await weir::yield();
  }
}

Task<> second_party(Bursts& bursts) {
  for (int i = 1; i <= Bursts::turns; ++i) {
    if (i == 1) bursts.first = bursts.a >= 6;
    if (i == 14) bursts.third = bursts.a >= 14;
    bursts.b = i;
    co_await weir::yield();
  }
}

/// How many of the schedules show it.
std::uint64_t found_by(const weir::sim::Scheduling& scheduling, std::uint64_t seeds, std::uint64_t& longest) {
  std::uint64_t found = 0;
  weir::sim::explore({.seeds = seeds, .scheduling = scheduling}, [&](Simulator& sim) {
    Bursts bursts;
    sim.spawn(first_party(bursts));
    sim.spawn(second_party(bursts));
    sim.run();
    found += bursts.found() ? 1 : 0;
    longest = std::max(longest, sim.steps());
  });
  return found;
}

TEST_CASE("pct: a bug of depth 3 is found as often as is guaranteed, and a random schedule hardly shows it") {
  const Environment no_seeds("WEIR_SEEDS", "");
  const Environment no_strategy("WEIR_STRATEGY", "");
  constexpr std::uint64_t seeds = 20'000;
  std::uint64_t steps = 0;
  const std::uint64_t by_random = found_by({}, seeds, steps);
  const std::uint64_t by_pct = found_by({.pct_depth = 3}, seeds, steps);
  const std::uint64_t guaranteed = seeds / (2 * steps * steps);
  CAPTURE(by_random, by_pct, guaranteed, steps);
  REQUIRE(guaranteed >= 5);
  CHECK(by_pct >= guaranteed);
  CHECK(by_pct > 20 * (by_random + 1));
  // Too shallow a depth can't: it takes two changes.
  CHECK(found_by({.pct_depth = 2}, seeds, steps) == 0);
}

}  // namespace
