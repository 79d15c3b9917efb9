#include <weir/stream/strategy/strategy.hpp>

#include "support/catch.hpp"

#include <stdexcept>

#include "stream/scene.hpp"

namespace {

using namespace weir_test;

/// A strategy of a user's own: pairs of workers, each of which takes one event at a time.
struct TwoByTwo {
  [[nodiscard]] std::size_t concurrency() const { return 2; }
  template <class D>
  weir::Task<> operator()(D& drain) const {
    drain.start_worker([](D& own) { return one(own); });
    auto own = one(drain);
    co_await std::move(own);
  }
  template <class D>
  static weir::Task<> one(D& drain) {
    while (co_await drain.fetch(1)) {
      while (auto* const event = drain.next()) {
        auto outcome = co_await drain.call(*event);
        drain.settle(std::move(outcome));
      }
    }
  }
};
static_assert(weir::Strategy<TwoByTwo>);
static_assert(!weir::Strategy<int>);

struct Broken {
  [[nodiscard]] std::size_t concurrency() const { return 1; }
  template <class D>
  weir::Task<> operator()(D& drain) const {
    co_await drain.fetch();
    throw std::logic_error("a broken strategy");
  }
};

}  // namespace

TEST_CASE("strategy: one of a user's own loses nothing, whatever is done to it") {
  REQUIRE_NOTHROW(explore_strategy(TwoByTwo(), [](Scene& scene, const SceneFinal&, weir::sim::Simulator&) {
    ensure(scene.record.at_once <= 2, "two at a time");
  }));
}

TEST_CASE("strategy: one that throws ends the stream as failed, and what it held is discarded") {
  SceneOptions options;
  REQUIRE_NOTHROW(weir::sim::explore(
      scene_of(options, Broken(), Action::none, [](Scene&, const SceneFinal& final, weir::sim::Simulator&) {
        ensure(final.outcome() == weir::Outcome::failed, "failed");
        ensure(final.error().text() == "a broken strategy", "with its error");
        ensure(final.stats().processed == 0 && final.stats().discarded == final.stats().emitted,
               "nothing was processed");
      })));
}
