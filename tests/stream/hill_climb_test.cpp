#include <weir/stream/detail/hill_climb.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace {

using weir::AdaptivePoint;
using weir::AdaptiveReason;
using weir::detail::HillClimb;
using weir::detail::WindowMeasurement;
using namespace std::chrono_literals;

/// What a workload does at a point: events a second, how many workers are busy, and which part of the events fails.
struct Response {
  double rate;
  double in_use;
  double failed = 0;
};
using Workload = std::function<Response(AdaptivePoint)>;

/// Waits for something that serves `permits` at once, in `seconds` each.
Workload waiting(double permits, double seconds) {
  return [=](AdaptivePoint p) {
    const auto workers = static_cast<double>(p.concurrency);
    return Response{std::min(workers, permits) / seconds, workers};
  };
}
/// The same, but it suffers from those that wait.
Workload suffering(double permits, double seconds) {
  return [=](AdaptivePoint p) {
    const auto workers = static_cast<double>(p.concurrency);
    const double over = std::max(0.0, workers - permits);
    return Response{std::min(workers, permits) / (seconds * (1 + over / permits)), workers};
  };
}
/// Serves so many at once, and refuses the others within no time.
Workload refusing(double permits, double seconds) {
  return [=](AdaptivePoint p) {
    const auto workers = static_cast<double>(p.concurrency);
    const double served = std::min(workers, permits) / seconds;
    const double refused = std::max(0.0, workers - permits) / (seconds / 10);
    return Response{served + refused, workers, refused / (served + refused)};
  };
}
/// Every so manieth event fails, whatever the workers do.
Workload spoilt(double part, const Workload& otherwise) {
  return [=](AdaptivePoint p) {
    Response response = otherwise(p);
    response.failed = part;
    return response;
  };
}
/// So many events a second are emitted, whatever the workers do.
Workload starved(double rate, double seconds) {
  return [=](AdaptivePoint p) {
    const double got = std::min(rate, static_cast<double>(p.concurrency) / seconds);
    return Response{got, got * seconds};
  };
}

/// Feeds windows of 20 ms to a climb.
class Run {
 public:
  explicit Run(HillClimb::Limits limits, double noise = 0) : climb_(limits), noise_(noise) {}

  void go(const Workload& workload, int windows) {
    for (int i = 0; i < windows; ++i) {
      const Response is = workload(climb_.point());
      WindowMeasurement seen;
      now_ += 20ms;
      seen.end = now_;
      seen.length = 20ms;
      seen.events = static_cast<std::uint64_t>(is.rate * 0.020 * (1 + noise_ * dice()));
      seen.busy = std::chrono::nanoseconds(static_cast<std::int64_t>(is.in_use * 20e6));
      seen.failed = static_cast<std::uint64_t>(static_cast<double>(seen.events) * is.failed);
      most_ = std::max(most_, climb_.point().concurrency);
      if (const auto move = climb_.feed(seen)) moves.push_back(*move);
    }
  }
  /// The same until it rests.
  void settle(const Workload& workload, int windows) {
    for (int i = 0; i < windows && !resting(); ++i) go(workload, 1);
  }
  [[nodiscard]] std::size_t concurrency() const { return climb_.point().concurrency; }
  [[nodiscard]] std::size_t batch() const { return climb_.point().batch; }
  [[nodiscard]] bool resting() const { return climb_.resting(); }
  /// The most that it had since this was asked last.
  [[nodiscard]] std::size_t most() { return std::exchange(most_, 0); }
  [[nodiscard]] bool moved_to_rest() const {
    return resting() || moved_for(AdaptiveReason::settled) || moved_for(AdaptiveReason::revert);
  }
  [[nodiscard]] bool moved_for(AdaptiveReason reason) const {
    return std::ranges::any_of(moves, [reason](const auto& move) { return move.reason == reason; });
  }

  std::vector<HillClimb::Move> moves;

 private:
  /// From -1 to 1.
  double dice() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<double>(state_ >> 40) / static_cast<double>(1 << 23) - 1;
  }

  HillClimb climb_;
  double noise_;
  std::size_t most_ = 0;
  weir::EventTime now_{1h};
  std::uint64_t state_ = 42;
};

HillClimb::Limits limits(std::size_t most, std::size_t start = 1) {
  HillClimb::Limits limits;
  limits.most = {most, 1};
  limits.start = {start, 1};
  return limits;
}

}  // namespace

TEST_CASE("hill climb: it finds the least concurrency of nearly the best throughput") {
  for (const double permits : {1.0, 2.0, 5.0, 12.0, 40.0, 100.0}) {
    for (const std::size_t start : {1u, 7u, 128u}) {
      Run run(limits(128, start));
      run.settle(waiting(permits, 0.001), 60);
      INFO(permits << " permits, from " << start << ": " << run.concurrency());
      CHECK(run.resting());
      CHECK(static_cast<double>(run.concurrency()) >= permits * 0.95);
      CHECK(static_cast<double>(run.concurrency()) <= permits * 1.15);
    }
  }
}

TEST_CASE("hill climb: it goes back from where it gets worse") {
  Run run(limits(256));
  run.go(suffering(10, 0.001), 40);
  CHECK(run.resting());
  CHECK(run.concurrency() >= 9);
  CHECK(run.concurrency() <= 11);
}

TEST_CASE("hill climb: what little more workers give is not worth them") {
  Run run(limits(16, 16));
  run.go(
      [](AdaptivePoint p) {
        const auto workers = static_cast<double>(p.concurrency);
        return Response{100'000 * (1 + 0.001 * workers), workers};
      },
      40);
  CHECK(run.concurrency() == 1);
  // Each time as far as before, in the direction that went well.
  CHECK(run.moves.size() <= 6);
}

TEST_CASE("hill climb: it stays within its limits") {
  HillClimb::Limits bounded = limits(6, 3);
  bounded.least.concurrency = 2;
  Run more(bounded);
  more.go(waiting(1000, 0.001), 60);
  CHECK(more.concurrency() == 6);
  Run less(bounded);
  less.go(suffering(1, 0.001), 60);
  CHECK(less.concurrency() == 2);
  for (const Run* run : {&more, &less}) {
    for (const auto& move : run->moves) {
      CHECK((move.to.concurrency >= 2 && move.to.concurrency <= 6));
      CHECK(move.to.batch == 1);
    }
  }
}

TEST_CASE("hill climb: noise does not carry it away") {
  for (const double noise : {0.02, 0.05}) {
    Run run(limits(128), noise);
    run.go(waiting(16, 0.001), 2000);
    INFO(noise << ": " << run.concurrency() << " after " << run.moves.size() << " moves");
    CHECK(run.concurrency() >= 13);
    CHECK(run.concurrency() <= 24);
  }
}

TEST_CASE("hill climb: at rest it moves seldom, and ever less") {
  Run run(limits(128));
  run.settle(waiting(16, 0.001), 100);
  REQUIRE(run.resting());
  run.moves.clear();
  run.go(waiting(16, 0.001), 50 * 60);
  // A minute: it looks at its neighbours after 1, 2, 4 and then every 8 seconds.
  const auto looks =
      std::ranges::count_if(run.moves, [](const auto& m) { return m.reason == AdaptiveReason::recheck; });
  CHECK(looks >= 4);
  CHECK(looks <= 24);
  CHECK(run.moves.size() <= 36);
  CHECK_FALSE(run.moved_for(AdaptiveReason::changed));
}

TEST_CASE("hill climb: it climbs anew when the events take another time") {
  Run run(limits(128));
  run.go(waiting(4, 0.001), 60);
  REQUIRE(run.concurrency() <= 5);
  run.go(waiting(64, 0.010), 80);
  CHECK(run.moved_for(AdaptiveReason::changed));
  CHECK(run.concurrency() >= 60);
  run.moves.clear();
  run.go(waiting(2, 0.0001), 80);
  CHECK(run.moved_for(AdaptiveReason::changed));
  CHECK(run.concurrency() <= 3);
}

TEST_CASE("hill climb: one odd window is no other workload") {
  Run run(limits(128));
  run.go(waiting(4, 0.001), 30);
  REQUIRE(run.resting());
  run.moves.clear();
  run.go(waiting(4, 0.004), 1);
  run.go(waiting(4, 0.001), 10);
  CHECK(run.moves.empty());
}

TEST_CASE("hill climb: workers that idle are not added to, and given up in time") {
  Run run(limits(128, 40));
  run.go(starved(1000, 0.010), 200);
  INFO(run.concurrency());
  CHECK(run.concurrency() >= 10);
  CHECK(run.concurrency() <= 22);
  for (const auto& move : run.moves) CHECK(move.to.concurrency <= 40);
  // When there is work again, so are they.
  run.moves.clear();
  run.go(waiting(100, 0.010), 600);
  CHECK(run.concurrency() >= 90);
}

TEST_CASE("hill climb: when there is less to do, it rests a while before workers go, and does not probe") {
  Run run(limits(128));
  run.go(starved(1000, 0.010), 80);
  REQUIRE(run.resting());
  REQUIRE(run.concurrency() >= 10);
  run.moves.clear();
  run.go(starved(200, 0.010), 40);
  CHECK(run.moves.empty());
  run.go(starved(200, 0.010), 400);
  CHECK(run.concurrency() <= 4);
  CHECK(run.moved_for(AdaptiveReason::idle));
  CHECK(run.moves.front().reason == AdaptiveReason::idle);
}

TEST_CASE("hill climb: a better place that appears without another latency is found by looking again") {
  Run run(limits(128));
  run.go(waiting(8, 0.008), 40);
  REQUIRE(run.resting());
  const std::size_t before = run.concurrency();
  // Twice the permits: each worker that is there is as fast as before.
  run.go(waiting(16, 0.008), 200);
  CHECK(before <= 9);
  CHECK(run.concurrency() >= 15);
}

TEST_CASE("hill climb: it finds the batch size as well") {
  HillClimb::Limits both = limits(16);
  both.most.batch = 512;
  // Each batch costs as much as 30 events; four can be under way.
  const Workload costly = [](AdaptivePoint p) {
    const double batch = static_cast<double>(p.batch);
    const double workers = static_cast<double>(p.concurrency);
    const double one = 1e-5 * (30 + batch);
    return Response{std::min(workers, 4.0) * batch / one, workers};
  };
  Run run(both);
  run.go(costly, 60);
  CHECK(run.resting());
  INFO(run.concurrency() << " x " << run.batch());
  CHECK(costly({run.concurrency(), run.batch()}).rate >= 0.85 * costly({4, 512}).rate);
  CHECK(run.concurrency() <= 5);
}

TEST_CASE("hill climb: it finds that more workers pay only in larger batches") {
  HillClimb::Limits both = limits(4);
  both.most.batch = 512;
  // To take a batch is one's own, and the slower the more want to; what it holds is worked on side by side.
  const Workload crowding = [](AdaptivePoint p) {
    const double batch = static_cast<double>(p.batch);
    const double workers = static_cast<double>(p.concurrency);
    const double take = 4e-7 * workers;
    const double work = 2e-7 * batch;
    return Response{batch / std::max(take, (take + work) / std::min(workers, 2.0)), std::min(workers, 2.0)};
  };
  CHECK(crowding({2, 1}).rate < crowding({1, 1}).rate);
  Run run(both);
  run.settle(crowding, 120);
  REQUIRE(run.resting());
  INFO(run.concurrency() << " x " << run.batch());
  CHECK(run.concurrency() == 2);
  CHECK(crowding({run.concurrency(), run.batch()}).rate >= 0.85 * crowding({2, 512}).rate);
}

TEST_CASE("hill climb: what is known of one dimension is not taken for the other") {
  // Whatever the workload answers: each move stays within the limits, and it comes to rest.
  std::uint64_t state = 1;
  const auto dice = [&state] {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<double>(state >> 40) / static_cast<double>(1 << 24);
  };
  for (int tries = 0; tries < 500; ++tries) {
    HillClimb::Limits both = limits(1 + static_cast<std::size_t>(dice() * 64));
    both.most.batch = 1 + static_cast<std::size_t>(dice() * 1024);
    const double workers_pay = dice() * 2 - 0.5;
    const double batches_pay = dice() * 2 - 0.5;
    const double noise = dice() < 0.5 ? 0.0 : 0.5;
    const double idle = dice() < 0.3 ? 0.2 : 1.0;
    const Workload any = [&](AdaptivePoint p) {
      const auto workers = static_cast<double>(p.concurrency);
      const double rate = 1e5 * std::pow(workers, workers_pay) * std::pow(static_cast<double>(p.batch), batches_pay);
      return Response{std::clamp(rate * (1 + noise * (dice() - 0.5)), 1e3, 1e12),
                      workers * (dice() < 0.5 ? idle : 1.0)};
    };
    Run run(both);
    bool within = true;
    for (int windows = 0; windows < 400; ++windows) {
      run.go(any, 1);
      within = within && run.concurrency() >= 1 && run.concurrency() <= both.most.concurrency;
      within = within && run.batch() >= 1 && run.batch() <= both.most.batch;
    }
    CHECK(within);
    CHECK(run.moved_to_rest());
  }
}

TEST_CASE("hill climb: when events take longer it tries less first") {
  for (const bool suffers : {false, true}) {
    Run run(limits(128));
    run.go(waiting(32, 0.010), 60);
    REQUIRE(run.resting());
    REQUIRE(run.concurrency() >= 30);
    const std::size_t before = run.concurrency();
    run.moves.clear();
    static_cast<void>(run.most());
    run.go(suffers ? suffering(4, 0.010) : waiting(64, 0.020), 40);
    const auto changed = std::ranges::find(run.moves, AdaptiveReason::changed, &HillClimb::Move::reason);
    REQUIRE(changed != run.moves.end());
    CHECK(changed->to.concurrency < before);
    INFO(run.concurrency());
    CHECK(run.resting());
    if (suffers) {
      // What suffers is never pressed.
      CHECK(run.most() <= before);
      CHECK(run.concurrency() <= 5);
    } else {
      CHECK(run.concurrency() >= 60);
    }
  }
}

TEST_CASE("hill climb: when events take less time it tries more first") {
  Run run(limits(128));
  run.go(waiting(8, 0.010), 60);
  run.moves.clear();
  run.go(waiting(64, 0.002), 3);
  const auto changed = std::ranges::find(run.moves, AdaptiveReason::changed, &HillClimb::Move::reason);
  REQUIRE(changed != run.moves.end());
  CHECK(changed->to.concurrency > changed->from.concurrency);
}

HillClimb::Limits careful(std::size_t most, std::size_t start = 1) {
  HillClimb::Limits careful = limits(most, start);
  careful.failing = 0.1;
  return careful;
}

TEST_CASE("hill climb: what fails fast is no throughput") {
  for (const std::size_t start : {1u, 16u, 100u}) {
    for (const bool backs_off : {true, false}) {
      Run run(backs_off ? careful(128, start) : limits(128, start));
      run.go(refusing(16, 0.010), 3);
      run.settle(refusing(16, 0.010), 100);
      INFO("from " << start << ": " << run.concurrency());
      CHECK(run.resting());
      CHECK(run.concurrency() >= 13);
      CHECK(run.concurrency() <= 17);
    }
  }
}

TEST_CASE("hill climb: it backs off by a tenth from what fails, and comes back in small steps") {
  Run run(careful(128));
  run.go(waiting(40, 0.010), 60);
  REQUIRE(run.concurrency() >= 38);
  const std::size_t before = run.concurrency();
  run.moves.clear();
  static_cast<void>(run.most());
  run.go(refusing(30, 0.010), 60);
  REQUIRE(run.moves.size() >= 2);
  std::size_t from = before;
  for (const auto& move : run.moves) {
    if (move.reason != AdaptiveReason::failing) break;
    CHECK(move.from.concurrency == from);
    CHECK(move.to.concurrency == from * 9 / 10);
    from = move.to.concurrency;
  }
  CHECK(from < before);
  CHECK(run.moved_for(AdaptiveReason::recovered));
  CHECK(run.most() <= before);
  CHECK(run.concurrency() >= 26);
  CHECK(run.concurrency() <= 31);
}

TEST_CASE("hill climb: when nothing works any more it keeps the least, until something does") {
  Run run(careful(128));
  run.go(waiting(40, 0.010), 60);
  const std::size_t before = run.concurrency();
  run.moves.clear();
  run.go(spoilt(1, waiting(1000, 0.0001)), 100);
  CHECK(run.concurrency() == 1);
  for (const auto& move : run.moves) CHECK(move.reason == AdaptiveReason::failing);
  run.go(waiting(40, 0.010), 60);
  CHECK(run.moved_for(AdaptiveReason::recovered));
  CHECK(run.concurrency() + 2 >= before);
}

TEST_CASE("hill climb: failures that don't come from its workers are taken for granted") {
  Run run(careful(128));
  run.go(spoilt(0.3, waiting(40, 0.010)), 150);
  INFO(run.concurrency());
  CHECK(run.concurrency() >= 38);
  // It looks whether half of the workers do better, once.
  CHECK(run.moved_for(AdaptiveReason::failing));
  CHECK(std::ranges::count(run.moves, AdaptiveReason::failing, &HillClimb::Move::reason) <= 8);
  // Until there are more of them, or there were none for long.
  run.moves.clear();
  run.go(spoilt(0.5, waiting(40, 0.010)), 5);
  CHECK(run.moved_for(AdaptiveReason::failing));
  run.go(waiting(40, 0.010), 200);
  REQUIRE(run.concurrency() >= 38);
  run.moves.clear();
  run.go(spoilt(0.3, waiting(40, 0.010)), 5);
  CHECK(run.moved_for(AdaptiveReason::failing));
}

TEST_CASE("hill climb: a few that fail do not matter") {
  Run run(careful(128));
  run.go(spoilt(0.05, waiting(40, 0.010)), 150);
  CHECK_FALSE(run.moved_for(AdaptiveReason::failing));
  CHECK(run.concurrency() >= 38);
}

TEST_CASE("hill climb: windows without events tell nothing") {
  HillClimb climb(limits(8));
  WindowMeasurement nothing;
  nothing.length = 20ms;
  CHECK_FALSE(climb.feed(nothing));
  CHECK(climb.point() == AdaptivePoint{1, 1});
}
