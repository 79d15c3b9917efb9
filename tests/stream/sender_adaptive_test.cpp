// Senders that find by themselves how many of their partitions run at once.
#include <weir/stream/sender_strategy.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <weir/core/sync_wait.hpp>
#include <weir/core/timer.hpp>

#include "stream/run.hpp"
#include "stream/scene.hpp"
#include "support/allocation_counter.hpp"

using namespace std::chrono_literals;

namespace {

using namespace weir_test;

struct World {
  int alive = 0;
  std::size_t begun = 0;
  std::size_t running = 0;
  std::size_t working = 0;
  std::size_t most = 0;
  std::size_t ended = 0;
  std::uint64_t accepted = 0;
  std::set<std::size_t> seen;
  std::vector<int> last;
  weir::EmittingTask<Item, Found> stream;
};

struct Load {
  std::size_t partitions = 6;
  int each = 3;
  /// How long an event takes to be brought forth: the longer the more than `best` do it at once.
  std::chrono::microseconds time{100};
  std::size_t best = 100;
  std::chrono::microseconds receiving{0};
  int throws = 0;
  std::size_t workers = 3;
};

class Running {
 public:
  explicit Running(World& world) : world_(world) {
    ++world_.begun;
    world_.most = std::max(world_.most, ++world_.running);
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  ~Running() { --world_.running; }

 private:
  World& world_;
};

/// While it brings forth an event: one that is held does not.
class Working {
 public:
  explicit Working(World& world) : world_(world) { ++world_.working; }
  Working(const Working&) = delete;
  Working& operator=(const Working&) = delete;
  ~Working() { --world_.working; }

 private:
  World& world_;
};

void start(weir::sim::Simulator& sim, World& world, const weir::Adaptive& how, Load load) {
  world.last.assign(load.partitions, -1);
  const auto sender = [&world, load](weir::Emitter<Item>& out, weir::Partition part) -> weir::Task<> {
    const Running running(world);
    ensure(part.count == load.partitions && world.seen.insert(part.index).second, "each partition once");
    ensure(part.index < world.begun + load.workers - 1, "in order, but for those that begin at the same time");
    for (int i = 0; i < load.each; ++i) {
      {
        const Working working(world);
        const auto crowd = std::max(world.working, load.best) - load.best + 1;
        co_await weir::sleep_for(load.time * static_cast<int>(crowd * crowd));
      }
      Item item(static_cast<int>(part.index) * 1000 + i, world.alive);
      try {
        co_await out.emit(std::move(item));
      } catch (...) {
        ensure(item.whole(), "a refused value was not given back");
        throw;
      }
      ++world.accepted;
      if (load.throws != 0 && static_cast<int>(part.index) == load.throws) throw Refused("the source broke");
    }
    ++world.ended;
  };
  world.stream = weir::emits<Item>(sim)
                     .capacity(2)
                     .sender(how, weir::partitions(load.partitions), sender)
                     .receiver([&world, load](auto& event) -> weir::Task<Found> {
                       const int value = event.data().value;
                       int& last = world.last[static_cast<std::size_t>(value / 1000)];
                       ensure(value % 1000 > last, "each partition's events in order");
                       last = value % 1000;
                       if (load.receiving > 0us) co_await weir::sleep_for(load.receiving);
                       co_return Found(value);
                     })
                     .start();
}

const weir::AdaptiveOptions quick{.max_concurrency = 3, .start_concurrency = 2, .window = 1ms, .cooling = 2ms};

auto scenario(Action action, Load load) {
  return [action, load](weir::sim::Simulator& sim) {
    asio::io_context elsewhere;
    auto& world = sim.keep<World>();
    auto seen = std::make_shared<SceneFinal>();
    int times = 0;
    start(sim, world, weir::adaptive(quick), load);
    weir::spawn(elsewhere, world.stream.final_event(), [&times, seen](std::exception_ptr error, SceneFinal final) {
      ensure(!error, "waiting for the final event failed");
      ++times;
      *seen = std::move(final);
    });
    sim.on_step([&] {
      elsewhere.poll();
      elsewhere.restart();
      ensure(world.most <= 3, "no more at once than may be");
      if (!world.stream) return;
      const weir::StreamStats stats = world.stream.stats();
      ensure(stats.balanced(), "the counts add up at every step");
      ensure(stats.emitted >= world.accepted && stats.emitted <= world.accepted + 3,
             "emitted is what emits return for");
    });
    sim.on_action([&] {
      if (action == Action::graceful) world.stream.cancel(weir::CancellationLevel::graceful);
      if (action == Action::forceful) world.stream.cancel(weir::CancellationLevel::forceful);
      if (action == Action::immediate) world.stream.cancel(weir::CancellationLevel::immediate);
      if (action == Action::drop_handle) world.stream = weir::EmittingTask<Item, Found>();
      if (action == Action::end_context) sim.stop();
    });
    sim.run();
    if (sim.stopped()) sim.shut_down();
    elsewhere.restart();
    elsewhere.run();
    ensure(times == 1, "the final event did not come");
    const weir::StreamStats stats = seen->stats();
    ensure(stats.balanced() && stats.buffered == 0 && stats.in_progress == 0, "the final event's counts add up");
    ensure(stats.emitted >= world.accepted && stats.emitted <= world.accepted + (sim.stopped() ? 3u : 0u),
           "what was emitted is what the emits returned for");
    ensure(world.alive == 0 && world.running == 0, "a value or a partition was left");
    if (action == Action::none && load.throws == 0) {
      ensure(seen->outcome() == weir::Outcome::completed, "it completes");
    }
    if (seen->outcome() == weir::Outcome::completed) {
      ensure(world.ended == load.partitions && stats.processed == world.accepted, "completed means all");
    }
    if (load.throws != 0) {
      ensure(seen->outcome() == weir::Outcome::failed && seen->error().text() == "the source broke",
             "the error of the one");
      ensure(stats.discarded == 0, "what was emitted before is processed");
    }
    if (action == Action::graceful) ensure(stats.discarded == 0, "a graceful cancel discards nothing");
  };
}

}  // namespace

TEST_CASE("adaptive sender: every schedule, stopped, dropped and destroyed at every step, one partition failing") {
  REQUIRE_NOTHROW(weir::sim::explore(scenario(Action::none, {})));
  REQUIRE_NOTHROW(weir::sim::explore(scenario(Action::none, {.receiving = 1ms})));
  REQUIRE_NOTHROW(weir::sim::explore(scenario(Action::none, {.throws = 2})));
  for (const Action action :
       {Action::graceful, Action::forceful, Action::immediate, Action::drop_handle, Action::end_context}) {
    REQUIRE_NOTHROW(weir::sim::explore_each_step(scenario(action, {.receiving = 300us})));
  }
}

TEST_CASE("adaptive sender: finds how many partitions are best, and no more than the receivers can take") {
  const auto found = [](Load load) {
    weir::sim::Simulator sim;
    World world;
    const auto how = weir::adaptive({.max_concurrency = 32});
    load.workers = 32;
    start(sim, world, how, load);
    const auto final = weir_test::final_of(sim, world.stream);
    CHECK(final.outcome() == weir::Outcome::completed);
    CHECK(final.stats().processed == load.partitions * static_cast<std::size_t>(load.each));
    CHECK_FALSE(how.trace().empty());
    std::string shown;
    for (const auto& step : how.trace()) shown += weir::to_string(step) + "\n";
    INFO(shown);
    CHECK(how.current().concurrency >= 1);
    // At the end those that are held go on, so that the last figure says little.
    const auto end = sim.elapsed();
    std::size_t longest_held = 1;
    std::chrono::nanoseconds longest{};
    const auto trace = how.trace();
    for (std::size_t i = 0; i < trace.size(); ++i) {
      const std::chrono::nanoseconds held = (i + 1 == trace.size() ? end : trace[i + 1].when) - trace[i].when;
      if (held <= longest) continue;
      longest = held;
      longest_held = trace[i].to.concurrency;
    }
    return std::pair(longest_held, world.most);
  };
  // They don't get in each other's way: nearly as many as there may be.
  const auto [many, most] = found({.partitions = 2000, .each = 10, .time = 1ms});
  CHECK(many >= 16);
  CHECK(most <= 32);
  // From the fifth on they do.
  const auto [few, tried] = found({.partitions = 400, .each = 10, .time = 1ms, .best = 4});
  CHECK(few >= 2);
  CHECK(few <= 8);
  CHECK(tried <= 32);
  // Two keep the receiver busy.
  const auto [enough, ever] = found({.partitions = 400, .each = 10, .time = 1ms, .receiving = 500us});
  CHECK(enough <= 6);
  CHECK(ever <= 16);
}

TEST_CASE("adaptive sender: a million events on a pool, those of each partition in order") {
  constexpr std::uint64_t each = 1000;
  constexpr std::size_t partitions = 1000;
  asio::thread_pool pool(2);
  std::vector<std::uint64_t> next(partitions, 0);
  bool in_order = true;
  std::uint64_t received = 0;
  std::optional<weir_test::AllocationCounter> counter;
  std::uint64_t allocated = 1'000'000;
  const auto how = weir::adaptive({.max_concurrency = 4});
  auto stream = weir::emits<std::pair<std::size_t, std::uint64_t>>(pool)
                    .sender(how, weir::partitions(partitions),
                            [](auto& out, weir::Partition part) -> weir::Task<> {
                              for (std::uint64_t i = 0; i < each; ++i) co_await out.emit_emplace(part.index, i);
                            })
                    .receiver([&](const auto& event) {
                      const auto [part, i] = event.data();
                      in_order = in_order && next[part]++ == i;
                      ++received;
                      if (received == 250'000) counter.emplace();
                      if (received == 750'000) allocated = counter->count();
                    })
                    .start();
  const auto final = weir::sync_wait(stream.final_event());
  CHECK(final.outcome() == weir::Outcome::completed);
  CHECK(final.stats().processed == each * partitions);
  CHECK(in_order);
  // Frames of partitions, and nothing for their events.
  CHECK(allocated < 10'000);
}

TEST_CASE("adaptive sender: partitions are said or as many as may run at once, and functions can be partitions") {
  weir::sim::Simulator sim;
  CHECK_THROWS_AS(weir::partitions(0), weir::Error);
  CHECK_THROWS_AS(weir::adaptive({.min_concurrency = 0}), weir::Error);
  auto stream = weir::emits<std::size_t>(sim)
                    .sender(weir::adaptive({.max_concurrency = 5}),
                            [](auto& out, weir::Partition part) { CHECK(out.try_emit(part.index)); })
                    .receiver([](const auto& event) { return event.data(); })
                    .start();
  CHECK(stream.describe().find("5 partitions, adaptive(1 to 5)") != std::string::npos);
  auto collected = weir_test::final_of(sim, stream).collected();
  std::sort(collected.begin(), collected.end());
  CHECK(collected == std::vector<std::size_t>{0, 1, 2, 3, 4});
}
