// A million events through every strategy, and each with receivers that are a thousand times slower than the sender:
// none lost, in order where that is promised, none allocated for, and no more under way than the capacity says.
#include <weir/stream/strategy/adaptive.hpp>
#include <weir/stream/strategy/batched.hpp>
#include <weir/stream/strategy/parallel.hpp>
#include <weir/stream/strategy/serial.hpp>

#include "support/allocation_counter.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <utility>

#include <weir/core/detail/frame_memory.hpp>
#include <weir/core/sync_wait.hpp>
#include <weir/core/timer.hpp>

#include "stream/run.hpp"

namespace {

using namespace std::chrono_literals;
using Number = std::uint64_t;
using Event = weir::ReceiverEvent<Number>;

/// What a strategy promises about the order.
enum class Order { of_all, of_key, of_results, none };
constexpr Number keys = 7;

/// What has come, by whatever receiver, from one thread.
struct Seen {
  explicit Seen(Number events) : last(events) {}

  void begin(const Event& event) {
    const Number n = event.data();
    const Number before = std::exchange(latest, n + 1);
    in_order = in_order && n == before;
    Number& of_key = latest_of[n % keys];
    keys_in_order = keys_in_order && n >= of_key;
    of_key = n + 1;
    sum += n;
  }
  void end(Number events) {
    done += events;
    if (!counter && done >= last / 4) counter.emplace();
    if (allocated == 0 && counter && done >= last - last / 4) allocated = counter->count() + 1;
  }

  Number last;
  Number latest = 0;
  std::array<Number, keys> latest_of{};
  Number sum = 0;
  Number done = 0;
  bool in_order = true;
  bool keys_in_order = true;
  std::optional<weir_test::AllocationCounter> counter;
  std::uint64_t allocated = 0;  // one more than that
};

/// Whether what was collected rises.
struct Results {
  void operator()(Results& all, Number n) const {
    all.rise = all.rise && n >= all.next;
    all.next = n + 1;
  }
  Number next = 0;
  bool rise = true;
};

// Their types make the streams': there are four for all strategies.
struct Quick {
  Seen* seen;
  Number operator()(const Event& event) const {
    seen->begin(event);
    seen->end(1);
    return event.data();
  }
};
struct QuickBatch {
  Seen* seen;
  Number operator()(std::span<const Event> events) const {
    for (const Event& event : events) seen->begin(event);
    seen->end(events.size());
    return events.back().data();
  }
};
struct Slow {
  Seen* seen;
  weir::Task<Number> operator()(const Event& event) const {
    seen->begin(event);
    co_await weir::sleep_for(1ms);
    seen->end(1);
    co_return event.data();
  }
};
struct SlowBatch {
  Seen* seen;
  weir::Task<Number> operator()(std::span<const Event> events) const {
    for (const Event& event : events) seen->begin(event);
    co_await weir::sleep_for(1ms * static_cast<std::int64_t>(events.size()));
    seen->end(events.size());
    co_return events.back().data();
  }
};

void check(const weir::FinalEvent<Number, Number, Results>& final, const Seen& seen, Number events, Order order) {
  const weir::StreamStats stats = final.stats();
  CHECK(stats.emitted == events);
  CHECK(stats.processed == events);
  CHECK(stats.balanced());
  CHECK(seen.done == events);
  CHECK(seen.sum == events * (events - 1) / 2);
  CHECK((seen.in_order || order != Order::of_all));
  CHECK((seen.keys_in_order || order == Order::of_results || order == Order::none));
  CHECK((final.collected().rise || order == Order::of_key || order == Order::none));
}

template <class Strategy>
void a_million(Order order, Strategy strategy) {
  // A tenth will do under the address sanitizer.
  const Number events = weir::detail::frames_are_recycled ? 1'000'000 : 100'000;
  asio::io_context context;
  Seen seen(events);
  using Receiver = std::conditional_t<weir::detail::in_batches<Strategy>, QuickBatch, Quick>;
  auto stream = weir::emits<Number>(context)
                    .sender(std::views::iota(Number{0}, events))
                    .receiver(std::move(strategy), Receiver{&seen})
                    .collect(weir::collect::fold(Results(), Results()))
                    .start();
  context.run();
  check(weir::sync_wait(stream.final_event()), seen, events, order);
  // What one decides by the clock it writes down: on a busy machine that goes on for long, but not for each event.
  constexpr bool decides = std::same_as<Strategy, weir::Adaptive> || std::same_as<Strategy, weir::AdaptiveBatched>;
  CHECK(seen.allocated >= 1);
  CHECK(seen.allocated <= (decides ? 200 : 1));
}

template <class Strategy>
void slow(std::size_t at_once, Order order, Strategy strategy) {
  constexpr Number events = 4000;
  constexpr std::size_t capacity = 64;
  weir::sim::Simulator sim;
  Seen seen(events);
  Number most = 0;
  const auto send = [&](weir::Emitter<Number>& out) -> weir::Task<> {
    for (Number n = 0; n < events; ++n) {
      co_await weir::sleep_for(1us);
      co_await out.emit(n);
      most = std::max(most, n + 1 - seen.done);
    }
  };
  using Receiver = std::conditional_t<weir::detail::in_batches<Strategy>, SlowBatch, Slow>;
  auto stream = weir::emits<Number>(sim)
                    .capacity(capacity)
                    .sender(std::function<weir::Task<>(weir::Emitter<Number>&)>(send))
                    .receiver(std::move(strategy), Receiver{&seen})
                    .collect(weir::collect::fold(Results(), Results()))
                    .start();
  check(weir_test::final_of(sim, stream), seen, events, order);
  CHECK(most > capacity / 2);
  CHECK(most <= capacity + at_once);
  // A coroutine has a frame, which is recycled where it can be.
  if (weir::detail::frames_are_recycled) CHECK(seen.allocated == 1);
}

constexpr int strategies = 9;

/// Each strategy, with how many events it may have in hand at once. Gives their number.
int with_each(auto run_one) {
  int ran = 0;
  const auto run = [&](std::size_t at_once, Order order, auto strategy) {
    run_one(at_once, order, std::move(strategy));
    ++ran;
  };
  const auto key = [](Number n) { return n % keys; };
  const weir::AdaptiveOptions adaptive{.max_concurrency = 4, .start_concurrency = 2};
  run(1, Order::of_all, weir::serial());
  run(4, Order::none, weir::parallel(4));
  run(4, Order::none, weir::parallel(4).rate_limit(1e9));
  run(4, Order::of_key, weir::parallel(4).by_key(key));
  run(4, Order::of_results, weir::parallel(4).ordered());
  run(10, Order::of_all, weir::batched(10, 1ms));
  run(20, Order::none, weir::batched(10, 1ms).parallel(2));
  run(4, Order::none, weir::adaptive(adaptive));
  run(64, Order::none, weir::adaptive(adaptive).batched(16));
  return ran;
}

}  // namespace

TEST_CASE("strategies: a million through each, in the order that it promises, and none is allocated for") {
  const int ran = with_each([](std::size_t, Order order, auto strategy) { a_million(order, std::move(strategy)); });
  CHECK(ran == strategies);
}

TEST_CASE("strategies: a receiver a thousand times slower than the sender holds it back, and nothing piles up") {
  const auto run = [](std::size_t at_once, Order order, auto strategy) { slow(at_once, order, std::move(strategy)); };
  const int ran = with_each(run);
  CHECK(ran == strategies);
}
