/// Averages of measurements over windows of time.
///
///     windowed_average [--length SECONDS] [--step SECONDS] [--live] FILE
///
/// FILE ("-": standard input) is a recording, one measurement a line: when it was made, in seconds, and its value. It
/// is replayed on a virtual clock, so that an hour of it takes a moment; with --live it takes the hour. The flow is the
/// same in both: only the execution context differs, whose clock it is.
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>
#include <optional>
#include <span>
#include <string>
#include <system_error>

#include <fmt/format.h>
#include <weir/core/sync_wait.hpp>
#include <weir/core/this_task.hpp>
#include <weir/core/timer.hpp>
#include <weir/sim/simulator.hpp>
#include <weir/stream/flow.hpp>

#include "support/options.hpp"
#include "support/output.hpp"

namespace {

constexpr std::string_view program = "windowed_average";
using Seconds = std::chrono::duration<double>;
using TimePoint = weir::TimeService::TimePoint;

struct AverageOptions {
  std::string path;
  double length = 10;
  double step = 10;
  bool live = false;
};

struct Average {
  std::size_t count;
  double mean;
};

Average average_of(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return {values.size(), sum / static_cast<double>(values.size())};
}

/// Gives each measurement when its time has come.
class Recording {
 public:
  explicit Recording(std::istream& in) : in_(in) {}

  weir::Task<std::optional<double>> next() {
    if (!start_) start_ = co_await weir::this_task::now();
    for (std::string line; std::getline(in_, line);) {
      double at = 0;
      double value = 0;
      if (std::sscanf(line.c_str(), "%lf %lf", &at, &value) != 2 || !(at >= 0 && at < 1e9) || !std::isfinite(value)) {
        ++malformed_;
        continue;
      }
      co_await weir::sleep_until(*start_ + std::chrono::round<TimePoint::duration>(Seconds(at)));
      co_return value;
    }
    co_return std::nullopt;
  }

  [[nodiscard]] std::size_t malformed() const { return malformed_; }

 private:
  std::istream& in_;
  std::optional<TimePoint> start_;
  std::size_t malformed_ = 0;
};

weir::Task<> print_averages(Recording& recording, const AverageOptions& options) {
  const TimePoint start = co_await weir::this_task::now();
  const auto print = [start](const Average& average) -> weir::Task<> {
    const Seconds now = co_await weir::this_task::now() - start;
    example::print(fmt::format("{:.3f} {:.6g} {}\n", now.count(), average.mean, average.count));
  };
  auto averages = weir::from([&recording] { return recording.next(); }) |
                  weir::window(Seconds(options.length), Seconds(options.step), weir::at_most(1'000'000), average_of) |
                  weir::for_each(print);
  co_await std::move(averages);
}

int run(const AverageOptions& options) {
  std::ifstream file;
  if (options.path != "-") {
    file.open(options.path);
    if (!file) throw std::system_error(errno, std::generic_category(), options.path);
  }
  Recording recording(options.path == "-" ? std::cin : file);
  if (options.live) {
    weir::sync_wait(print_averages(recording, options));
  } else {
    weir::sim::Simulator replay;
    replay.limit_steps(~std::uint64_t{0});
    replay.spawn(print_averages(recording, options));
    replay.run();
  }
  if (recording.malformed() != 0) {
    example::complain(program, fmt::format("{} line(s) are no measurements and are left out", recording.malformed()));
  }
  return example::exit_done;
}

}  // namespace

int main(int argc, char** argv) {
  AverageOptions options;
  CLI::App app("Averages of recorded measurements over windows of time: when, the average, and of how many.",
               std::string(program));
  app.add_option("FILE", options.path, "lines of a time in seconds and a value; - is standard input")->required();
  app.add_option("--length", options.length, "how far back a window looks, in seconds")->capture_default_str();
  app.add_option("--step", options.step, "the time from one window to the next, in seconds")->capture_default_str();
  app.add_flag("--live", options.live, "take the time that the recording took");
  if (const auto code = example::parse(app, argc, argv)) return *code;
  try {
    return run(options);
  } catch (const std::exception& error) {
    example::complain(program, error.what());
  }
  return example::exit_failed;
}
