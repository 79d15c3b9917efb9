#include <weir/stream/sender_strategy.hpp>

#include "support/catch.hpp"
#include "support/stress.hpp"

#include <algorithm>
#include <chrono>
#include <map>
#include <numeric>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <utility>
#include <vector>

#include <weir/core/sync_wait.hpp>
#include <weir/core/timeout.hpp>
#include <weir/core/timer.hpp>
#include <weir/sim/explore.hpp>
#include <weir/stream/flow.hpp>

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
  constexpr std::size_t items = weir_test::scaled(1'000'000);
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

TEST_CASE("sender strategy: what makes no sense is refused where it is said") {
  weir::sim::Simulator sim;
  const auto one = [](weir::Emitter<int>&) {};
  const auto part = [](weir::Emitter<int>&, Partition) {};
  const auto start = [&sim](auto how, auto sender) {
    auto builder = weir::emits<int>(sim);
    static_cast<void>(std::move(builder).sender(how, sender));
  };
  CHECK_THROWS_AS(weir::rate_limited(0), weir::Error);
  CHECK_THROWS_AS(weir::rate_limited(-1), weir::Error);
  CHECK_THROWS_AS(weir::rate_limited(1, 0.5), weir::Error);
  CHECK_THROWS_AS(weir::rate_limited(1).parallel(0), weir::Error);
  CHECK_THROWS_AS(start(weir::batched(2).split_on_error(), part), weir::Error);
  CHECK_THROWS_AS(start(weir::batched(2).parallel(2), one), weir::Error);
  CHECK_THROWS_AS(start(weir::rate_limited(2).parallel(2), one), weir::Error);
  CHECK_NOTHROW(start(weir::batched(2).parallel(2), part));
  CHECK_NOTHROW(start(weir::rate_limited(2), one));
}

namespace {

/// What was emitted, and at which millisecond it was received.
using Arrivals = std::vector<std::pair<int, long>>;

template <class Strategy, class S>
Arrivals arrivals(Strategy how, S sender, std::size_t capacity = 100) {
  weir::sim::Simulator sim;
  const auto began = sim.now();
  Arrivals seen;
  auto stream = weir::emits<int>(sim)
                    .capacity(capacity)
                    .sender(how, std::move(sender))
                    .receiver([&](const auto& event) {
                      const auto after = std::chrono::duration_cast<std::chrono::milliseconds>(sim.now() - began);
                      seen.emplace_back(event.data(), static_cast<long>(after.count()));
                      CHECK(event.id() == seen.size());
                    })
                    .start();
  const auto final = weir_test::final_of(sim, stream);
  CHECK(final.outcome() == weir::Outcome::completed);
  CHECK(final.stats().balanced());
  return seen;
}

/// One now, one after 1 ms, and then every 10 ms.
weir::Task<> six(weir::Emitter<int>& out) {
  for (int i = 1; i <= 6; ++i) {
    co_await out.emit(i);
    co_await weir::sleep_for(std::chrono::milliseconds(i == 1 ? 1 : 10));
  }
}

}  // namespace

TEST_CASE("sender strategy: a run goes when it is full, when its oldest event is old enough, and at the end") {
  using std::chrono::hours;
  using std::chrono::milliseconds;
  CHECK(arrivals(weir::batched(3, hours(1)), &six) == Arrivals{{1, 11}, {2, 11}, {3, 11}, {4, 41}, {5, 41}, {6, 41}});
  CHECK(arrivals(weir::batched(4, hours(1)), &six) == Arrivals{{1, 21}, {2, 21}, {3, 21}, {4, 21}, {5, 51}, {6, 51}});
  CHECK(arrivals(weir::batched(3, milliseconds(5)), &six) ==
        Arrivals{{1, 5}, {2, 5}, {3, 16}, {4, 26}, {5, 36}, {6, 46}});
  CHECK(arrivals(weir::batched(3, milliseconds(12)), &six) ==
        Arrivals{{1, 11}, {2, 11}, {3, 11}, {4, 33}, {5, 33}, {6, 51}});
  CHECK(arrivals(weir::batched(3, milliseconds(0)), &six) ==
        Arrivals{{1, 0}, {2, 1}, {3, 11}, {4, 21}, {5, 31}, {6, 41}});
  // An hour of silence is no hour of looking.
  CHECK(arrivals(weir::batched(3, milliseconds(5)), [](weir::Emitter<int>& out) -> weir::Task<> {
          co_await out.emit(1);
          co_await weir::sleep_for(std::chrono::hours(1000));
          co_await out.emit(2);
          co_await weir::sleep_for(std::chrono::hours(1));
        }) == Arrivals{{1, 5}, {2, 3'600'000'005}});
}

TEST_CASE("sender strategy: emits wait for their tokens, runs as far as there are some") {
  const Arrivals paced{{0, 0}, {1, 0}, {2, 10}, {3, 20}, {4, 30}};
  CHECK(arrivals(weir::rate_limited(100, 2), std::views::iota(0, 5)) == paced);
  CHECK(arrivals(weir::rate_limited(100, 2), [](weir::Emitter<int>& out) -> weir::Task<> {
          const std::vector<int> all{0, 1, 2, 3, 4};
          const std::size_t emitted = co_await out.emit_all(all);
          CHECK(emitted == 5);
        }) == paced);
  CHECK(arrivals(weir::rate_limited(100, 2), [](weir::Emitter<int>& out) -> weir::Task<> {
          int refused = 0;
          for (int i = 0; i < 5;) {
            if (out.try_emit(i)) {
              ++i;
            } else {
              ++refused;
              co_await weir::sleep_for(std::chrono::milliseconds(1));
            }
          }
          CHECK(refused >= 30);
        }) == paced);
}

TEST_CASE("sender strategy: what was refused for lack of room, or given up while it waited, costs no token") {
  // With a capacity of 1 a token is taken, and no room found, again and again.
  const bool waits = GENERATE(false, true);
  weir::sim::Simulator sim;
  int refused = 0;
  const auto emit_one = [waits](weir::Emitter<int>& out, int n) -> weir::Task<bool> {
    if (!waits) co_return out.try_emit(n);
    co_await out.emit_emplace(n);
    co_return true;
  };
  const auto emit_three = [&](weir::Emitter<int>& out) -> weir::Task<> {
    for (int i = 0; i < 3 && refused < 1000;) {
      bool emitted = false;
      try {
        emitted = co_await weir::with_timeout(std::chrono::milliseconds(1), emit_one(out, i));
      } catch (const weir::Error& error) {
        if (error.code() != weir::Errc::timed_out) throw;
      }
      ++(emitted ? i : refused);
      if (!emitted) co_await weir::sleep_for(std::chrono::milliseconds(1));
    }
  };
  auto stream = weir::emits<int>(sim)
                    .capacity(1)
                    .sender(weir::rate_limited(0.001, 3), emit_three)
                    .receiver([](const auto& event) -> weir::Task<> {
                      if (event.data() == 0) co_await weir::sleep_for(std::chrono::milliseconds(10));
                    })
                    .start();
  CHECK(weir_test::final_of(sim, stream).stats().processed == 3);
  CHECK(refused > 1);
  CHECK(refused < 1000);
}

TEST_CASE("sender strategy: what is left of a run that is given up on its way costs no tokens") {
  weir::sim::Simulator sim;
  bool given_up = false;
  const auto emit_some = [](weir::Emitter<int>& out) -> weir::Task<> {
    const std::vector<int> run{0, 1, 2, 3, 4, 5};
    const std::size_t emitted = co_await out.emit_all(run);
    CHECK(emitted == 6);
  };
  auto stream = weir::emits<int>(sim)
                    .capacity(2)
                    .sender(weir::rate_limited(0.001, 6),
                            [&](weir::Emitter<int>& out) -> weir::Task<> {
                              try {
                                co_await weir::with_timeout(std::chrono::milliseconds(1), emit_some(out));
                              } catch (const weir::Error& error) {
                                given_up = error.code() == weir::Errc::timed_out;
                              }
                              // A receiver that waited, and a channel of two: three have gone, three tokens are left.
                              for (int i = 3; i < 6; ++i) co_await out.emit_emplace(i);
                            })
                    .receiver([](const auto&) -> weir::Task<> { co_await weir::sleep_for(std::chrono::seconds(1)); })
                    .start();
  const auto final = weir_test::final_of(sim, stream);
  CHECK(given_up);
  CHECK(final.stats().processed == 6);
  CHECK(sim.elapsed() < std::chrono::seconds(20));
}

TEST_CASE("sender strategy: gathering takes every form of sender, and refuses what can't wait when it is full") {
  const auto values = [](auto sender, std::size_t capacity) {
    std::vector<int> seen;
    for (const auto& [value, when] : arrivals(weir::batched(4, std::chrono::hours(1)), std::move(sender), capacity)) {
      seen.push_back(value);
    }
    return seen;
  };
  std::vector<int> ten(10);
  std::iota(ten.begin(), ten.end(), 0);
  for (const std::size_t capacity : {1u, 3u, 100u}) {
    CHECK(values(std::views::iota(0, 10), capacity) == ten);
    CHECK(values(std::vector<int>(ten), capacity) == ten);
    CHECK(values([i = 0]() mutable { return i < 10 ? std::optional<int>(i++) : std::nullopt; }, capacity) == ten);
    CHECK(values(weir::from(std::views::iota(0, 10)), capacity) == ten);
    CHECK(values([&ten](weir::Emitter<int>& out) -> weir::Task<> { co_await out.emit_all(ten); }, capacity) == ten);
  }
  int fits = 0;
  const auto stuffed = values(
      [&fits](weir::Emitter<int>& out) {
        while (out.try_emit(fits)) ++fits;
      },
      3);
  // What is gathered, what the channel takes, and what a worker that waits is handed.
  CHECK(fits == 4 + 3 + 1);
  CHECK(stuffed.size() == 8);
}

TEST_CASE("sender strategy: what was on its way into a full channel when its sender gave up keeps its numbers") {
  weir::sim::Simulator sim;
  int given_up = 0;
  std::vector<std::uint64_t> numbers;
  const auto emit_one = [](weir::Emitter<int>& out, int n) -> weir::Task<> { co_await out.emit_emplace(n); };
  const auto emit_all = [&](weir::Emitter<int>& out) -> weir::Task<> {
    for (int i = 0; i < 12; ++i) {
      try {
        co_await weir::with_timeout(std::chrono::milliseconds(1), emit_one(out, i));
      } catch (const weir::Error& error) {
        if (error.code() != weir::Errc::timed_out) throw;
        ++given_up;
      }
      co_await weir::sleep_for(std::chrono::milliseconds(1));
    }
  };
  auto stream = weir::emits<int>(sim)
                    .capacity(2)
                    .sender(weir::batched(4, std::chrono::hours(1)), emit_all)
                    .receiver([&](const auto& event) -> weir::Task<> {
                      numbers.push_back(event.id());
                      co_await weir::sleep_for(std::chrono::milliseconds(10));
                    })
                    .start();
  const auto final = weir_test::final_of(sim, stream);
  CHECK(given_up > 1);
  CHECK(final.stats().processed > 4);
  std::vector<std::uint64_t> consecutive(final.stats().processed);
  std::iota(consecutive.begin(), consecutive.end(), std::uint64_t{1});
  CHECK(numbers == consecutive);
}
