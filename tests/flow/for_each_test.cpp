#include <weir/stream/flow/for_each.hpp>

#include "support/catch.hpp"

#include <functional>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <asio/use_future.hpp>
#include <weir/core/awaitable.hpp>
#include <weir/core/sync_wait.hpp>
#include <weir/stream/flow/map.hpp>
#include <weir/stream/flow/merge.hpp>

#include "flow/scene.hpp"

namespace {

using namespace weir_test;

}  // namespace

TEST_CASE("for_each: plain, awaited, and until it has enough") {
  Ints seen;
  run(weir::from(Ints{1, 2, 3}) | weir::for_each([&seen](int n) { seen.push_back(n); }));
  CHECK(seen == Ints{1, 2, 3});
  run(weir::from(Ints{4, 5, 6}) | weir::for_each([&seen](int n) {
        seen.push_back(n);
        return n < 5;
      }));
  CHECK(seen == Ints{1, 2, 3, 4, 5});
  Simulator sim;
  const auto later = [&seen](int n) -> weir::Task<> {
    co_await weir::sleep_for(1ms);
    seen.push_back(n);
  };
  run(sim, weir::from(Ints{7, 8}) | weir::for_each(later));
  CHECK(seen == Ints{1, 2, 3, 4, 5, 7, 8});
  CHECK(sim.elapsed() == 2ms);
}

TEST_CASE("fold, reduce, count, first, to_vector: what came of a flow") {
  const Ints three{1, 2, 3};
  CHECK(run(weir::from(three) | weir::fold(10, std::plus<>())) == 16);
  const auto append = [](std::string text, int n) -> weir::Task<std::string> {
    co_await weir::yield();
    co_return std::move(text) + std::to_string(n);
  };
  CHECK(run(weir::from(three) | weir::fold(std::string(), append)) == "123");
  CHECK(run(weir::from(three) | weir::reduce(std::multiplies<>())) == 6);
  CHECK(run(weir::from(Ints{}) | weir::reduce(std::multiplies<>())) == std::nullopt);
  CHECK(run(weir::from(three) | weir::count()) == 3);
  CHECK(run(weir::from(three) | weir::first()) == 1);
  CHECK(run(weir::from(Ints{}) | weir::first()) == std::nullopt);
  CHECK(run(weir::from(three) | weir::to_vector()) == three);
  const auto box = [](int n) { return std::make_unique<int>(n); };
  const auto keep_larger = [](std::unique_ptr<int> a, std::unique_ptr<int> b) {
    return *a < *b ? std::move(b) : std::move(a);
  };
  CHECK(**run(weir::from(three) | weir::map(box) | weir::reduce(keep_larger)) == 3);
}

TEST_CASE("with_flow: values are pulled by hand, and the flow is closed after it") {
  Simulator sim;
  Ledger ledger;
  FlowScene scene(sim, ledger);
  const auto two = [](auto& in) -> weir::Task<int> {
    const auto one = co_await in.next();
    const auto other = co_await in.next();
    co_return *one + *other;
  };
  CHECK(run(sim, weir::with_flow(weir::merge(scene.source(1), scene.source(1)), two)) == 2);
  CHECK(ledger.alive == 0);
  const auto all = [](auto& in) -> weir::Task<> {
    int expected = 1;
    while (const auto value = co_await in.next()) ensure(*value == expected++, "in order");
    ensure(expected == 4, "all of them");
    const auto after = co_await in.next();
    ensure(!after, "it stays at its end");
  };
  REQUIRE_NOTHROW(run(weir::with_flow(weir::from(Ints{1, 2, 3}), all)));
}

TEST_CASE("with_flow: a wait for a value that is cut short by a timeout throws, and then the flow is at its end") {
  const auto impatient = [](auto& in) -> weir::Task<bool> {
    bool timed_out = false;
    try {
      co_await weir::with_timeout(1ms, in.next());
    } catch (const weir::Error& error) {
      timed_out = error.code() == weir::Errc::timed_out;
    }
    const auto after = co_await in.next();
    co_return timed_out && !after;
  };
  CHECK(run(weir::with_flow(at_times({{10, 1}}), impatient)));
}

TEST_CASE("to_vector: by a future, in an asio::awaitable, and by sync_wait") {
  asio::thread_pool pool(2);
  const auto flow = [] { return weir::from(Ints{1, 2, 3}) | weir::map([](int n) { return n * n; }); };
  std::future<Ints> future = weir::spawn(pool, flow() | weir::to_vector(), asio::use_future);
  CHECK(future.get() == Ints{1, 4, 9});
  std::future<Ints> inside = asio::co_spawn(
      pool,
      [&flow]() -> asio::awaitable<Ints> {
        auto squares = co_await weir::as_awaitable(flow() | weir::to_vector());
        co_return squares;
      },
      asio::use_future);
  CHECK(inside.get() == Ints{1, 4, 9});
  CHECK(weir::sync_wait(flow() | weir::count()) == 3);
  std::future<std::optional<int>> failing =
      weir::spawn(pool, weir::from([]() -> std::optional<int> { throw std::runtime_error("broke"); }) | weir::first(),
                  asio::use_future);
  // Its text is not read: TSan does not see the counting of owners inside the standard library.
  CHECK_THROWS_AS(failing.get(), std::runtime_error);
}
