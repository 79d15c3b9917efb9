#include <weir/core/shielded.hpp>

#include <chrono>
#include <stdexcept>
#include <string>

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

Task<int> cleans_up(bool& clean, Guard) {
  co_await weir::sleep_for(1s);
  co_await weir::yield();
  clean = true;
  co_return 5;
}

TEST_CASE("shielded: it gives what the task gives, and throws what it throws") {
  Simulator sim(1);
  Ledger ledger;
  bool clean = false;
  int value = 0;
  std::string thrown;
  std::error_code code;
  sim.spawn([&]() -> Task<> {
    value = co_await weir::shielded(cleans_up(clean, Guard(ledger)));
    try {
      co_await weir::shielded([]() -> Task<> {
        co_await weir::yield();
        throw std::runtime_error("no");
      }());
    } catch (const std::runtime_error& error) {
      thrown = error.what();
    }
    try {
      co_await weir::shielded(Task<>());
    } catch (const weir::Error& error) {
      code = error.code();
    }
  });
  sim.run();
  CHECK(value == 5);
  CHECK(thrown == "no");
  CHECK(code == weir::Errc::task_consumed);
}

TEST_CASE("shielded: the clean-up is done, whenever the root is cancelled") {
  explore_root(
      [](Simulator& sim, weir_test::Root<>& root, Ledger& ledger) {
        auto& clean = sim.keep<bool>(false);
        sim.on_step([&] { ensure(!root.done() || clean || ledger.made == 0, "not cleaned up"); });
        root.start(sim, [](Ledger& l, bool& c) -> Task<> {
          const Guard guard(l);
          std::exception_ptr error;
          try {
            co_await weir::sleep_for(1h);
          } catch (...) {
            error = std::current_exception();
          }
          const int value = co_await weir::shielded(cleans_up(c, Guard(l)));
          ensure(value == 5 && l.alive == 1, "a wrong result");
          if (error) std::rethrow_exception(error);
          // What is outside of the shield meets the cancellation.
          co_await weir::yield();
        }(ledger, clean));
      },
      [](Simulator& sim, const weir_test::Root<>& root) {
        ensure(root.succeeded() || (sim.acted() && root.cancelled()), "a wrong outcome");
      });
  SUCCEED();
}

TEST_CASE("shielded: it starts in a root that was cancelled before, and the root is cancelled after it") {
  Simulator sim(1);
  Ledger ledger;
  bool clean = false;
  weir_test::Root<> root;
  root.start(sim, [](Ledger& l, bool& c) -> Task<> {
    co_await weir::shielded(cleans_up(c, Guard(l)));
    co_await weir::sleep_for(1h);
  }(ledger, clean));
  root.cancel();
  sim.run();
  CHECK(clean);
  CHECK(root.cancelled());
  CHECK(sim.elapsed() == 1s);
}

TEST_CASE("shielded: a stall says that it waits in a shield") {
  Simulator sim(1);
  struct Never {
    void attach(weir::Promise&) const noexcept {}
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    void await_resume() const noexcept {}
  };
  sim.spawn([]() -> Task<> {
    co_await weir::shielded([]() -> Task<> {
      Never never;
      co_await never;
    }());
  });
  std::string what;
  try {
    sim.run();
  } catch (const weir::Error& error) {
    what = error.what();
  }
  CHECK(what.find("root 1 waits in: shielded task") != std::string::npos);
}

TEST_CASE("shielded: it runs on the home of the one that awaits, on a pool too") {
  asio::thread_pool pool(2);
  Ledger ledger;
  bool clean = false;
  const auto task = [](Ledger& l, bool& c) -> Task<int> {
    auto cleaning = [](bool& done, Guard) -> Task<int> {
      co_await weir::yield();
      done = true;
      co_return 1;
    };
    co_return co_await weir::shielded(cleaning(c, Guard(l)));
  };
  CHECK(weir::sync_wait(pool, task(ledger, clean)) == 1);
  CHECK(clean);
  asio::io_context context;
  clean = false;
  weir::spawn(context, task(ledger, clean));
  context.run();
  CHECK(clean);
  CHECK(ledger.alive == 0);
}

}  // namespace
