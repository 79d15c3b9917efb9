/// Streams every C and C++ header below a directory: counts their lines, by top folder, and how often each header is
/// included.
///
///     include_census [--strategy parallel:4] [--json] [DIR]
///     include_census --compare [DIR]
#include <algorithm>
#include <array>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <weir/stream/emits.hpp>

#include "support/census.hpp"
#include "support/options.hpp"
#include "support/output.hpp"
#include "support/start.hpp"
#include "support/watch.hpp"

namespace {

constexpr std::string_view program = "include_census";

struct CensusOptions : example::Options {
  std::string root = "/usr/include";
  bool compare = false;
};

using Final = weir::FinalEvent<example::HeaderFile, example::HeaderFacts, example::Census>;

struct Run {
  example::Strategy strategy;
  Final final;
  std::vector<std::string> problems;

  [[nodiscard]] std::uint64_t unreadable() const { return final.stats().failed + problems.size(); }
};

/// One census. `expected` is how many headers there are, where that is known from another.
Run take_census(const CensusOptions& options, const example::Strategy& strategy, example::Watch& watch,
                std::optional<std::uint64_t> expected) {
  example::HeaderWalk walk(options.root);
  // After what its work refers to, so that it is joined before that is gone, whatever is thrown.
  asio::thread_pool pool(example::threads_for(strategy));

  const auto add = [](example::Census& census, example::HeaderFacts&& facts) { census.add(std::move(facts)); };

  auto stream = example::start_with(strategy, [&](auto library_strategy) {
    return weir::emits<example::HeaderFile>(pool)
        .named("include-census")
        .capacity(options.capacity)
        .sender([&walk] { return walk.next(); })
        .receiver(library_strategy, [](const auto& event) { return example::read_header(event.data()); })
        .collect(weir::collect::fold(example::Census(), add))
        .on_error(weir::continue_)
        .start();
  });

  Final final = watch.until_final(stream, [&](const weir::StreamProgress& progress) -> std::optional<double> {
    if (!expected && stream.status() == weir::StreamStatus::draining) expected = progress.emitted;
    if (!expected || *expected == 0) return std::nullopt;
    return static_cast<double>(progress.settled) / static_cast<double>(*expected);
  });
  return {strategy, std::move(final), walk.problems()};
}

void complain_of_unreadable(const Run& run) {
  if (run.unreadable() == 0) return;
  const auto& errors = run.final.errors();
  const std::string& first = run.problems.empty() ? errors.front().message : run.problems.front();
  example::complain(program, fmt::format("{} could not be read and are left out, such as {}", run.unreadable(), first));
}

int count(const CensusOptions& options) {
  example::Watch watch("headers");
  const Run run = take_census(options, options.strategy, watch, std::nullopt);
  if (options.json) {
    auto json = to_json(run.final.collected());
    json["unreadable"] = run.unreadable();
    example::add_run(json, run.strategy, run.final);
    example::print(example::dump(json) + "\n");
  } else {
    example::print(to_text(run.final.collected()));
  }
  complain_of_unreadable(run);
  return example::exit_code(program, run.final, watch.signal());
}

double rate_of(const Run& run) {
  return static_cast<double>(run.final.collected().headers()) / example::seconds_of(run.final);
}

std::string to_text(const std::vector<Run>& runs) {
  example::Table table({"seconds", "headers/s", "lines/s", "to serial", "strategy"});
  for (const Run& run : runs) {
    const double seconds = example::seconds_of(run.final);
    const double lines = static_cast<double>(run.final.collected().lines());
    table.add({fmt::format("{:.3f}", seconds), example::abbreviated(rate_of(run)),
               example::abbreviated(lines / seconds), fmt::format("{:.2f}", rate_of(run) / rate_of(runs.front())),
               to_string(run.strategy)});
  }
  return table.text();
}

nlohmann::ordered_json to_json(const std::vector<Run>& runs) {
  auto json = nlohmann::ordered_json::array();
  for (const Run& run : runs) {
    nlohmann::ordered_json entry;
    entry["headers_per_second"] = rate_of(run);
    entry["to_serial"] = rate_of(run) / rate_of(runs.front());
    example::add_run(entry, run.strategy, run.final);
    json.push_back(std::move(entry));
  }
  return json;
}

/// Every strategy three times in turns, of which the best counts; after one census for nothing, so that all of them
/// find the files in memory.
int compare(const CensusOptions& options) {
  constexpr int rounds = 3;
  const std::vector<example::Strategy> strategies = {
      {}, {.workers = 2}, {.workers = 4}, {.workers = 4, .ordered = true}};
  example::Watch watch("headers");
  const Run first = take_census(options, {}, watch, std::nullopt);
  if (!first.final) return example::exit_code(program, first.final, watch.signal());
  const example::Census& census = first.final.collected();

  std::vector<Run> best;
  std::optional<example::Strategy> different;
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < strategies.size(); ++i) {
      Run run = take_census(options, strategies[i], watch, census.headers() + first.final.stats().failed);
      if (!run.final) return example::exit_code(program, run.final, watch.signal());
      if (run.final.collected() != census || run.unreadable() != first.unreadable()) different = strategies[i];
      if (round == 0) {
        best.push_back(std::move(run));
      } else if (rate_of(run) > rate_of(best[i])) {
        best[i] = std::move(run);
      }
    }
  }

  if (options.json) {
    auto json = to_json(census);
    json["unreadable"] = first.unreadable();
    json["agree"] = !different;
    json["runs"] = to_json(best);
    example::print(example::dump(json) + "\n");
  } else {
    std::string text =
        to_text(census) + fmt::format("\nThroughput, the best of {} runs each\n", rounds) + to_text(best);
    if (!different) text += "\nEvery strategy gives the same answer.\n";
    example::print(text);
  }
  complain_of_unreadable(first);
  if (!different) return example::exit_done;
  example::complain(program, fmt::format("{} gives another answer than serial", to_string(*different)));
  return example::exit_failed;
}

}  // namespace

int main(int argc, char** argv) {
  CensusOptions options;
  CLI::App app("Counts the includes and the lines of every C and C++ header below a directory.", std::string(program));
  app.add_option("DIR", options.root, "where to look")->capture_default_str();
  auto* const compare_flag =
      app.add_flag("--compare", options.compare, "take the census with each strategy, and compare answers and speed");
  example::add_options(app, options);
  app.get_option("--strategy")->excludes(compare_flag);
  app.footer("Ctrl-C stops and prints what was counted so far; a second one does not wait for the backlog.");
  if (const auto code = example::parse(app, argc, argv)) return *code;
  try {
    return options.compare ? compare(options) : count(options);
  } catch (const std::filesystem::filesystem_error& error) {
    example::complain(program, fmt::format("{}: {}", options.root, error.code().message()));
  } catch (const std::exception& error) {
    example::complain(program, error.what());
  }
  return example::exit_failed;
}
