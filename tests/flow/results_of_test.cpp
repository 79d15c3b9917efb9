#include <weir/stream/flow/results_of.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <optional>
#include <stdexcept>

#include <weir/stream/flow/take.hpp>
#include <weir/stream/strategy/parallel.hpp>

#include "flow/scene.hpp"

namespace {

using namespace weir_test;

/// Doubles, after a while; nothing for a multiple of 5.
struct Doubling {
  weir::Task<std::optional<int>> operator()(const weir::ReceiverEvent<int>& event) const {
    const Guard frame(scene->ledger);
    const int n = event.data();
    if (n % 2 != 0) co_await weir::sleep_for(1ms);
    if (n == refused) throw std::runtime_error("refused");
    ++*begun;
    if (n % 5 == 0) co_return std::nullopt;
    co_return 2 * n;
  }
  FlowScene* scene;
  int* begun;
  int refused = 0;
};

/// One type of flow for all tests.
auto doubled(FlowScene& scene, int last, int& begun, weir::ErrorPolicy policy = weir::stop, int refused = 0) {
  auto stream = weir::emits<int>(*scene.sim)
                    .capacity(2)
                    .on_error(policy)
                    .timeout(1h)
                    .sender(scene.source(1, last))
                    .receiver(weir::parallel(2), Doubling{&scene, &begun, refused});
  return weir::results_of(std::move(stream), 1);
}

}  // namespace

TEST_CASE("results_of: what the receivers give, while the stream runs; they wait for a slow consumer") {
  Ledger ledger;
  Simulator sim;
  FlowScene scene(sim, ledger);
  int begun = 0;
  int taken = 0;
  Ints seen;
  const auto slow = [&](int n) -> weir::Task<> {
    ++taken;
    // One in the channel, one in the hands of each worker, and the one that gave nothing.
    ensure(begun <= taken + 4, "the receivers run ahead");
    seen.push_back(n);
    co_await weir::sleep_for(10ms);
  };
  run(sim, doubled(scene, 9, begun) | weir::for_each(slow));
  std::ranges::sort(seen);
  CHECK(seen == Ints{2, 4, 6, 8, 12, 14, 16, 18});
  CHECK(ledger.alive == 0);
}

TEST_CASE("results_of: nothing runs before a value is asked for; when there is enough the stream has ended") {
  Ledger ledger;
  Simulator sim;
  FlowScene scene(sim, ledger);
  int begun = 0;
  {
    auto unused = doubled(scene, 100, begun);
    sim.run();
    CHECK(begun == 0);
  }
  CHECK(ledger.alive == 0);
  CHECK(run(sim, doubled(scene, 1000, begun) | weir::take(2) | weir::count()) == 2);
  CHECK(begun < 10);
  CHECK(ledger.alive == 0);
}

TEST_CASE("results_of: what the stream failed with is thrown after the results; the policy for errors holds") {
  Ledger ledger;
  Simulator sim;
  FlowScene scene(sim, ledger);
  int begun = 0;
  CHECK_THROWS_WITH(run(sim, doubled(scene, 100, begun, weir::stop, 3) | weir::count()), "refused");
  CHECK(run(sim, doubled(scene, 4, begun, weir::continue_, 3) | weir::count()) == 3);
  scene.failing = 4;
  Ints seen;
  const auto see = [&seen](int n) { seen.push_back(n); };
  CHECK_THROWS_WITH(run(sim, doubled(scene, 9, begun) | weir::for_each(see)), "the source broke");
  std::ranges::sort(seen);
  CHECK(seen == Ints{2, 4, 6});
  CHECK_THROWS_WITH(
      weir::results_of(weir::emits<int>(sim).sender(Ints{}).receiver([](const auto& e) { return e.id(); }), 0),
      Catch::Contains("at least 1"));
}

TEST_CASE("results_of: cancelled, destroyed, failing and timed out at every step") {
  int begun = 0;
  const auto make = [&begun](FlowScene& scene) {
    begun = 0;
    return doubled(scene, 6, begun);
  };
  const auto judge = [&begun](FlowScene& scene, bool completed) {
    Ints sorted = scene.seen;
    std::ranges::sort(sorted);
    ensure(!completed || sorted == Ints{2, 4, 6, 8, 12}, "all of them");
    ensure(std::ranges::adjacent_find(sorted) == sorted.end(), "a value twice");
    ensure(begun <= scene.taken + 4, "the receivers run ahead");
  };
  REQUIRE_NOTHROW(explore_flow(make, judge));
}
