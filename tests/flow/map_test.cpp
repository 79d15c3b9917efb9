#include <weir/stream/flow/map.hpp>

#include "support/catch.hpp"

#include <memory>
#include <ranges>
#include <string>
#include <vector>

#include "flow/scene.hpp"

namespace {

using namespace weir_test;

weir::Task<int> doubled_later(int n) {
  co_await weir::sleep_for(std::chrono::milliseconds(n));
  co_return 2 * n;
}

}  // namespace

TEST_CASE("map, filter: plain functions, member pointers, and values that can only be moved") {
  CHECK(run(weir::from(Ints{1, 2, 3}) | weir::map([](int n) { return std::to_string(n); }) | weir::to_vector()) ==
        std::vector<std::string>{"1", "2", "3"});
  CHECK(run(weir::from(std::vector<std::string>{"a", "bc"}) | weir::map(&std::string::size) | weir::to_vector()) ==
        std::vector<std::size_t>{1, 2});
  CHECK(run(weir::from(std::views::iota(0, 10)) | weir::filter([](int n) { return n % 3 == 0; }) | weir::to_vector()) ==
        Ints{0, 3, 6, 9});
  const auto box = [](int n) { return std::make_unique<int>(n); };
  const auto big = [](const std::unique_ptr<int>& n) { return *n > 1; };
  const auto open = [](std::unique_ptr<int> n) { return *n; };
  CHECK(run(weir::from(Ints{1, 2, 3}) | weir::map(box) | weir::filter(big) | weir::map(open) | weir::to_vector()) ==
        Ints{2, 3});
}

TEST_CASE("map, filter: a function that returns a task is awaited before the next value is pulled") {
  Simulator sim;
  CHECK(run(sim, weir::from(Ints{3, 1, 2}) | weir::map(doubled_later) | weir::to_vector()) == Ints{6, 2, 4});
  CHECK(sim.elapsed() == 6ms);
  const auto odd_later = [](const int& n) -> weir::Task<bool> {
    co_await weir::sleep_for(1ms);
    co_return n % 2 != 0;
  };
  CHECK(run(weir::from(Ints{3, 1, 2}) | weir::filter(odd_later) | weir::map(doubled_later) | weir::to_vector()) ==
        Ints{6, 2});
}

TEST_CASE("map, filter: what a function throws, the run throws") {
  const auto refuse = [](int n) { return n < 2 ? n : throw std::runtime_error("no " + std::to_string(n)); };
  CHECK_THROWS_WITH(run(weir::from(Ints{1, 2, 3}) | weir::map(refuse) | weir::to_vector()), "no 2");
  const auto refuse_later = [](int n) -> weir::Task<bool> {
    co_await weir::sleep_for(1ms);
    if (n == 2) throw std::runtime_error("later");
    co_return true;
  };
  CHECK_THROWS_WITH(run(weir::from(Ints{1, 2, 3}) | weir::filter(refuse_later) | weir::to_vector()), "later");
}

TEST_CASE("map, filter: cancelled, destroyed, failing and timed out at every step") {
  const auto ten_times = [](FlowScene& scene, bool completed) {
    ensure(!completed || scene.seen == Ints{10, 30}, "all the odd ones, times ten");
    for (std::size_t i = 0; i < scene.seen.size(); ++i) {
      ensure(scene.seen[i] == static_cast<int>(20 * i + 10), "in order");
    }
    ensure(scene.pulled <= 2 * scene.taken + 2, "nothing is pulled ahead");
  };
  const auto plain = [](FlowScene& scene) {
    return scene.source() | weir::filter([](int n) { return n % 2 != 0; }) | weir::map([](int n) { return 10 * n; });
  };
  REQUIRE_NOTHROW(explore_flow(plain, ten_times));
  const auto awaiting = [](FlowScene& scene) {
    const auto odd = [&scene, guard = Guard(scene.ledger)](const int& n) -> weir::Task<bool> {
      const Guard frame(scene.ledger);
      co_await weir::yield();
      co_return n % 2 != 0;
    };
    const auto times_ten = [&scene, guard = Guard(scene.ledger)](int n) -> weir::Task<int> {
      const Guard frame(scene.ledger);
      co_await weir::sleep_for(1ms);
      co_return 10 * n;
    };
    return scene.source() | weir::filter(odd) | weir::map(times_ten);
  };
  REQUIRE_NOTHROW(explore_flow(awaiting, ten_times));
}
