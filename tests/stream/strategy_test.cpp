#include <weir/stream/strategy/strategy.hpp>

#include "support/catch.hpp"

#include <stdexcept>
#include <vector>

#include "stream/run.hpp"
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

/// The example of docs/strategies.md.
struct NewestFirst {
  [[nodiscard]] std::size_t concurrency() const { return 1; }
  [[nodiscard]] std::size_t kept(std::size_t capacity) const { return capacity / 2; }

  template <class D>
  weir::Task<> operator()(D& drain) const {
    std::vector<typename D::event_type> waiting;
    for (;;) {
      if (waiting.empty()) {
        if (!co_await drain.fetch(1)) break;
        take(drain, waiting);
      }
      while (waiting.size() < drain.kept() && drain.try_fetch(drain.kept() - waiting.size()) != 0) take(drain, waiting);
      if (waiting.empty()) continue;
      auto event = std::move(waiting.back());
      waiting.pop_back();
      if (drain.stopping()) {
        drain.discard(event);
      } else {
        drain.begin(event);
        co_await drain.process(event);
      }
    }
  }

  template <class D>
  static void take(D& drain, std::vector<typename D::event_type>& waiting) {
    while (auto* event = drain.next()) waiting.push_back(std::move(*event));
  }
};
static_assert(weir::Strategy<NewestFirst>);

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

TEST_CASE("strategy: the newest first loses nothing, whatever is done to it") {
  SceneOptions options;
  options.capacity = 5;
  REQUIRE_NOTHROW(explore_strategy(
      NewestFirst(),
      [](Scene& scene, const SceneFinal&, weir::sim::Simulator&) {
        ensure(scene.record.at_once <= 1, "one at a time");
      },
      options));
}

TEST_CASE("strategy: the newest first takes what came last of what is there") {
  weir::sim::Simulator sim;
  auto stream = weir::emits<int>(sim)
                    .sender([](weir::Emitter<int>& out) -> weir::Task<> {
                      for (int i = 1; i <= 6; ++i) {
                        co_await out.emit(i);
                        if (i == 3) co_await weir::sleep_for(std::chrono::milliseconds(5));
                      }
                    })
                    .receiver(NewestFirst(),
                              [](const auto& event) -> weir::Task<int> {
                                co_await weir::sleep_for(std::chrono::milliseconds(2));
                                co_return event.data();
                              })
                    .start();
  const auto final = final_of(sim, stream);
  REQUIRE(final);
  const std::vector<int>& order = final.collected();
  REQUIRE(order.size() == 6);
  // The third was there before the first was done; the last three came while the second was.
  CHECK(std::vector(order.begin() + 1, order.end()) == std::vector{3, 2, 6, 5, 4});
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
