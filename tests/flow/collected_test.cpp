#include <weir/stream/flow/collected.hpp>

#include "support/catch.hpp"

#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <weir/stream/emits.hpp>
#include <weir/stream/flow/map.hpp>

#include "flow/scene.hpp"

namespace {

using namespace weir_test;

auto doubling(Simulator& sim, Ints events) {
  return weir::emits<int>(sim)
      .sender(std::move(events))
      .receiver([](const auto& event) {
        if (event.data() < 0) throw std::runtime_error("negative");
        return 2 * event.data();
      })
      .start();
}

}  // namespace

TEST_CASE("collected: the elements of a stream's collection, when it is complete") {
  Simulator sim;
  CHECK(run(sim, weir::collected(doubling(sim, {1, 2, 3})) | weir::to_vector()) == Ints{2, 4, 6});
  auto counted = weir::emits<int>(sim)
                     .sender(Ints{1, 2, 3})
                     .receiver([](const auto& event) { return event.data() % 2; })
                     .collect(weir::collect::keyed([](int n) { return n; }, weir::collect::count))
                     .start();
  const auto times = [](const std::pair<const int, std::uint64_t>& entry) { return entry.second; };
  CHECK(run(sim, weir::collected(std::move(counted)) | weir::map(times) | weir::to_vector()) ==
        std::vector<std::uint64_t>{1, 2});
}

TEST_CASE("collected: what the stream failed with is thrown") {
  Simulator sim;
  CHECK_THROWS_WITH(run(sim, weir::collected(doubling(sim, {1, -1})) | weir::to_vector()), "negative");
  auto late = weir::emits<int>(sim)
                  .sender([](weir::Emitter<int>&) -> weir::Task<> { co_await weir::sleep_for(1h); })
                  .receiver([](const auto& event) { return event.data(); })
                  .timeout(1s)
                  .start();
  Root<Ints> root;
  root.start(sim, weir::collected(std::move(late)) | weir::to_vector());
  sim.run();
  CHECK(root.code() == weir::Errc::timed_out);
}

TEST_CASE("collected: cancelled, destroyed, failing and timed out at every step") {
  const auto make = [](FlowScene& scene) {
    return weir::collected(weir::emits<int>(*scene.sim)
                               .capacity(1)
                               .sender(scene.source())
                               .receiver([](const auto& event) { return event.data(); })
                               .start());
  };
  const auto judge = [](FlowScene& scene, bool completed) {
    const Ints all{1, 2, 3, 4};
    ensure(std::equal(scene.seen.begin(), scene.seen.end(), all.begin()), "in order");
    ensure(!completed || scene.seen == all, "all of them");
  };
  REQUIRE_NOTHROW(explore_flow(make, judge));
}
