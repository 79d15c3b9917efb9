#include <weir/stream/sender_strategy.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <map>
#include <stdexcept>
#include <vector>

#include <weir/core/sync_wait.hpp>
#include <weir/sim/explore.hpp>

#include "stream/run.hpp"

namespace {

using weir::Partition;
using weir::sim::ensure;

/// What the partitions emitted, by partition, in the order in which it was processed.
using Seen = std::map<std::size_t, std::vector<std::size_t>>;

}  // namespace

TEST_CASE("partition: the shares are all of the items, once, and nearly equal") {
  for (const std::size_t items : {0u, 1u, 7u, 8u, 9u, 1000u}) {
    for (const std::size_t count : {1u, 3u, 8u}) {
      std::size_t next = 0;
      for (std::size_t i = 0; i < count; ++i) {
        const Partition part{i, count};
        CHECK(part.begin(items) == next);
        next = part.end(items);
        CHECK(next - part.begin(items) <= items / count + 1);
      }
      CHECK(next == items);
    }
  }
}

TEST_CASE("sender strategy: partitions under every schedule, stopped or destroyed at every step, one of them failing") {
  enum class Action { none, fail, graceful, forceful, end_context };
  for (const Action action : {Action::none, Action::fail, Action::graceful, Action::forceful, Action::end_context}) {
    const auto scenario = [action](weir::sim::Simulator& sim) {
      constexpr std::size_t each = 3;
      struct World {
        Seen seen;
        std::size_t begun = 0;
        std::size_t ended = 0;
        std::size_t emitted = 0;
      };
      auto& world = sim.keep<World>();
      auto stream = weir::emits<std::pair<std::size_t, std::size_t>>(sim)
                        .capacity(2)
                        .sender(weir::parallel(3),
                                [&world, action](auto& out, Partition part) -> weir::Task<> {
                                  ++world.begun;
                                  for (std::size_t i = 0; i < each; ++i) {
                                    co_await out.emit_emplace(part.index, i);
                                    ++world.emitted;
                                    if (action == Action::fail && part.index == 1 && i == 1)
                                      throw std::runtime_error("broken");
                                  }
                                  ++world.ended;
                                })
                        .receiver([&world](const auto& event) {
                          const auto [part, i] = event.data();
                          world.seen[part].push_back(i);
                        })
                        .start();
      decltype(stream)::final_event_type final;
      weir::spawn(sim, stream.final_event(), [&final](std::exception_ptr, auto event) { final = std::move(event); });
      sim.on_step([&] {
        ensure(stream.stats().balanced(), "the counts add up at every step");
        if (world.begun == 3 && world.ended < 3 && world.emitted < 3 * each && action == Action::none) {
          ensure(stream.status() == weir::StreamStatus::running, "it runs while one of its partitions does");
        }
      });
      sim.on_action([&] {
        if (action == Action::graceful) stream.cancel(weir::CancellationLevel::graceful);
        if (action == Action::forceful) stream.cancel(weir::CancellationLevel::forceful);
        if (action == Action::end_context) sim.stop();
      });
      sim.run();
      if (sim.stopped()) return sim.shut_down();
      std::size_t processed = 0;
      for (const auto& [part, values] : world.seen) {
        processed += values.size();
        for (std::size_t i = 0; i < values.size(); ++i) ensure(values[i] == i, "each partition's events in order");
      }
      const weir::StreamStats stats = final.stats();
      ensure(stats.balanced() && stats.processed == processed, "the counts add up");
      ensure(stats.emitted == world.emitted, "what was emitted is what the partitions' emits returned for");
      if (action == Action::fail) {
        ensure(final.outcome() == weir::Outcome::failed && final.error().text() == "broken", "the error of the one");
        ensure(processed == world.emitted, "what was emitted before was processed");
      } else if (final) {
        ensure(processed == 3 * each && world.ended == 3, "completed means all");
      } else {
        ensure(final.outcome() == weir::Outcome::cancelled && sim.acted(), "cancelled");
      }
      if (action == Action::graceful) ensure(stats.discarded == 0, "a graceful cancel discards nothing");
    };
    if (action == Action::none || action == Action::fail) {
      weir::sim::explore(scenario);
    } else {
      weir::sim::explore_each_step(scenario);
    }
  }
  CHECK(true);
}

TEST_CASE("sender strategy: a million of four partitions on a pool, each in order, and a plain function") {
  constexpr std::size_t items = 1'000'000;
  asio::thread_pool pool(2);
  std::vector<std::size_t> next;
  bool in_order = true;
  for (std::size_t i = 0; i < 4; ++i) next.push_back(Partition{i, 4}.begin(items));
  auto stream = weir::emits<std::pair<std::size_t, std::size_t>>(pool)
                    .sender(weir::parallel(4),
                            [](auto& out, Partition part) -> weir::Task<> {
                              const std::size_t end = part.end(items);
                              for (std::size_t i = part.begin(items); i < end; ++i) {
                                co_await out.emit_emplace(part.index, i);
                              }
                            })
                    .receiver([&](const auto& event) {
                      const auto [part, i] = event.data();
                      in_order = in_order && i == next[part]++;
                    })
                    .start();
  const auto final = weir::sync_wait(stream.final_event());
  CHECK(final.outcome() == weir::Outcome::completed);
  CHECK(final.stats().processed == items);
  CHECK(final.stats().balanced());
  CHECK(in_order);
  auto plain = weir::emits<std::size_t>(pool)
                   .sender(weir::parallel(3), [](auto& out, Partition part) { CHECK(out.try_emit(part.index)); })
                   .receiver([](const auto& event) { return event.data(); })
                   .start();
  auto collected = weir::sync_wait(plain.final_event()).collected();
  std::sort(collected.begin(), collected.end());
  CHECK(collected == std::vector<std::size_t>{0, 1, 2});
}

TEST_CASE("sender strategy: a rate for partitions is refused, as it is for receivers") {
  weir::sim::Simulator sim;
  const auto start = [&sim](weir::Parallel partitions) {
    auto builder = weir::emits<int>(sim);
    return std::move(builder).sender(std::move(partitions), [](auto& out, Partition) { CHECK(out.try_emit(1)); });
  };
  CHECK_THROWS_AS(start(weir::parallel(2).rate_limit(10)), weir::Error);
  CHECK_NOTHROW(start(weir::parallel(2)));
}
