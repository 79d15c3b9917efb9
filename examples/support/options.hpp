/// The options that the examples share, and how they are read.
#pragma once

#include <cstddef>
#include <cstdio>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "support/strategy.hpp"

namespace example {

/// What a program gives back to the shell. An interrupted one gives 128 and the signal's number, as a shell does.
enum ExitCode : int { exit_done = 0, exit_failed = 1, exit_usage = 2, exit_signal = 128 };

struct Options {
  Strategy strategy{.workers = 2};
  std::size_t capacity = 1024;
  bool json = false;
};

/// Adds the shared options to `app`, which writes to `options` when it parses.
inline void add_options(CLI::App& app, Options& options) {
  const auto strategy = [&options](const std::string& text) {
    try {
      options.strategy = parse_strategy(text);
    } catch (const std::invalid_argument& error) {
      throw CLI::ValidationError("--strategy", error.what());
    }
  };
  app.add_option_function<std::string>("--strategy", strategy,
                                       "how events are processed: serial, parallel:N or parallel:N:ordered")
      ->type_name("STRATEGY")
      ->default_str(to_string(options.strategy));
  app.add_option("--capacity", options.capacity, "how many events may wait between the sender and the receivers")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1} << 24U))
      ->type_name("N")
      ->capture_default_str();
  app.add_flag("--json", options.json, "print one JSON object instead of tables");
}

/// Says what stopped the program, in one line on standard error.
inline void complain(std::string_view program, std::string_view what) {
  const std::string line = fmt::format("{}: {}\n", program, what);
  std::fwrite(line.data(), 1, line.size(), stderr);
}

/// Parses the command line. A value is the exit code with which the program should end now: it was asked for help, or
/// in a way that it does not understand.
[[nodiscard]] inline std::optional<int> parse(CLI::App& app, int argc, const char* const* argv) {
  try {
    app.parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::Success& asked) {
    app.exit(asked);
    return exit_done;
  } catch (const CLI::ParseError& error) {
    complain(app.get_name(), fmt::format("{} (--help says more)", error.what()));
    return exit_usage;
  }
}

}  // namespace example
