#include <weir/stream/strategy/parallel.hpp>

#include "support/catch.hpp"

#include <chrono>
#include <map>
#include <optional>
#include <ranges>
#include <stdexcept>

#include "stream/run.hpp"
#include "stream/scene.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weir_test;

}  // namespace

TEST_CASE("parallel: cancelled at each level, dropped and destroyed at every step") {
  REQUIRE_NOTHROW(explore_strategy(weir::parallel(2), [](Scene& scene, const SceneFinal&, weir::sim::Simulator&) {
    ensure(scene.record.at_once <= 2, "two at a time");
  }));
}

TEST_CASE("parallel: events that wait hold up none that compute, as long as one worker is left") {
  weir::sim::Simulator sim;
  int waited = 0;
  int computed = 0;
  auto stream = weir::emits<int>(sim)
                    .sender(std::views::iota(0, 900))
                    .receiver(weir::parallel(4),
                              [&](const auto& event) -> weir::Task<> {
                                // Three wait, however quick those before them were.
                                if (event.data() % 300 == 99) {
                                  co_await weir::sleep_for(1s);
                                  ++waited;
                                } else {
                                  computed += sim.elapsed() == 0s;
                                }
                              })
                    .start();
  CHECK(final_of(sim, stream).stats().processed == 900);
  CHECK(waited == 3);
  CHECK(computed == 897);
  CHECK(sim.elapsed() == 1s);
}

TEST_CASE("parallel: what workers count by themselves is whole at each moment, and at the end") {
  using Counts = std::map<int, std::uint64_t>;
  const auto sum = [](const Counts& counts) {
    std::uint64_t n = 0;
    for (const auto& [key, count] : counts) n += count;
    return n;
  };
  bool cancels = false;
  const auto scenario = [&](weir::sim::Simulator& sim) {
    std::optional<weir::Collector<int, Counts>> looking;
    auto stream = weir::emits<int>(sim)
                      .capacity(64)
                      .sender(std::views::iota(0, 24))
                      .receiver(weir::parallel(3),
                                [&looking](const auto& event, auto& out) {
                                  if (!looking) looking.emplace(out);
                                  out.collect(event.data());
                                  out.collect(event.data());
                                })
                      .collect(weir::collect::keyed([](int i) { return i % 3; }, weir::collect::count))
                      .collecting<int>()
                      .start();
    bool looked = false;
    sim.on_step([&] {
      if (!looking) return;
      const std::uint64_t processed = stream.stats().processed;
      const std::uint64_t now = sum(looking->collected());
      ensure(stream.is_complete() || now == 2 * processed, "a look misses nothing, and sees no half of an event");
      looked = looked || (now != 0 && !stream.is_complete());
      if (cancels && now >= 8) stream.cancel(weir::CancellationLevel::forceful);
    });
    const auto final = final_of(sim, stream);
    ensure(sum(final.collected()) == 2 * final.stats().processed, "the parts make a whole");
    ensure(final.stats().balanced(), "conservation");
    ensure(cancels || final.stats().processed == 24, "all of it");
    ensure(looked, "it was looked at while it ran");
  };
  REQUIRE_NOTHROW(weir::sim::explore(scenario));
  cancels = true;
  REQUIRE_NOTHROW(weir::sim::explore(scenario));
}

TEST_CASE("parallel: a merge that throws at the end makes the stream a failed one") {
  struct Unmergeable {
    [[nodiscard]] int start() const { return 0; }
    void add(int& sum, int&& item) const { sum += item; }
    void merge(int&, int&&) const { throw std::runtime_error("these don't go together"); }
  };
  weir::sim::Simulator sim;
  auto stream = weir::emits<int>(sim)
                    .sender(std::views::iota(0, 100))
                    .receiver(weir::parallel(2), [](const auto& event) { return event.data(); })
                    .collect(Unmergeable())
                    .start();
  const auto final = final_of(sim, stream);
  CHECK(final.outcome() == weir::Outcome::failed);
  CHECK(final.error().text() == "these don't go together");
  CHECK(final.stats().balanced());
}
