#include <weir/core/this_task.hpp>

#include "support/catch.hpp"

#include <optional>
#include <string>

#include <weir/core/spawn.hpp>
#include <weir/core/timeout.hpp>
#include <weir/core/timer.hpp>
#include <weir/sim/explore.hpp>

#include "support/allocation_counter.hpp"

namespace {

using namespace std::chrono_literals;
using weir::Errc;
using weir::Task;
using weir::sim::ensure;
using weir::sim::Simulator;

}  // namespace

TEST_CASE("this_task: home, executor, name and time are those of the root, and asking does not suspend") {
  Simulator sim(1);
  std::string name;
  bool same = false;
  std::uint64_t steps = 1;
  sim.spawn([&]() -> Task<> {
    const auto before = sim.steps();
    weir::Home& home = co_await weir::this_task::home();
    const auto executor = co_await weir::this_task::executor();
    co_await weir::this_task::set_name("named");
    const auto now = co_await weir::this_task::now();
    same = &home == &executor.home() && now == sim.now();
    name = home.name();
    steps = sim.steps() - before;
  });
  sim.run();
  CHECK(same);
  CHECK(name == "named");
  CHECK(steps == 0);
}

TEST_CASE("this_task: what is posted to the executor runs between the coroutine's own steps") {
  Simulator sim(1);
  int posted = 0;
  sim.spawn([&]() -> Task<> {
    const auto executor = co_await weir::this_task::executor();
    asio::post(executor, [&] { ++posted; });
    ensure(posted == 0, "never inline");
    co_await weir::yield();
    ensure(posted == 1, "before the coroutine goes on");
  });
  sim.run();
  CHECK(posted == 1);
}

TEST_CASE("this_task: the token is one for each scope, and is cancelled with it") {
  Simulator sim(1);
  weir::CancellationToken outer, outer_again, inner, after;
  sim.spawn([&]() -> Task<> {
    outer = co_await weir::this_task::token();
    outer_again = co_await weir::this_task::token();
    const auto child = [&]() -> Task<> {
      inner = co_await weir::this_task::token();
      try {
        co_await weir::sleep_for(1h);
      } catch (const weir::Error&) {
      }
      after = co_await weir::this_task::token();
      ensure(co_await weir::this_task::cancelled(), "the scope says so");
      co_await weir::this_task::throw_if_cancelled();
    };
    try {
      co_await weir::with_timeout(1ms, child());
    } catch (const weir::Error&) {
    }
    ensure(!co_await weir::this_task::cancelled(), "the outer scope is another");
  });
  sim.run();
  CHECK(outer == outer_again);
  CHECK_FALSE(outer == inner);
  CHECK_FALSE(outer.cancelled());
  CHECK(inner.reason() == Errc::timed_out);
  CHECK(after.reason() == Errc::timed_out);
}

TEST_CASE("this_task: only the first token of a scope allocates, and it is freed with the scope") {
  Simulator sim(1);
  std::uint64_t first = 0, second = 1;
  sim.spawn([&]() -> Task<> {
    const weir_test::AllocationCounter counter;
    (void)co_await weir::this_task::token();
    first = counter.count();
    (void)co_await weir::this_task::token();
    second = counter.count();
  });
  sim.run();
  CHECK((first > 0 || !weir_test::counts()));
  CHECK(second == first);
}

TEST_CASE("this_task: throw_if_cancelled throws in a cancelled scope only") {
  Simulator sim(1);
  std::error_code code;
  sim.spawn([&]() -> Task<> {
    co_await weir::this_task::throw_if_cancelled();
    (co_await weir::this_task::home()).scope().cancel();
    try {
      co_await weir::this_task::throw_if_cancelled();
    } catch (const weir::Error& error) {
      code = error.code();
    }
  });
  sim.run();
  CHECK(code == Errc::cancelled);
}

TEST_CASE("this_task: explored: the root cancelled at every step cancels the token that another root watches") {
  int seen = 0, unseen = 0;
  const auto explored = weir::sim::explore_each_step([&](Simulator& sim) {
    asio::cancellation_signal signal;
    weir::CancellationToken token;
    bool called = false;
    weir::spawn(
        sim,
        [&]() -> Task<> {
          token = co_await weir::this_task::token();
          co_await weir::sleep_for(2ms);
        },
        asio::bind_cancellation_slot(signal.slot(), [](std::exception_ptr) {}));
    sim.spawn([&]() -> Task<> {
      co_await weir::sleep_for(1ms);
      const auto executor = co_await weir::this_task::executor();
      const weir::CancellationCallback callback(token, executor, [&] { called = true; });
      co_await weir::sleep_for(3ms);
    });
    sim.on_action([&] { signal.emit(asio::cancellation_type::terminal); });
    sim.run();
    ensure(called == token.cancelled(), "the callback and the token agree");
    if (!sim.acted()) ensure(!called, "nothing cancels it but a cancellation");
    (called ? seen : unseen)++;
  });
  CHECK(explored.runs > 1);
  CHECK(seen > 0);
  CHECK(unseen > 0);
}

TEST_CASE("this_task: the token of a context that is destroyed is never cancelled") {
  weir::CancellationToken token;
  {
    asio::io_context context;
    weir::spawn(context, [&]() -> Task<> {
      token = co_await weir::this_task::token();
      co_await weir::sleep_for(1h);
    });
    context.poll();
    CHECK(token.connected());
  }
  CHECK_FALSE(token.cancelled());
}
