#include <weir/core/with_cancellation.hpp>

#include "support/catch.hpp"

#include <memory>
#include <stdexcept>
#include <string>

#include <weir/core/spawn.hpp>
#include <weir/core/this_task.hpp>
#include <weir/core/timeout.hpp>
#include <weir/core/timer.hpp>
#include <weir/sim/explore.hpp>

#include "support/allocation_counter.hpp"

namespace {

using namespace std::chrono_literals;
using weir::CancellationSource;
using weir::Errc;
using weir::Task;
using weir::sim::ensure;
using weir::sim::Simulator;

Task<std::unique_ptr<int>> value_after(std::chrono::milliseconds delay) {
  co_await weir::sleep_for(delay);
  co_return std::make_unique<int>(7);
}

template <class A>
Task<std::error_code> code_of(A awaitable) {
  try {
    co_await std::move(awaitable);
  } catch (const std::system_error& error) {
    co_return error.code();
  }
  co_return std::error_code();
}

}  // namespace

TEST_CASE("with_cancellation: gives the task's value or exception while the token is not cancelled") {
  Simulator sim(1);
  int value = 0;
  std::string what;
  sim.spawn([&]() -> Task<> {
    const CancellationSource source;
    value = *co_await weir::with_cancellation(source.token(), value_after(1ms));
    value += *co_await weir::with_cancellation(weir::CancellationToken(), value_after(1ms));
    const auto fail = []() -> Task<> {
      co_await weir::yield();
      throw std::runtime_error("failed");
    };
    try {
      co_await weir::with_cancellation(source.token(), fail());
    } catch (const std::runtime_error& error) {
      what = error.what();
    }
  });
  sim.run();
  CHECK(value == 14);
  CHECK(what == "failed");
}

TEST_CASE("with_cancellation: a cancelled token ends the wait inside, not the one who awaits") {
  Simulator sim(1);
  CancellationSource source;
  std::error_code code;
  sim.spawn([&]() -> Task<> {
    code = co_await code_of(weir::with_cancellation(source.token(), value_after(1h)));
    co_await weir::sleep_for(1ms);
  });
  sim.spawn([&]() -> Task<> {
    co_await weir::sleep_for(5ms);
    source.cancel();
  });
  sim.run();
  CHECK(code == Errc::cancelled);
  CHECK(sim.elapsed() == 6ms);
}

TEST_CASE("with_cancellation: a token that is cancelled already lets the task start, and its first wait throws") {
  Simulator sim(1);
  CancellationSource source;
  source.cancel();
  bool started = false;
  std::error_code code;
  sim.spawn([&]() -> Task<> {
    const auto task = [&]() -> Task<> {
      started = true;
      co_await weir::sleep_for(1h);
    };
    code = co_await code_of(weir::with_cancellation(source.token(), task()));
  });
  sim.run();
  CHECK(started);
  CHECK(code == Errc::cancelled);
}

TEST_CASE("with_cancellation: the scope's reason is timed_out when that is the token's") {
  Simulator sim(1);
  std::error_code reason;
  sim.spawn([&]() -> Task<> {
    CancellationSource source;
    source.cancel_after(sim, 3ms);
    const auto task = [&]() -> Task<> {
      const auto token = co_await weir::this_task::token();
      co_await code_of(weir::sleep_for(1h));
      reason = token.reason();
    };
    co_await weir::with_cancellation(source.token(), task());
  });
  sim.run();
  CHECK(reason == Errc::timed_out);
}

TEST_CASE("with_cancellation: a consumed task is refused") {
  Simulator sim(1);
  std::error_code code;
  sim.spawn([&]() -> Task<> {
    Task<> empty;
    code = co_await code_of(weir::with_cancellation(weir::CancellationToken(), std::move(empty)));
  });
  sim.run();
  CHECK(code == Errc::task_consumed);
}

TEST_CASE("with_cancellation: explored with the token cancelled at every step") {
  int completed = 0, cancelled = 0;
  const auto explored = weir::sim::explore_each_step([&](Simulator& sim) {
    CancellationSource source;
    std::error_code code;
    bool done = false;
    sim.spawn([&]() -> Task<> {
      const auto inner = [&]() -> Task<> {
        co_await weir::sleep_for(1ms);
        co_await weir::with_cancellation(source.token(), value_after(1ms));
        co_await weir::yield();
      };
      code = co_await code_of(weir::with_cancellation(source.token(), inner()));
      // Nothing of it may be left in the queue of the home.
      co_await weir::yield();
      co_await weir::sleep_for(1ms);
      done = true;
    });
    sim.on_action([&] { source.cancel(); });
    sim.run();
    ensure(done, "the one who awaited was not cancelled");
    ensure(!code || code == Errc::cancelled, "one of two ends");
    if (!sim.acted()) ensure(!code, "nothing ends it but a cancellation");
    (code ? cancelled : completed)++;
  });
  CHECK(explored.runs > 1);
  CHECK(completed > 0);
  CHECK(cancelled > 0);
}

TEST_CASE("with_cancellation: explored with the context destroyed at every step, and the token cancelled after") {
  const auto explored = weir::sim::explore_each_step([](Simulator& sim) {
    auto alive = std::make_shared<int>(0);
    CancellationSource source;
    for (int i = 0; i < 3; ++i) {
      sim.spawn([&source, alive, i]() -> Task<> {
        const auto held = alive;
        co_await code_of(weir::with_cancellation(
            source.token(), weir::with_timeout(2ms, value_after(std::chrono::milliseconds(1 + i)))));
      });
    }
    sim.spawn([&source]() -> Task<> {
      co_await weir::sleep_for(2ms);
      source.cancel();
    });
    sim.on_action([&] {
      sim.shut_down();
      source.cancel();
    });
    sim.run();
    ensure(alive.use_count() == 1, "every frame is gone");
  });
  CHECK(explored.runs > 1);
}

TEST_CASE("with_cancellation: being cancelled allocates nothing but the exception") {
  asio::io_context context;
  CancellationSource source;
  std::error_code code;
  weir::spawn(context,
              [&]() -> Task<> { code = co_await code_of(weir::with_cancellation(source.token(), value_after(1h))); });
  context.poll();
  const weir_test::AllocationCounter counter;
  source.cancel();
  const auto allocations = counter.count();
  CHECK(allocations == 0);
  context.restart();
  context.run();
  CHECK(code == Errc::cancelled);
}
