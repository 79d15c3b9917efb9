// Strategies on a pool's threads: what the simulator can't see.
#include <weir/stream/strategy/adaptive.hpp>
#include <weir/stream/strategy/batched.hpp>

#include "support/allocation_counter.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>
#include <ranges>
#include <span>
#include <stdexcept>
#include <vector>

#include <asio/use_future.hpp>
#include <weir/core/sync_wait.hpp>
#include <weir/stream/emits.hpp>
#include <weir/stream/strategy/parallel.hpp>

namespace {

using namespace std::chrono_literals;

struct Sums {
  std::uint64_t count = 0;
  std::uint64_t sum = 0;
  bool sorted = true;
  std::uint64_t last = 0;
};

/// One is collected for all events of a call.
auto summing() {
  return weir::collect::fold(Sums(), [](Sums& into, const Sums& one) {
    into.sorted = into.sorted && one.sorted && into.last < one.last;
    into.last = one.last;
    into.count += one.count;
    into.sum += one.sum;
  });
}

Sums of_event(const weir::ReceiverEvent<std::uint64_t>& event) { return {1, event.data(), true, event.data()}; }
Sums of_batch(std::span<const weir::ReceiverEvent<std::uint64_t>> events) {
  Sums sums;
  for (const auto& event : events) {
    sums.sorted = sums.sorted && sums.last < event.data();
    sums.last = event.data();
    ++sums.count;
    sums.sum += event.data();
  }
  return sums;
}

constexpr std::uint64_t many = 200'000;

template <class Strategy, class Receiver>
Sums run(Strategy strategy, Receiver receiver) {
  asio::thread_pool pool(2);
  const weir_test::AllocationCounter allocations;
  auto stream = weir::emits<std::uint64_t>(pool)
                    .sender(std::views::iota(std::uint64_t{1}, many + 1))
                    .receiver(strategy, receiver)
                    .collect(summing())
                    .start();
  const auto final = weir::sync_wait(stream.final_event());
  const std::uint64_t allocated = allocations.count();
  REQUIRE(final);
  const weir::StreamStats stats = final.stats();
  CHECK(stats.balanced());
  CHECK(stats.processed == many);
  const Sums sums = final.collected();
  CHECK(sums.count == many);
  CHECK(sums.sum == many * (many + 1) / 2);
  // The stream itself, and what its threads keep.
  CHECK(allocated < 2000);
  return sums;
}

}  // namespace

TEST_CASE("batched: on a pool nothing is lost, nothing is allocated for an event, and the order is kept") {
  CHECK(run(weir::batched(64, 10ms), of_batch).sorted);
  CHECK(run(weir::batched(7, 0ms), of_batch).sorted);
  run(weir::batched(16, 10ms).parallel(3), of_batch);
}

TEST_CASE("adaptive: on a pool nothing is lost, and nothing is allocated for an event") {
  run(weir::adaptive({.max_concurrency = 4, .start_concurrency = 3, .window = 1ms, .cooling = 1ms}), of_event);
  run(weir::adaptive({.max_concurrency = 4, .start_concurrency = 3, .window = 1ms, .cooling = 1ms}).batched(256),
      of_batch);
  CHECK(run(weir::adaptive({.max_concurrency = 1}), of_event).sorted);
}

TEST_CASE("adaptive: on a pool, with receivers that wait") {
  asio::thread_pool pool(2);
  const auto strategy = weir::adaptive({.max_concurrency = 16, .window = 1ms, .cooling = 1ms});
  auto stream = weir::emits<int>(pool)
                    .sender(std::views::iota(0, 20'000))
                    .receiver(strategy,
                              [](const auto& event) -> weir::Task<> {
                                if (event.data() % 4 != 0) co_await weir::sleep_for(std::chrono::microseconds(20));
                              })
                    .start();
  const auto final = weir::sync_wait(stream.final_event());
  CHECK(final.stats().processed == 20'000);
  CHECK(final.stats().workers <= 16);
  CHECK_FALSE(strategy.trace().empty());
}

TEST_CASE("error chain: on a pool, with a budget, a breaker and letters that are shared, nothing is lost") {
  constexpr int events = 20'000;
  asio::thread_pool pool(4);
  auto [tx, rx] = weir::make_channel<weir::DeadLetter<int>>(pool, {.capacity = 8});
  const weir::RetryBudget budget(0.5, 100);
  weir::CircuitBreakerOptions options;
  options.window = 50;
  options.open_for = 100us;
  const weir::CircuitBreaker breaker(pool, options);
  const auto retry = weir::RetryPolicy::fixed(10us).full_jitter().budget(budget);
  std::atomic<int> calls{0};
  auto stream =
      weir::emits<int>(pool)
          .on_error(
              weir::circuit_breaker(breaker).otherwise(weir::retry(retry)).otherwise(weir::dead_letter(std::move(tx))))
          .sender(std::views::iota(0, events))
          .receiver(weir::parallel(4),
                    [&calls](const auto& event) {
                      // Bad days, so that the breaker opens now and then.
                      const int call = calls.fetch_add(1, std::memory_order_relaxed);
                      if (event.data() % 10 == 0 || call % 2000 < 100) throw std::runtime_error("no");
                    })
          .start();
  auto buried = weir::spawn(
      pool,
      [](auto letters) -> weir::Task<std::uint64_t> {
        std::uint64_t count = 0;
        // Its text is not read: TSan does not see the counting of owners inside the standard library.
        while (auto letter = co_await letters.receive()) count += letter->attempts() != 0;
        co_return count;
      }(std::move(rx)),
      asio::use_future);
  const weir::StreamStats stats = weir::sync_wait(stream.final_event()).stats();
  CHECK(stats.balanced());
  CHECK(stats.processed + stats.dead_lettered == events);
  CHECK(stats.dead_lettered >= events / 10);
  CHECK(buried.get() == stats.dead_lettered);
  CHECK(breaker.stats().opened > 0);
  CHECK(budget.tokens() <= 100);
}
