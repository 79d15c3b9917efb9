#include <weir/core/with_scope.hpp>

#include <chrono>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <weir/core/spawn.hpp>
#include <weir/core/sync_wait.hpp>
#include <weir/core/timer.hpp>
#include <weir/sim/explore.hpp>

#include "support/catch.hpp"
#include "support/explored_root.hpp"
#include "support/gate.hpp"

namespace {

using namespace std::chrono_literals;
using weir::Scope;
using weir::Task;
using weir::sim::ensure;
using weir::sim::Simulator;
using weir_test::explore_root;
using weir_test::Gate;
using weir_test::Guard;
using weir_test::Ledger;
using weir_test::Root;

Task<> yields(int turns, int& ended, Guard) {
  for (int i = 0; i < turns; ++i) co_await weir::yield();
  ++ended;
}

Task<> sleeps(std::chrono::hours time, Guard) { co_await weir::sleep_for(time); }

Task<> fails_after(int turns, const char* what, Guard) {
  for (int i = 0; i < turns; ++i) co_await weir::yield();
  throw std::runtime_error(what);
}

Task<> opens(Gate& gate) {
  co_await weir::yield();
  gate.open();
}

Task<> passes(Gate& gate, int& ended, Guard) {
  co_await gate.pass();
  ++ended;
}

TEST_CASE("with_scope: it gives what the body gives, when all children have ended") {
  Simulator sim(1);
  Ledger ledger;
  int ended = 0;
  std::unique_ptr<int> result;
  sim.spawn([&]() -> Task<> {
    result = co_await weir::with_scope([&](Scope& scope) -> Task<std::unique_ptr<int>> {
      scope.spawn(yields(5, ended, Guard(ledger)));
      scope.spawn(yields(0, ended, Guard(ledger)));
      scope.spawn(weir::sleep_for(1s));
      ensure(scope.size() == 3, "not all are counted");
      co_return std::make_unique<int>(7);
    });
    ensure(ledger.alive == 0, "a child is alive after the join");
  });
  sim.run();
  CHECK((result && *result == 7));
  CHECK(ended == 2);
  CHECK(sim.elapsed() == 1s);
}

TEST_CASE("with_scope: without children it is its body") {
  Simulator sim(1);
  int named = 1;
  int* result = nullptr;
  sim.spawn([&]() -> Task<> { result = &co_await weir::with_scope([&](Scope&) -> Task<int&> { co_return named; }); });
  sim.run();
  CHECK(result == &named);
}

TEST_CASE("with_scope: children spawn children, after the body has ended too") {
  explore_root(
      [](Simulator& sim, Root<>& root, Ledger& ledger) {
        struct Tree {
          static Task<> grow(Scope& scope, int depth, int& leaves, Guard guard) {
            co_await weir::yield();
            if (depth == 0) {
              ++leaves;
              co_return;
            }
            scope.spawn(grow(scope, depth - 1, leaves, guard));
            scope.spawn(grow(scope, depth - 1, leaves, guard));
          }
        };
        root.start(sim, [](Ledger& l) -> Task<> {
          int leaves = 0;
          co_await weir::with_scope([&](Scope& scope) -> Task<> {
            scope.spawn(Tree::grow(scope, 3, leaves, Guard(l)));
            co_return;
          });
          ensure(leaves == 8 && l.alive == 0, "a leaf is missing");
        }(ledger));
      },
      [](Simulator& sim, const Root<>& root) {
        ensure(root.succeeded() || (sim.acted() && root.cancelled()), "a wrong outcome");
      });
  SUCCEED();
}

TEST_CASE("with_scope: all are joined, whenever it is cancelled or destroyed, and a cut is never taken for the end") {
  explore_root<int>(
      [](Simulator& sim, Root<int>& root, Ledger& ledger) {
        auto& gate = sim.keep<Gate>();
        sim.spawn(opens(gate), "opener");
        root.start(sim, [](Ledger& l, Gate& g) -> Task<int> {
          const Guard guard(l);
          int ended = 0;
          auto body = [&, held = Guard(l)](Scope& scope) -> Task<> {
            const Guard inside(l);
            scope.spawn(passes(g, ended, Guard(l)));
            scope.spawn(yields(2, ended, Guard(l)));
            scope.spawn([&, captured = Guard(l)]() -> Task<> { return yields(1, ended, captured); });
            co_await weir::yield();
          };
          co_await weir::with_scope(std::move(body));
          ensure(ended == 3, "it returned though a child was cut short");
          co_return ended;
        }(ledger, gate));
      },
      [](Simulator& sim, const Root<int>& root) {
        ensure(root.succeeded() ? root.value() == 3 : sim.acted() && root.cancelled(), "a wrong outcome");
      });
  SUCCEED();
}

TEST_CASE("with_scope: the cancellation of the one that awaits reaches the tasks, in every schedule") {
  const auto explored = weir::sim::explore_all(10'000, [](Simulator& sim) {
    auto& ledger = sim.keep<Ledger>();
    auto& root = sim.keep<weir_test::Root<>>();
    root.start(sim, [](Ledger& l) -> Task<> {
      co_await weir::with_scope([&](Scope& scope) -> Task<> {
        scope.spawn(sleeps(1h, Guard(l)));
        co_return;
      });
    }(ledger));
    asio::post(sim, [&] { root.cancel(); });
    sim.run();
    ensure(root.cancelled() && sim.elapsed() == 0s && ledger.alive == 0, "somebody slept on");
  });
  CHECK(explored.complete);
  CHECK(explored.runs > 1);
}

TEST_CASE("with_scope: the first error cancels the others and the body, and comes out") {
  explore_root(
      [](Simulator& sim, Root<>& root, Ledger& ledger) {
        root.start(sim, [](Ledger& l) -> Task<> {
          bool thrown = false;
          try {
            co_await weir::with_scope([&](Scope& scope) -> Task<> {
              const Guard inside(l);
              scope.spawn(sleeps(1h, Guard(l)));
              scope.spawn(fails_after(1, "first", Guard(l)));
              scope.spawn(fails_after(3, "second", Guard(l)));
              co_await weir::sleep_for(2h);
            });
          } catch (const std::runtime_error& error) {
            thrown = std::string(error.what()) == "first";
          }
          ensure(l.alive == 0, "a child is alive after the join");
          if (!thrown) throw weir::Error(weir::Errc::cancelled);
        }(ledger));
      },
      [](Simulator& sim, const Root<>& root) {
        ensure(sim.elapsed() == 0s, "it waited for the ones that sleep");
        ensure(root.succeeded() || (sim.acted() && root.cancelled()), "a wrong outcome");
      });
  SUCCEED();
}

TEST_CASE("with_scope: an error of the body cancels the children and comes out") {
  explore_root(
      [](Simulator& sim, Root<>& root, Ledger& ledger) {
        root.start(sim, [](Ledger& l) -> Task<> {
          bool thrown = false;
          try {
            co_await weir::with_scope([&](Scope& scope) -> Task<> {
              scope.spawn(sleeps(1h, Guard(l)));
              co_await weir::yield();
              throw std::runtime_error("body");
            });
          } catch (const std::runtime_error& error) {
            thrown = std::string(error.what()) == "body";
          }
          ensure(l.alive == 0, "a child is alive after the join");
          if (!thrown) throw weir::Error(weir::Errc::cancelled);
        }(ledger));
      },
      [](Simulator& sim, const Root<>& root) {
        ensure(sim.elapsed() == 0s, "it waited for the one that sleeps");
        ensure(root.succeeded() || (sim.acted() && root.cancelled()), "a wrong outcome");
      });
  SUCCEED();
}

TEST_CASE("with_scope: cancelled by itself, its children's cancellations are no error") {
  explore_root<int>(
      [](Simulator& sim, Root<int>& root, Ledger& ledger) {
        root.start(sim, [](Ledger& l) -> Task<int> {
          co_return co_await weir::with_scope([&](Scope& scope) -> Task<int> {
            scope.spawn(sleeps(1h, Guard(l)));
            scope.spawn(sleeps(2h, Guard(l)));
            co_await weir::yield();
            scope.cancel();
            ensure(scope.cancelled(), "not cancelled");
            co_return 3;
          });
        }(ledger));
      },
      [](Simulator& sim, const Root<int>& root) {
        ensure(sim.elapsed() == 0s, "it waited for the ones that sleep");
        ensure(root.succeeded() ? root.value() == 3 : sim.acted() && root.cancelled(), "a wrong outcome");
      });
  SUCCEED();
}

TEST_CASE("with_scope: an error after its own cancellation is one") {
  Simulator sim(1);
  std::string thrown;
  sim.spawn([&]() -> Task<> {
    try {
      co_await weir::with_scope([&](Scope& scope) -> Task<> {
        scope.spawn([]() -> Task<> {
          try {
            co_await weir::sleep_for(1h);
          } catch (const weir::Error&) {
          }
          throw std::runtime_error("in the clean-up");
        });
        co_await weir::yield();
        scope.cancel();
      });
    } catch (const std::runtime_error& error) {
      thrown = error.what();
    }
  });
  sim.run();
  CHECK(thrown == "in the clean-up");
}

TEST_CASE("with_scope: a child that throws a cancellation nobody asked for is an error") {
  Simulator sim(1);
  bool thrown = false;
  sim.spawn([&]() -> Task<> {
    try {
      co_await weir::with_scope([](Scope& scope) -> Task<> {
        scope.spawn([]() -> Task<> {
          co_await weir::yield();
          throw weir::Error(weir::Errc::cancelled);
        });
        co_return;
      });
    } catch (const weir::Error& error) {
      thrown = error.code() == weir::Errc::cancelled;
    }
  });
  sim.run();
  CHECK(thrown);
}

TEST_CASE("with_scope: a body that meets its own cancellation throws it") {
  Simulator sim(1);
  bool thrown = false;
  sim.spawn([&]() -> Task<> {
    try {
      co_await weir::with_scope([](Scope& scope) -> Task<> {
        scope.cancel();
        co_await weir::yield();
      });
    } catch (const weir::Error& error) {
      thrown = error.code() == weir::Errc::cancelled;
    }
  });
  sim.run();
  CHECK(thrown);
}

TEST_CASE("with_scope: a body that is a plain function and throws has its children joined") {
  Simulator sim(1);
  Ledger ledger;
  std::vector<std::string> thrown;
  sim.spawn([&]() -> Task<> {
    for (const bool with_child : {false, true}) {
      const auto body = [&](Scope& scope) -> Task<> {
        if (with_child) scope.spawn(sleeps(1h, Guard(ledger)));
        if (ledger.twice == 0) throw std::runtime_error("plain");
        return Task<>();
      };
      try {
        co_await weir::with_scope(body);
      } catch (const std::runtime_error& error) {
        thrown.emplace_back(error.what());
      }
      ensure(ledger.alive == 0, "a child is alive after the join");
    }
    try {
      co_await weir::with_scope([](Scope&) { return Task<>(); });
    } catch (const weir::Error& error) {
      if (error.code() == weir::Errc::task_consumed) thrown.emplace_back("consumed");
    }
  });
  sim.run();
  CHECK(thrown == std::vector<std::string>{"plain", "plain", "consumed"});
  CHECK(ledger.made == 2);
  CHECK(sim.elapsed() == 0s);
}

TEST_CASE("with_scope: an empty task, or a function that throws, is no child") {
  Simulator sim(1);
  int refused = 0;
  std::size_t size = 9;
  sim.spawn([&]() -> Task<> {
    co_await weir::with_scope([&](Scope& scope) -> Task<> {
      try {
        scope.spawn(Task<>());
      } catch (const weir::Error&) {
        ++refused;
      }
      try {
        scope.spawn([]() { return Task<>(); });
      } catch (const weir::Error&) {
        ++refused;
      }
      try {
        scope.spawn([&]() -> Task<> {
          if (refused == 2) throw std::runtime_error("no");
          return Task<>();
        });
      } catch (const std::runtime_error&) {
        ++refused;
      }
      size = scope.size();
      co_return;
    });
  });
  sim.run();
  CHECK(refused == 3);
  CHECK(size == 0);
}

TEST_CASE("with_scope: the body and its captures live until the end") {
  Simulator sim(1);
  Ledger ledger;
  sim.spawn([&]() -> Task<> {
    auto body = [guard = Guard(ledger), &ledger](Scope& scope) -> Task<> {
      scope.spawn([&guard, &ledger]() -> Task<> {
        co_await weir::sleep_for(1s);
        const Guard copy(guard);
        ensure(ledger.alive == 3, "the captures are gone");
      });
      co_return;
    };
    co_await weir::with_scope(body);
  });
  sim.run();
  CHECK(ledger.alive == 0);
  CHECK(ledger.made == 3);
}

TEST_CASE("with_scope: a wake and a cancel that meet have one outcome, in every schedule") {
  std::set<std::string> outcomes;
  const auto explored = weir::sim::explore_all(200'000, [&](Simulator& sim) {
    auto& gate = sim.keep<Gate>();
    auto& ledger = sim.keep<Ledger>();
    auto& root = sim.keep<Root<>>();
    auto& ended = sim.keep<int>(0);
    root.start(sim, [](Gate& g, Ledger& l, int& e) -> Task<> {
      co_await weir::with_scope([&](Scope& scope) -> Task<> {
        scope.spawn(passes(g, e, Guard(l)));
        co_return;
      });
    }(gate, ledger, ended));
    asio::post(sim, [&] { gate.open(); });
    asio::post(sim, [&] { root.cancel(); });
    sim.run();
    ensure(root.done() && ledger.alive == 0, "not joined");
    ensure(root.succeeded() == (ended == 1), "the outcome is not what happened");
    ensure(root.succeeded() || root.cancelled(), "a wrong outcome");
    outcomes.insert(root.succeeded() ? "passed" : "cancelled");
  });
  INFO(explored.runs);
  CHECK(explored.complete);
  CHECK(outcomes == std::set<std::string>{"passed", "cancelled"});
}

TEST_CASE("with_scope: a hundred thousand children, one after the other and at once") {
  asio::io_context context;
  Ledger ledger;
  int ended = 0;
  weir::spawn(context, weir::with_scope([&](Scope& scope) -> Task<> {
                for (int i = 0; i < 100'000; ++i) {
                  scope.spawn(yields(1, ended, Guard(ledger)));
                  if (i < 50'000) co_await weir::yield();
                }
              }));
  context.run();
  CHECK(ended == 100'000);
  CHECK(ledger.alive == 0);
  CHECK(ledger.twice == 0);
}

TEST_CASE("with_scope: on a pool its children run one at a time") {
  asio::thread_pool pool(4);
  // Not atomic on purpose: the thread sanitizer would say that two run at once.
  int counter = 0;
  weir::sync_wait(pool, weir::with_scope([&](Scope& scope) -> Task<> {
                    for (int i = 0; i < 4; ++i) {
                      scope.spawn([&]() -> Task<> {
                        for (int turn = 0; turn < 1000; ++turn) {
                          ++counter;
                          if (turn % 100 == 0) co_await weir::sleep_for(1us);
                          co_await weir::yield();
                        }
                      });
                    }
                    co_return;
                  }));
  CHECK(counter == 4000);
}

TEST_CASE("with_scope: a pool that goes away destroys its children once") {
  for (int round = 0; round < 50; ++round) {
    Ledger ledger;
    {
      asio::thread_pool pool(2);
      weir::spawn(pool, weir::with_scope([&](Scope& scope) -> Task<> {
                    for (int i = 0; i < 4; ++i) scope.spawn(sleeps(1h, Guard(ledger)));
                    co_return;
                  }));
      if (round % 2 == 0) std::this_thread::yield();
      pool.stop();
      pool.join();
    }
    REQUIRE(ledger.alive == 0);
    REQUIRE(ledger.twice == 0);
  }
}

}  // namespace
