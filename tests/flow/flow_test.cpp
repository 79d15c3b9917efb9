#include <weir/stream/flow/flow.hpp>

#include "support/catch.hpp"

#include <memory>
#include <ranges>
#include <stdexcept>
#include <string>
#include <vector>

#include <weir/channel/channel.hpp>
#include <weir/stream/emits.hpp>
#include <weir/stream/flow/map.hpp>
#include <weir/stream/flow/merge.hpp>
#include <weir/stream/flow/take.hpp>

#include "flow/scene.hpp"
#include "stream/run.hpp"

namespace {

using namespace weir_test;

/// A user's own source, and their own operator.
class CountDown : public weir::FlowSource {
 public:
  using value_type = int;
  explicit CountDown(int from) : next_(from) {}
  [[nodiscard]] weir::Pull pull(std::optional<int>& out) {
    if (next_ == 0) return weir::Pull::end;
    out.emplace(next_--);
    return weir::Pull::value;
  }

 private:
  int next_;
};

template <weir::Flow Up>
class Negated : public weir::FlowOver<Up> {
 public:
  using value_type = weir::flow_value_t<Up>;
  using weir::FlowOver<Up>::FlowOver;
  [[nodiscard]] weir::Pull pull(std::optional<value_type>& out) {
    const weir::Pull pulled = this->up_.pull(out);
    if (pulled == weir::Pull::value) *out = -*out;
    return pulled;
  }
};

auto negated() {
  return weir::FlowAdaptor([]<weir::Flow Up>(Up up) { return Negated<Up>(std::move(up)); });
}

static_assert(weir::Flow<CountDown> && weir::Flow<Negated<CountDown>>);
static_assert(!weir::Flow<std::vector<int>> && !weir::Flow<int>);

}  // namespace

TEST_CASE("flow: a source and an operator of one's own") {
  CHECK(run(CountDown(3) | negated() | weir::to_vector()) == Ints{-3, -2, -1});
  CHECK(run(CountDown(3) | (negated() | weir::take(2)) | weir::count()) == 2);
  CHECK(run(CountDown(2) | (negated() | weir::to_vector())) == Ints{-2, -1});
}

TEST_CASE("flow: one that never gives a value lets others run, and can be cancelled") {
  Simulator sim;
  bool others = false;
  Root<std::uint64_t> root;
  root.start(sim, weir::from([]() -> std::optional<int> { return 1; }) | weir::filter([](int) { return false; }) |
                      weir::count());
  sim.spawn([&]() -> weir::Task<> {
    for (int i = 0; i < 10; ++i) co_await weir::yield();
    others = true;
    root.cancel();
  });
  sim.run();
  CHECK(others);
  CHECK(root.cancelled());
}

TEST_CASE("flow: it is the sender of a stream, and ends with it") {
  Simulator sim;
  auto flow = weir::merge(weir::from(Ints{1, 2}), weir::from(Ints{3})) | weir::map([](int n) { return n * 10; });
  auto stream = weir::emits<int>(sim)
                    .sender(std::move(flow))
                    .receiver([](const auto& event) { return event.data(); })
                    .collect(weir::collect::set)
                    .start();
  CHECK(final_of(sim, stream).collected() == std::set<int>{10, 20, 30});

  auto long_flow = weir::from([]() -> std::optional<std::string> { return "again"; });
  int received = 0;
  auto endless = weir::emits<std::string>(sim)
                     .capacity(2)
                     .sender(std::move(long_flow))
                     .receiver([&](const auto&) {
                       if (++received == 3) throw std::runtime_error("no good");
                     })
                     .start();
  const auto failed = final_of(sim, endless);
  CHECK(failed.outcome() == weir::Outcome::failed);
  CHECK(failed.stats().balanced());

  auto breaking =
      weir::emits<int>(sim)
          .sender(CountDown(2) | weir::map([](int n) { return n == 2 ? n : throw std::logic_error("one"); }))
          .receiver([](const auto& event) { return event.data(); })
          .start();
  const auto broken = final_of(sim, breaking);
  CHECK(broken.outcome() == weir::Outcome::failed);
  CHECK(broken.collected() == Ints{2});
}

TEST_CASE("flow: what a stream's receivers send into a channel is one") {
  Simulator sim;
  auto [tx, rx] = weir::make_channel<int>(sim, {.capacity = 2});
  auto stream = weir::emits<int>(sim)
                    .sender(std::views::iota(0, 5))
                    .receiver([results = std::move(tx)](const auto& event) -> weir::Task<> {
                      co_await results.send(event.data() * 2);
                    })
                    .start();
  CHECK(run(sim, weir::from(std::move(rx)) | weir::to_vector()) == Ints{0, 2, 4, 6, 8});
}

TEST_CASE("flow: as a stream's sender, the stream cancelled, dropped and destroyed at every step") {
  const auto scenario = [](weir::CancellationLevel level, bool destroy) {
    return [level, destroy](Simulator& sim) {
      auto& ledger = sim.keep<Ledger>();
      auto& scene = sim.keep<FlowScene>(sim, ledger);
      auto& sum = sim.keep<int>(0);
      auto stream = weir::emits<int>(sim)
                        .capacity(1)
                        .sender(weir::merge(scene.source(1), scene.source(11)))
                        .receiver([&sum](const auto& event) { sum += event.data(); })
                        .start();
      sim.on_action([&] { destroy ? sim.stop() : static_cast<void>(stream.cancel(level)); });
      sim.run();
      if (sim.stopped()) {
        sim.shut_down();
      } else {
        ensure(stream.is_complete(), "complete");
        const weir::StreamStats stats = stream.stats();
        ensure(stats.balanced(), "balanced");
        if (!sim.acted()) ensure(sum == 10 + 50, "all of them");
      }
      ensure(ledger.alive == 0, "something of the flow is left");
    };
  };
  using enum weir::CancellationLevel;
  REQUIRE_NOTHROW(weir::sim::explore(scenario(graceful, false)));
  REQUIRE_NOTHROW(weir::sim::explore_each_step(scenario(graceful, false)));
  REQUIRE_NOTHROW(weir::sim::explore_each_step(scenario(forceful, false)));
  REQUIRE_NOTHROW(weir::sim::explore_each_step(scenario(graceful, true)));
}
