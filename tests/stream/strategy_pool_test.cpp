// Strategies on a pool's threads: what the simulator can't see.
#include <weir/stream/strategy/adaptive.hpp>
#include <weir/stream/strategy/batched.hpp>

#include "support/allocation_counter.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <ranges>
#include <span>
#include <vector>

#include <weir/core/sync_wait.hpp>
#include <weir/stream/emits.hpp>

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
