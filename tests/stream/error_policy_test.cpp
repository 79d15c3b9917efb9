#include <weir/stream/error_policy.hpp>

#include "support/catch.hpp"

#include "stream/run.hpp"
#include "stream/scene.hpp"

#include <weir/stream/strategy/parallel.hpp>

namespace {

using namespace weir_test;

/// Every strategy, with plain and with waiting receivers.
template <class Check>
void explore_errors(SceneOptions options, Check check) {
  for (const bool waiting : {false, true}) {
    options.waiting_receiver = waiting;
    const auto judge = [check](Scene& scene, const SceneFinal& final, weir::sim::Simulator&) { check(scene, final); };
    weir::sim::explore(scene_of(options, weir::serial(), Action::none, judge));
    weir::sim::explore(scene_of(options, weir::parallel(2), Action::none, judge));
    weir::sim::explore(scene_of(options, weir::parallel(2).ordered(), Action::none, judge));
    const auto by_key = weir::parallel(2).by_key([](const Item& item) { return item.value % 2; });
    weir::sim::explore(scene_of(options, by_key, Action::none, judge));
  }
}

}  // namespace

TEST_CASE("error_policy: stop ends the stream at the first error, with that error") {
  SceneOptions options;
  options.failing = 3;
  REQUIRE_NOTHROW(explore_errors(options, [](Scene&, const SceneFinal& final) {
    ensure(final.outcome() == weir::Outcome::failed && !final, "failed");
    ensure(final.error().text() == "no good: 3", "with the receiver's error");
    ensure(final.stats().failed == 1, "one failed");
    ensure(final.errors().size() == 1 && final.errors()[0].event_id == 3, "known by its event");
  }));
}

TEST_CASE("error_policy: serial with stop has processed exactly what came before the error") {
  SceneOptions options;
  options.failing = 3;
  REQUIRE_NOTHROW(weir::sim::explore(
      scene_of(options, weir::serial(), Action::none, [](Scene& scene, const SceneFinal& final, weir::sim::Simulator&) {
        ensure(scene.record.begun == std::vector{1, 2, 3}, "up to the error");
        ensure(final.stats().processed == 2, "before it");
        ensure(final.stats().discarded == final.stats().emitted - 3, "the rest was discarded");
      })));
}

TEST_CASE("error_policy: continue_ counts the error and goes on") {
  SceneOptions options;
  options.failing = 3;
  options.on_error = weir::continue_;
  REQUIRE_NOTHROW(explore_errors(options, [](Scene& scene, const SceneFinal& final) {
    ensure(final.outcome() == weir::Outcome::completed, "completed");
    ensure(final.stats().failed == 1 && final.stats().processed == 5, "all but one");
    ensure(final.error().text() == "no good: 3", "the first error is told");
    ensure(scene.record.sender_returned, "the sender ended by itself");
  }));
}

TEST_CASE("error_policy: a receiver that throws for each event loses none") {
  SceneOptions options;
  options.failing = -1;
  options.on_error = weir::continue_;
  REQUIRE_NOTHROW(explore_errors(options, [](Scene&, const SceneFinal& final) {
    ensure(final.stats().failed == 6 && final.stats().processed == 0, "all failed");
    ensure(final.errors().size() == 6, "each has its error");
  }));
  options.on_error = weir::stop;
  REQUIRE_NOTHROW(explore_errors(options, [](Scene&, const SceneFinal& final) {
    ensure(final.outcome() == weir::Outcome::failed, "failed");
    ensure(final.stats().failed >= 1 && final.stats().failed <= 2, "no more than were under way");
  }));
}

TEST_CASE("error_policy: a collection policy that throws fails the event, and loses nothing") {
  struct Picky {
    std::vector<int> start() const { return {}; }
    void add(std::vector<int>& items, int&& item) const {
      if (item % 2 != 0) throw std::runtime_error("odd");
      items.push_back(item);
    }
  };
  const auto run = [](weir::ErrorPolicy policy, auto strategy) {
    weir::sim::Simulator sim(7);
    auto stream = weir::emits<int>(sim)
                      .on_error(policy)
                      .sender(std::vector{2, 4, 5, 6, 7})
                      .receiver(strategy, [](const auto& e) { return e.data(); })
                      .collect(Picky())
                      .start();
    return final_of(sim, stream);
  };
  for (const bool ordered : {false, true}) {
    const auto on =
        ordered ? run(weir::continue_, weir::parallel(2).ordered()) : run(weir::continue_, weir::Ordered(1));
    CHECK(on.collected() == std::vector{2, 4, 6});
    CHECK(on.stats().failed == 2);
    CHECK(on.stats().balanced());
  }
  const auto stopped = run(weir::stop, weir::serial());
  CHECK(stopped.outcome() == weir::Outcome::failed);
  CHECK(stopped.collected() == std::vector{2, 4});
  CHECK(stopped.error().text() == "odd");
  CHECK(stopped.stats().balanced());
}

TEST_CASE("error_policy: a key function that throws fails the event") {
  weir::sim::Simulator sim;
  auto stream = weir::emits<int>(sim)
                    .on_error(weir::continue_)
                    .sender(std::vector{1, 2, 3})
                    .receiver(weir::parallel(2).by_key([](int i) {
                      if (i == 2) throw std::runtime_error("no key");
                      return i;
                    }),
                              [](const auto& e) { return e.data(); })
                    .start();
  const auto final = final_of(sim, stream);
  CHECK(final.stats().failed == 1);
  CHECK(final.stats().processed == 2);
  CHECK(final.error().text() == "no key");
}
