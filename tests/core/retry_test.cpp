#include <weir/core/retry.hpp>

#include "support/catch.hpp"

#include <stdexcept>
#include <string>
#include <vector>

#include <weir/core/spawn.hpp>
#include <weir/core/timeout.hpp>
#include <weir/sim/explore.hpp>

#include "support/explored_root.hpp"

namespace {

using namespace std::chrono_literals;
using weir::RetryBudget;
using weir::RetryPolicy;
using weir::Task;
using weir::sim::ensure;
using weir::sim::Simulator;
using weir_test::explore_root;
using weir_test::Guard;
using weir_test::Ledger;

struct Unavailable : std::runtime_error {
  Unavailable() : std::runtime_error("unavailable") {}
};

/// Fails `failures` times, and notes when it was called.
struct Flaky {
  explicit Flaky(int n) : failures(n) {}
  int failures;
  int calls = 0;

  int operator()() {
    if (++calls <= failures) throw Unavailable();
    return calls;
  }
  Task<int> later() {
    co_await weir::sleep_for(1ms);
    co_return (*this)();
  }
};

weir::Errc refusal(auto make) {
  try {
    static_cast<void>(make());
  } catch (const weir::Error& error) {
    return static_cast<weir::Errc>(error.code().value());
  }
  return {};
}

}  // namespace

TEST_CASE("retry: fixed, linear and exponential delays, with a cap") {
  const auto delays = [](const RetryPolicy& policy) {
    std::vector<std::int64_t> ms;
    for (std::uint32_t i = 1; i <= 5; ++i) {
      ms.push_back(std::chrono::duration_cast<std::chrono::milliseconds>(policy.delay(i)).count());
    }
    return ms;
  };
  using Delays = std::vector<std::int64_t>;
  CHECK(delays(RetryPolicy::fixed(7ms)) == Delays{7, 7, 7, 7, 7});
  CHECK(delays(RetryPolicy::linear(7ms)) == Delays{7, 14, 21, 28, 35});
  CHECK(delays(RetryPolicy::exponential(7ms)) == Delays{7, 14, 28, 56, 112});
  CHECK(delays(RetryPolicy::exponential(10ms, 3)) == Delays{10, 30, 90, 270, 810});
  CHECK(delays(RetryPolicy::exponential(7ms).max_delay(30ms)) == Delays{7, 14, 28, 30, 30});
  CHECK(delays(RetryPolicy::linear(7ms).max_delay(20ms)) == Delays{7, 14, 20, 20, 20});
  CHECK(RetryPolicy::exponential(1s).delay(5000) == RetryPolicy::Duration::max());
  CHECK(RetryPolicy::exponential(1s).max_delay(1min).delay(5000) == 1min);
  CHECK(RetryPolicy::exponential(0s).delay(5000) == 0s);
  CHECK(RetryPolicy::fixed(std::chrono::hours::max()).delay(1) == RetryPolicy::Duration::max());
}

TEST_CASE("retry: bad settings are refused") {
  using weir::Errc;
  CHECK(refusal([] { return RetryPolicy::fixed(-1ms); }) == Errc::invalid_argument);
  CHECK(refusal([] { return RetryPolicy::linear(-1ms); }) == Errc::invalid_argument);
  CHECK(refusal([] { return RetryPolicy::exponential(1ms, 0.9); }) == Errc::invalid_argument);
  CHECK(refusal([] { return RetryPolicy::exponential(1ms, std::nan("")); }) == Errc::invalid_argument);
  CHECK(refusal([] { return RetryPolicy::fixed(1ms).max_attempts(0); }) == Errc::invalid_argument);
  CHECK(refusal([] { return RetryPolicy::fixed(1ms).max_delay(-1ms); }) == Errc::invalid_argument);
  CHECK(refusal([] { return RetryBudget(-0.1); }) == Errc::invalid_argument);
  CHECK(refusal([] { return RetryBudget(1.1); }) == Errc::invalid_argument);
  CHECK(refusal([] { return RetryBudget(0.1, 0); }) == Errc::invalid_argument);
  CHECK(refusal([] { return RetryPolicy::fixed(0ms); }) == Errc{});
}

TEST_CASE("retry: a function is called until it succeeds, after the policy's delays") {
  for (const bool waiting : {false, true}) {
    Simulator sim(1);
    Flaky flaky(2);
    int result = 0;
    sim.spawn([&]() -> Task<> {
      const auto policy = RetryPolicy::exponential(10ms);
      if (waiting) {
        result = co_await weir::retry(policy, [&flaky] { return flaky.later(); });
      } else {
        result = co_await weir::retry(policy, [&flaky] { return flaky(); });
      }
    });
    sim.run();
    CHECK(result == 3);
    CHECK(sim.elapsed() == 30ms + (waiting ? 3ms : 0ms));
  }
}

TEST_CASE("retry: what gives nothing is retried, too, and what moves is handed on") {
  Simulator sim(1);
  Flaky flaky(1);
  Flaky later(1);
  std::unique_ptr<int> moved;
  sim.spawn([&]() -> Task<> {
    const auto policy = RetryPolicy::fixed(0ms);
    co_await weir::retry(policy, [&flaky] { static_cast<void>(flaky()); });
    co_await weir::retry(policy, [&later]() -> Task<> { static_cast<void>(co_await later.later()); });
    moved = co_await weir::retry(policy, [] { return std::make_unique<int>(4); });
  });
  sim.run();
  CHECK(flaky.calls == 2);
  CHECK(later.calls == 2);
  CHECK(*moved == 4);
}

TEST_CASE("retry: after the last attempt the last error is thrown") {
  Simulator sim(1);
  Flaky flaky(100);
  std::string told;
  sim.spawn([&]() -> Task<> {
    try {
      co_await weir::retry(RetryPolicy::linear(1ms).max_attempts(4), [&flaky] { return flaky(); });
    } catch (const Unavailable& error) {
      told = error.what();
    }
  });
  sim.run();
  CHECK(told == "unavailable");
  CHECK(flaky.calls == 4);
  CHECK(sim.elapsed() == 6ms);
}

TEST_CASE("retry: only what the policy names is retried, and a cancellation never") {
  const auto calls = [](const RetryPolicy& policy, auto thrown) {
    Simulator sim(1);
    int n = 0;
    sim.spawn([&]() -> Task<> {
      try {
        co_await weir::retry(policy, [&] {
          ++n;
          throw thrown;
        });
      } catch (...) {
      }
    });
    sim.run();
    return n;
  };
  const auto policy = RetryPolicy::fixed(1ms);
  CHECK(calls(policy, 5) == 3);
  CHECK(calls(policy, weir::Error(weir::Errc::timed_out)) == 3);
  CHECK(calls(policy, weir::Error(weir::Errc::cancelled)) == 1);
  CHECK(calls(policy.only_for<std::runtime_error>(), Unavailable()) == 3);
  CHECK(calls(policy.only_for<std::runtime_error>(), 5) == 1);
  CHECK(calls(policy.only_for<std::logic_error, int>(), 5) == 3);
  CHECK(calls(policy.when([](const std::exception_ptr&) { return false; }), 5) == 1);
}

TEST_CASE("retry: a budget is shared, spent by retries and filled by successes") {
  const RetryBudget budget(0.5, 2);
  const auto policy = RetryPolicy::fixed(1ms).max_attempts(RetryPolicy::unlimited).budget(budget);
  Simulator sim(1);
  Flaky down(100);
  Flaky up(0);
  int given_up = 0;
  sim.spawn([&]() -> Task<> {
    for (int i = 0; i < 2; ++i) {
      try {
        co_await weir::retry(policy, [&down] { return down(); });
      } catch (const Unavailable&) {
        ++given_up;
      }
    }
    for (int i = 0; i < 3; ++i) co_await weir::retry(policy, [&up] { return up(); });
  });
  sim.run();
  CHECK(given_up == 2);
  CHECK(down.calls == 4);
  CHECK(budget.tokens() == 1.5);
  for (int i = 0; i < 10; ++i) budget.deposit();
  CHECK(budget.tokens() == 2);
  CHECK(budget.withdraw());
  CHECK(budget.withdraw());
  CHECK_FALSE(budget.withdraw());
  // A deposit that does not fit is cut.
  const RetryBudget uneven(0.3, 1);
  CHECK(uneven.withdraw());
  for (int i = 0; i < 4; ++i) uneven.deposit();
  CHECK(uneven.tokens() == 1);
}

TEST_CASE("retry: full jitter is below the delay, differs between roots and seeds, and repeats") {
  const auto waits = [](std::uint64_t seed) {
    Simulator sim(1);
    std::vector<std::vector<weir::TimeService::Duration>> all(2);
    for (auto& mine : all) {
      sim.spawn([&mine, seed]() -> Task<> {
        weir::Home& home = co_await weir::this_task::home();
        const auto policy = RetryPolicy::fixed(1s).max_attempts(RetryPolicy::unlimited).full_jitter(seed);
        const auto error = std::make_exception_ptr(Unavailable());
        for (std::uint32_t i = 1; i <= 200; ++i) mine.push_back(*policy.next(i, error, home));
      });
    }
    sim.run();
    return all;
  };
  const auto first = waits(0);
  CHECK(first == waits(0));
  CHECK(first[0] != first[1]);
  CHECK(first != waits(1));
  weir::TimeService::Duration sum{};
  bool below = true;
  for (const auto wait : first[0]) {
    below = below && wait >= 0s && wait <= 1s;
    sum += wait;
  }
  CHECK(below);
  CHECK(sum > 80s);
  CHECK(sum < 120s);
}

TEST_CASE("retry: a timeout ends the waiting") {
  Simulator sim(1);
  Flaky flaky(100);
  std::error_code code;
  sim.spawn([&]() -> Task<> {
    auto trying = weir::retry(RetryPolicy::fixed(10ms).max_attempts(RetryPolicy::unlimited), [&] { return flaky(); });
    try {
      co_await weir::with_timeout(25ms, std::move(trying));
    } catch (const weir::Error& error) {
      code = error.code();
    }
  });
  sim.run();
  CHECK(code == weir::Errc::timed_out);
  CHECK(flaky.calls == 3);
  CHECK(sim.elapsed() == 25ms);
}

TEST_CASE("retry: cancelled or destroyed at any step it ends once") {
  REQUIRE_NOTHROW(explore_root<int>(
      [](Simulator& sim, weir_test::Root<int>& root, Ledger& ledger) {
        auto& flaky = sim.keep<Flaky>(2);
        Guard guard(ledger);
        auto call = [&flaky, guard] { return flaky.later(); };
        root.start(sim, weir::retry(RetryPolicy::fixed(5ms).full_jitter(), std::move(call)));
      },
      [](Simulator& sim, weir_test::Root<int>& root) {
        ensure(root.succeeded() || root.cancelled(), "it gives its result, or was cancelled");
        if (!sim.acted()) ensure(root.succeeded() && root.value() == 3, "the third call succeeds");
      }));
}
