/// Reads a web server's access log through a stream, and counts in one pass: requests by status and by hour, requests
/// and bytes by path, and the lines that are no log lines at all.
///
///     access_log [--strategy parallel:4] [--json] FILE
///     zcat access.log.*.gz | access_log
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <system_error>

#include <fmt/format.h>
#include <weir/stream/emits.hpp>

#include "support/log_input.hpp"
#include "support/log_summary.hpp"
#include "support/options.hpp"
#include "support/output.hpp"
#include "support/start.hpp"
#include "support/watch.hpp"

namespace {

struct LogOptions : example::Options {
  std::string path;
  bool merge_queries = false;
};

int count(const LogOptions& options, example::LogInput input) {
  const std::optional<std::uint64_t> size = input.size();
  std::atomic<std::uint64_t> bytes_read{0};

  example::Watch watch("lines");
  // After what its work refers to, so that it is joined before that is gone, whatever is thrown.
  asio::thread_pool pool(example::threads_for(options.strategy));

  const auto read_record = [&bytes_read, merge = options.merge_queries](const auto& event) {
    bytes_read.fetch_add(event.data().size() + 1, std::memory_order_relaxed);
    return example::read_log_record(event.id(), event.data(), merge);
  };
  const auto add = [](example::LogSummary& summary, example::LogRecord&& record) { summary.add(std::move(record)); };

  auto stream = example::start_with(options.strategy, [&](auto strategy) {
    return weir::emits<std::string>(pool)
        .named("access-log")
        .capacity(options.capacity)
        .sender(example::LineSender(std::move(input)))
        .receiver(strategy, read_record)
        .collect(weir::collect::fold(example::LogSummary(), add))
        .start();
  });

  const auto final = watch.until_final(stream, [&](const weir::StreamProgress&) -> std::optional<double> {
    if (!size || *size == 0) return std::nullopt;
    return static_cast<double>(bytes_read.load(std::memory_order_relaxed)) / static_cast<double>(*size);
  });

  const example::LogSummary& summary = final.collected();
  if (options.json) {
    auto json = to_json(summary);
    example::add_run(json, options.strategy, final);
    example::print(example::dump(json) + "\n");
  } else {
    example::print(to_text(summary));
  }
  return example::exit_code("access_log", final, watch.signal());
}

}  // namespace

int main(int argc, char** argv) {
  LogOptions options;
  CLI::App app("Counts the requests of an access log in the common or the combined format.", "access_log");
  app.add_option("FILE", options.path, "the log; - or nothing for standard input");
  app.add_flag("--merge-queries", options.merge_queries, "count /page?a and /page?b as /page");
  example::add_options(app, options);
  app.footer("Ctrl-C stops reading and prints what was counted so far; a second one does not wait for the backlog.");
  if (const auto code = example::parse(app, argc, argv)) return *code;

  if (options.path.empty()) {
    if (::isatty(STDIN_FILENO) == 1) {
      example::complain("access_log", "there is nothing to read: name a file, or pipe a log in (--help says more)");
      return example::exit_usage;
    }
    options.path = "-";
  }
  try {
    return count(options, example::LogInput(options.path));
  } catch (const std::exception& error) {
    example::complain("access_log", error.what());
    return example::exit_failed;
  }
}
