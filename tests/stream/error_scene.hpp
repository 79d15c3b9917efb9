// A stream whose receiver fails by a plan, on the simulator, with a channel of dead letters and all that must hold.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include <weir/core/timer.hpp>
#include <weir/stream/strategy/parallel.hpp>

#include "stream/scene.hpp"

namespace weir_test {

using Letters = weir::ChannelSender<weir::DeadLetter<Item>>;

struct PlanOptions {
  int events = 5;
  std::size_t capacity = 2;
  std::size_t letters = 1;        // the room in their channel
  bool waiting_receiver = false;  // a coroutine
  std::map<int, int> failures;    // how often an event fails
};

struct Plan {
  explicit Plan(PlanOptions o) : options(std::move(o)) {}

  PlanOptions options;
  int alive = 0;
  std::map<int, int> calls;
  std::map<int, std::uint32_t> buried;
  std::set<int> collected;

  Found call(int value) {
    const auto plan = options.failures.find(value);
    if (++calls[value] <= (plan == options.failures.end() ? 0 : plan->second)) throw Refused(std::to_string(value));
    return Found(value);
  }
};

/// Runs it with the error policy that `policy(tx)` makes, acts, and looks at the end: `judge(plan, final, sim)`.
template <class Strategy, class MakePolicy, class Judge>
auto plan_of(PlanOptions options, Strategy strategy, MakePolicy policy, Action action, Judge judge) {
  return [options, strategy, policy, action, judge](weir::sim::Simulator& sim) {
    asio::io_context elsewhere;
    auto& plan = sim.keep<Plan>(options);
    auto& stream = sim.keep<SceneStream>();
    auto seen = std::make_shared<SceneFinal>();
    int times = 0;
    {
      auto [tx, rx] = weir::make_channel<weir::DeadLetter<Item>>(sim, {.capacity = options.letters});
      auto builder = weir::emits<Item>(sim).capacity(options.capacity).on_error(policy(std::move(tx)));
      auto sending = std::move(builder).sender([&plan](weir::Emitter<Item>& out) -> weir::Task<> {
        for (int i = 1; i <= plan.options.events; ++i) {
          Item item(i, plan.alive);
          co_await out.emit(std::move(item));
        }
      });
      if (options.waiting_receiver) {
        stream = std::move(sending)
                     .receiver(strategy,
                               [&plan](auto& event) -> weir::Task<Found> {
                                 co_await weir::sleep_for(std::chrono::milliseconds(1));
                                 co_return plan.call(event.data().value);
                               })
                     .start();
      } else {
        stream = std::move(sending)
                     .receiver(strategy, [&plan](auto& event) { return plan.call(event.data().value); })
                     .start();
      }
      sim.spawn(
          [](Plan& p, auto letters) -> weir::Task<> {
            while (auto letter = co_await letters.receive()) {
              const int value = letter->data().value;
              ensure(letter->data().whole(), "a letter without its event");
              ensure(letter->message() == std::to_string(value), "a letter with another's error");
              ensure(p.buried.emplace(value, letter->attempts()).second, "an event was buried twice");
              ensure(static_cast<int>(letter->attempts()) == p.calls[value], "the letter says how often it was tried");
            }
          }(plan, std::move(rx)),
          "reads the dead letters");
    }
    weir::spawn(elsewhere, stream.final_event(), [&times, seen](std::exception_ptr error, SceneFinal final) {
      ensure(!error, "waiting for the final event failed");
      ++times;
      *seen = std::move(final);
    });
    weir::StreamStats last;
    sim.on_step([&] {
      elsewhere.poll();
      elsewhere.restart();
      if (!stream) return;
      const weir::StreamStats stats = stream.stats();
      ensure(stats.balanced(), "emitted == settled + buffered + in progress");
      ensure(stats.settled() >= last.settled() && stats.dead_lettered >= last.dead_lettered, "counters only grow");
      last = stats;
    });
    sim.on_action([&] {
      switch (action) {
        case Action::none:
          break;
        case Action::graceful:
          stream.cancel(weir::CancellationLevel::graceful);
          break;
        case Action::forceful:
          stream.cancel(weir::CancellationLevel::forceful);
          break;
        case Action::immediate:
          stream.cancel(weir::CancellationLevel::immediate);
          break;
        case Action::drop_handle:
          stream = SceneStream();
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
    const SceneFinal final = *seen;
    const weir::StreamStats stats = final.stats();
    ensure(stats.balanced() && stats.buffered == 0 && stats.in_progress == 0, "the final event's counts add up");
    ensure(stats.processed == final.collected().size(), "each processed event was collected once");
    for (const Found& found : final.collected()) {
      ensure(plan.collected.insert(*found.value).second, "an event was collected twice");
      ensure(plan.buried.count(*found.value) == 0, "an event was collected and buried");
    }
    if (!sim.stopped()) {
      ensure(stats.dead_lettered == plan.buried.size(), "each letter was counted once");
      ensure(final.errors().size() == stats.failed, "each failed event has its error");
    }
    ensure(plan.alive == 0, "a value was lost or kept");
    judge(plan, final, sim);
  };
}

/// The strategies, plain and waiting receivers, every action at every step.
template <class MakePolicy, class Judge>
void explore_plan(PlanOptions options, MakePolicy policy, Judge judge) {
  const auto explore_with = [&](auto strategy) {
    weir::sim::explore(plan_of(options, strategy, policy, Action::none, judge));
    for (const Action action :
         {Action::graceful, Action::forceful, Action::immediate, Action::drop_handle, Action::end_context}) {
      weir::sim::explore_each_step(plan_of(options, strategy, policy, action, judge));
    }
  };
  for (const bool waiting : {false, true}) {
    options.waiting_receiver = waiting;
    explore_with(weir::parallel(2));
    explore_with(weir::parallel(2).ordered());
  }
}

}  // namespace weir_test
