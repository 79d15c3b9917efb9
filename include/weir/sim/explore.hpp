/// Runs a scenario on the simulator under many schedules: random ones, all of them, and with something done at each
/// step.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <weir/sim/simulator.hpp>

namespace weir::sim {

/// What an exploration throws for a scenario that failed with a `std::exception`, which is nested in it. The message
/// says how to repeat the run. Something else that is thrown, such as a test framework's failed assertion, is passed on
/// untouched, and what repeats it is written to standard error.
class ScenarioFailed : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// What an exploration did.
struct Explored {
  std::uint64_t runs = 0;
  std::uint64_t steps = 0;
  /// Every schedule was run: only an exhaustive search can say so.
  bool complete = false;
};

/// How long to explore. The environment has the last word: `WEIR_SEEDS=n` changes the number of runs, and what a
/// failure's message says (`WEIR_SEED=…`, `WEIR_STEP=…`, `WEIR_CHOICES=…`) repeats that run alone.
struct ExploreOptions {
  /// The number of runs; 0 is the default, 10000 or what `WEIR_EXPLORE_SEEDS` is defined as.
  std::uint64_t seeds = 0;
  std::uint64_t first_seed = 1;
  /// A run that has not ended after so many steps failed.
  std::uint64_t max_steps = 1'000'000;
};

/// What is explored. It sets a scene on the simulator that it is given (spawns roots, adds hooks), calls `run()`, and
/// checks the outcome; it fails by throwing. It is called once for each run and must do the same each time.
template <class S>
concept Scenario = std::invocable<S&, Simulator&>;

namespace detail {

#ifdef WEIR_EXPLORE_SEEDS
inline constexpr std::uint64_t default_seeds = WEIR_EXPLORE_SEEDS;
#else
inline constexpr std::uint64_t default_seeds = 10000;
#endif

/// A number in the environment: false if it is not there.
inline bool environment(const char* name, std::uint64_t& value) {
  const char* const text = std::getenv(name);
  if (!text || !*text) return false;
  char* end = nullptr;
  const unsigned long long number = std::strtoull(text, &end, 10);
  if (*end != '\0') throw Error(Errc::invalid_argument, std::string(name) + " is not a number: " + text);
  value = number;
  return true;
}

inline std::uint64_t seeds_of(const ExploreOptions& options) {
  std::uint64_t seeds = options.seeds != 0 ? options.seeds : default_seeds;
  environment("WEIR_SEEDS", seeds);
  return seeds;
}

/// One run: its steps, or its failure with `repeat()`, which says how to repeat it.
template <class S, class Repeat>
std::uint64_t run_scenario(S& scenario, Simulator& sim, const ExploreOptions& options, const Repeat& repeat) {
  sim.limit_steps(options.max_steps);
  try {
    scenario(sim);
    ensure(sim.steps() != 0 || sim.acted(), "the scenario ran nothing: it spawns roots and calls run()");
  } catch (const std::exception& error) {
    std::throw_with_nested(ScenarioFailed(sim.name() + ", step " + std::to_string(sim.steps()) + ": " + error.what() +
                                          "\nrepeat it with " + repeat()));
  } catch (...) {
    std::fprintf(stderr, "weir: failed with %s, step %llu; repeat it with %s\n", sim.name().c_str(),
                 static_cast<unsigned long long>(sim.steps()), repeat().c_str());
    throw;
  }
  return sim.steps();
}

inline std::string text_of(const std::vector<PrescribedStrategy::Choice>& record) {
  std::string text;
  for (const auto& choice : record) {
    if (!text.empty()) text += ',';
    text += std::to_string(choice.index);
  }
  return text;
}

inline std::vector<PrescribedStrategy::Choice> record_of(const char* text) {
  std::vector<PrescribedStrategy::Choice> record;
  while (*text) {
    char* end = nullptr;
    record.push_back({std::strtoull(text, &end, 10), 0});
    if (end == text) throw Error(Errc::invalid_argument, std::string("WEIR_CHOICES is not a list of numbers: ") + text);
    text = *end == ',' ? end + 1 : end;
  }
  return record;
}

}  // namespace detail

/// Runs the scenario once for each seed. Throws at the first failure: see `ScenarioFailed`.
template <Scenario S>
Explored explore(const ExploreOptions& options, S&& scenario) {
  Explored explored;
  const auto run = [&](std::uint64_t seed) {
    Simulator sim(seed);
    explored.steps += detail::run_scenario(scenario, sim, options, [&] { return "WEIR_SEED=" + std::to_string(seed); });
    ++explored.runs;
  };
  std::uint64_t seed = 0;
  if (detail::environment("WEIR_SEED", seed)) {
    run(seed);
    return explored;
  }
  const std::uint64_t seeds = detail::seeds_of(options);
  for (seed = options.first_seed; explored.runs < seeds; ++seed) run(seed);
  return explored;
}

template <Scenario S>
Explored explore(S&& scenario) {
  return sim::explore(ExploreOptions(), scenario);
}

/// Runs the scenario with its action (`Simulator::on_action`) taken at every step of it: for each seed in turn, once
/// without, to learn how many steps it has, and then before step 0, 1 and so on, and after the last. Ends with the
/// first seed that has brought the number of runs to what the options ask for, so each seed that was begun was done at
/// every step. Throws as `explore` does.
template <Scenario S>
Explored explore_each_step(const ExploreOptions& options, S&& scenario) {
  constexpr std::uint64_t never = static_cast<std::uint64_t>(-1);
  Explored explored;
  const auto run = [&](std::uint64_t seed, std::uint64_t step) {
    Simulator sim(seed);
    sim.act_at(step);
    const std::uint64_t steps = detail::run_scenario(scenario, sim, options, [&] {
      return "WEIR_SEED=" + std::to_string(seed) + (step == never ? "" : " WEIR_STEP=" + std::to_string(step));
    });
    ensure(step == never || sim.acted(), "the scenario has no action: it calls on_action()");
    explored.steps += steps;
    ++explored.runs;
    return steps;
  };
  std::uint64_t seed = 0;
  if (detail::environment("WEIR_SEED", seed)) {
    std::uint64_t step = never;
    detail::environment("WEIR_STEP", step);
    run(seed, step);
    return explored;
  }
  const std::uint64_t seeds = detail::seeds_of(options);
  for (seed = options.first_seed; explored.runs < seeds; ++seed) {
    const std::uint64_t steps = run(seed, never);
    for (std::uint64_t step = 0; step <= steps; ++step) run(seed, step);
  }
  return explored;
}

template <Scenario S>
Explored explore_each_step(S&& scenario) {
  return sim::explore_each_step(ExploreOptions(), scenario);
}

/// Runs the scenario under every schedule, depth first, but not more than `bound` times; `complete` says whether that
/// was enough. For small scenarios: their number grows with the factorial of what is ready at once. Throws as `explore`
/// does.
template <Scenario S>
Explored explore_all(std::uint64_t bound, S&& scenario, const ExploreOptions& options = {}) {
  Explored explored;
  std::vector<PrescribedStrategy::Choice> record;
  const auto run = [&] {
    Simulator sim(std::make_unique<PrescribedStrategy>(record), "choices");
    explored.steps +=
        detail::run_scenario(scenario, sim, options, [&] { return "WEIR_CHOICES=" + detail::text_of(record); });
    ++explored.runs;
  };
  if (const char* const text = std::getenv("WEIR_CHOICES")) {
    record = detail::record_of(text);
    run();
    return explored;
  }
  while (explored.runs < bound) {
    run();
    if (!PrescribedStrategy::next_sequence(record)) {
      explored.complete = true;
      break;
    }
  }
  return explored;
}

}  // namespace weir::sim
