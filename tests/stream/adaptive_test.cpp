#include <weir/stream/strategy/adaptive.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <string>
#include <vector>

#include <weir/channel/channel.hpp>
#include <weir/core/timer.hpp>
#include <weir/stream/emits.hpp>

#include "stream/run.hpp"

namespace {

using namespace std::chrono_literals;
using weir_test::final_of;

/// Something that serves a few at once.
class Server {
 public:
  Server(weir::sim::Simulator& sim, std::size_t permits)
      : channel_(weir::make_channel<int>(sim, {.capacity = permits})) {}

  weir::Task<> serve(std::chrono::milliseconds time) {
    most_ = std::max(most_, ++at_once_);
    co_await channel_.first.send(1);
    co_await weir::sleep_for(time);
    co_await channel_.second.receive();
    --at_once_;
  }
  [[nodiscard]] std::size_t most() const { return most_; }

 private:
  std::pair<weir::ChannelSender<int>, weir::ChannelReceiver<int>> channel_;
  std::size_t at_once_ = 0;
  std::size_t most_ = 0;
};

/// Something that serves six at once and refuses the others soon.
class Refusing {
 public:
  weir::Task<> serve() {
    if (at_once_ >= 6) {
      co_await weir::sleep_for(1ms);
      throw weir::Error(weir::Errc::invalid_argument, "busy");
    }
    ++at_once_;
    co_await weir::sleep_for(10ms);
    --at_once_;
  }

 private:
  int at_once_ = 0;
};

auto numbers(int n) {
  return [n, i = 0]() mutable -> std::optional<int> { return i < n ? std::optional(i++) : std::nullopt; };
}

/// Where it rested last: it may have been looking around at the end.
weir::AdaptivePoint rested(const weir::Adaptive& strategy) {
  weir::AdaptivePoint last;
  for (const weir::AdaptiveStep& step : strategy.trace()) {
    const bool rests = step.reason == weir::AdaptiveReason::settled || step.reason == weir::AdaptiveReason::revert;
    if (rests) last = step.to;
  }
  return last;
}

bool refused(const weir::AdaptiveOptions& options) {
  try {
    static_cast<void>(weir::adaptive(options));
  } catch (const weir::Error& error) {
    return error.code() == weir::Errc::invalid_argument;
  }
  return false;
}

}  // namespace

TEST_CASE("adaptive: it finds the concurrency that what the receivers wait for can take") {
  for (const std::size_t permits : {1u, 6u, 24u}) {
    weir::sim::Simulator sim;
    Server server(sim, permits);
    auto strategy = weir::adaptive({.max_concurrency = 100});
    auto stream = weir::emits<int>(sim)
                      .sender(numbers(6000))
                      .receiver(strategy, [&server](const auto&) { return server.serve(10ms); })
                      .start();
    const auto final = final_of(sim, stream);
    REQUIRE(final);
    INFO(permits << " permits: " << strategy.current().concurrency << '\n' << strategy.csv());
    CHECK(20 * strategy.current().concurrency >= 19 * permits);
    CHECK(strategy.current().concurrency <= permits + permits / 5 + 1);
    CHECK(final.stats().processed == 6000);
    CHECK(server.most() <= 100);
    // Climbing included.
    const double best = 6000.0 / static_cast<double>(permits) * 0.010;
    CHECK(std::chrono::duration<double>(sim.elapsed()).count() <= best * 1.1 + 1);
  }
}

TEST_CASE("adaptive: it follows a workload that changes") {
  weir::sim::Simulator sim;
  Server few(sim, 2);
  Server many(sim, 40);
  auto strategy = weir::adaptive({.max_concurrency = 64});
  std::vector<std::size_t> ends;
  auto stream = weir::emits<int>(sim)
                    .sender(numbers(12000))
                    .receiver(strategy,
                              [&](const auto& event) -> weir::Task<> {
                                const int phase = event.data() / 3000;
                                if (event.data() % 3000 == 2900) ends.push_back(strategy.current().concurrency);
                                auto& server = phase % 2 == 0 ? few : many;
                                auto serving = server.serve(phase % 2 == 0 ? 2ms : 20ms);
                                co_await std::move(serving);
                              })
                    .start();
  const auto final = final_of(sim, stream);
  REQUIRE(final);
  INFO(strategy.csv());
  REQUIRE(ends.size() == 4);
  CHECK(ends[0] <= 3);
  CHECK(ends[1] >= 38);
  CHECK(ends[2] <= 3);
  CHECK(ends[3] >= 38);
}

TEST_CASE("adaptive: it finds the size of batches as well") {
  weir::sim::Simulator sim;
  auto strategy = weir::adaptive({.max_concurrency = 8});
  // A call costs as much as 20 events: batches of 400 lose a twentieth to it.
  auto stream = weir::emits<int>(sim)
                    .sender(numbers(200'000))
                    .receiver(strategy.batched(512),
                              [](const auto& events) -> weir::Task<> {
                                co_await weir::sleep_for(std::chrono::microseconds(1000 + 50 * events.size()));
                              })
                    .start();
  const auto final = final_of(sim, stream);
  REQUIRE(final);
  INFO(strategy.csv());
  CHECK(final.stats().processed == 200'000);
  CHECK(strategy.describe() == "adaptive(1 to 8)");
  CHECK(strategy.batched(512).describe() == "adaptive(1 to 8).batched(512, 100000 us)");
  CHECK(strategy.current().batch >= 128);
  CHECK(strategy.current().concurrency == 8);
}

TEST_CASE("adaptive: what fails fast, or has to be tried again, is no reason for more of it") {
  for (const bool again : {false, true}) {
    weir::sim::Simulator sim;
    Refusing server;
    auto strategy = weir::adaptive({.max_concurrency = 60, .start_concurrency = again ? 1u : 40u});
    auto emits = weir::emits<int>(sim);
    emits.on_error(weir::continue_);
    if (again) emits.on_error(weir::retry(weir::RetryPolicy::fixed(3ms).max_attempts(1000)));
    auto stream = std::move(emits)
                      .sender(numbers(6000))
                      .receiver(strategy, [&server](const auto&) { return server.serve(); })
                      .start();
    const auto final = final_of(sim, stream);
    REQUIRE(final.stats().balanced());
    INFO(again << '\n' << strategy.csv());
    CHECK(rested(strategy).concurrency >= 5);
    CHECK(rested(strategy).concurrency <= 7);
    // Many fail only until it has found that out.
    const auto trace = strategy.trace();
    CHECK(std::ranges::any_of(trace, [](const auto& step) { return step.failed > 0.1; }));
    if (again) {
      CHECK(final.stats().processed == 6000);
    } else {
      CHECK(trace.front().reason == weir::AdaptiveReason::failing);
      CHECK(final.stats().failed < 2000);
    }
  }
}

TEST_CASE("adaptive: batches that fail are no throughput") {
  weir::sim::Simulator sim;
  Refusing server;
  auto strategy = weir::adaptive({.max_concurrency = 60});
  auto stream = weir::emits<int>(sim)
                    .on_error(weir::continue_)
                    .sender(numbers(60'000))
                    .receiver(strategy.batched(16), [&server](const auto&) { return server.serve(); })
                    .start();
  const auto final = final_of(sim, stream);
  REQUIRE(final.stats().balanced());
  INFO(strategy.csv());
  CHECK(rested(strategy).concurrency >= 5);
  CHECK(rested(strategy).concurrency <= 7);
  CHECK(rested(strategy).batch >= 12);
}

TEST_CASE("adaptive: the trace is bounded, in order, and leads to where it is") {
  weir::sim::Simulator sim;
  auto strategy = weir::adaptive({.max_concurrency = 64, .cooling = 50ms, .trace_length = 8});
  auto stream = weir::emits<int>(sim)
                    .sender(numbers(5000))
                    .receiver(strategy, [](const auto&) -> weir::Task<> { co_await weir::sleep_for(10ms); })
                    .start();
  REQUIRE(final_of(sim, stream));
  const auto trace = strategy.trace();
  REQUIRE(trace.size() == 8);
  for (std::size_t i = 1; i < trace.size(); ++i) {
    CHECK(trace[i].when > trace[i - 1].when);
    CHECK(trace[i].from == trace[i - 1].to);
    CHECK(trace[i].throughput > 0);
    CHECK(trace[i].latency == Approx(0.010));
  }
  CHECK(trace.back().to == strategy.current());
  const std::string csv = strategy.csv();
  CHECK(std::ranges::count(csv, '\n') == 9);
}

TEST_CASE("adaptive: a slow source does not make it start workers") {
  weir::sim::Simulator sim;
  auto strategy = weir::adaptive();
  auto stream = weir::emits<int>(sim)
                    .sender([](weir::Emitter<int>& out) -> weir::Task<> {
                      for (int i = 0; i < 1000; ++i) {
                        co_await weir::sleep_for(10ms);
                        co_await out.emit(i);
                      }
                    })
                    .receiver(strategy, [](const auto&) -> weir::Task<> { co_await weir::sleep_for(3ms); })
                    .start();
  const auto final = final_of(sim, stream);
  CHECK(final.stats().workers == 1);
  CHECK(strategy.current().concurrency == 1);
}

TEST_CASE("adaptive: plain receivers, any capacity, and one handle for two streams") {
  auto strategy = weir::adaptive({.max_concurrency = 4, .start_concurrency = 3});
  for (const std::size_t capacity : {1u, 9u, 1024u}) {
    weir::sim::Simulator sim(capacity);
    auto stream = weir::emits<int>(sim)
                      .capacity(capacity)
                      .sender(numbers(500))
                      .receiver(strategy, [](const auto& event) { return event.data(); })
                      .collect(weir::collect::fold(0, [](int& sum, int n) { sum += n; }))
                      .start();
    const auto final = final_of(sim, stream);
    CHECK(final.collected() == 500 * 499 / 2);
    CHECK(final.stats().workers == 3);
    CHECK(strategy.current().concurrency == 3);
  }
}

TEST_CASE("adaptive: settings that contradict each other are refused") {
  CHECK(refused({.min_concurrency = 0}));
  CHECK(refused({.min_concurrency = 4, .max_concurrency = 3}));
  CHECK(refused({.window = 0ms}));
  CHECK(refused({.cooling = -1ms}));
  CHECK(refused({.gain = 0}));
  CHECK(refused({.gain = 1}));
  CHECK(refused({.change = 0}));
  CHECK(refused({.failing = 0}));
  CHECK(refused({.failing = 1.1}));
  CHECK_FALSE(refused({.failing = 1}));
  CHECK_FALSE(refused({.min_concurrency = 500}));
  CHECK_FALSE(refused({}));
}
