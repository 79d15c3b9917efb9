#include <weir/core/when_any.hpp>

#include <chrono>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

#include <weir/core/spawn.hpp>
#include <weir/core/sync_wait.hpp>
#include <weir/core/timer.hpp>
#include <weir/core/when_all.hpp>
#include <weir/sim/explore.hpp>

#include "support/catch.hpp"
#include "support/explored_root.hpp"
#include "support/gate.hpp"

namespace {

using namespace std::chrono_literals;
using weir::Task;
using weir::sim::ensure;
using weir::sim::Simulator;
using weir_test::explore_root;
using weir_test::Gate;
using weir_test::Guard;
using weir_test::Ledger;

struct NoDefault {
  explicit NoDefault(int v) : value(std::make_unique<int>(v)) {}
  std::unique_ptr<int> value;
};

Task<int> sleeps(std::chrono::milliseconds time, int value, Guard) {
  co_await weir::sleep_for(time);
  co_return value;
}

Task<int> fails_after(std::chrono::milliseconds time, Guard) {
  co_await weir::sleep_for(time);
  throw std::runtime_error("failed");
}

Task<int> yields(int turns, Guard) {
  for (int i = 0; i < turns; ++i) co_await weir::yield();
  co_return turns;
}

TEST_CASE("when_any: the first that ends decides, and the others are cancelled") {
  Simulator sim(1);
  bool checked = false;
  int named = 3;
  sim.spawn([&]() -> Task<> {
    auto slow = []() -> Task<NoDefault> {
      co_await weir::sleep_for(1h);
      co_return NoDefault(1);
    };
    auto quick = []() -> Task<NoDefault> {
      co_await weir::sleep_for(1s);
      co_return NoDefault(2);
    };
    auto first = co_await weir::when_any(slow(), weir::sleep_for(2h), quick());
    static_assert(std::is_same_v<decltype(first), std::variant<NoDefault, std::monostate, NoDefault>>);
    auto reference = [](int& i) -> Task<int&> { co_return i; };
    auto second = co_await weir::when_any(reference(named), weir::sleep_for(1h));
    checked = first.index() == 2 && *std::get<2>(first).value == 2 && &std::get<0>(second).get() == &named;
  });
  sim.run();
  CHECK(checked);
  CHECK(sim.elapsed() == 1s);
}

TEST_CASE("when_any: of a vector it gives the index and the value") {
  Simulator sim(1);
  Ledger ledger;
  bool checked = false;
  sim.spawn([&]() -> Task<> {
    std::vector<Task<int>> tasks;
    for (const int i : {5, 3, 1, 4}) tasks.push_back(sleeps(std::chrono::seconds(i), 10 * i, Guard(ledger)));
    const auto [index, value] = co_await weir::when_any(std::move(tasks));
    std::vector<Task<>> voids;
    voids.push_back([]() -> Task<> { co_await weir::sleep_for(1h); }());
    voids.push_back([]() -> Task<> { co_return; }());
    const auto done = co_await weir::when_any(std::move(voids));
    int named = 1;
    std::vector<Task<int&>> references;
    references.push_back([](int& i) -> Task<int&> { co_return i; }(named));
    const auto reference = co_await weir::when_any(std::move(references));
    checked = index == 2 && value == 10 && done.index == 1 && &reference.value == &named;
  });
  sim.run();
  CHECK(checked);
  CHECK(ledger.alive == 0);
  CHECK(sim.elapsed() == 1s);
}

TEST_CASE("when_any: of no tasks, or of an empty one, is refused") {
  Simulator sim(1);
  std::error_code codes[3];
  bool started = false;
  const auto starts = [&]() -> Task<int> {
    started = true;
    co_return 1;
  };
  sim.spawn([&]() -> Task<> {
    try {
      co_await weir::when_any(std::vector<Task<int>>());
    } catch (const weir::Error& error) {
      codes[0] = error.code();
    }
    try {
      co_await weir::when_any(starts(), Task<int>());
    } catch (const weir::Error& error) {
      codes[1] = error.code();
    }
    std::vector<Task<int>> tasks;
    tasks.push_back(starts());
    tasks.emplace_back();
    try {
      co_await weir::when_any(std::move(tasks));
    } catch (const weir::Error& error) {
      codes[2] = error.code();
    }
  });
  sim.run();
  CHECK(codes[0] == weir::Errc::invalid_argument);
  CHECK(codes[1] == weir::Errc::task_consumed);
  CHECK(codes[2] == weir::Errc::task_consumed);
  CHECK_FALSE(started);
}

TEST_CASE("when_any: an exception that is first comes out, a later one does not") {
  Simulator sim(1);
  Ledger ledger;
  bool thrown = false;
  int value = 0;
  sim.spawn([&]() -> Task<> {
    try {
      co_await weir::when_any(sleeps(2s, 1, Guard(ledger)), fails_after(1s, Guard(ledger)));
    } catch (const std::runtime_error&) {
      thrown = true;
    }
    const auto first = co_await weir::when_any(fails_after(2s, Guard(ledger)), sleeps(1s, 7, Guard(ledger)));
    value = std::get<1>(first);
  });
  sim.run();
  CHECK(thrown);
  CHECK(value == 7);
  CHECK(ledger.alive == 0);
}

TEST_CASE("when_any: all are joined, whenever it is cancelled or destroyed") {
  explore_root<int>(
      [](Simulator& sim, weir_test::Root<int>& root, Ledger& ledger) {
        root.start(sim, [](Ledger& l) -> Task<int> {
          const Guard guard(l);
          const auto first = co_await weir::when_any(yields(1, Guard(l)), yields(2, Guard(l)), sleeps(1h, 0, Guard(l)));
          ensure(l.alive == 1, "a child is alive after the join");
          co_return static_cast<int>(first.index());
        }(ledger));
      },
      [](Simulator& sim, const weir_test::Root<int>& root) {
        ensure(sim.elapsed() == 0s, "it waited for the one that sleeps");
        ensure(root.succeeded() ? root.value() != 2 : sim.acted() && root.cancelled(), "a wrong outcome");
      });
  SUCCEED();
}

TEST_CASE("when_any: the cancellation of the one that awaits reaches the tasks, in every schedule") {
  const auto explored = weir::sim::explore_all(10'000, [](Simulator& sim) {
    auto& ledger = sim.keep<Ledger>();
    auto& root = sim.keep<weir_test::Root<>>();
    root.start(sim, [](Ledger& l) -> Task<> {
      co_await weir::when_any(sleeps(1h, 1, Guard(l)), weir::sleep_for(2h));
    }(ledger));
    asio::post(sim, [&] { root.cancel(); });
    sim.run();
    ensure(root.cancelled() && sim.elapsed() == 0s && ledger.alive == 0, "somebody slept on");
  });
  CHECK(explored.complete);
  CHECK(explored.runs > 1);
}

TEST_CASE("when_any: in vectors, joined whenever it is cancelled or destroyed") {
  explore_root(
      [](Simulator& sim, weir_test::Root<>& root, Ledger& ledger) {
        root.start(sim, [](Ledger& l) -> Task<> {
          const Guard guard(l);
          std::vector<Task<int>> tasks;
          for (int i = 0; i < 3; ++i) tasks.push_back(yields(i + 1, Guard(l)));
          tasks.push_back(fails_after(1h, Guard(l)));
          const auto first = co_await weir::when_any(std::move(tasks));
          ensure(l.alive == 1 && first.value == static_cast<int>(first.index) + 1, "a wrong result");
        }(ledger));
      },
      [](Simulator& sim, const weir_test::Root<>& root) {
        ensure(root.succeeded() || (sim.acted() && root.cancelled()), "a wrong outcome");
      });
  SUCCEED();
}

TEST_CASE("when_any: what is woken first is first, and in every schedule somebody is") {
  std::set<std::size_t> winners;
  const auto explored = weir::sim::explore_all(200'000, [&](Simulator& sim) {
    auto& gates = sim.keep<std::vector<Gate>>(2);
    auto& opened = sim.keep<std::vector<std::size_t>>();
    const auto passes = [](Gate& gate) -> Task<> { co_await gate.pass(); };
    sim.spawn(
        [](auto pass, std::vector<Gate>& g, std::vector<std::size_t>& order, std::set<std::size_t>& first) -> Task<> {
          const auto result = co_await weir::when_any(pass(g[0]), pass(g[1]));
          // When both were open before they were looked at, the order of the tasks decides.
          ensure(!order.empty() && (result.index() == order[0] || order.size() == 2), "not the first");
          first.insert(result.index());
        }(passes, gates, opened, winners));
    for (const std::size_t index : {std::size_t{0}, std::size_t{1}}) {
      asio::post(sim, [&, index] {
        opened.push_back(index);
        gates[index].open();
      });
    }
    sim.run();
  });
  INFO(explored.runs);
  CHECK(explored.complete);
  CHECK(winners == std::set<std::size_t>{0, 1});
}

TEST_CASE("when_any: it nests, and is spawned") {
  asio::io_context context;
  Ledger ledger;
  std::size_t index = 9;
  auto inner = weir::when_all(yields(1, Guard(ledger)), yields(2, Guard(ledger)));
  weir::spawn(context, weir::when_any(sleeps(1h, 1, Guard(ledger)), std::move(inner)),
              [&](const std::exception_ptr&, auto result) { index = result.index(); });
  context.run();
  CHECK(index == 1);
  CHECK(ledger.alive == 0);
}

TEST_CASE("when_any: on a pool its children run one at a time") {
  asio::thread_pool pool(4);
  // Not atomic on purpose: the thread sanitizer would say that two run at once.
  int counter = 0;
  const auto counts = [&](int times) -> Task<> {
    for (int i = 0; i < times; ++i) {
      ++counter;
      co_await weir::yield();
    }
  };
  const auto first = weir::sync_wait(pool, weir::when_any(counts(1'000'000), counts(500), weir::sleep_for(1h)));
  CHECK(first.index() == 1);
  CHECK(counter >= 1000);
}

}  // namespace
