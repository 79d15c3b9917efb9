#include <weir/core/token_bucket.hpp>

#include "support/catch.hpp"

#include <deque>
#include <optional>
#include <vector>

#include <weir/core/spawn.hpp>
#include <weir/core/this_task.hpp>
#include <weir/core/timeout.hpp>
#include <weir/core/timer.hpp>
#include <weir/sim/explore.hpp>

#include "support/allocation_counter.hpp"

namespace {

using namespace std::chrono_literals;
using weir::Task;
using weir::TokenBucket;
using weir::sim::ensure;
using weir::sim::Simulator;

struct Taken {
  int who;
  weir::TimeService::Duration at;
  std::size_t n;
};

Task<> take(Simulator& sim, TokenBucket bucket, int who, int times, std::size_t n, std::vector<Taken>& log) {
  for (int i = 0; i < times; ++i) {
    co_await bucket.acquire(n);
    log.push_back({who, sim.elapsed(), n});
  }
}

/// In any time t no more than burst + t * rate.
void check_rate(const std::vector<Taken>& log, double rate, double burst) {
  for (std::size_t i = 0; i < log.size(); ++i) {
    double tokens = 0;
    for (std::size_t j = i; j < log.size(); ++j) {
      tokens += static_cast<double>(log[j].n);
      const double seconds = std::chrono::duration<double>(log[j].at - log[i].at).count();
      ensure(tokens <= burst + seconds * rate + 1e-6, "more tokens than the rate allows");
    }
  }
}

std::error_code refusal(auto make) {
  try {
    make();
  } catch (const weir::Error& error) {
    return error.code();
  }
  return {};
}

}  // namespace

TEST_CASE("token_bucket: a burst at once, then the rate") {
  Simulator sim(1);
  std::vector<Taken> log;
  sim.spawn(take(sim, TokenBucket(sim, 100, 3), 1, 7, 1, log));
  sim.run();
  std::vector<weir::TimeService::Duration> times;
  for (const Taken& taken : log) times.push_back(taken.at);
  CHECK(times == std::vector<weir::TimeService::Duration>{0ms, 0ms, 0ms, 10ms, 20ms, 30ms, 40ms});
}

TEST_CASE("token_bucket: after a pause there is a burst again, and no more") {
  Simulator sim(1);
  const TokenBucket bucket(sim, 100, 3);
  CHECK(bucket.available() == 3);
  std::vector<Taken> log;
  sim.spawn([&]() -> Task<> {
    co_await take(sim, bucket, 1, 3, 1, log);
    co_await weir::sleep_for(1s);
    CHECK(bucket.available() == 3);
    CHECK(bucket.try_acquire(3));
    CHECK_FALSE(bucket.try_acquire());
    co_await take(sim, bucket, 1, 1, 1, log);
  });
  sim.run();
  CHECK(log.back().at == 1010ms);
}

TEST_CASE("token_bucket: bad settings and requests are refused") {
  Simulator sim(1);
  const auto invalid = weir::make_error_code(weir::Errc::invalid_argument);
  for (const double rate : {0.0, -1.0, std::nan(""), HUGE_VAL})
    CHECK(refusal([&] { TokenBucket(sim, rate); }) == invalid);
  for (const double burst : {0.5, -1.0, std::nan(""), HUGE_VAL}) {
    CHECK(refusal([&] { TokenBucket(sim, 1, burst); }) == invalid);
  }
  CHECK(TokenBucket(sim, 5).burst() == 1);
  CHECK(TokenBucket(sim, 100'000).burst() == 1000);
  Simulator other(1);
  std::vector<std::error_code> codes;
  other.spawn([&, elsewhere = TokenBucket(sim, 1), here = TokenBucket(other, 1, 2)]() -> Task<> {
    for (const auto& [bucket, n] : {std::pair(elsewhere, 1), std::pair(here, 3)}) {
      try {
        co_await bucket.acquire(static_cast<std::size_t>(n));
      } catch (const weir::Error& error) {
        codes.push_back(error.code());
      }
    }
  });
  other.run();
  CHECK(codes == std::vector<std::error_code>(2, invalid));
}

TEST_CASE("token_bucket: the first come is the first served, also when a later one asks for less") {
  Simulator sim(1);
  const TokenBucket bucket(sim, 10, 4);
  std::vector<Taken> log;
  CHECK(bucket.try_acquire(4));
  sim.spawn([&]() -> Task<> { co_await take(sim, bucket, 1, 1, 4, log); });
  sim.spawn([&]() -> Task<> {
    co_await weir::sleep_for(100ms);
    CHECK_FALSE(bucket.try_acquire());
    co_await take(sim, bucket, 2, 1, 1, log);
  });
  sim.run();
  REQUIRE(log.size() == 2);
  CHECK(log[0].who == 1);
  CHECK(log[0].at == 400ms);
  CHECK(log[1].at == 500ms);
}

TEST_CASE("token_bucket: a timeout takes no token, and who comes next goes ahead") {
  Simulator sim(1);
  const TokenBucket bucket(sim, 10, 2);
  std::vector<Taken> log;
  std::error_code code;
  CHECK(bucket.try_acquire(2));
  sim.spawn([&]() -> Task<> {
    try {
      co_await weir::with_timeout(150ms, take(sim, bucket, 1, 1, 2, log));
    } catch (const weir::Error& error) {
      code = error.code();
    }
  });
  sim.spawn([&]() -> Task<> {
    co_await weir::sleep_for(1ms);
    co_await take(sim, bucket, 2, 2, 1, log);
  });
  sim.run();
  CHECK(code == weir::Errc::timed_out);
  REQUIRE(log.size() == 2);
  CHECK(log[0].at == 150ms);
  CHECK(log[1].at == 200ms);
}

TEST_CASE("token_bucket: cancelled or destroyed at any step, the rate and the order hold and none is lost") {
  struct World {
    explicit World(Simulator& sim) : bucket(std::in_place, sim, 1000, 2) {}
    std::optional<TokenBucket> bucket;
    std::vector<Taken> log;
    std::deque<int> queue;
    int ended = 0;
  };
  enum class Action { none, cancel, destroy };
  const auto scene = [](Action action) {
    return [action](Simulator& sim) {
      auto& world = sim.keep<World>(sim);
      auto& signal = sim.keep<asio::cancellation_signal>();
      for (int who = 1; who <= 3; ++who) {
        auto run = [](Simulator& s, World& w, int me) -> Task<> {
          for (int i = 0; i < 2; ++i) {
            co_await w.bucket->acquire();
            w.log.push_back({me, s.elapsed(), 1});
          }
        }(sim, world, who);
        const auto slot = who == 2 ? signal.slot() : asio::cancellation_slot();
        weir::spawn(sim, std::move(run),
                    asio::bind_cancellation_slot(slot, [&world](std::exception_ptr) { ++world.ended; }));
      }
      sim.on_action([&sim, &signal, action] {
        if (action == Action::cancel) signal.emit(asio::cancellation_type::all);
        if (action == Action::destroy) sim.stop();
      });
      sim.run();
      check_rate(world.log, 1000, 2);
      if (sim.stopped()) {
        sim.shut_down();
        return;
      }
      ensure(world.ended == 3, "all end");
      ensure(world.log.size() >= 4 && world.log.size() <= 6, "each that was not cancelled has its tokens");
      if (!sim.acted()) ensure(world.log.size() == 6 && sim.elapsed() == 4ms, "as fast as the rate allows");
      const double left = 2 + std::chrono::duration<double>(sim.elapsed()).count() * 1000;
      ensure(static_cast<double>(world.log.size()) <= left + 1e-6, "no token out of nothing");
      ensure(sim.elapsed() <= 4ms, "nobody waits for one that has gone");
      world.bucket.reset();
    };
  };
  REQUIRE_NOTHROW(weir::sim::explore(scene(Action::none)));
  REQUIRE_NOTHROW(weir::sim::explore_each_step(scene(Action::cancel)));
  REQUIRE_NOTHROW(weir::sim::explore_each_step(scene(Action::destroy)));
}

TEST_CASE("token_bucket: neither taking nor waiting allocates") {
  Simulator sim(1);
  const TokenBucket bucket(sim, 1000, 2);
  std::uint64_t allocations = 1;
  sim.spawn([&]() -> Task<> {
    for (int i = 0; i < 5; ++i) co_await bucket.acquire();
    const weir_test::AllocationCounter counter;
    for (int i = 0; i < 5; ++i) co_await bucket.acquire();
    allocations = counter.count();
  });
  sim.run();
  CHECK(allocations == 0);
}
