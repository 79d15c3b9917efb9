#include <weir/stream/flow/to_range.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <atomic>
#include <future>
#include <ranges>
#include <stdexcept>
#include <vector>

#include <asio/use_future.hpp>
#include <weir/stream/flow/map.hpp>
#include <weir/stream/flow/take.hpp>

#include "flow/scene.hpp"

namespace {

using namespace weir_test;

auto failing_after(int count) {
  return weir::from(std::views::iota(1)) | weir::map([count](int n) {
           if (n > count) throw std::runtime_error("no more");
           return n;
         });
}

}  // namespace

TEST_CASE("to_generator: a flow that never waits, one step for each value") {
  int steps = 0;
  const auto step = [&steps](int n) {
    ++steps;
    return 2 * n;
  };
  Ints seen;
  for (const int n : weir::from(std::views::iota(1)) | weir::map(step) | weir::to_generator()) {
    seen.push_back(n);
    if (seen.size() == 3) break;
  }
  CHECK(seen == Ints{2, 4, 6});
  CHECK(steps == 3);
  const auto read = [&seen](auto generator) {
    for (const int n : generator) seen.push_back(n);
  };
  CHECK_THROWS_WITH(read(failing_after(1) | weir::to_generator()), "no more");
  CHECK(seen == Ints{2, 4, 6, 1});
  static_assert(!decltype(weir::from([]() -> weir::Task<std::optional<int>> { co_return 1; }))::synchronous);
}

TEST_CASE("to_channel: a receiver of its values, its error, and no more ahead than the capacity") {
  Simulator sim;
  Ints pulled;
  const auto note = [&pulled](int n) {
    pulled.push_back(n);
    return n;
  };
  auto rx = failing_after(5) | weir::map(note) | weir::to_channel(sim, 2);
  sim.spawn([&]() -> weir::Task<> {
    co_await weir::sleep_for(1ms);
    // One more is in the hands of the sender that waits.
    ensure(pulled == Ints{1, 2, 3}, "pulled ahead");
    for (int expected = 1; expected <= 5; ++expected) {
      const auto value = co_await rx.receive();
      ensure(value == expected, "in order");
    }
    bool thrown = false;
    try {
      co_await rx.receive();
    } catch (const std::runtime_error& error) {
      thrown = std::string(error.what()) == "no more";
    }
    ensure(thrown, "the error comes last");
  });
  REQUIRE_NOTHROW(sim.run());
}

TEST_CASE("to_channel: without a receiver the flow ends with its next value") {
  Simulator sim;
  Ledger ledger;
  FlowScene scene(sim, ledger);
  auto rx = scene.source(1, 1000) | weir::to_channel(sim, 2);
  sim.spawn([](auto receiver) -> weir::Task<> {
    const auto one = co_await receiver.receive();
    ensure(one == 1, "the first");
  }(std::move(rx)));
  sim.run();
  CHECK(scene.pulled <= 5);
  CHECK(ledger.alive == 0);
}

TEST_CASE("to_channel: when its execution context goes before its end, the receivers are told") {
  Simulator other;
  auto context = std::make_unique<Simulator>();
  auto rx = at_times({{1, 1}, {1000, 2}}) | weir::to_channel(*context, 2);
  for (int i = 0; i < 20 && context->elapsed() < 1ms; ++i) context->step();
  context->step();
  context.reset();
  Ints seen;
  const auto see = [&seen](int n) { seen.push_back(n); };
  Root<> root;
  root.start(other, weir::from(std::move(rx)) | weir::for_each(see));
  other.run();
  CHECK(root.cancelled());
  CHECK(seen.size() <= 1);
}

TEST_CASE("to_channel: cancelled and destroyed at every step") {
  const auto make = [](FlowScene& scene) { return weir::from(scene.source() | weir::to_channel(*scene.sim, 1)); };
  const auto judge = [](FlowScene& scene, bool completed) {
    const Ints all{1, 2, 3, 4};
    ensure(std::equal(scene.seen.begin(), scene.seen.end(), all.begin()), "in order");
    ensure(!completed || scene.seen == all, "all of them");
    ensure(scene.pulled <= scene.taken + 3, "pulled ahead");
  };
  REQUIRE_NOTHROW(explore_flow(make, judge, Leftovers::allowed));
}

TEST_CASE("to_range: blocks for each value, in order; ends early, and with what the flow throws") {
  asio::thread_pool pool(2);
  Ints seen;
  const auto later = [](int n) -> weir::Task<int> {
    co_await weir::yield();
    co_return n;
  };
  for (const int n : weir::from(std::views::iota(0, 1000)) | weir::map(later) | weir::to_range(pool, 4)) {
    seen.push_back(n);
  }
  REQUIRE(seen.size() == 1000);
  CHECK(std::ranges::is_sorted(seen));
  {
    auto endless = weir::from(std::views::iota(0)) | weir::to_range(pool, 4);
    CHECK(*endless.begin() == 0);
  }
  seen.clear();
  const auto read = [&seen](auto range) {
    for (const int n : range) seen.push_back(n);
  };
  CHECK_THROWS_WITH(read(failing_after(3) | weir::to_range(pool)), "no more");
  CHECK(seen == Ints{1, 2, 3});
  auto squares = weir::from(Ints{1, 2, 3}) | weir::to_range(pool);
  static_assert(std::ranges::input_range<decltype(squares)>);
  for (const int n : squares | std::views::take(2)) seen.push_back(n);
  CHECK(seen == Ints{1, 2, 3, 1, 2});
  pool.join();
}

TEST_CASE("to_range: it is refused on a thread that its flow needs, and a capacity of nothing where it is given") {
  asio::thread_pool pool(1);
  const auto iterate = [&pool]() -> weir::Task<> {
    auto range = weir::from(Ints{1}) | weir::to_range(pool);
    static_cast<void>(range.begin());
    co_return;
  };
  std::future<void> inside = weir::spawn(pool, iterate, asio::use_future);
  CHECK_THROWS_WITH(inside.get(), Catch::Contains("co_await the flow there"));
  CHECK_THROWS_WITH(weir::to_range(pool, 0), Catch::Contains("at least 1 value"));
  CHECK_THROWS_WITH(weir::to_channel(pool, 0), Catch::Contains("at least 1"));
}
