// What on_error takes besides `stop` and `continue_`: retries, functions that decide, circuit breakers, and their
// order.
#include <weir/stream/error_policy.hpp>

#include "support/catch.hpp"

#include <stdexcept>
#include <string>
#include <vector>

#include <weir/stream/strategy/batched.hpp>

#include "stream/error_scene.hpp"
#include "stream/run.hpp"
#include "support/allocation_counter.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weir_test;
using weir::RetryPolicy;

struct Busy : std::runtime_error {
  Busy() : std::runtime_error("busy") {}
};

/// Fails for each event `failures` times, and says when it was called.
struct Server {
  explicit Server(weir::sim::Simulator& s, int n) : sim(&s), failures(n) {}
  weir::sim::Simulator* sim;
  int failures;
  std::map<int, int> calls;
  std::vector<std::int64_t> at;

  int ask(int value) {
    at.push_back(std::chrono::duration_cast<std::chrono::milliseconds>(sim->elapsed()).count());
    if (++calls[value] <= failures) throw Busy();
    return value;
  }
};

auto run(weir::sim::Simulator& sim, auto policy, std::vector<int> events, auto receiver) {
  auto stream =
      weir::emits<int>(sim).on_error(std::move(policy)).sender(std::move(events)).receiver(std::move(receiver)).start();
  return final_of(sim, stream);
}

weir::CircuitBreakerOptions quick_breaker() {
  weir::CircuitBreakerOptions options;
  options.window = 4;
  options.min_calls = 2;
  options.open_for = 100ms;
  return options;
}

}  // namespace

TEST_CASE("error_chain: retry calls the receiver again after the policy's delays") {
  weir::sim::Simulator sim;
  Server server(sim, 2);
  const auto final = run(sim, weir::retry(RetryPolicy::exponential(10ms)), {1, 2},
                         [&](const auto& event) { return server.ask(event.data()); });
  CHECK(final.outcome() == weir::Outcome::completed);
  CHECK(final.collected() == std::vector{1, 2});
  CHECK(final.stats().processed == 2);
  CHECK(final.errors().empty());
  CHECK(server.at == std::vector<std::int64_t>{0, 10, 30, 30, 40, 60});
}

TEST_CASE("error_chain: what is still failing after the last attempt stops the stream, or what otherwise says") {
  for (const bool on : {false, true}) {
    weir::sim::Simulator sim;
    Server server(sim, 100);
    const auto ask = [&](const auto& event) { return server.ask(event.data()); };
    const auto policy = weir::retry(RetryPolicy::fixed(1ms));
    const auto final = on ? run(sim, policy.otherwise(weir::continue_), {1, 2}, ask) : run(sim, policy, {1, 2}, ask);
    CHECK(final.outcome() == (on ? weir::Outcome::completed : weir::Outcome::failed));
    CHECK(final.stats().failed == (on ? 2u : 1u));
    CHECK(server.calls == (on ? std::map<int, int>{{1, 3}, {2, 3}} : std::map<int, int>{{1, 3}}));
    CHECK(final.error().text() == "busy");
  }
}

TEST_CASE("error_chain: a function decides for each error, and what it throws stops the stream") {
  weir::sim::Simulator sim;
  std::map<int, std::uint32_t> attempts;
  const auto decide = [&](const weir::FailedEvent<int>& failed) -> weir::ErrorDecision {
    attempts[failed.event().data()] = failed.attempts();
    if (failed.event().data() == 9) throw std::runtime_error("no idea");
    if (!failed.template is<Busy>()) return weir::continue_;
    if (failed.attempts() < 3) return weir::retry_after(1s);
    return weir::pass_on;
  };
  const auto receive = [](const auto& event) -> int {
    if (event.data() == 1) throw std::logic_error("not busy");
    throw Busy();
  };
  const auto on = run(sim, weir::decide(decide).otherwise(weir::continue_), {1, 2}, receive);
  CHECK(on.stats().failed == 2);
  CHECK(attempts == std::map<int, std::uint32_t>{{1, 1}, {2, 3}});
  CHECK(sim.elapsed() == 2s);
  const auto passed_on = run(sim, decide, {1, 2}, receive);
  CHECK(passed_on.outcome() == weir::Outcome::failed);
  CHECK(passed_on.error().text() == "busy");
  const auto thrown = run(sim, decide, {9}, receive);
  CHECK(thrown.outcome() == weir::Outcome::failed);
  CHECK(thrown.error().text() == "no idea");
}

TEST_CASE("error_chain: what a failed attempt collected is not collected, whatever the policy") {
  for (const bool chain : {false, true}) {
    weir::sim::Simulator sim;
    std::map<int, int> calls;
    auto builder = weir::emits<int>(sim);
    if (chain) {
      builder.on_error(weir::retry(RetryPolicy::fixed(1ms)));
    } else {
      builder.on_error(weir::continue_);
    }
    auto stream = std::move(builder)
                      .sender(std::vector{1, 2, 3})
                      .receiver([&](const auto& event, auto& out) {
                        out.collect(10 * event.data());
                        if (event.data() == 2 && ++calls[2] <= (chain ? 2 : 1)) throw Busy();
                        out.collect(10 * event.data() + 1);
                      })
                      .template collecting<int>()
                      .start();
    const auto final = final_of(sim, stream);
    CHECK(final.collected() == (chain ? std::vector{10, 11, 20, 21, 30, 31} : std::vector{10, 11, 30, 31}));
  }
}

TEST_CASE("error_chain: a batch is retried as a unit, and buried event by event") {
  weir::sim::Simulator sim;
  auto [tx, rx] = weir::make_channel<weir::DeadLetter<int>>(sim, {.capacity = 8});
  std::vector<std::vector<int>> calls;
  auto stream = weir::emits<int>(sim)
                    .on_error(weir::retry(RetryPolicy::fixed(1ms).max_attempts(2)).otherwise(weir::dead_letter(tx)))
                    .sender(std::vector{1, 2, 3, 4, 5, 6})
                    .receiver(weir::batched(2),
                              [&](std::span<const weir::ReceiverEvent<int>> events) {
                                std::vector<int> data;
                                for (const auto& event : events) data.push_back(event.data());
                                calls.push_back(data);
                                if (data[0] == 1 && calls.size() == 1) throw Busy();
                                if (data[0] == 3) throw Busy();
                                return data[0];
                              })
                    .start();
  const auto final = final_of(sim, stream);
  CHECK(calls == std::vector<std::vector<int>>{{1, 2}, {1, 2}, {3, 4}, {3, 4}, {5, 6}});
  CHECK(final.stats().processed == 4);
  CHECK(final.stats().dead_lettered == 2);
  CHECK(final.stats().balanced());
  CHECK(rx.try_receive()->data() == 3);
  CHECK(rx.try_receive()->data() == 4);
}

TEST_CASE("error_chain: what is left of a batch, some of which was buried, is tried again by the next policy") {
  weir::sim::Simulator sim;
  auto [tx, rx] = weir::make_channel<weir::DeadLetter<int>>(sim, {.capacity = 1, .overflow = weir::Overflow::reject});
  int calls = 0;
  const auto retry = weir::retry(RetryPolicy::fixed(1ms));
  auto stream = weir::emits<int>(sim)
                    .on_error(weir::dead_letter(tx).otherwise(retry))
                    .sender(std::vector{1, 2, 3})
                    .receiver(weir::batched(3),
                              [&calls](std::span<const weir::ReceiverEvent<int>> events) {
                                if (++calls == 1) throw Busy();
                                return events.front().data();
                              })
                    .start();
  const auto final = final_of(sim, stream);
  CHECK(final.collected() == std::vector{2});
  CHECK(final.stats().processed == 2);
  CHECK(final.stats().dead_lettered == 1);
  CHECK(final.stats().balanced());
  CHECK(rx.try_receive()->data() == 1);
}

TEST_CASE("error_chain: each event that succeeds deposits into the budget") {
  weir::sim::Simulator sim;
  const weir::RetryBudget budget(0.5, 4);
  const auto spend = [&budget] {
    while (budget.withdraw()) {
    }
  };
  const auto policy = weir::retry(RetryPolicy::fixed(1ms).budget(budget));
  spend();
  run(sim, policy, {1, 2, 3}, [](const auto&) {});
  CHECK(budget.tokens() == 1.5);
  spend();
  run(sim, policy, {1, 2, 3}, [](const auto&) -> weir::Task<> { co_return; });
  CHECK(budget.tokens() == 2);
}

TEST_CASE("error_chain: a retry that waits is given up when the stream discards, at once") {
  for (const auto level :
       {weir::CancellationLevel::graceful, weir::CancellationLevel::forceful, weir::CancellationLevel::immediate}) {
    weir::sim::Simulator sim;
    auto stream = weir::emits<int>(sim)
                      .on_error(weir::retry(RetryPolicy::fixed(1h)))
                      .sender(std::vector{1, 2, 3})
                      .receiver([n = 0](const auto&) mutable {
                        if (++n == 1) throw Busy();
                      })
                      .start();
    sim.spawn([](auto& running, auto l) -> weir::Task<> {
      co_await weir::sleep_for(1s);
      running.cancel(l);
    }(stream, level));
    const auto final = final_of(sim, stream);
    const bool drains = level == weir::CancellationLevel::graceful;
    CHECK(sim.elapsed() == (drains ? weir::TimeService::Duration(1h) : 1s));
    CHECK(final.stats().processed == (drains ? 3u : 0u));
    CHECK(final.stats().failed == (drains ? 0u : 1u));
    CHECK(final.stats().discarded == (drains ? 0u : 2u));
    CHECK(final.outcome() == (drains ? weir::Outcome::completed : weir::Outcome::cancelled));
  }
}

TEST_CASE("error_chain: behind an open circuit the workers wait, and the sender with them") {
  weir::sim::Simulator sim;
  const weir::CircuitBreaker breaker(sim, quick_breaker());
  Server server(sim, 0);
  server.failures = 2;
  const auto policy = weir::circuit_breaker(breaker).otherwise(weir::retry(RetryPolicy::fixed(1ms).max_attempts(5)));
  const auto final = run(sim, policy, {1, 2}, [&](const auto& event) { return server.ask(event.data()); });
  CHECK(final.collected() == std::vector{1, 2});
  // 1 fails twice, which opens it; its probe is the third call. 2 fails twice, and half of four is enough to open.
  CHECK(server.at == std::vector<std::int64_t>{0, 1, 101, 101, 102, 202});
  CHECK(breaker.stats().opened == 2);
  CHECK(breaker.stats().succeeded == 2);
}

TEST_CASE("error_chain: a circuit that fails fast hands events to the next policy without a call") {
  weir::sim::Simulator sim;
  auto [tx, rx] = weir::make_channel<weir::DeadLetter<int>>(sim, {.capacity = 8});
  Server server(sim, 100);
  const auto final = run(sim, weir::circuit_breaker_failing_fast(quick_breaker()).otherwise(weir::dead_letter(tx)),
                         {1, 2, 3, 4}, [&](const auto& event) { return server.ask(event.data()); });
  CHECK(server.calls.size() == 2);
  CHECK(final.stats().dead_lettered == 4);
  CHECK(rx.try_receive()->message() == "busy");
  CHECK(rx.try_receive()->message() == "busy");
  CHECK(rx.try_receive()->message() == weir::make_error_code(weir::Errc::circuit_open).message());
}

TEST_CASE("error_chain: events that wait for a circuit are discarded with the stream") {
  weir::sim::Simulator sim;
  auto options = quick_breaker();
  options.open_for = 1h;
  auto stream = weir::emits<int>(sim)
                    .timeout(1s)
                    .on_error(weir::circuit_breaker(options).otherwise(weir::continue_))
                    .sender(std::vector{1, 2, 3, 4})
                    .receiver([](const auto&) { throw Busy(); })
                    .start();
  const auto final = final_of(sim, stream);
  CHECK(final.outcome() == weir::Outcome::timed_out);
  CHECK(sim.elapsed() == 1s);
  CHECK(final.stats().failed == 2);
  CHECK(final.stats().discarded == 2);
}

TEST_CASE("error_chain: with policies that have nothing to do nothing is allocated for an event") {
  const auto allocations_of = [](auto policy, int events) {
    weir::sim::Simulator sim;
    auto stream = weir::emits<int>(sim)
                      .on_error(std::move(policy))
                      .sender(std::views::iota(0, events))
                      .receiver([](const auto&) {})
                      .start();
    const weir_test::AllocationCounter counter;
    const auto final = final_of(sim, stream);
    CHECK(final.stats().processed == static_cast<std::uint64_t>(events));
    return counter.count();
  };
  weir::sim::Simulator sim;
  const auto chain = [] {
    return weir::circuit_breaker().otherwise(weir::retry(RetryPolicy::fixed(1ms).budget(weir::RetryBudget())));
  };
  // The simulator's own queues grow a little.
  const std::uint64_t few = allocations_of(chain(), 1000);
  const std::uint64_t many = allocations_of(chain(), 6000);
  CHECK(many < few + 50);
}

TEST_CASE("error_chain: a circuit breaker and retries, whatever is done at whatever step, lose nothing") {
  PlanOptions options;
  options.events = 3;
  options.failures = {{1, 1}, {2, 9}};
  weir::CircuitBreakerOptions breaker;
  breaker.window = 2;
  breaker.min_calls = 1;
  breaker.open_for = 3ms;
  REQUIRE_NOTHROW(explore_plan(
      options,
      [breaker](auto& builder, Letters tx) {
        builder.on_error(weir::circuit_breaker(breaker)
                             .otherwise(weir::retry(RetryPolicy::fixed(2ms).max_attempts(2)))
                             .otherwise(weir::dead_letter(std::move(tx))));
      },
      [](Plan&, const SceneFinal& final, weir::sim::Simulator& sim) {
        if (sim.acted()) return;
        ensure(final.outcome() == weir::Outcome::completed, "it completes");
        ensure(final.stats().processed == 2 && final.stats().dead_lettered == 1, "all but one succeed");
      }));
}

namespace {

constexpr std::uint64_t plans = 6;

std::uint64_t seed_of(const weir::sim::Simulator& sim) { return std::stoull(sim.name().substr(sim.name().find(' '))); }

weir::ErrorDecision by_value(const weir::FailedEvent<Item>& failed) {
  if (failed.event().data().value == 1 && failed.attempts() < 3) return weir::retry_after(1ms);
  if (failed.event().data().value == 2) return weir::continue_;
  return weir::pass_on;
}
weir::ErrorDecision clueless(const weir::FailedEvent<Item>&) { throw std::runtime_error("no idea"); }

std::pair<PlanOptions, SetPolicy> plan_by_seed(const weir::sim::Simulator& sim) {
  const std::uint64_t plan = seed_of(sim) % plans;
  PlanOptions options;
  options.events = 4;
  options.capacity = 4;
  options.waiting_receiver = seed_of(sim) / plans % 2 == 1;
  options.failures = {{1, 1}, {2, 9}, {3, 9}};
  options.fails_fast = plan <= 1;
  const auto set = [plan](auto& builder, Letters tx) {
    weir::CircuitBreakerOptions breaker;
    breaker.window = 2;
    breaker.min_calls = 2;
    breaker.open_for = 3ms;
    const auto retry = weir::retry(RetryPolicy::fixed(1ms));
    const auto bury = weir::dead_letter(std::move(tx));
    if (plan == 0) builder.on_error(weir::circuit_breaker_failing_fast(breaker).otherwise(bury));
    if (plan == 1) {
      builder.on_error(
          weir::circuit_breaker_failing_fast(breaker).otherwise(retry).otherwise(bury).otherwise(weir::continue_));
    }
    if (plan == 2) builder.on_error(weir::decide(&by_value).otherwise(bury));
    if (plan == 3) {
      const weir::RetryBudget budget(0.5, 1);
      builder.on_error(weir::retry(RetryPolicy::exponential(1ms).full_jitter().budget(budget)).otherwise(bury));
    }
    if (plan == 4) builder.on_error(weir::retry(RetryPolicy::fixed(1ms).max_attempts(2)).otherwise(&clueless));
    if (plan == 5) {
      builder.on_error(weir::circuit_breaker(breaker).otherwise(retry).otherwise(bury));
      builder.timeout(4ms);
    }
  };
  return {options, set};
}

void judge_plan(Plan&, const SceneFinal& final, weir::sim::Simulator& sim) {
  const std::uint64_t plan = seed_of(sim) % plans;
  const weir::StreamStats stats = final.stats();
  if (final) ensure(stats.settled() == 4 && stats.discarded == 0, "completed means all");
  if (sim.acted()) return;
  if (plan == 4) {
    ensure(final.outcome() == weir::Outcome::failed && final.error().text() == "no idea", "the function stops it");
  } else if (plan == 5) {
    ensure(final || final.outcome() == weir::Outcome::timed_out, "done, or out of time");
  } else {
    ensure(static_cast<bool>(final), "it completes");
    ensure(stats.failed + stats.dead_lettered >= 1, "some are never good");
  }
}

}  // namespace

TEST_CASE("error_chain: each policy with each strategy, whatever is done at whatever step, loses nothing") {
  REQUIRE_NOTHROW(explore_plans(&plan_by_seed, weir::serial(), &judge_plan));
  REQUIRE_NOTHROW(explore_plans(&plan_by_seed, weir::parallel(2), &judge_plan));
  const auto key = [](const Item& item) { return item.value % 2; };
  REQUIRE_NOTHROW(explore_plans(&plan_by_seed, weir::parallel(2).by_key(key), &judge_plan));
  REQUIRE_NOTHROW(explore_plans(&plan_by_seed, weir::batched(2, 1ms), &judge_plan));
  REQUIRE_NOTHROW(explore_plans(&plan_by_seed, weir::batched(3, 1ms).parallel(2).split_on_error(), &judge_plan));
}
