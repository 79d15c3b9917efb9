#include <weir/stream/rate_limit.hpp>

#include "support/catch.hpp"

#include <vector>

#include <weir/stream/strategy/parallel.hpp>

#include "stream/run.hpp"
#include "stream/scene.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weir_test;

/// When each of ten events was begun, in ms.
std::vector<std::int64_t> begins(weir::sim::Simulator& sim, auto strategy) {
  std::vector<std::int64_t> at;
  auto stream =
      weir::emits<int>(sim)
          .sender(std::views::iota(0, 10))
          .receiver(strategy,
                    [&](const auto& event) {
                      at.push_back(std::chrono::duration_cast<std::chrono::milliseconds>(sim.elapsed()).count());
                      return event.data();
                    })
          .start();
  const auto final = final_of(sim, stream);
  CHECK(final.stats().processed == 10);
  return at;
}

}  // namespace

TEST_CASE("rate_limit: the workers together begin no more events than the rate says, with every strategy") {
  const std::vector<std::int64_t> expected{0, 0, 0, 10, 20, 30, 40, 50, 60, 70};
  const auto key = [](int i) { return i % 3; };
  weir::sim::Simulator sim;
  CHECK(begins(sim, weir::parallel(4).rate_limit(100, 3)) == expected);
  weir::sim::Simulator ordered;
  CHECK(begins(ordered, weir::parallel(4).rate_limit(100, 3).ordered()) == expected);
  weir::sim::Simulator by_key;
  CHECK(begins(by_key, weir::parallel(4).rate_limit(100, 3).by_key(key)) == expected);
}

TEST_CASE("rate_limit: two streams share a bucket") {
  weir::sim::Simulator sim;
  const weir::TokenBucket bucket(sim, 100, 1);
  const auto start = [&] {
    return weir::emits<int>(sim)
        .sender(std::views::iota(0, 10))
        .receiver(weir::parallel(2).rate_limit(bucket), [](const auto&) {})
        .start();
  };
  auto other = start();
  auto stream = start();
  CHECK(final_of(sim, stream).stats().processed == 10);
  CHECK(other.is_complete());
  CHECK(sim.elapsed() == 190ms);
}

TEST_CASE("rate_limit: bad limits are refused") {
  for (const double rate : {0.0, -1.0, std::nan(""), HUGE_VAL}) {
    CHECK_THROWS_AS(weir::parallel(2).rate_limit(rate), weir::Error);
  }
  for (const double burst : {0.5, -1.0, std::nan(""), HUGE_VAL}) {
    CHECK_THROWS_AS(weir::parallel(2).rate_limit(10, burst), weir::Error);
  }
}

TEST_CASE("rate_limit: who waits for a token discards with the stream, and does not wait on") {
  weir::sim::Simulator sim;
  auto stream = weir::emits<int>(sim)
                    .timeout(1s)
                    .sender(std::views::iota(0, 10))
                    .receiver(weir::parallel(2).rate_limit(0.001), [](const auto&) {})
                    .start();
  const auto final = final_of(sim, stream);
  CHECK(sim.elapsed() == 1s);
  CHECK(final.stats().processed == 1);
  CHECK(final.stats().discarded == 9);
}

TEST_CASE("rate_limit: whatever is done at whatever step, nothing is lost") {
  REQUIRE_NOTHROW(explore_strategy(weir::parallel(2).rate_limit(1000, 1), [](Scene&, const SceneFinal&, auto&) {}));
  REQUIRE_NOTHROW(
      explore_strategy(weir::parallel(2).rate_limit(1000, 2).ordered(), [](Scene&, const SceneFinal&, auto&) {}));
}
