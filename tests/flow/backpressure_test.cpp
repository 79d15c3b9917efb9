// How far each operator pulls its source ahead of a consumer that is slow.
#include <weir/stream/flow.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <tuple>

#include "flow/scene.hpp"

namespace {

using namespace weir_test;

/// An endless source that counts what was pulled out of it: at once, or by a coroutine.
struct Endless {
  int pulled = 0;
  auto plain() {
    return weir::from([this]() -> std::optional<int> { return ++pulled; });
  }
  auto awaited() {
    return weir::from([this]() -> weir::Task<std::optional<int>> {
      co_await weir::yield();
      co_return ++pulled;
    });
  }
  /// One each millisecond.
  auto timed() {
    return weir::from([this]() -> weir::Task<std::optional<int>> {
      co_await weir::sleep_for(1ms);
      co_return ++pulled;
    });
  }
};

/// The most that was pulled beyond `each` for every value that was taken, by a consumer that takes one each 50 ms.
template <weir::Flow F>
int ahead(const Endless& source, int each, F flow) {
  int taken = 0;
  int most = 0;
  const auto slow = [&](auto&&) -> weir::Task<bool> {
    ++taken;
    co_await weir::sleep_for(50ms);
    most = std::max(most, source.pulled - each * taken);
    co_return taken < 100;
  };
  run(std::move(flow) | weir::for_each(slow));
  return most;
}

}  // namespace

TEST_CASE("backpressure: operators on one value pull nothing ahead") {
  Endless e;
  CHECK(ahead(e, 1, e.plain() | weir::map([](int n) { return n; }) | weir::scan(0, std::plus<>()) | weir::skip(0)) ==
        0);
  e = Endless();
  CHECK(ahead(e, 1, e.awaited() | weir::distinct(10) | weir::throttle(1ms)) == 0);
  e = Endless();
  CHECK(ahead(e, 2, e.awaited() | weir::filter([](int n) { return n % 2 == 0; })) == 0);
  e = Endless();
  const auto later = [](int n) -> weir::Task<int> {
    co_await weir::yield();
    co_return n;
  };
  CHECK(ahead(e, 1, e.awaited() | weir::map(later)) == 0);
  e = Endless();
  const auto thrice = [](int n) { return Ints{n, n, n}; };
  CHECK(ahead(e, 0, e.awaited() | weir::flat_map(thrice)) == 34);
}

TEST_CASE("backpressure: windows pull what they hold") {
  Endless e;
  CHECK(ahead(e, 7, e.awaited() | weir::chunk(7)) == 0);
  e = Endless();
  CHECK(ahead(e, 1, e.awaited() | weir::window(7, 1, [](std::span<const int> w) { return w.back(); })) == 6);
  e = Endless();
  // A window passes after 7, or before, when its time is up: then it may be one value on its way more.
  CHECK(ahead(e, 7, e.awaited() | weir::window(1h, weir::at_most(7))) <= 1);
  e = Endless();
  CHECK(ahead(e, 7, e.awaited() | weir::session(1h, weir::at_most(7))) <= 1);
}

TEST_CASE("backpressure: operators that wait in children are one value of each ahead") {
  Endless e;
  CHECK(ahead(e, 1, weir::merge(e.awaited(), e.awaited(), e.timed())) <= 3);
  e = Endless();
  CHECK(ahead(e, 2, weir::zip(e.awaited(), e.timed())) <= 2);
  e = Endless();
  // The quiet time passes while a slower source is waited for.
  CHECK(ahead(e, 1, e.timed() | weir::debounce(500us)) <= 1);
}

TEST_CASE("backpressure: an emitting coroutine and a channel are as far ahead as they say") {
  Endless e;
  const auto emitting = [&e](weir::FlowEmitter<int>& out) -> weir::Task<> {
    for (;;) {
      ++e.pulled;
      co_await out.emit(e.pulled);
    }
  };
  CHECK(ahead(e, 1, weir::from<int>(emitting)) == 0);
  e = Endless();
  int most = 0;
  Simulator sim;
  auto rx = e.awaited() | weir::to_channel(sim, 5);
  sim.spawn([&]() -> weir::Task<> {
    for (int taken = 1; taken <= 100; ++taken) {
      co_await rx.receive();
      co_await weir::sleep_for(50ms);
      most = std::max(most, e.pulled - taken);
    }
    rx.reset();
  });
  sim.run();
  // The channel, and the value whose sender waits for room.
  CHECK(most == 6);
}
