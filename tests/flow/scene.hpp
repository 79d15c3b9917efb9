// Flows on the simulator: run to their end, or explored with everything that can be done to them at each step.
#pragma once

#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <weir/core/shielded.hpp>
#include <weir/core/spawn.hpp>
#include <weir/core/this_task.hpp>
#include <weir/core/timeout.hpp>
#include <weir/core/timer.hpp>
#include <weir/stream/flow/for_each.hpp>
#include <weir/stream/flow/from.hpp>

#include "support/explored_root.hpp"

namespace weir_test {

using weir::sim::ensure;
using weir::sim::Simulator;
using namespace std::chrono_literals;
using Ints = std::vector<int>;

/// Runs a task to its end.
template <class T>
T run(Simulator& sim, weir::Task<T> task) {
  std::optional<std::conditional_t<std::is_void_v<T>, bool, T>> result;
  sim.spawn([&]() -> weir::Task<> {
    if constexpr (std::is_void_v<T>) {
      co_await std::move(task);
      result = true;
    } else {
      result.emplace(co_await std::move(task));
    }
  });
  sim.run();
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}
template <class T>
T run(weir::Task<T> task) {
  Simulator sim;
  return run(sim, std::move(task));
}

/// Values at times, in ms: each is given at the time that it says, or when it is asked for after that.
struct Timed {
  int at;
  int value;
};
inline auto at_times(std::vector<Timed> values) {
  return weir::from(
      [values = std::move(values), next = std::size_t{0},
       start = std::optional<weir::TimeService::TimePoint>()]() mutable -> weir::Task<std::optional<int>> {
        if (!start) start = co_await weir::this_task::now();
        if (next == values.size()) co_return std::nullopt;
        const Timed timed = values[next++];
        co_await weir::sleep_until(*start + std::chrono::milliseconds(timed.at));
        co_return timed.value;
      });
}

/// Has no value before it is cancelled, and takes 5 ms for that.
inline auto reluctant() {
  return weir::from([]() -> weir::Task<std::optional<int>> {
    bool cancelled = false;
    try {
      co_await weir::sleep_for(1h);
    } catch (const weir::Error&) {
      cancelled = true;
    }
    if (cancelled) co_await weir::shielded(weir::sleep_for(5ms));
    co_return std::nullopt;
  });
}

/// What a scenario of a flow sees.
struct FlowScene {
  FlowScene(Simulator& s, Ledger& l) : sim(&s), ledger(l) {}

  /// `from` and so on, `count` of them: every second one has to be waited for, if `waits`. Guarded, and so is each
  /// value's frame.
  auto source(int from = 1, int count = 4, bool waits = true) {
    return weir::from([this, guard = Guard(ledger), next = from, last = from + count - 1,
                       waits]() mutable -> weir::Task<std::optional<int>> {
      const Guard frame(ledger);
      if (next > last) co_return std::nullopt;
      const int value = next++;
      if (waits && value % 2 == 0) co_await weir::sleep_for(2ms);
      if (value == failing) throw std::runtime_error("the source broke");
      ++pulled;
      co_return value;
    });
  }

  Simulator* sim;
  Ledger& ledger;
  int failing = 0;
  int pulled = 0;
  int taken = 0;
  Ints seen;
};

/// What happens besides running the flow: the seed decides.
enum class Trouble { none, slow_consumer, source_fails, consumer_fails, timeout, enough };

inline Trouble trouble_of(const Simulator& sim) {
  return static_cast<Trouble>(std::stoull(sim.name().substr(sim.name().find(' '))) % 6);
}

/// A flow with a root of its own may leave something behind, that ends soon after.
enum class Leftovers { none, allowed };

/// Explores the flow of ints that `make(FlowScene&)` gives: with random schedules, cancelled at each step, and
/// destroyed with its context at each step, each of them under all troubles. When its run has ended, nothing of it is
/// left. `judge(scene, completed)` looks at what came out of it.
template <class Make, class Judge>
void explore_flow(Make make, Judge judge, Leftovers leftovers = Leftovers::none) {
  const auto run_it = [&make, &judge, leftovers](FlowScene& s, Trouble trouble) -> weir::Task<int> {
    const auto consume = [&s, trouble](int value) -> weir::Task<bool> {
      const Guard frame(s.ledger);
      ++s.taken;
      s.seen.push_back(value);
      if (trouble == Trouble::slow_consumer) co_await weir::sleep_for(3ms);
      if (trouble == Trouble::consumer_fails && s.taken == 2) throw std::runtime_error("the consumer broke");
      co_return trouble != Trouble::enough || s.taken != 2;
    };
    int completed = 0;
    std::exception_ptr error;
    try {
      auto running = make(s) | weir::for_each(consume);
      if (trouble == Trouble::timeout) {
        co_await weir::with_timeout(3ms, std::move(running));
      } else {
        co_await std::move(running);
      }
      completed = 1;
    } catch (...) {
      error = std::current_exception();
    }
    ensure(s.ledger.alive == 0 || leftovers == Leftovers::allowed,
           "something of the flow is left when its run has ended");
    judge(s, completed == 1 && (trouble == Trouble::none || trouble == Trouble::slow_consumer));
    if (error) std::rethrow_exception(error);
    co_return completed;
  };
  const auto scene = [&run_it](Simulator& sim, Root<int>& root, Ledger& ledger) {
    auto& flow_scene = sim.keep<FlowScene>(sim, ledger);
    const Trouble trouble = trouble_of(sim);
    if (trouble == Trouble::source_fails) flow_scene.failing = 3;
    root.start(sim, run_it(flow_scene, trouble));
  };
  const auto check = [](Simulator& sim, Root<int>& root) {
    const Trouble trouble = trouble_of(sim);
    if (trouble == Trouble::source_fails || trouble == Trouble::consumer_fails || trouble == Trouble::timeout) return;
    ensure(root.succeeded() || root.cancelled(), "completed or cancelled");
    ensure(root.succeeded() || sim.acted(), "cancelled by nobody");
  };
  explore_root<int>(scene, check);
}

}  // namespace weir_test
