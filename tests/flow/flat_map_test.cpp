#include <weir/stream/flow/flat_map.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include <weir/core/generator.hpp>
#include <weir/stream/flow/merge.hpp>
#include <weir/stream/flow/take.hpp>

#include "flow/scene.hpp"

namespace {

using namespace weir_test;

weir::Generator<int> up_to(int n) {
  for (int i = 1; i <= n; ++i) co_yield i;
}

}  // namespace

TEST_CASE("flat_map: containers, generators, flows and what is awaited, one after another") {
  const auto some = [](int n) { return Ints(static_cast<std::size_t>(n), n); };
  CHECK(run(weir::from(Ints{2, 0, 1}) | weir::flat_map(some) | weir::to_vector()) == Ints{2, 2, 1});
  CHECK(run(weir::from(Ints{2, 0, 3}) | weir::flat_map(up_to) | weir::to_vector()) == Ints{1, 2, 1, 2, 3});
  const auto later = [](int n) { return at_times({{n, n}, {2 * n, 10 * n}}); };
  Simulator sim;
  CHECK(run(sim, weir::from(Ints{3, 1}) | weir::flat_map(later) | weir::to_vector()) == Ints{3, 30, 1, 10});
  CHECK(sim.elapsed() == 8ms);
  const auto awaited = [](int n) -> weir::Task<Ints> {
    co_await weir::sleep_for(1ms);
    co_return Ints{n, n};
  };
  CHECK(run(weir::from(Ints{1, 2}) | weir::flat_map(awaited) | weir::to_vector()) == Ints{1, 1, 2, 2});
}

TEST_CASE("flat_map: what an inner flow has started has ended before the next value is pulled") {
  Ledger ledger;
  Simulator sim;
  FlowScene scene(sim, ledger);
  const auto racing = [&](int n) {
    CHECK(ledger.alive == 0);
    return weir::merge(scene.source(n), scene.source(n)) | weir::take(1);
  };
  CHECK(run(sim, weir::from(Ints{2, 3}) | weir::flat_map(racing) | weir::to_vector()) == Ints{2, 3});
  CHECK(ledger.made != 0);
  const auto slow_to_end = [](int n) { return weir::merge(reluctant(), weir::from(Ints{n})) | weir::take(1); };
  Simulator other;
  CHECK(run(other, weir::from(Ints{2, 3}) | weir::flat_map(slow_to_end) | weir::to_vector()) == Ints{2, 3});
  CHECK(other.elapsed() == 10ms);
}

TEST_CASE("flat_map of several at once: as they come, and no more than so many") {
  const auto later = [](int n) { return at_times({{n, n}, {2 * n, 10 * n}}); };
  const auto merged = [&](std::size_t n) {
    Simulator sim;
    Ints seen = run(sim, weir::from(Ints{5, 3, 1}) | weir::flat_map(n, later) | weir::to_vector());
    seen.push_back(static_cast<int>(sim.elapsed() / 1ms));
    return seen;
  };
  CHECK(merged(3) == Ints{1, 10, 3, 5, 30, 50, 10});
  CHECK(merged(2) == Ints{3, 5, 30, 1, 10, 50, 10});
  CHECK(merged(1) == Ints{5, 50, 3, 30, 1, 10, 18});
  CHECK_THROWS_WITH(weir::flat_map(0, later), Catch::Contains("at least 1"));
}

TEST_CASE("flat_map of several at once: by turns, with what is awaited, and each ended before its place is taken") {
  const auto twice = [](int n) { return Ints{n, 10 * n}; };
  CHECK(run(weir::from(Ints{1, 2, 3}) | weir::flat_map(2, twice) | weir::to_vector()) == Ints{1, 2, 10, 20, 3, 30});
  const auto awaited = [](int n) -> weir::Task<Ints> {
    co_await weir::sleep_for(std::chrono::milliseconds(n));
    co_return Ints{n, n};
  };
  Simulator sim;
  CHECK(run(sim, weir::from(Ints{4, 2, 3}) | weir::flat_map(2, awaited) | weir::to_vector()) == Ints{2, 2, 4, 4, 3, 3});
  CHECK(sim.elapsed() == 5ms);
  const auto slow_to_end = [](int n) { return weir::merge(reluctant(), weir::from(Ints{n})) | weir::take(1); };
  Simulator other;
  CHECK(run(other, weir::from(Ints{2, 3, 4}) | weir::flat_map(2, slow_to_end) | weir::to_vector()) == Ints{2, 3, 4});
  CHECK(other.elapsed() == 10ms);
}

TEST_CASE("flat_map of several at once: the first that fails ends the others, which are cancelled together") {
  const auto flows = [](int n) {
    return weir::from([n]() -> weir::Task<std::optional<int>> {
      bool cancelled = false;
      try {
        co_await weir::sleep_for(n * 1ms);
      } catch (const weir::Error&) {
        cancelled = true;
      }
      if (cancelled) co_await weir::shielded(weir::sleep_for(5ms));
      throw std::runtime_error(cancelled ? "cancelled" : "broke");
    });
  };
  Simulator sim;
  const Ints waits{100, 200, 1};
  CHECK_THROWS_WITH(run(sim, weir::from(waits) | weir::flat_map(3, flows) | weir::to_vector()), "broke");
  CHECK(sim.elapsed() == 6ms);
}

TEST_CASE("flat_map of several at once: cancelled, destroyed, failing and timed out at every step") {
  const auto make = [](FlowScene& scene) {
    return scene.source(1, 3) | weir::flat_map(2, [&scene](int n) {
             return weir::merge(scene.source(10 * n, 2), scene.source(10 * n + 4, 1)) | weir::take(2);
           });
  };
  const auto judge = [](FlowScene& scene, bool completed) {
    ensure(!completed || scene.seen.size() == 6, "all of them");
    ensure(scene.pulled <= 3 * scene.taken + 8, "pulled ahead");
    // The third has a place when one of the others has given both of its values.
    const auto third = std::ranges::find(scene.seen, 3, [](int n) { return n / 10; });
    ensure(third == scene.seen.end() || third - scene.seen.begin() >= 2, "more than two at once");
  };
  REQUIRE_NOTHROW(explore_flow(make, judge));
}

TEST_CASE("flat_map: cancelled, destroyed, failing and timed out at every step") {
  const auto make = [](FlowScene& scene) {
    return scene.source(1, 3) | weir::flat_map([&scene](int n) {
             return weir::merge(scene.source(10 * n, 2), scene.source(10 * n, 2)) | weir::take(2);
           });
  };
  const auto judge = [](FlowScene& scene, bool completed) {
    ensure(!completed || scene.seen.size() == 6, "all of them");
    for (std::size_t i = 0; i < scene.seen.size(); ++i) {
      ensure(scene.seen[i] / 10 == static_cast<int>(i / 2 + 1), "one inner flow after another");
    }
    ensure(scene.pulled <= 3 * scene.taken + 4, "pulled ahead");
  };
  REQUIRE_NOTHROW(explore_flow(make, judge));
}
