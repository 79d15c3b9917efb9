// A million values through each operator: order, nothing lost, and no allocation for a value.
#include <weir/stream/flow.hpp>

#include "support/catch.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <numeric>
#include <optional>
#include <ranges>
#include <span>
#include <tuple>

#include <weir/core/detail/frame_memory.hpp>
#include <weir/core/sync_wait.hpp>

#include "support/allocation_counter.hpp"
#include "support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using Number = std::uint64_t;

const Number many = static_cast<Number>(weir_test::long_stress(1'000'000));
constexpr Number warm = 5'000;

/// What was allocated from when the source gave its value number `warm` to when it gave the last.
struct Steady {
  std::optional<weir_test::AllocationCounter> counter;
  std::uint64_t allocations = 0;
  void at(Number n) {
    if (n == warm) counter.emplace();
    if (n == many && counter) allocations = counter->count();
  }
};

auto numbers(Steady& steady) {
  return weir::from(std::views::iota(Number{1}, many + 1)) | weir::map([&steady](Number n) {
           steady.at(n);
           return n;
         });
}
/// The same from a coroutine for each value, for operators that wait in a child.
auto awaited(Steady& steady) {
  return weir::from([&steady, n = Number{0}]() mutable -> weir::Task<std::optional<Number>> {
    if (n == many) co_return std::nullopt;
    steady.at(++n);
    co_return n;
  });
}

/// Runs it, and gives the number of values and their sum; fails if one came out of order.
struct Total {
  Number count = 0;
  Number sum = 0;
  bool ordered = true;
};
template <weir::Flow F>
Total total(F flow) {
  Total total;
  Number last = 0;
  weir::sync_wait(std::move(flow) | weir::for_each([&](Number n) {
                    total.ordered = total.ordered && n > last;
                    last = n;
                    ++total.count;
                    total.sum += n;
                  }));
  return total;
}

/// `frames`: it needs some for each value, which are recycled where they can be.
void check_steady(const Steady& steady, bool frames = false) {
  if (!frames || weir::detail::frames_are_recycled) CHECK(steady.allocations == 0);
}

const Number all = many * (many + 1) / 2;

}  // namespace

TEST_CASE("flow: a million values through operators that do not wait allocate nothing") {
  Steady steady;
  const auto odd = [](Number n) { return n % 2 != 0; };
  const Total some = total(numbers(steady) | weir::filter(odd) | weir::map([](Number n) { return n + 1; }) |
                           weir::take(many) | weir::skip(10) | weir::skip_while([](Number n) { return n < 100; }) |
                           weir::take_while([](Number n) { return n > 0; }));
  CHECK(some.count == many / 2 - 49);
  CHECK(some.ordered);
  check_steady(steady);
}

TEST_CASE("flow: a million values through scan, distinct, flat_map, windows and zip allocate nothing") {
  Steady steady;
  CHECK(total(numbers(steady) | weir::scan(Number{0}, std::plus<>())).count == many);
  check_steady(steady);
  CHECK(total(numbers(steady) | weir::distinct(100) | weir::distinct_until_changed()).sum == all);
  check_steady(steady);
  const auto one = [](Number n) { return std::views::iota(n, n + 1); };
  CHECK(total(numbers(steady) | weir::flat_map(one)).sum == all);
  check_steady(steady);
  const auto middle = [](std::span<const Number> window) { return window[1]; };
  const Total slid = total(numbers(steady) | weir::window(100, 1, middle));
  CHECK(slid.count == many - 99);
  CHECK(slid.ordered);
  check_steady(steady);
  const auto sum = [](std::span<const Number> window) {
    return std::accumulate(window.begin(), window.end(), Number{0});
  };
  CHECK(total(numbers(steady) | weir::window(64, sum)).sum == all);
  check_steady(steady);
  Steady other;
  const auto left = [](std::tuple<Number, Number> both) { return std::get<0>(both); };
  const Total zipped = total(weir::zip(numbers(steady), numbers(other)) | weir::map(left));
  CHECK(zipped.sum == all);
  check_steady(steady);
}

TEST_CASE("flow: a million values in chunks are all there, a block a chunk") {
  Steady steady;
  const auto sum = [](std::vector<Number> chunk) { return std::accumulate(chunk.begin(), chunk.end(), Number{0}); };
  CHECK(total(numbers(steady) | weir::chunk(64) | weir::map(sum)).sum == all);
  CHECK(steady.allocations <= many / 64 + 1);
}

TEST_CASE("flow: a million values that are awaited, and functions that are, allocate nothing that is not recycled") {
  Steady steady;
  CHECK(total(awaited(steady)).sum == all);
  check_steady(steady, true);
  const auto same = [](Number n) -> weir::Task<Number> { co_return n; };
  CHECK(total(awaited(steady) | weir::map(same)).sum == all);
  check_steady(steady, true);
}

TEST_CASE("flow: a million values that are merged and zipped allocate nothing that is not recycled") {
  Steady one;
  Steady other;
  Number last[2] = {0, 0};
  bool ordered = true;
  Number sum = 0;
  const auto tag = [](Number which) { return weir::map([which](Number n) { return 2 * n + which; }); };
  weir::sync_wait(weir::merge(awaited(one) | tag(0), awaited(other) | tag(1)) | weir::for_each([&](Number n) {
                    ordered = ordered && n / 2 > last[n % 2];
                    last[n % 2] = n / 2;
                    sum += n / 2;
                  }));
  CHECK(ordered);
  CHECK(sum == 2 * all);
  check_steady(one, true);
  const auto left = [](std::tuple<Number, Number> both) { return std::get<0>(both); };
  CHECK(total(weir::zip(awaited(one), awaited(other)) | weir::map(left)).sum == all);
  check_steady(one, true);
  const auto later = [](Number n) -> weir::Task<std::ranges::iota_view<Number, Number>> {
    co_return std::views::iota(n, n + 1);
  };
  CHECK(total(awaited(one) | weir::flat_map(4, later)).sum == all);
  check_steady(one, true);
}

TEST_CASE("flow: a million values through the operators of time allocate nothing that is not recycled") {
  Steady steady;
  const auto sum = [](std::span<const Number> window) {
    return std::accumulate(window.begin(), window.end(), Number{0});
  };
  CHECK(total(awaited(steady) | weir::window(1h, weir::at_most(50), sum)).sum == all);
  check_steady(steady, true);
  CHECK(total(awaited(steady) | weir::session(1h, weir::at_most(50), sum)).sum == all);
  check_steady(steady, true);
  CHECK(total(awaited(steady) | weir::window(1h, 1h, weir::at_most(50), sum)).count == 1);
  check_steady(steady, true);
  CHECK(total(awaited(steady) | weir::debounce(1h)).sum == many);
  check_steady(steady, true);
  CHECK(total(awaited(steady) | weir::throttle(1h)).sum == 1);
  check_steady(steady, true);
  CHECK(total(awaited(steady) | weir::throttle(1h, weir::ThrottleEdge::both)).sum == 1 + many);
  check_steady(steady, true);
}

TEST_CASE("flow: a million values that are emitted, and through channels, allocate nothing that is not recycled") {
  Steady steady;
  const auto emit_all = [&steady](weir::FlowEmitter<Number>& out) -> weir::Task<> {
    for (Number n = 1; n <= many; ++n) {
      steady.at(n);
      co_await out.emit(n);
    }
  };
  CHECK(total(weir::from<Number>(emit_all)).sum == all);
  check_steady(steady, true);
  asio::thread_pool pool(1);
  CHECK(total(weir::from(numbers(steady) | weir::to_channel(pool, 256))).sum == all);
  Number ranged = 0;
  for (const Number n : numbers(steady) | weir::to_range(pool, 256)) ranged += n;
  CHECK(ranged == all);
  auto stream = weir::emits<Number>(pool)
                    .sender(std::views::iota(Number{1}, many + 1))
                    .receiver([&steady](const weir::ReceiverEvent<Number>& event) {
                      steady.at(event.data());
                      return event.data();
                    });
  const Total results = total(weir::results_of(std::move(stream)));
  CHECK(results.sum == all);
  CHECK(results.ordered);
  check_steady(steady, true);
  pool.join();
}
