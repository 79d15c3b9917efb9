/// A client for a server that has bad days.
///
///     api_client [--requests N] [--most-at-once N] [--seed N]
///
/// Starts a server of its own that degrades on purpose: at first it is fast, then it is slow when it is asked for much
/// at once, then it is down for a while, then fast again. The client makes its requests as a stream. `adaptive` finds
/// how many at once the server serves best. A request that fails is made again after a pause that grows, and when most
/// of them fail a circuit breaker leaves the server alone, but for a probe now and then. So every request is answered
/// in the end, once.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <asio/ip/tcp.hpp>
#include <asio/read_until.hpp>
#include <asio/write.hpp>

#include <weir/weir.hpp>

#include "support/degrading_server.hpp"
#include "support/options.hpp"
#include "support/output.hpp"
#include "support/table.hpp"

namespace {

using namespace std::chrono_literals;
using asio::ip::tcp;

constexpr std::string_view program = "api_client";

struct ClientOptions {
  std::uint64_t requests = 10'000;
  std::size_t most_at_once = 32;
  std::uint64_t seed = 1;
};

struct Refused : std::runtime_error {
  explicit Refused(const std::string& reply) : std::runtime_error("the server says " + reply) {}
};

/// Connections that were good when they were used last. One thread runs the client, and so there is no lock.
class Connections {
 public:
  Connections(asio::io_context& context, tcp::endpoint server) : context_(context), server_(std::move(server)) {}

  /// Makes a request, over an idle connection or a new one. A connection on which anything goes wrong is not used
  /// again.
  weir::Task<std::uint64_t> get(std::uint64_t number) {
    tcp::socket socket(context_);
    if (idle_.empty()) {
      co_await socket.async_connect(server_, weir::use_task);
    } else {
      socket = std::move(idle_.back());
      idle_.pop_back();
    }
    std::string text = fmt::format("GET {}\n", number);
    const std::string expected = fmt::format("OK {}", number);
    co_await asio::async_write(socket, asio::buffer(text), weir::use_task);
    text.clear();
    co_await asio::async_read_until(socket, asio::dynamic_buffer(text, 100), '\n', weir::use_task);
    text.pop_back();
    idle_.push_back(std::move(socket));
    if (text != expected) throw Refused(text);
    co_return number;
  }

 private:
  asio::io_context& context_;
  tcp::endpoint server_;
  std::vector<tcp::socket> idle_;
};

std::vector<example::ServerPhase> phases_for(std::uint64_t requests) {
  return {{.name = "fast", .requests = requests * 2 / 5, .capacity = 16},
          {.name = "slow", .requests = requests / 5, .capacity = 4},
          {.name = "down", .requests = 25, .time = 300ms, .failing = true},
          {.name = "fast again", .capacity = 16}};
}

void report(const weir::CircuitStats& calls, const weir::StreamStats& stats) {
  const std::uint64_t all = calls.succeeded + calls.failed;
  const std::string_view state = calls.state == weir::CircuitState::closed ? "closed" : "not closed";
  example::print(fmt::format("requests: {} answered, {} given up, {} retries\n", stats.processed, stats.failed,
                             all - stats.emitted));
  example::print(fmt::format("circuit breaker: opened {} time(s), {} at the end\n", calls.opened, state));
  example::print(
      fmt::format("events: {} emitted = {} processed + {} failed + {} dead-lettered + {} dropped + {} "
                  "discarded: {}\n",
                  stats.emitted, stats.processed, stats.failed, stats.dead_lettered, stats.dropped, stats.discarded,
                  stats.balanced() ? "balanced" : "NOT BALANCED"));
}

void report(const example::DegradingServer& server) {
  example::Table table({"requests", "seconds", "per second", "at once", "the server was"});
  for (std::size_t i = 0; i < server.phases().size(); ++i) {
    const example::ServerPhaseStats& seen = server.stats()[i];
    const double seconds = seen.seconds.count();
    table.add({example::grouped(seen.requests), fmt::format("{:.2f}", seconds),
               fmt::format("{:.0f}", seconds > 0 ? static_cast<double>(seen.requests) / seconds : 0.0),
               fmt::format("{}", seen.most_at_once), server.phases()[i].name});
  }
  example::print("\n" + table.text());
}

weir::Task<bool> ask(asio::io_context& context, const example::DegradingServer& server, const ClientOptions& options) {
  const auto adaptive = weir::adaptive({.max_concurrency = options.most_at_once, .cooling = 200ms});
  const weir::CircuitBreaker breaker(context, {.failure_rate = 0.5, .window = 20, .min_calls = 10, .open_for = 40ms});
  const auto again = weir::RetryPolicy::exponential(2ms).max_delay(50ms).max_attempts(60).full_jitter(options.seed);
  Connections connections(context, server.endpoint());
  auto stream = weir::emits<std::uint64_t>(context)
                    .named("requests")
                    .on_error(weir::circuit_breaker(breaker).otherwise(weir::retry(again)).otherwise(weir::continue_))
                    .sender(std::views::iota(std::uint64_t{1}, options.requests + 1))
                    .receiver(adaptive,
                              [&connections](const auto& event) -> weir::Task<std::uint64_t> {
                                auto answer = weir::with_timeout(2s, connections.get(event.data()));
                                co_return co_await std::move(answer);
                              })
                    .collect(weir::collect::fold(std::uint64_t{0}, std::plus<>()))
                    .start();
  const auto final = co_await stream.final_event();

  report(breaker.stats(), final.stats());
  report(server);
  example::print("\n");
  for (const weir::AdaptiveStep& step : adaptive.trace()) example::print(weir::to_string(step) + "\n");

  if (final.error()) example::complain(program, final.error().text());
  const bool all =
      final.stats().processed == options.requests && final.collected() == options.requests * (options.requests + 1) / 2;
  co_return final&& all&& final.stats().balanced();
}

weir::Task<bool> run(asio::io_context& context, const ClientOptions& options) {
  example::DegradingServer server(context, phases_for(options.requests), options.seed);
  bool answered = false;
  auto both = weir::with_scope([&](weir::Scope& scope) -> weir::Task<> {
    scope.spawn(server.serve());
    answered = co_await ask(context, server, options);
    scope.cancel();
  });
  co_await std::move(both);
  co_return answered;
}

}  // namespace

int main(int argc, char** argv) {
  ClientOptions options;
  CLI::App app("Makes requests to a server that degrades on purpose, until all are answered.", std::string(program));
  app.add_option("--requests", options.requests, "how many")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{100'000'000}))
      ->capture_default_str();
  app.add_option("--most-at-once", options.most_at_once, "the bound of what adapts")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app.add_option("--seed", options.seed, "of the server's moods and the pauses between retries")->capture_default_str();
  if (const auto code = example::parse(app, argc, argv)) return *code;

  bool answered = false;
  std::exception_ptr error;
  try {
    asio::io_context context;
    weir::spawn(context, run(context, options), [&](std::exception_ptr thrown, bool all) {
      error = std::move(thrown);
      answered = all;
    });
    context.run();
    if (error) std::rethrow_exception(error);
  } catch (const std::exception& e) {
    example::complain(program, e.what());
  }
  return answered ? example::exit_done : example::exit_failed;
}
