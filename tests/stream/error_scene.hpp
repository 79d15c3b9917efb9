// A stream whose receiver fails by a plan, on the simulator, with a channel of dead letters and all that must hold.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <weir/core/timer.hpp>
#include <weir/stream/strategy/parallel.hpp>

#include "stream/scene.hpp"

namespace weir_test {

using Letters = weir::ChannelSender<weir::DeadLetter<Item>>;
/// Sets the error policy of a stream, which may use the letters.
using SetPolicy = std::function<void(decltype(weir::emits<Item>(std::declval<weir::sim::Simulator&>()))&, Letters)>;

struct PlanOptions {
  int events = 5;
  std::size_t capacity = 2;
  std::size_t letters = 1;        // the room in their channel
  bool waiting_receiver = false;  // a coroutine
  std::map<int, int> failures;    // how often an event fails
  bool fails_fast = false;        // an attempt may be no call
};

struct Plan {
  explicit Plan(PlanOptions o) : options(std::move(o)) {}

  PlanOptions options;
  int alive = 0;
  std::map<int, int> calls;
  std::map<int, std::uint32_t> buried;
  std::set<int> collected;
  bool in_batches = false;

  Found call(int value) {
    const auto plan = options.failures.find(value);
    if (++calls[value] <= (plan == options.failures.end() ? 0 : plan->second)) throw Refused(std::to_string(value));
    return Found(value);
  }

  using Batch = std::span<weir::ReceiverEvent<Item>>;

  struct Plain {
    Found operator()(weir::ReceiverEvent<Item>& event) const { return plan->call(event.data().value); }
    Plan* plan;
  };
  struct Waiting {
    weir::Task<Found> operator()(weir::ReceiverEvent<Item>& event) const {
      Plan& at = *plan;
      co_await weir::sleep_for(std::chrono::milliseconds(1));
      co_return at.call(event.data().value);
    }
    Plan* plan;
  };
  /// Each event of a batch is called, whatever becomes of the others.
  struct PlainBatch {
    void operator()(Batch batch, weir::Collector<Found>& out) const {
      std::exception_ptr error;
      for (auto& event : batch) {
        try {
          out.collect(plan->call(event.data().value));
        } catch (...) {
          error = std::current_exception();
        }
      }
      if (error) std::rethrow_exception(error);
    }
    Plan* plan;
  };
  struct WaitingBatch {
    weir::Task<> operator()(Batch batch, weir::Collector<Found>& out) const {
      Plan& at = *plan;
      co_await weir::sleep_for(std::chrono::milliseconds(1));
      PlainBatch{&at}(batch, out);
    }
    Plan* plan;
  };
  struct Sending {
    weir::Task<> operator()(weir::Emitter<Item>& out) const {
      Plan& at = *plan;
      for (int i = 1; i <= at.options.events; ++i) {
        Item item(i, at.alive);
        co_await out.emit(std::move(item));
      }
    }
    Plan* plan;
  };
};

using PlanJudge = std::function<void(Plan&, const SceneFinal&, weir::sim::Simulator&)>;
/// The options and the policy of a run.
using MakePlan = std::function<std::pair<PlanOptions, SetPolicy>(const weir::sim::Simulator&)>;

/// Runs what `make` says, acts, and looks at the end: `judge(plan, final, sim)`.
template <class Strategy>
auto plan_of(MakePlan make, Strategy strategy, Action action, PlanJudge judge) {
  return [make, strategy, action, judge](weir::sim::Simulator& sim) {
    const auto [options, set_policy] = make(sim);
    asio::io_context elsewhere;
    auto& plan = sim.keep<Plan>(options);
    auto& stream = sim.keep<SceneStream>();
    auto seen = std::make_shared<SceneFinal>();
    int times = 0;
    {
      auto [tx, rx] = weir::make_channel<weir::DeadLetter<Item>>(sim, {.capacity = options.letters});
      auto builder = weir::emits<Item>(sim).capacity(options.capacity);
      set_policy(builder, std::move(tx));
      auto sending = std::move(builder).sender(Plan::Sending{&plan});
      constexpr bool in_batches = weir::detail::in_batches<Strategy>;
      plan.in_batches = in_batches;
      if (options.waiting_receiver) {
        using Receiver = std::conditional_t<in_batches, Plan::WaitingBatch, Plan::Waiting>;
        stream = std::move(sending).receiver(strategy, Receiver{&plan}).start();
      } else {
        using Receiver = std::conditional_t<in_batches, Plan::PlainBatch, Plan::Plain>;
        stream = std::move(sending).receiver(strategy, Receiver{&plan}).start();
      }
      sim.spawn(
          [](Plan& p, auto letters) -> weir::Task<> {
            while (auto letter = co_await letters.receive()) {
              const int value = letter->data().value;
              ensure(letter->data().whole(), "a letter without its event");
              ensure(p.buried.emplace(value, letter->attempts()).second, "an event was buried twice");
              // What was called in a batch may be given up alone.
              if (p.in_batches) continue;
              const int attempts = static_cast<int>(letter->attempts());
              const int calls = p.calls[value];
              if (letter->message() == weir::make_error_code(weir::Errc::circuit_open).message()) {
                ensure(attempts > calls, "what an open circuit refuses is no call");
              } else {
                ensure(letter->message() == std::to_string(value), "a letter with another's error");
                ensure(p.options.fails_fast ? attempts >= calls : attempts == calls, "it says how often it was tried");
              }
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

/// Every action at every step.
template <class Strategy>
void explore_plans(const MakePlan& make, Strategy strategy, const PlanJudge& judge) {
  weir::sim::explore(plan_of(make, strategy, Action::none, judge));
  for (const Action action : all_actions) {
    if (action != Action::none) weir::sim::explore_each_step(plan_of(make, strategy, action, judge));
  }
}

/// The same with plain and waiting receivers, and strategies that do and don't settle at once.
inline void explore_plan(PlanOptions options, const SetPolicy& policy, const PlanJudge& judge) {
  for (const bool waiting : {false, true}) {
    options.waiting_receiver = waiting;
    const auto make = [&](const weir::sim::Simulator&) { return std::pair(options, policy); };
    explore_plans(make, weir::parallel(2), judge);
    explore_plans(make, weir::parallel(2).ordered(), judge);
  }
}

}  // namespace weir_test
