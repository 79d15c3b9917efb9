#include <weir/core/timeout.hpp>

#include "support/catch.hpp"

#include <memory>
#include <stdexcept>
#include <string>

#include <weir/core/shielded.hpp>
#include <weir/core/spawn.hpp>
#include <weir/core/this_task.hpp>
#include <weir/core/timer.hpp>
#include <weir/sim/explore.hpp>

#include "support/allocation_counter.hpp"

namespace {

using namespace std::chrono_literals;
using weir::Errc;
using weir::Task;
using weir::sim::ensure;
using weir::sim::Simulator;

Task<std::unique_ptr<int>> value_after(std::chrono::milliseconds delay) {
  co_await weir::sleep_for(delay);
  co_return std::make_unique<int>(7);
}

/// Does not end when it is cancelled, but some time after.
Task<int> stubborn(std::chrono::milliseconds delay, std::chrono::milliseconds more) {
  try {
    co_await weir::sleep_for(delay);
  } catch (const weir::Error&) {
  }
  // The scope is cancelled, so that no wait of it helps: the rest is spent on the clock of the caller.
  const auto until = co_await weir::this_task::now() + more;
  co_return static_cast<int>((until - weir::TimeService::TimePoint()) / 1ms);
}

Task<> fail_when_cancelled() {
  try {
    co_await weir::sleep_for(1h);
  } catch (const weir::Error&) {
    throw std::runtime_error("while cleaning up");
  }
}

template <class A>
Task<std::string> result_of(A awaitable) {
  try {
    co_await std::move(awaitable);
    co_return "value";
  } catch (const std::system_error& error) {
    co_return error.code().message();
  } catch (const std::exception& error) {
    co_return error.what();
  }
}

template <class F>
std::string run_one(Simulator& sim, F&& make) {
  std::string result;
  sim.spawn([&]() -> Task<> { result = co_await result_of(make()); });
  sim.run();
  return result;
}

const std::string timed_out = make_error_code(Errc::timed_out).message();
const std::string cancelled = make_error_code(Errc::cancelled).message();

}  // namespace

TEST_CASE("timeout: a task in time gives its value, and leaves no deadline behind") {
  Simulator sim(1);
  int value = 0;
  sim.spawn([&]() -> Task<> { value = *co_await weir::with_timeout(10ms, value_after(9ms)); });
  sim.run();
  CHECK(value == 7);
  CHECK(sim.elapsed() == 9ms);
}

TEST_CASE("timeout: a task that is late is cancelled at its time, and timed_out is thrown") {
  Simulator sim(1);
  CHECK(run_one(sim, [] { return weir::with_timeout(10ms, value_after(11ms)); }) == timed_out);
  CHECK(sim.elapsed() == 10ms);
}

TEST_CASE("timeout: completed beats timed out") {
  Simulator sim(1);
  CHECK(run_one(sim, [] { return weir::with_timeout(10ms, stubborn(1h, 3ms)); }) == "value");
}

TEST_CASE("timeout: an exception that is no cancellation is passed on, also when the time was up") {
  Simulator sim(1);
  CHECK(run_one(sim, [] { return weir::with_timeout(10ms, fail_when_cancelled()); }) == "while cleaning up");
}

TEST_CASE("timeout: Asio's own cancellation counts as one") {
  Simulator sim(1);
  const auto task = []() -> Task<> {
    try {
      co_await weir::sleep_for(1h);
    } catch (const weir::Error&) {
      throw std::system_error(asio::error::operation_aborted);
    }
  };
  CHECK(run_one(sim, [&] { return weir::with_timeout(10ms, task()); }) == timed_out);
}

TEST_CASE("timeout: no time at all starts the task in a cancelled scope") {
  for (const auto delay : {0ms, -5ms}) {
    Simulator sim(1);
    bool started = false;
    const auto task = [&]() -> Task<> {
      started = true;
      co_await weir::sleep_for(1h);
    };
    CHECK(run_one(sim, [&] { return weir::with_timeout(delay, task()); }) == timed_out);
    CHECK(started);
    CHECK(run_one(sim, [&] { return weir::with_timeout(delay, []() -> Task<> { co_return; }()); }) == "value");
  }
}

TEST_CASE("timeout: the inner of two deadlines says timed_out once, the outer passes it on") {
  Simulator sim(1);
  CHECK(run_one(sim, [] { return weir::with_timeout(20ms, weir::with_timeout(10ms, value_after(1h))); }) == timed_out);
  CHECK(sim.elapsed() == 10ms);
  CHECK(run_one(sim, [] { return weir::with_timeout(10ms, weir::with_timeout(20ms, value_after(1h))); }) == timed_out);
  CHECK(sim.elapsed() == 20ms);
}

TEST_CASE("timeout: with_deadline takes a time, and anything awaitable") {
  Simulator sim(1);
  sim.spawn([&]() -> Task<> {
    const auto when = co_await weir::this_task::now() + 5ms;
    const std::string result = co_await result_of(weir::with_deadline(when, weir::sleep_for(1h)));
    ensure(result == timed_out, "it timed out");
  });
  sim.run();
  CHECK(sim.elapsed() == 5ms);
}

TEST_CASE("timeout: a consumed task is refused") {
  Simulator sim(1);
  Task<> empty;
  const std::string consumed = make_error_code(Errc::task_consumed).message();
  CHECK(run_one(sim, [&] { return weir::with_timeout(5ms, std::move(empty)); }) == consumed);
}

TEST_CASE("timeout: the scope's reason inside is timed_out, and a cancel from above is not") {
  Simulator sim(1);
  std::string reason;
  asio::cancellation_signal signal;
  sim.spawn([&]() -> Task<> {
    const auto task = [&]() -> Task<> {
      const auto token = co_await weir::this_task::token();
      try {
        co_await weir::sleep_for(1h);
      } catch (const weir::Error&) {
        reason = token.reason().message();
        throw;
      }
    };
    co_await result_of(weir::with_timeout(5ms, task()));
  });
  sim.run();
  CHECK(reason == timed_out);
}

TEST_CASE("timeout: a task that was cancelled from above stays cancelled, also when its time runs out after that") {
  Simulator sim(1);
  asio::cancellation_signal signal;
  std::string result;
  const auto task = []() -> Task<> {
    bool stopped = false;
    try {
      co_await weir::sleep_for(1h);
    } catch (const weir::Error&) {
      stopped = true;
    }
    co_await weir::shielded(weir::sleep_for(20ms));
    if (stopped) throw weir::Error(Errc::cancelled);
  };
  weir::spawn(
      sim, [&]() -> Task<> { result = co_await result_of(weir::with_timeout(10ms, task())); },
      asio::bind_cancellation_slot(signal.slot(), [](std::exception_ptr) {}));
  sim.spawn([&]() -> Task<> {
    co_await weir::sleep_for(1ms);
    signal.emit(asio::cancellation_type::terminal);
  });
  sim.run();
  CHECK(result == cancelled);
  CHECK(sim.elapsed() == 21ms);
}

TEST_CASE("timeout: explored with the time at the same moment as the end, and a cancel at every step") {
  int values = 0, late = 0, cancels = 0;
  const auto explored = weir::sim::explore_each_step([&](Simulator& sim) {
    asio::cancellation_signal signal;
    std::string result;
    weir::spawn(
        sim,
        [&]() -> Task<> {
          result = co_await result_of(weir::with_timeout(3ms, weir::with_timeout(3ms, [](Simulator& s) -> Task<> {
                                                           s.spawn([]() -> Task<> { co_await weir::sleep_for(3ms); });
                                                           co_await weir::sleep_for(1ms);
                                                           co_await weir::sleep_for(2ms);
                                                         }(sim))));
        },
        asio::bind_cancellation_slot(signal.slot(), [](std::exception_ptr) {}));
    sim.on_action([&] { signal.emit(asio::cancellation_type::terminal); });
    sim.run();
    ensure(result == "value" || result == timed_out || (sim.acted() && result == cancelled), "one of its three ends");
    if (!sim.acted()) ensure(result == "value", "all that is due at once fires in order: the sleep was later");
    (result == "value" ? values : result == timed_out ? late : cancels)++;
  });
  CHECK(explored.runs > 1);
  CHECK(values > 0);
  CHECK(cancels > 0);
}

TEST_CASE("timeout: a context destroyed at every step destroys what is inside once") {
  const auto explored = weir::sim::explore_each_step([](Simulator& sim) {
    auto alive = std::make_shared<int>(0);
    for (const auto limit : {1ms, 2ms, 3ms}) {
      sim.spawn([alive, limit]() -> Task<> {
        const auto held = alive;
        co_await result_of(weir::with_timeout(limit, value_after(2ms)));
      });
    }
    sim.on_action([&] { sim.shut_down(); });
    sim.run();
    ensure(alive.use_count() == 1, "every frame is gone");
  });
  CHECK(explored.runs > 1);
}

TEST_CASE("timeout: allocates nothing but the task") {
  Simulator sim(1);
  std::uint64_t allocated = 99;
  sim.spawn([&]() -> Task<> {
    for (int i = 0; i < 2; ++i) {
      auto task = value_after(1h);
      auto quick = []() -> Task<> { co_return; }();
      const weir_test::AllocationCounter counter;
      co_await weir::with_timeout(1ms, std::move(quick));
      allocated = counter.count();
    }
  });
  sim.run();
  CHECK(allocated == 0);
}
