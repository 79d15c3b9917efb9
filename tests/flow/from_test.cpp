#include <weir/stream/flow/from.hpp>

#include "support/catch.hpp"

#include <memory>
#include <ranges>
#include <stdexcept>
#include <string>
#include <vector>

#include <weir/channel/broadcast.hpp>
#include <weir/channel/channel.hpp>
#include <weir/core/generator.hpp>
#include <weir/stream/flow/take.hpp>

#include "flow/scene.hpp"

namespace {

using namespace weir_test;

weir::Generator<int> counting(int& steps) {
  for (int i = 1;; ++i) {
    ++steps;
    co_yield i;
  }
}

}  // namespace

TEST_CASE("from: a container that is given away is moved from, one that is named is copied from") {
  std::vector<std::string> words{"a", "b"};
  CHECK(run(weir::from(words) | weir::to_vector()) == words);
  CHECK(words == std::vector<std::string>{"a", "b"});
  std::vector<std::unique_ptr<int>> boxes;
  boxes.push_back(std::make_unique<int>(7));
  const auto moved = run(weir::from(std::move(boxes)) | weir::to_vector());
  CHECK(*moved.at(0) == 7);
  CHECK(run(weir::from(std::views::iota(0, 3)) | weir::to_vector()) == Ints{0, 1, 2});
  CHECK(run(weir::from(words | std::views::reverse) | weir::to_vector()) == std::vector<std::string>{"b", "a"});
}

TEST_CASE("from: a generator runs one step for each value that is asked for") {
  int steps = 0;
  CHECK(run(weir::from(counting(steps)) | weir::take(3) | weir::to_vector()) == Ints{1, 2, 3});
  CHECK(steps == 3);
}

TEST_CASE("from: a function that gives the next value, at once or later, until it gives none") {
  int calls = 0;
  const auto three = [&calls, n = 0]() mutable -> std::optional<int> {
    ++calls;
    return n < 3 ? std::optional(++n) : std::nullopt;
  };
  CHECK(run(weir::from(three) | weir::to_vector()) == Ints{1, 2, 3});
  CHECK(calls == 4);
  CHECK(run(at_times({{1, 4}, {2, 5}}) | weir::to_vector()) == Ints{4, 5});
  CHECK_THROWS_WITH(run(weir::from([]() -> std::optional<int> { throw std::runtime_error("broke"); }) | weir::count()),
                    "broke");
}

TEST_CASE("from: a channel, until it is closed and drained; the reason is thrown") {
  Simulator sim;
  auto [tx, rx] = weir::make_channel<int>(sim, {.capacity = 2});
  Ints seen;
  const auto see = [&seen](int n) { seen.push_back(n); };
  sim.spawn([](auto sender) -> weir::Task<> {
    for (int i = 1; i <= 5; ++i) co_await sender.send(i);
    sender.close(std::make_exception_ptr(std::runtime_error("no more")));
  }(std::move(tx)));
  CHECK_THROWS_WITH(run(sim, weir::from(std::move(rx)) | weir::for_each(see)), "no more");
  CHECK(seen == Ints{1, 2, 3, 4, 5});
}

TEST_CASE("from: a channel gives up one value for each that is asked for") {
  Simulator sim;
  auto [tx, rx] = weir::make_local_channel<int>(sim, {.capacity = 4});
  for (int i = 1; i <= 4; ++i) CHECK(tx.try_send(i));
  CHECK(run(sim, weir::from(rx) | weir::take(2) | weir::to_vector()) == Ints{1, 2});
  CHECK(rx.stats().buffered == 2);
}

TEST_CASE("from: a broadcast") {
  Simulator sim;
  weir::BroadcastSender<int> tx = weir::make_broadcast<int>(sim, {.capacity = 4});
  auto rx = tx.subscribe();
  sim.spawn([](auto sender) -> weir::Task<> {
    for (int i = 1; i <= 3; ++i) co_await sender.send(i);
  }(std::move(tx)));
  CHECK(run(sim, weir::from(std::move(rx)) | weir::to_vector()) == Ints{1, 2, 3});
}

TEST_CASE("from: a channel's flow, cancelled, destroyed and timed out at every step") {
  const auto make = [](FlowScene& scene) {
    auto [tx, rx] = weir::make_channel<int>(*scene.sim, {.capacity = 1});
    weir::spawn(*scene.sim, [](auto sender, FlowScene& s) -> weir::Task<> {
      for (int i = 1; i <= 4; ++i) {
        if (i == s.failing) {
          sender.close(std::make_exception_ptr(std::runtime_error("broke")));
          co_return;
        }
        co_await sender.send(i);
        ++s.pulled;
      }
    }(std::move(tx), scene));
    return weir::from(std::move(rx));
  };
  const auto judge = [](FlowScene& scene, bool completed) {
    const Ints all{1, 2, 3, 4};
    ensure(std::equal(scene.seen.begin(), scene.seen.end(), all.begin()), "in order");
    ensure(!completed || scene.seen.size() == all.size(), "all of them");
  };
  REQUIRE_NOTHROW(explore_flow(make, judge));
}
