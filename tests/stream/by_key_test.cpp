#include <weir/stream/strategy/by_key.hpp>

#include "support/catch.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <weir/core/timer.hpp>
#include <weir/stream/strategy/parallel.hpp>

#include "stream/run.hpp"
#include "stream/scene.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weir_test;

int key_of(const Item& item) { return item.value % 2; }

struct Keyed {
  std::size_t key;
  int number;
};

/// What came of a stream by keys whose every event takes 1 ms.
struct Run {
  bool in_order = true;
  std::size_t most_under_way = 0;
  std::map<std::size_t, weir::TimeService::Duration> last;  // when a key's last event was done
  weir::TimeService::Duration all{};
};

Run by_keys(std::size_t workers, std::size_t capacity, std::vector<std::size_t> keys) {
  weir::sim::Simulator sim;
  Run run;
  std::map<std::size_t, int> seen;
  int emitted = 0;
  int done = 0;
  const auto send = [&](weir::Emitter<Keyed>& out) -> weir::Task<> {
    std::map<std::size_t, int> next;
    for (const std::size_t key : keys) {
      const Keyed event{key, next[key]++};
      co_await out.emit_emplace(event);
      run.most_under_way = std::max(run.most_under_way, static_cast<std::size_t>(++emitted - done));
    }
  };
  auto stream = weir::emits<Keyed>(sim)
                    .capacity(capacity)
                    .sender(send)
                    .receiver(weir::parallel(workers).by_key(&Keyed::key),
                              [&](const auto& event) -> weir::Task<> {
                                const Keyed& one = event.data();
                                run.in_order = run.in_order && seen[one.key]++ == one.number;
                                co_await weir::sleep_for(1ms);
                                run.last[one.key] = sim.elapsed();
                                ++done;
                              })
                    .start();
  const auto final = final_of(sim, stream);
  CHECK(final.stats().processed == keys.size());
  run.all = sim.elapsed();
  return run;
}

/// Nine of ten events have key 0, the others keys of their own.
std::vector<std::size_t> skewed(std::size_t count) {
  std::vector<std::size_t> keys;
  for (std::size_t i = 0; i < count; ++i) keys.push_back(i % 10 == 9 ? i : 0);
  return keys;
}

}  // namespace

TEST_CASE("by_key: cancelled at each level, dropped and destroyed at every step") {
  REQUIRE_NOTHROW(explore_strategy(weir::ByKey(3, &key_of), [](Scene& scene, const SceneFinal&, weir::sim::Simulator&) {
    ensure(scene.record.at_once <= 2, "one of each key at a time");
    std::map<int, int> last;
    for (const int value : scene.record.begun) {
      ensure(value > last[value % 2], "events of one key in order");
      last[value % 2] = value;
    }
  }));
}

TEST_CASE("by_key: different keys don't wait for each other, whatever their hashes have in common") {
  // Pointers, ids that were given out in steps: their low bits are the same.
  for (const std::size_t step : {1U, 64U, 256U, 4096U, 1U << 20U}) {
    std::vector<std::size_t> keys;
    for (std::size_t i = 0; i < 40; ++i) keys.push_back(i * step);
    const Run run = by_keys(8, 64, keys);
    CHECK(run.all == 5ms);
  }
}

TEST_CASE("by_key: a key with nine of ten events holds up the others no more than its order asks for") {
  const Run run = by_keys(4, 1024, skewed(500));
  CHECK(run.in_order);
  // Its 450 are done one after another, without a pause; meanwhile the 50 others are done by the 3 other workers.
  CHECK(run.last.at(0) == 450ms);
  CHECK(run.all == 450ms);
  for (const auto& [key, when] : run.last) CHECK((key == 0 || when <= 18ms));
}

TEST_CASE("by_key: what waits for its key is bounded by the capacity, and the key's worker never idles") {
  for (const std::size_t capacity : {2U, 8U, 32U}) {
    const Run run = by_keys(4, capacity, skewed(1000));
    CHECK(run.in_order);
    CHECK(run.most_under_way <= capacity + 4);
    CHECK(run.all <= 901ms);
  }
}
