#include <weir/core/when_all.hpp>

#include <chrono>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include <weir/core/spawn.hpp>
#include <weir/core/sync_wait.hpp>
#include <weir/core/timer.hpp>
#include <weir/sim/explore.hpp>

#include "support/catch.hpp"
#include "support/explored_root.hpp"

namespace {

using namespace std::chrono_literals;
using weir::Task;
using weir::sim::ensure;
using weir::sim::Simulator;
using weir_test::explore_root;
using weir_test::Guard;
using weir_test::Ledger;

struct NoDefault {
  explicit NoDefault(int v) : value(std::make_unique<int>(v)) {}
  std::unique_ptr<int> value;
};

Task<int> gives(int value, int turns, Guard) {
  for (int i = 0; i < turns; ++i) co_await weir::yield();
  co_return value;
}

Task<int> fails_after(int turns, Guard) {
  for (int i = 0; i < turns; ++i) co_await weir::yield();
  throw std::runtime_error("failed");
}

Task<> sleeps(std::chrono::milliseconds time, bool& cancelled, Guard) {
  try {
    co_await weir::sleep_for(time);
  } catch (const weir::Error&) {
    cancelled = true;
    throw;
  }
}

TEST_CASE("when_all: it gives all results in the order of the tasks") {
  Simulator sim(1);
  int named = 5;
  bool checked = false;
  sim.spawn([&]() -> Task<> {
    auto late = []() -> Task<NoDefault> {
      co_await weir::sleep_for(1s);
      co_return NoDefault(1);
    };
    auto reference = [](int& i) -> Task<int&> { co_return i; };
    auto nothing = []() -> Task<> { co_return; };
    auto [first, second, third, fourth] =
        co_await weir::when_all(late(), reference(named), nothing(), weir::sleep_for(2s));
    static_assert(std::is_same_v<decltype(third), std::monostate> && std::is_same_v<decltype(fourth), std::monostate>);
    checked = *first.value == 1 && &second.get() == &named;
  });
  sim.run();
  CHECK(checked);
  CHECK(sim.elapsed() == 2s);
}

TEST_CASE("when_all: a vector of tasks gives a vector of results") {
  Simulator sim(1);
  Ledger ledger;
  std::vector<int> results;
  bool nothing = false;
  sim.spawn([&]() -> Task<> {
    std::vector<Task<int>> tasks;
    for (int i = 0; i < 10; ++i) tasks.push_back(gives(i, 10 - i, Guard(ledger)));
    results = co_await weir::when_all(std::move(tasks));
    std::vector<Task<>> voids;
    voids.push_back([]() -> Task<> { co_return; }());
    co_await weir::when_all(std::move(voids));
    nothing = true;
  });
  sim.run();
  CHECK(results == std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  CHECK(nothing);
}

TEST_CASE("when_all: of nothing it is done at once") {
  Simulator sim(1);
  bool done = false;
  sim.spawn([&]() -> Task<> {
    const std::tuple<> none = co_await weir::when_all();
    static_cast<void>(none);
    const std::vector<int> empty = co_await weir::when_all(std::vector<Task<int>>());
    done = empty.empty();
  });
  sim.run();
  CHECK(done);
}

TEST_CASE("when_all: an empty task is refused before any has started") {
  Simulator sim(1);
  bool started = false;
  std::error_code codes[2];
  const auto starts = [&]() -> Task<int> {
    started = true;
    co_return 1;
  };
  sim.spawn([&]() -> Task<> {
    try {
      co_await weir::when_all(starts(), Task<int>());
    } catch (const weir::Error& error) {
      codes[0] = error.code();
    }
    std::vector<Task<int>> tasks;
    tasks.push_back(starts());
    tasks.emplace_back();
    try {
      co_await weir::when_all(std::move(tasks));
    } catch (const weir::Error& error) {
      codes[1] = error.code();
    }
  });
  sim.run();
  CHECK(codes[0] == weir::Errc::task_consumed);
  CHECK(codes[1] == weir::Errc::task_consumed);
  CHECK_FALSE(started);
}

TEST_CASE("when_all: all are joined, whenever it is cancelled or destroyed") {
  explore_root<int>(
      [](Simulator& sim, weir_test::Root<int>& root, Ledger& ledger) {
        root.start(sim, [](Ledger& l) -> Task<int> {
          const Guard guard(l);
          auto [a, b, c] = co_await weir::when_all(gives(1, 1, Guard(l)), gives(2, 2, Guard(l)), gives(4, 0, Guard(l)));
          ensure(l.alive == 1, "a child is alive after the join");
          co_return a + b + c;
        }(ledger));
      },
      [](Simulator& sim, const weir_test::Root<int>& root) {
        ensure(root.succeeded() ? root.value() == 7 : root.cancelled(), "neither the sum nor a cancellation");
        ensure(sim.acted() || root.succeeded(), "cancelled by nobody");
      });
  SUCCEED();
}

TEST_CASE("when_all: the first error cancels the others, and comes out when they have ended") {
  explore_root(
      [](Simulator& sim, weir_test::Root<>& root, Ledger& ledger) {
        root.start(sim, [](Ledger& l) -> Task<> {
          const Guard guard(l);
          bool cancelled = false;
          bool thrown = false;
          try {
            co_await weir::when_all(sleeps(1h, cancelled, Guard(l)), fails_after(2, Guard(l)), gives(1, 0, Guard(l)));
          } catch (const std::runtime_error& error) {
            // An Error, if it was cancelled from outside before.
            thrown = std::string(error.what()) == "failed";
          }
          ensure(l.alive == 1, "a child is alive after the join");
          ensure(cancelled || !thrown, "the other one was not cancelled");
          if (!thrown) throw weir::Error(weir::Errc::cancelled);
        }(ledger));
      },
      [](Simulator& sim, const weir_test::Root<>& root) {
        ensure(sim.elapsed() == 0s, "it waited for the one that sleeps");
        ensure(root.succeeded() || (sim.acted() && root.cancelled()), "something else was thrown");
      });
  SUCCEED();
}

TEST_CASE("when_all: of two errors the first in time comes out") {
  std::set<std::string> seen;
  const auto explored = weir::sim::explore_all(100000, [&](Simulator& sim) {
    auto& said = sim.keep<std::string>();
    const auto fails = [](std::string& text, char name) -> Task<> {
      co_await weir::yield();
      text += name;
      throw std::runtime_error(std::string(1, name));
    };
    sim.spawn([](auto make, std::string& text) -> Task<> {
      try {
        co_await weir::when_all(make(text, 'a'), make(text, 'b'));
      } catch (const std::runtime_error& error) {
        ensure(error.what() == text.substr(0, 1), "not the first");
      }
    }(fails, said));
    sim.run();
    // The other one had no wait left at which it could be cancelled, or had one.
    ensure(!said.empty(), "nobody failed");
    seen.insert(said);
  });
  CHECK(explored.complete);
  CHECK_FALSE(seen.empty());
}

TEST_CASE("when_all: the cancellation of the one that awaits reaches the tasks, in every schedule") {
  const auto explored = weir::sim::explore_all(10'000, [](Simulator& sim) {
    auto& ledger = sim.keep<Ledger>();
    auto& root = sim.keep<weir_test::Root<>>();
    root.start(sim, [](Ledger& l) -> Task<> {
      bool cancelled = false;
      co_await weir::when_all(sleeps(1h, cancelled, Guard(l)), weir::sleep_for(2h));
    }(ledger));
    asio::post(sim, [&] { root.cancel(); });
    sim.run();
    ensure(root.cancelled() && sim.elapsed() == 0s && ledger.alive == 0, "somebody slept on");
  });
  CHECK(explored.complete);
  CHECK(explored.runs > 1);
}

TEST_CASE("when_all: in vectors, joined whenever it is cancelled or destroyed") {
  explore_root(
      [](Simulator& sim, weir_test::Root<>& root, Ledger& ledger) {
        root.start(sim, [](Ledger& l) -> Task<> {
          const Guard guard(l);
          std::vector<Task<int>> tasks;
          for (int i = 0; i < 4; ++i) tasks.push_back(gives(i, i % 3, Guard(l)));
          const auto results = co_await weir::when_all(std::move(tasks));
          ensure(l.alive == 1 && results.size() == 4, "a child is alive after the join");
        }(ledger));
      },
      [](Simulator& sim, const weir_test::Root<>& root) {
        ensure(root.succeeded() || (sim.acted() && root.cancelled()), "neither results nor a cancellation");
      });
  SUCCEED();
}

TEST_CASE("when_all: it nests, is spawned, and takes a hundred thousand") {
  Simulator sim(1);
  Ledger ledger;
  int sum = 0;
  sim.limit_steps(10'000'000);
  auto inner = weir::when_all(gives(1, 0, Guard(ledger)), gives(2, 3, Guard(ledger)));
  weir::spawn(sim, weir::when_all(std::move(inner), gives(3, 1, Guard(ledger))),
              [&](const std::exception_ptr&, auto result) {
                sum = std::get<0>(std::get<0>(result)) + std::get<1>(std::get<0>(result)) + std::get<1>(result);
              });
  sim.run();
  CHECK(sum == 6);

  asio::io_context context;
  int many = 0;
  weir::spawn(context, [&]() -> Task<> {
    std::vector<Task<int>> tasks;
    for (int i = 0; i < 100'000; ++i) tasks.push_back(gives(1, 1, Guard(ledger)));
    for (const int one : co_await weir::when_all(std::move(tasks))) many += one;
  });
  context.run();
  CHECK(many == 100'000);
  CHECK(ledger.alive == 0);
}

TEST_CASE("when_all: on a pool its children run one at a time") {
  asio::thread_pool pool(4);
  // Not atomic on purpose: the thread sanitizer would say that two run at once.
  int counter = 0;
  const auto counts = [&](int times) -> Task<> {
    for (int i = 0; i < times; ++i) {
      ++counter;
      co_await weir::yield();
    }
  };
  weir::sync_wait(pool, weir::when_all(counts(1000), counts(1000), counts(1000)));
  CHECK(counter == 3000);
}

}  // namespace
