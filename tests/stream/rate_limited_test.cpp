// Senders that emit at a limited rate, and those that gather what they emit: the same scene, as both stand between an
// emitter and its channel.
#include <weir/stream/rate_limited.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <vector>

#include <weir/core/timer.hpp>
#include <weir/sim/explore.hpp>

#include "stream/scene.hpp"

using namespace std::chrono_literals;

namespace {

using namespace weir_test;

enum class Way { batched, slow_batches, partitions, rate, shared_rate };

struct Plan {
  Way way = Way::batched;
  Action action = Action::none;
  std::size_t capacity = 3;
  bool throws = false;
  bool failing_receiver = false;
  bool timeout = false;
};

constexpr int events = 7;
constexpr std::size_t size = 3;

struct World {
  int alive = 0;
  std::uint64_t accepted = 0;
  std::uint64_t begun = 0;
  int running = 0;
  std::vector<int> seen;
  weir::StreamStats last;
  weir::EmittingTask<Item, Found> stream;
};

/// Awaited emits one by one, and a run.
weir::Task<> send(World& world, Plan plan, weir::Emitter<Item>& out, int first, int last) {
  for (int i = first; i <= last; ++i) {
    if (i % 3 == 0) co_await weir::sleep_for(std::chrono::milliseconds(i));
    Item item(i, world.alive);
    try {
      if (i % 4 == 0) {
        std::vector<weir::SenderEvent<Item>> run;
        run.emplace_back(std::in_place, std::move(item));
        co_await out.emit_run(run);
      } else {
        co_await out.emit(std::move(item));
      }
    } catch (...) {
      ensure(i % 4 == 0 || (item.whole() && item.value == i), "a refused value was not given back");
      throw;
    }
    ++world.accepted;
  }
  if (plan.throws) throw Refused("the source broke");
}

auto scenario(Plan plan) {
  return [plan](weir::sim::Simulator& sim) {
    asio::io_context elsewhere;
    auto& world = sim.keep<World>();
    auto seen = std::make_shared<SceneFinal>();
    int times = 0;
    const std::size_t partitions = plan.way == Way::partitions || plan.way == Way::shared_rate ? 2 : 1;
    const auto sender = [&world, plan](weir::Emitter<Item>& out, weir::Partition part) {
      const int half = part.count == 1 ? events : static_cast<int>(part.end(events));
      return send(world, plan, out, static_cast<int>(part.begin(events)) + 1, half);
    };
    const auto receiver = [&world, plan](auto& event) -> weir::Task<Found> {
      const int value = event.data().value;
      ++world.begun;
      ++world.running;
      co_await weir::sleep_for(std::chrono::milliseconds(value % 2));
      --world.running;
      world.seen.push_back(value);
      if (plan.failing_receiver && value == 4) throw Refused("no good");
      co_return Found(value);
    };
    auto builder = weir::emits<Item>(sim).capacity(plan.capacity).on_error(weir::continue_);
    if (plan.timeout) builder.timeout(5ms);
    switch (plan.way) {
      case Way::batched:
      case Way::slow_batches:
      case Way::partitions:
        world.stream =
            std::move(builder)
                .sender(weir::batched(size, plan.way == Way::slow_batches ? 1h : 2ms).parallel(partitions), sender)
                .receiver(receiver)
                .start();
        break;
      case Way::rate:
      case Way::shared_rate:
        world.stream = std::move(builder)
                           .sender(weir::rate_limited(1000, 2).parallel(partitions), sender)
                           .receiver(receiver)
                           .start();
        break;
    }
    weir::spawn(elsewhere, world.stream.final_event(), [&times, seen](std::exception_ptr error, SceneFinal final) {
      ensure(!error, "waiting for the final event failed");
      ++times;
      *seen = std::move(final);
    });
    const bool gathers = plan.way != Way::rate && plan.way != Way::shared_rate;
    const auto began = sim.now();
    sim.on_step([&, gathers, began] {
      elsewhere.poll();
      elsewhere.restart();
      ensure(times <= 1, "the final event came twice");
      if (!world.stream) return;
      const weir::StreamStats stats = world.stream.stats();
      ensure(stats.balanced(), "the counts add up at every step");
      ensure(stats.emitted >= world.accepted && stats.emitted <= world.accepted + partitions,
             "what was emitted is what the emits returned for, or are about to");
      ensure(stats.emitted >= world.last.emitted && stats.settled() >= world.last.settled(), "counters only grow");
      const std::size_t held = gathers ? size * partitions : 0;
      ensure(stats.emitted <= stats.discarded + world.begun + plan.capacity + held + 1, "what is held is bounded");
      if (!gathers) {
        const auto ms = std::chrono::duration<double, std::milli>(sim.now() - began).count();
        ensure(static_cast<double>(stats.emitted) <= 2 + ms + 1e-6, "no more than the rate allows");
      }
      world.last = stats;
    });
    sim.on_action([&] {
      switch (plan.action) {
        case Action::none:
          break;
        case Action::graceful:
          world.stream.cancel(weir::CancellationLevel::graceful);
          break;
        case Action::forceful:
          world.stream.cancel(weir::CancellationLevel::forceful);
          break;
        case Action::immediate:
          world.stream.cancel(weir::CancellationLevel::immediate);
          break;
        case Action::drop_handle:
          world.stream = weir::EmittingTask<Item, Found>();
          break;
        case Action::end_context:
          sim.stop();
          break;
      }
    });
    sim.run();
    if (sim.stopped()) sim.shut_down();
    elsewhere.restart();
    elsewhere.run();
    ensure(times == 1, "the final event did not come");
    const weir::StreamStats stats = seen->stats();
    ensure(stats.balanced() && stats.buffered == 0 && stats.in_progress == 0, "the final event's counts add up");
    ensure(stats.emitted >= world.accepted, "nothing that was emitted is missing");
    ensure(stats.emitted <= world.accepted + (sim.stopped() ? partitions : 0), "and nothing else is there");
    ensure(world.alive == 0, "a value was lost or kept");
    ensure(stats.processed == seen->collected().size(), "each processed event was collected once");
    if (partitions == 1) ensure(std::is_sorted(world.seen.begin(), world.seen.end()), "in order");
    const weir::Outcome outcome = seen->outcome();
    if (plan.action == Action::none && !plan.timeout) {
      ensure(outcome == (plan.throws ? weir::Outcome::failed : weir::Outcome::completed), "the outcome");
      if (plan.throws) ensure(seen->error().text() == "the source broke", "the error of the sender");
      if (!plan.throws || partitions == 1) ensure(stats.emitted == events, "all were emitted");
      ensure(stats.discarded == 0, "nothing was discarded");
      ensure(stats.failed == (plan.failing_receiver ? 1 : 0), "one failed");
    }
    if (outcome == weir::Outcome::completed)
      ensure(stats.emitted == events && stats.discarded == 0, "completed means all");
    if (plan.action == Action::graceful) ensure(stats.discarded == 0, "a graceful cancel delivers what was emitted");
    if (plan.timeout) ensure(outcome == weir::Outcome::timed_out, "timed out");
  };
}

void explore(Plan plan) {
  if (plan.action == Action::none) {
    weir::sim::explore(scenario(plan));
  } else {
    weir::sim::explore_each_step(scenario(plan));
  }
}

}  // namespace

TEST_CASE("sender strategy: gathering and rates under every schedule, with errors and timeouts") {
  for (const Way way : {Way::batched, Way::slow_batches, Way::partitions, Way::rate, Way::shared_rate}) {
    REQUIRE_NOTHROW(explore({.way = way}));
    REQUIRE_NOTHROW(explore({.way = way, .capacity = 1, .throws = true}));
    REQUIRE_NOTHROW(explore({.way = way, .failing_receiver = true}));
    REQUIRE_NOTHROW(explore({.way = way, .capacity = 2, .timeout = true}));
  }
}

TEST_CASE("sender strategy: gathering and rates, cancelled at each level, dropped and destroyed at every step") {
  for (const Way way : {Way::batched, Way::slow_batches, Way::partitions, Way::rate, Way::shared_rate}) {
    for (const Action action :
         {Action::graceful, Action::forceful, Action::immediate, Action::drop_handle, Action::end_context}) {
      REQUIRE_NOTHROW(explore({.way = way, .action = action, .capacity = 2}));
    }
  }
}
