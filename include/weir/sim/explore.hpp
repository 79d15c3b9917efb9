/// Runs a scenario on the simulator under many schedules: random ones, all of them, and with something done at each
/// step.
#pragma once

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <weir/sim/detail/crash_report.hpp>
#include <weir/sim/pct.hpp>
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

/// How the seeds make schedules.
struct Scheduling {
  /// 0: `RandomStrategy`, a uniform choice at each step. Otherwise `PctStrategy`, for bugs of this depth.
  unsigned pct_depth = 0;
  /// How many steps PCT expects. 0: it is learnt from the runs before, the first of which expects 100.
  std::uint64_t pct_length = 0;
};

/// How long to explore, and how. The environment has the last word: `WEIR_SEEDS=n` changes the number of runs,
/// `WEIR_STRATEGY=random` or `pct:3` (or `pct`, or `pct:3:100` with the length) how they are scheduled, and what a
/// failure's message says (`WEIR_SEED=…`, with `WEIR_STEP=…` and `WEIR_STRATEGY=…`, or `WEIR_CHOICES=…`) repeats that
/// run alone. With `WEIR_TALLY=1` the process says at its end how many schedules it has explored, and how fast.
struct ExploreOptions {
  /// The number of runs; 0 is the default, 10000 or what `WEIR_EXPLORE_SEEDS` is defined as.
  std::uint64_t seeds = 0;
  std::uint64_t first_seed = 1;
  /// A run that has not ended after so many steps failed.
  std::uint64_t max_steps = 1'000'000;
  Scheduling scheduling = {};
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

/// "random", "pct", "pct:3", "pct:3:100": false for anything else.
inline bool parse_scheduling(std::string_view text, Scheduling& scheduling) {
  Scheduling parsed;
  if (text != "random") {
    if (!text.starts_with("pct")) return false;
    text.remove_prefix(3);
    parsed.pct_depth = PctOptions().depth;
    const auto number = [&text](auto& value) {
      if (text.empty()) return true;
      const char* const end = text.data() + text.size();
      const auto [rest, error] = std::from_chars(text.data() + 1, end, value);
      if (text[0] != ':' || error != std::errc() || value == 0) return false;
      text.remove_prefix(static_cast<std::size_t>(rest - text.data()));
      return true;
    };
    if (!number(parsed.pct_depth) || !number(parsed.pct_length) || !text.empty()) return false;
  }
  scheduling = parsed;
  return true;
}

inline Scheduling scheduling_of(const ExploreOptions& options) {
  Scheduling scheduling = options.scheduling;
  const char* const text = std::getenv("WEIR_STRATEGY");
  if (text && *text && !parse_scheduling(text, scheduling)) {
    throw Error(Errc::invalid_argument, std::string("WEIR_STRATEGY is neither random nor pct:depth: ") + text);
  }
  return scheduling;
}

/// What the seeded explorations of the process have done together.
class Tally {
 public:
  Tally() = default;
  Tally(const Tally&) = delete;
  Tally& operator=(const Tally&) = delete;
  ~Tally() {
    const char* const asked = std::getenv("WEIR_TALLY");
    if (!asked || !*asked || runs_ == 0) return;
    const double seconds = std::chrono::duration<double>(spent_.load()).count();
    std::fprintf(stderr, "weir: explored %llu schedules, %llu steps, in %.2f s: %.0f schedules a second\n",
                 static_cast<unsigned long long>(runs_), static_cast<unsigned long long>(steps_), seconds,
                 static_cast<double>(runs_) / seconds);
  }
  void add(const Explored& explored, std::chrono::steady_clock::duration spent) noexcept {
    runs_ += explored.runs;
    steps_ += explored.steps;
    spent_.store(spent_.load() + spent);
  }
  static Tally& of_process() {
    static Tally tally;
    return tally;
  }

 private:
  std::atomic<std::uint64_t> runs_{0};
  std::atomic<std::uint64_t> steps_{0};
  std::atomic<std::chrono::steady_clock::duration> spent_{};
};

/// Runs a scenario again and again, and says how to repeat what fails or crashes.
template <class S>
class Runs {
 public:
  Runs(const ExploreOptions& options, S& scenario)
      : options_(options), scenario_(scenario), scheduling_(scheduling_of(options)) {
    repeat_.pct_depth = scheduling_.pct_depth;
    repeat_.name_strategy = scheduling_.pct_depth != 0 || options.scheduling.pct_depth != 0;
  }

  /// One run of a seed, with the action at `step`: its number of steps.
  std::uint64_t run(std::uint64_t seed, std::uint64_t step = never) {
    repeat_.seed = seed;
    repeat_.step = step;
    // The runs of one seed are the same schedule up to their steps.
    if (step == never || explored_.runs == 0) {
      repeat_.pct_length = scheduling_.pct_length != 0 ? scheduling_.pct_length : learnt_;
    }
    const std::uint64_t steps = scheduling_.pct_depth == 0
                                    ? run_on(std::make_unique<RandomStrategy>(seed), name())
                                    : run_on(pct(seed, repeat_.pct_depth, repeat_.pct_length), name());
    // The longest run, forgotten little by little: an unusual one would waste those after it.
    learnt_ = std::max({steps, learnt_ - (learnt_ + 15) / 16, std::uint64_t{1}});
    return steps;
  }

  /// One run of prescribed choices, which is continued in the record.
  void run(std::vector<PrescribedStrategy::Choice>& record) {
    repeat_.choices = &record;
    run_on(std::make_unique<PrescribedStrategy>(record), "choices");
  }

  /// Adds to the tally of the process.
  [[nodiscard]] Explored seeded() const {
    Tally::of_process().add(explored_, std::chrono::steady_clock::now() - begun_);
    return explored_;
  }
  [[nodiscard]] Explored& explored() noexcept { return explored_; }

 private:
  [[nodiscard]] std::string name() const {
    StringSink sink{"seed "};
    sink.number(repeat_.seed);
    if (scheduling_.pct_depth != 0) {
      sink.text(", ");
      repeat_.put_strategy(sink);
    }
    return std::move(sink.string);
  }
  [[nodiscard]] std::string repeat() const {
    StringSink sink;
    repeat_.put(sink);
    return std::move(sink.string);
  }

  std::uint64_t run_on(std::unique_ptr<Strategy> strategy, std::string name) {
    // Ends after the simulator, whose destruction may crash as well.
    const Watched watched{crash_};
    Simulator sim(std::move(strategy), std::move(name));
    crash_.running(sim, repeat_);
    if (repeat_.step != never) sim.act_at(repeat_.step);
    sim.limit_steps(options_.max_steps);
    try {
      scenario_(sim);
      ensure(sim.steps() != 0 || sim.acted(), "the scenario ran nothing: it spawns roots and calls run()");
    } catch (const std::exception& error) {
      std::throw_with_nested(ScenarioFailed(sim.name() + ", step " + std::to_string(sim.steps()) + ": " + error.what() +
                                            "\nrepeat it with " + repeat()));
    } catch (...) {
      std::fprintf(stderr, "weir: failed with %s, step %llu; repeat it with %s\n", sim.name().c_str(),
                   static_cast<unsigned long long>(sim.steps()), repeat().c_str());
      throw;
    }
    ensure(repeat_.step == never || sim.acted(), "the scenario has no action: it calls on_action()");
    explored_.steps += sim.steps();
    ++explored_.runs;
    return sim.steps();
  }

  struct Watched {
    ~Watched() { crash.ended(); }
    CrashReport& crash;
  };

  const ExploreOptions& options_;
  S& scenario_;
  const Scheduling scheduling_;
  const std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
  std::uint64_t learnt_ = PctOptions().length;
  Repeat repeat_;
  Explored explored_;
  CrashReport crash_;
};

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
  detail::Runs<std::remove_reference_t<S>> runs(options, scenario);
  std::uint64_t seed = 0;
  if (detail::environment("WEIR_SEED", seed)) {
    runs.run(seed);
    return runs.seeded();
  }
  const std::uint64_t seeds = detail::seeds_of(options);
  for (seed = options.first_seed; runs.explored().runs < seeds; ++seed) runs.run(seed);
  return runs.seeded();
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
  detail::Runs<std::remove_reference_t<S>> runs(options, scenario);
  std::uint64_t seed = 0;
  if (detail::environment("WEIR_SEED", seed)) {
    std::uint64_t step = detail::never;
    detail::environment("WEIR_STEP", step);
    runs.run(seed, step);
    return runs.seeded();
  }
  const std::uint64_t seeds = detail::seeds_of(options);
  for (seed = options.first_seed; runs.explored().runs < seeds; ++seed) {
    const std::uint64_t steps = runs.run(seed);
    for (std::uint64_t step = 0; step <= steps; ++step) runs.run(seed, step);
  }
  return runs.seeded();
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
  detail::Runs<std::remove_reference_t<S>> runs(options, scenario);
  std::vector<PrescribedStrategy::Choice> record;
  if (const char* const text = std::getenv("WEIR_CHOICES")) {
    record = detail::record_of(text);
    runs.run(record);
    return runs.explored();
  }
  while (runs.explored().runs < bound) {
    runs.run(record);
    if (!PrescribedStrategy::next_sequence(record)) {
      runs.explored().complete = true;
      break;
    }
  }
  return runs.explored();
}

}  // namespace weir::sim
