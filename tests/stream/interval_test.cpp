#include <weir/stream/source/interval.hpp>

#include "support/allocation_counter.hpp"
#include "support/catch.hpp"
#include "support/stress.hpp"

#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include <weir/core/sync_wait.hpp>
#include <weir/sim/explore.hpp>

#include "stream/run.hpp"

namespace {

using namespace std::chrono_literals;
using weir::sim::ensure;
/// The number of a tick, and the milliseconds at which it was processed.
using Seen = std::vector<std::pair<std::uint64_t, std::int64_t>>;

/// Ticks of 10 ms, each processed for as long as `work` says.
template <class Work>
Seen ticks(weir::MissedTicks missed, std::uint64_t last, std::size_t capacity, Work work) {
  weir::sim::Simulator sim;
  Seen seen;
  auto stream = weir::emits<std::uint64_t>(sim)
                    .capacity(capacity)
                    .sender(weir::interval(10ms).missed(missed).until_tick(last))
                    .receiver([&](const auto& event) -> weir::Task<> {
                      seen.emplace_back(event.data(), sim.elapsed() / 1ms);
                      co_await weir::sleep_for(std::chrono::milliseconds(work(event.data())));
                    })
                    .start();
  const auto final = weir_test::final_of(sim, stream);
  CHECK(final.outcome() == weir::Outcome::completed);
  CHECK(final.stats().processed == seen.size());
  return seen;
}

}  // namespace

TEST_CASE("interval: each tick on time, whatever the one before took, while the receiver keeps up") {
  const Seen expected{{1, 10}, {2, 20}, {3, 30}, {4, 40}};
  for (const auto policy : {weir::MissedTicks::skip, weir::MissedTicks::catch_up}) {
    CHECK(ticks(policy, 4, 4, [](std::uint64_t n) { return n * 2; }) == expected);
  }
}

TEST_CASE("interval: ticks that were missed are skipped but for the last, and the rhythm stays") {
  // The first is worked on until 45; the second waits in the channel, the third for room, which comes at 45.
  const Seen seen = ticks(weir::MissedTicks::skip, 8, 1, [](std::uint64_t n) { return n == 1 ? 45 : 1; });
  CHECK(seen == Seen{{1, 10}, {2, 55}, {3, 56}, {5, 57}, {6, 60}, {7, 70}, {8, 80}});
}

TEST_CASE("interval: ticks that were missed are caught up with") {
  const Seen seen = ticks(weir::MissedTicks::catch_up, 8, 1, [](std::uint64_t n) { return n == 1 ? 45 : 1; });
  CHECK(seen == Seen{{1, 10}, {2, 55}, {3, 56}, {4, 57}, {5, 58}, {6, 60}, {7, 70}, {8, 80}});
}

TEST_CASE("interval: events made of ticks, a million without an allocation for one") {
  constexpr std::uint64_t count = weir_test::scaled(1'000'000);
  asio::io_context context;
  bool in_order = true;
  std::uint64_t sum = 0;
  std::optional<weir_test::AllocationCounter> counter;
  std::uint64_t allocated = 1;
  // So short a period that the clock is always ahead.
  auto source = weir::interval(1ns, [](std::uint64_t tick) { return tick * 2; });
  auto stream = weir::emits<std::uint64_t>(context)
                    .sender(std::move(source).missed(weir::MissedTicks::catch_up).until_tick(count))
                    .receiver([&, next = std::uint64_t{0}](const auto& event) mutable {
                      next += 2;
                      in_order = in_order && event.data() == next;
                      ++sum;
                      if (sum == count / 4) counter.emplace();
                      if (sum == count / 2) allocated = counter->count();
                    })
                    .start();
  context.run();
  const auto final = weir::sync_wait(stream.final_event());
  CHECK(final.outcome() == weir::Outcome::completed);
  CHECK(final.stats().balanced());
  CHECK(in_order);
  CHECK(sum == count);
  CHECK(allocated == 0);
}

TEST_CASE("interval: a period must be more than 0") {
  CHECK_THROWS_AS(weir::interval(0ms), weir::Error);
  CHECK_THROWS_AS(weir::interval(-1s), weir::Error);
}

TEST_CASE("interval: under every schedule, cancelled or destroyed at every step") {
  for (const bool destroy : {false, true}) {
    weir::sim::explore_each_step([destroy](weir::sim::Simulator& sim) {
      auto& seen = sim.keep<std::vector<std::uint64_t>>();
      auto stream = weir::emits<std::uint64_t>(sim)
                        .capacity(1)
                        .sender(weir::interval(10ms).until_tick(5))
                        .receiver([&seen](const auto& event) -> weir::Task<> {
                          seen.push_back(event.data());
                          co_await weir::sleep_for(15ms);
                        })
                        .start();
      decltype(stream)::final_event_type final;
      weir::spawn(sim, stream.final_event(), [&final](std::exception_ptr, auto event) { final = std::move(event); });
      sim.on_action([&] { destroy ? sim.stop() : static_cast<void>(stream.cancel()); });
      sim.run();
      if (sim.stopped()) return sim.shut_down();
      ensure(final.stats().balanced() && final.stats().processed == seen.size(), "the counts add up");
      ensure(std::is_sorted(seen.begin(), seen.end()), "in order");
      ensure(final ? seen.back() == 5 : final.outcome() == weir::Outcome::cancelled, "to the end, or cancelled");
    });
  }
  CHECK(true);
}
