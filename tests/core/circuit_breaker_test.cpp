#include <weir/core/circuit_breaker.hpp>

#include "support/catch.hpp"

#include <stdexcept>
#include <vector>

#include <weir/core/spawn.hpp>
#include <weir/core/timeout.hpp>
#include <weir/core/timer.hpp>
#include <weir/sim/explore.hpp>

namespace {

using namespace std::chrono_literals;
using weir::CircuitBreaker;
using weir::CircuitState;
using weir::Task;
using weir::sim::ensure;
using weir::sim::Simulator;

weir::CircuitBreakerOptions small() {
  weir::CircuitBreakerOptions options;
  options.window = 4;
  options.min_calls = 2;
  options.open_for = 10ms;
  return options;
}

void end(const CircuitBreaker& breaker, bool well) {
  auto call = breaker.try_enter();
  REQUIRE(call);
  well ? call->succeeded() : call->failed();
}

void let_pass(Simulator& sim, weir::TimeService::Duration time) {
  sim.spawn([time]() -> Task<> { co_await weir::sleep_for(time); });
  sim.run();
}

}  // namespace

TEST_CASE("circuit_breaker: it opens at the failure rate over the window, and not before the least number of calls") {
  Simulator sim(1);
  const CircuitBreaker breaker(sim, small());
  end(breaker, false);
  CHECK(breaker.state() == CircuitState::closed);
  end(breaker, true);
  end(breaker, true);
  end(breaker, true);
  // The window is full of one failure and three successes; the failure leaves it.
  end(breaker, false);
  CHECK(breaker.state() == CircuitState::closed);
  end(breaker, false);
  CHECK(breaker.state() == CircuitState::open);
  CHECK_FALSE(breaker.try_enter());
  const auto stats = breaker.stats();
  CHECK(stats.succeeded == 3);
  CHECK(stats.failed == 3);
  CHECK(stats.refused == 1);
  CHECK(stats.opened == 1);
}

TEST_CASE("circuit_breaker: after its time it lets probes through, and closes or opens by them") {
  Simulator sim(1);
  auto options = small();
  options.probes = 2;
  const CircuitBreaker breaker(sim, options);
  end(breaker, false);
  end(breaker, false);
  CHECK(breaker.state() == CircuitState::open);
  let_pass(sim, 9ms);
  CHECK_FALSE(breaker.try_enter());
  let_pass(sim, 1ms);
  CHECK(breaker.state() == CircuitState::half_open);
  {
    auto one = breaker.try_enter();
    auto two = breaker.try_enter();
    REQUIRE((one && two));
    CHECK_FALSE(breaker.try_enter());
    // One that is dropped gives its place back.
    two.reset();
    two = breaker.try_enter();
    REQUIRE(two);
    one->succeeded();
    CHECK(breaker.state() == CircuitState::half_open);
    two->failed();
  }
  CHECK(breaker.state() == CircuitState::open);
  let_pass(sim, 10ms);
  end(breaker, true);
  end(breaker, true);
  CHECK(breaker.state() == CircuitState::closed);
  // It has forgotten the failures of before.
  end(breaker, false);
  CHECK(breaker.state() == CircuitState::closed);
}

TEST_CASE("circuit_breaker: a call that began before a change says nothing about what is after it") {
  Simulator sim(1);
  const CircuitBreaker breaker(sim, small());
  auto late = breaker.try_enter();
  auto later = breaker.try_enter();
  end(breaker, false);
  end(breaker, false);
  let_pass(sim, 10ms);
  CHECK(breaker.state() == CircuitState::half_open);
  late->succeeded();
  CHECK(breaker.state() == CircuitState::half_open);
  end(breaker, true);
  CHECK(breaker.state() == CircuitState::closed);
  later->failed();
  end(breaker, true);
  CHECK(breaker.state() == CircuitState::closed);
  breaker.reset();
  CHECK(breaker.state() == CircuitState::closed);
}

TEST_CASE("circuit_breaker: call counts how it ends, fails fast when open, and ignores cancellations") {
  Simulator sim(1);
  const CircuitBreaker breaker(sim, small());
  int calls = 0;
  int refused = 0;
  int result = 0;
  sim.spawn([&]() -> Task<> {
    for (int i = 0; i < 4; ++i) {
      try {
        co_await breaker.call([&] {
          ++calls;
          throw std::runtime_error("down");
        });
      } catch (const weir::Error& error) {
        if (error.code() == weir::Errc::circuit_open) ++refused;
      } catch (const std::runtime_error&) {
      }
    }
    co_await weir::sleep_for(10ms);
    for (int i = 0; i < 3; ++i) {
      try {
        co_await weir::with_timeout(1ms, breaker.call([]() -> Task<> { co_await weir::sleep_for(1s); }));
      } catch (const weir::Error&) {
      }
    }
    result = co_await breaker.call([]() -> Task<int> {
      co_await weir::sleep_for(1ms);
      co_return 7;
    });
  });
  sim.run();
  CHECK(calls == 2);
  CHECK(refused == 2);
  CHECK(result == 7);
  CHECK(breaker.stats().succeeded == 1);
  CHECK(breaker.state() == CircuitState::closed);
}

TEST_CASE("circuit_breaker: options out of their range are refused") {
  Simulator sim(1);
  const auto refused = [&](auto change) {
    weir::CircuitBreakerOptions options;
    change(options);
    try {
      CircuitBreaker breaker(sim, options);
    } catch (const weir::Error& error) {
      return error.code() == weir::Errc::invalid_argument;
    }
    return false;
  };
  CHECK(refused([](auto& o) { o.failure_rate = 0; }));
  CHECK(refused([](auto& o) { o.failure_rate = 1.5; }));
  CHECK(refused([](auto& o) { o.window = 0; }));
  CHECK(refused([](auto& o) { o.min_calls = 0; }));
  CHECK(refused([](auto& o) { o.min_calls = 21; }));
  CHECK(refused([](auto& o) { o.open_for = 0ms; }));
  CHECK(refused([](auto& o) { o.probes = 0; }));
  CHECK_FALSE(refused([](auto&) {}));
}

TEST_CASE("circuit_breaker: who waits is let through in the end, whoever is cancelled or destroyed at any step") {
  struct World {
    explicit World(Simulator& sim) : breaker(sim, small()) {}
    CircuitBreaker breaker;
    int failures = 3;
    int inside = 0;
    int entered = 0;
    int ended = 0;
  };
  enum class Action { none, cancel, destroy };
  const auto scene = [](Action action) {
    return [action](Simulator& sim) {
      auto& world = sim.keep<World>(sim);
      auto& signal = sim.keep<asio::cancellation_signal>();
      for (int who = 0; who < 3; ++who) {
        auto run = [](World& w) -> Task<> {
          for (int i = 0; i < 2; ++i) {
            auto call = co_await w.breaker.enter();
            const bool probe = w.breaker.state() == CircuitState::half_open;
            ensure(!probe || ++w.inside == 1, "one probe at a time");
            ++w.entered;
            co_await weir::sleep_for(1ms);
            if (probe) --w.inside;
            --w.failures >= 0 ? call.failed() : call.succeeded();
          }
        }(world);
        const auto slot = who == 1 ? signal.slot() : asio::cancellation_slot();
        weir::spawn(sim, std::move(run), asio::bind_cancellation_slot(slot, [&world](std::exception_ptr) {
                      world.inside = 0;
                      ++world.ended;
                    }));
      }
      sim.on_action([&sim, &signal, action] {
        if (action == Action::cancel) signal.emit(asio::cancellation_type::all);
        if (action == Action::destroy) sim.stop();
      });
      sim.run();
      if (sim.stopped()) {
        sim.shut_down();
        return;
      }
      ensure(world.ended == 3, "all end");
      if (!sim.acted()) ensure(world.entered == 6, "each call was made");
    };
  };
  REQUIRE_NOTHROW(weir::sim::explore(scene(Action::none)));
  REQUIRE_NOTHROW(weir::sim::explore_each_step(scene(Action::cancel)));
  REQUIRE_NOTHROW(weir::sim::explore_each_step(scene(Action::destroy)));
}
