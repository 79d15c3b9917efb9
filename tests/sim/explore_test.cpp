#include <weir/sim/explore.hpp>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <functional>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include <weir/core/task.hpp>

#include "sim/environment.hpp"
#include "support/catch.hpp"

namespace {

using weir::Task;
using weir::sim::Explored;
using weir::sim::ExploreOptions;
using weir::sim::Simulator;

Task<> nothing() { co_return; }

/// Appends its name in three turns: `await` of a task is a choice point before it and after it.
Task<> writes(std::string& order, char name, int times) {
  for (int i = 0; i < times; ++i) {
    if (i != 0) co_await nothing();
    order += name;
  }
}

/// The bug: what was read is old when it is written back.
Task<> increments(int& value) {
  const int seen = value;
  co_await nothing();
  value = seen + 1;
}

void lost_update(Simulator& sim) {
  int& value = sim.keep<int>(0);
  sim.spawn(increments(value), "first");
  sim.spawn(increments(value), "second");
  sim.run();
  weir::sim::ensure(value == 2, "an update was lost");
}

std::string message_of(const std::function<void()>& failing) {
  try {
    failing();
  } catch (const weir::sim::ScenarioFailed& failed) {
    return failed.what();
  }
  return {};
}

std::string message_or_what(const std::function<void()>& failing) {
  try {
    failing();
  } catch (const std::exception& error) {
    return error.what();
  }
  return {};
}

/// The value of `name=` in the message of a failure.
std::string value_of(const std::string& message, const std::string& name) {
  const std::size_t at = message.find(name + "=");
  if (at == std::string::npos) return {};
  const std::size_t from = at + name.size() + 1;
  return message.substr(from, message.find_first_of(" \n", from) - from);
}

TEST_CASE("explore: all orders of posted handlers are visited once each") {
  std::size_t factorial = 1;
  for (int n = 1; n <= 5; ++n) {
    factorial *= static_cast<std::size_t>(n);
    std::map<std::string, int> seen;
    const Explored explored = weir::sim::explore_all(1000, [&](Simulator& sim) {
      std::string order;
      for (int i = 0; i < n; ++i) asio::post(sim, [&order, i] { order += static_cast<char>('a' + i); });
      sim.run();
      ++seen[order];
    });
    CHECK(explored.complete);
    CHECK(explored.runs == factorial);
    CHECK(seen.size() == factorial);
    CHECK(explored.steps == factorial * static_cast<std::size_t>(n));
  }
}

TEST_CASE("explore: all interleavings of two chains of posts are visited once each") {
  // Two chains of n posts interleave in binomial(2n, n) ways.
  const std::map<int, std::size_t> binomial{{1, 2}, {2, 6}, {3, 20}, {4, 70}, {5, 252}};
  for (const auto& [n, ways] : binomial) {
    std::set<std::string> seen;
    const Explored explored = weir::sim::explore_all(1000, [&, length = n](Simulator& sim) {
      std::string order;
      std::function<void(char, int)> chain = [&](char name, int left) {
        asio::post(sim, [&, name, left] {
          order += name;
          if (left > 1) chain(name, left - 1);
        });
      };
      chain('a', length);
      chain('b', length);
      sim.run();
      seen.insert(order);
    });
    CHECK(explored.complete);
    CHECK(explored.runs == ways);
    CHECK(seen.size() == ways);
  }
}

TEST_CASE("explore: all interleavings of two roots are found, by both searches") {
  std::set<std::string> exhaustive;
  const auto scenario = [](std::set<std::string>& seen) {
    return [&seen](Simulator& sim) {
      auto& order = sim.keep<std::string>();
      sim.spawn(writes(order, 'a', 2));
      sim.spawn(writes(order, 'b', 2));
      sim.run();
      seen.insert(order);
    };
  };
  CHECK(weir::sim::explore_all(100000, scenario(exhaustive)).complete);
  CHECK(exhaustive.size() == 6);
  std::set<std::string> random;
  const Environment seeds("WEIR_SEEDS", "1000");
  weir::sim::explore(scenario(random));
  CHECK(random == exhaustive);
}

TEST_CASE("explore: a search that is too large says that it is not complete") {
  const Explored explored = weir::sim::explore_all(10, [&](Simulator& sim) {
    for (int i = 0; i < 4; ++i) asio::post(sim, [] {});
    sim.run();
  });
  CHECK_FALSE(explored.complete);
  CHECK(explored.runs == 10);
}

TEST_CASE("explore: a lost update is found by random search, and its seed repeats it") {
  const std::string message = message_of([] { weir::sim::explore(lost_update); });
  CHECK(message.find("an update was lost") != std::string::npos);
  const std::string seed = value_of(message, "WEIR_SEED");
  REQUIRE_FALSE(seed.empty());
  const Environment environment("WEIR_SEED", seed);
  int runs = 0;
  const std::string again = message_of([&] {
    weir::sim::explore([&](Simulator& sim) {
      ++runs;
      lost_update(sim);
    });
  });
  CHECK(again == message);
  CHECK(runs == 1);
}

TEST_CASE("explore: a lost update is found by exhaustive search, and its choices repeat it") {
  const std::string message = message_of([] { weir::sim::explore_all(1000, lost_update); });
  CHECK(message.find("an update was lost") != std::string::npos);
  const std::string choices = value_of(message, "WEIR_CHOICES");
  REQUIRE_FALSE(choices.empty());
  const Environment environment("WEIR_CHOICES", choices);
  CHECK(message_of([] { weir::sim::explore_all(1000, lost_update); }) == message);
}

TEST_CASE("explore: what runs the same program in another way is refused") {
  int runs = 0;
  const std::string message = message_of([&] {
    weir::sim::explore_all(1000, [&](Simulator& sim) {
      const int handlers = ++runs == 2 ? 2 : 3;
      for (int i = 0; i < handlers; ++i) asio::post(sim, [] {});
      sim.run();
    });
  });
  CHECK(message.find("not deterministic") != std::string::npos);
}

/// A flag that is read in one step and trusted in the next: the action in between is the bug.
struct Fragile {
  bool open = true;
  bool broken = false;
};

Task<> uses(Fragile& fragile) {
  if (!fragile.open) co_return;
  co_await nothing();
  if (!fragile.open) fragile.broken = true;
}

void closed_in_use(Simulator& sim) {
  auto& fragile = sim.keep<Fragile>();
  sim.spawn(uses(fragile));
  sim.on_action([&] { fragile.open = false; });
  sim.run();
  weir::sim::ensure(!fragile.broken, "closed in use");
}

TEST_CASE("explore: the action is taken at every step, and its seed and step repeat it") {
  const std::string message = message_of([] { weir::sim::explore_each_step(closed_in_use); });
  CHECK(message.find("closed in use") != std::string::npos);
  const Environment seed("WEIR_SEED", value_of(message, "WEIR_SEED"));
  const Environment step("WEIR_STEP", value_of(message, "WEIR_STEP"));
  CHECK(message_of([] { weir::sim::explore_each_step(closed_in_use); }) == message);
}

TEST_CASE("explore: each seed that is begun is done at every step, with the one after the last") {
  const Environment seeds("WEIR_SEEDS", "20");
  std::multiset<std::uint64_t> acted_at;
  std::uint64_t without = 0;
  const Explored explored = weir::sim::explore_each_step([&](Simulator& sim) {
    auto& order = sim.keep<std::string>();
    sim.spawn(writes(order, 'a', 3));
    std::uint64_t at = 0;
    sim.on_action([&] { at = sim.steps(); });
    sim.run();
    if (sim.acted()) {
      acted_at.insert(at);
    } else {
      without = sim.steps();
    }
  });
  REQUIRE(without > 4);
  const std::uint64_t rounds = acted_at.count(0);
  CHECK(rounds >= 1);
  for (std::uint64_t step = 0; step <= without; ++step) CHECK(acted_at.count(step) == rounds);
  CHECK(explored.runs >= 20);
  CHECK(explored.runs == rounds * (without + 2));
}

TEST_CASE("explore: an action after the last step may start more") {
  bool ran = false;
  weir::sim::explore_each_step({.seeds = 1}, [&](Simulator& sim) {
    sim.spawn(nothing());
    sim.on_action([&] { asio::post(sim, [&ran] { ran = true; }); });
    ran = false;
    sim.run();
    weir::sim::ensure(ran == sim.acted(), "what the action posted did not run");
  });
  CHECK(ran);
}

TEST_CASE("explore: a scenario that runs nothing, or has no action, is an error") {
  CHECK(message_of([] { weir::sim::explore([](Simulator&) {}); }).find("ran nothing") != std::string::npos);
  CHECK(message_or_what([] {
          weir::sim::explore_each_step([](Simulator& sim) {
            sim.spawn(nothing());
            sim.run();
          });
        }).find("no action") != std::string::npos);
}

TEST_CASE("explore: what is not a std::exception is passed on untouched") {
  struct Odd {};
  REQUIRE_THROWS_AS(weir::sim::explore([](Simulator& sim) {
                      asio::post(sim, [] { throw Odd(); });
                      sim.run();
                    }),
                    Odd);
}

TEST_CASE("explore: the failure carries its cause") {
  try {
    weir::sim::explore([](Simulator& sim) {
      asio::post(sim, [] { throw std::out_of_range("far"); });
      sim.run();
    });
    FAIL("it did not fail");
  } catch (const weir::sim::ScenarioFailed& failed) {
    REQUIRE_THROWS_AS(std::rethrow_if_nested(failed), std::out_of_range);
  }
}

TEST_CASE("explore: the environment decides how many seeds") {
  const Environment seeds("WEIR_SEEDS", "17");
  const Explored explored = weir::sim::explore({.seeds = 1000}, [](Simulator& sim) {
    asio::post(sim, [] {});
    sim.run();
  });
  CHECK(explored.runs == 17);
  const Environment nonsense("WEIR_SEEDS", "many");
  REQUIRE_THROWS_AS(weir::sim::explore([](Simulator&) {}), weir::Error);
}

/// A bug that PCT finds: `b` has a turn between the two of `a`.
void torn(Simulator& sim) {
  auto& order = sim.keep<std::string>();
  sim.spawn(writes(order, 'a', 2));
  sim.spawn(writes(order, 'b', 2));
  sim.run();
  weir::sim::ensure(order == "aabb" || order == "bbaa", "torn");
}

TEST_CASE("explore: a failure by PCT says the strategy, and both repeat it") {
  const std::string message = message_of([] { weir::sim::explore({.scheduling = {.pct_depth = 2}}, torn); });
  CHECK(message.find("torn") != std::string::npos);
  CHECK(value_of(message, "WEIR_STRATEGY").starts_with("pct:2:"));
  const Environment seed("WEIR_SEED", value_of(message, "WEIR_SEED"));
  const Environment strategy("WEIR_STRATEGY", value_of(message, "WEIR_STRATEGY"));
  CHECK(message_of([] { weir::sim::explore(torn); }) == message);
}

TEST_CASE("explore: a failure by PCT with an action at a step is repeated by all three") {
  const Environment strategy("WEIR_STRATEGY", "pct:3");
  const std::string message = message_of([] { weir::sim::explore_each_step(closed_in_use); });
  CHECK(message.find("closed in use") != std::string::npos);
  const Environment seed("WEIR_SEED", value_of(message, "WEIR_SEED"));
  const Environment step("WEIR_STEP", value_of(message, "WEIR_STEP"));
  const Environment exact("WEIR_STRATEGY", value_of(message, "WEIR_STRATEGY"));
  CHECK(message_of([] { weir::sim::explore_each_step(closed_in_use); }) == message);
}

TEST_CASE("explore: the environment decides the strategy, and the message says so") {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"pct", "pct:3:100"}, {"pct:7", "pct:7:100"}, {"pct:2:31", "pct:2:31"}, {"random", "random"}};
  for (const auto& [asked, said] : cases) {
    const Environment strategy("WEIR_STRATEGY", asked);
    const std::string message = message_of([] {
      weir::sim::explore({.scheduling = {.pct_depth = 5}}, [](Simulator& sim) {
        asio::post(sim, [] { throw std::out_of_range("far"); });
        sim.run();
      });
    });
    CHECK(value_of(message, "WEIR_STRATEGY") == said);
  }
  for (const char* const nonsense :
       {"pc", "pct:", "pct:0", "pct:x", "pct:3:", "pct:3:0", "pct:3:4:5", "pct3", "Random"}) {
    const Environment strategy("WEIR_STRATEGY", nonsense);
    CHECK_THROWS_AS(weir::sim::explore(torn), weir::Error);
  }
}

TEST_CASE("explore: PCT learns how long the runs are, and all runs of a seed expect the same") {
  std::vector<std::string> names;
  const auto scenario = [&](Simulator& sim) {
    auto& order = sim.keep<std::string>();
    sim.spawn(writes(order, 'a', 3));
    sim.on_action([] {});
    sim.run();
    names.push_back(sim.name());
  };
  weir::sim::explore({.seeds = 200, .scheduling = {.pct_depth = 3}}, scenario);
  REQUIRE(names.size() > 199);
  CHECK(names[0] == "seed 1, pct:3:100");
  Simulator once(1);
  scenario(once);
  CHECK(names[199] == "seed 200, pct:3:" + std::to_string(once.steps()));
  names.clear();
  weir::sim::explore_each_step({.seeds = 1, .scheduling = {.pct_depth = 3}}, scenario);
  CHECK(std::set<std::string>(names.begin(), names.end()).size() == 1);
}

/// What a child process that runs `crash` writes to standard error; `status` is how it ended.
std::string child_of(void (*crash)(), int& status) {
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    // The test framework's own handlers would report it as well.
    for (const int number : {SIGSEGV, SIGABRT}) static_cast<void>(::signal(number, SIG_DFL));
    ::dup2(ends[1], STDERR_FILENO);
    crash();
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string said;
  std::array<char, 256> buffer{};
  for (;;) {
    const auto size = ::read(ends[0], buffer.data(), buffer.size());
    if (size <= 0) break;
    said.append(buffer.data(), static_cast<std::size_t>(size));
  }
  ::close(ends[0]);
  REQUIRE(::waitpid(child, &status, 0) == child);
  return said;
}

TEST_CASE("explore: a crash says what repeats it, and is a crash all the same") {
  int status = 0;
  const std::string aborted = child_of(
      [] {
        weir::sim::explore({.seeds = 5, .scheduling = {.pct_depth = 3, .pct_length = 9}}, [](Simulator& sim) {
          const bool third = sim.name().starts_with("seed 3");
          asio::post(sim, [] {});
          asio::post(sim, [third] {
            if (third) std::abort();
          });
          sim.run();
        });
      },
      status);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGABRT);
  CHECK(aborted.starts_with("weir: crashed with seed 3, pct:3:9, step "));
  CHECK(aborted.ends_with("; repeat it with WEIR_SEED=3 WEIR_STRATEGY=pct:3:9\n"));

  const std::string faulted = child_of(
      [] {
        weir::sim::explore_each_step([](Simulator& sim) {
          asio::post(sim, [] {});
          sim.on_action([&sim] {
            if (sim.steps() == 1) ::raise(SIGSEGV);
          });
          sim.run();
        });
      },
      status);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGSEGV);
  CHECK(faulted == "weir: crashed with seed 1, step 1; repeat it with WEIR_SEED=1 WEIR_STEP=1\n");

  const std::string chosen = child_of(
      [] {
        int runs = 0;
        weir::sim::explore_all(9, [&](Simulator& sim) {
          for (int i = 0; i < 3; ++i) asio::post(sim, [] {});
          sim.run();
          if (++runs == 4) std::abort();
        });
      },
      status);
  CHECK(chosen == "weir: crashed with choices, step 3; repeat it with WEIR_CHOICES=1,1\n");
}

TEST_CASE("explore: after it the handlers of signals are those from before") {
  struct sigaction before{};
  struct sigaction during{};
  struct sigaction after{};
  ::sigaction(SIGSEGV, nullptr, &before);
  weir::sim::explore({.seeds = 1}, [&](Simulator& sim) {
    ::sigaction(SIGSEGV, nullptr, &during);
    asio::post(sim, [] {});
    sim.run();
  });
  ::sigaction(SIGSEGV, nullptr, &after);
  CHECK(after.sa_sigaction == before.sa_sigaction);
  CHECK(during.sa_sigaction != before.sa_sigaction);
}

}  // namespace
