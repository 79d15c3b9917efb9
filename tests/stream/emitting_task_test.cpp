#include <weir/stream/emitting_task.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <atomic>
#include <future>
#include <memory>
#include <optional>
#include <ranges>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <weir/core/sync_wait.hpp>
#include <weir/core/timer.hpp>
#include <weir/stream/emits.hpp>
#include <weir/stream/strategy/parallel.hpp>

#include "stream/run.hpp"
#include "support/allocation_counter.hpp"
#include "support/counted.hpp"
#include "support/stress.hpp"

using namespace std::chrono_literals;

namespace {

/// A stream as a member: none of its functions' types are in the class.
class Station {
 public:
  explicit Station(asio::thread_pool& pool)
      : readings_(weir::emits<int>(pool)
                      .named("readings")
                      .sender(std::views::iota(0, 100))
                      .receiver(weir::parallel(2), [](const auto& e) { return std::to_string(e.data()); })
                      .start()) {}
  [[nodiscard]] std::size_t read() { return weir::sync_wait(readings_.final_event()).collected().size(); }

 private:
  weir::EmittingTask<int, std::string> readings_;
};

template <class Strategy>
void check_conservation(std::size_t threads, Strategy strategy) {
  const int events = weir_test::long_stress(1'000'000);
  asio::thread_pool pool(threads);
  std::atomic<long long> sum{0};
  auto stream = weir::emits<int>(pool)
                    .sender(std::views::iota(0, events))
                    .receiver(std::move(strategy),
                              [&sum](const auto& e) {
                                sum.fetch_add(e.data(), std::memory_order_relaxed);
                                return e.data();
                              })
                    .start();
  // Looked at from outside all the while.
  std::uint64_t settled = 0;
  bool grows = true;
  while (!stream.is_complete()) {
    const auto stats = stream.stats();
    grows = grows && stats.settled() >= settled && stats.balanced();
    settled = stats.settled();
    std::this_thread::yield();
  }
  const auto final = weir::sync_wait(stream.final_event());
  CHECK(grows);
  CHECK(final.outcome() == weir::Outcome::completed);
  CHECK(final.stats().processed == static_cast<std::uint64_t>(events));
  CHECK(final.stats().balanced());
  CHECK(final.collected().size() == static_cast<std::size_t>(events));
  CHECK(sum == static_cast<long long>(events) * (events - 1) / 2);
}

/// How much a stream of `events` allocates.
template <class Strategy>
std::uint64_t allocations_of(int events, Strategy strategy) {
  asio::thread_pool pool(2);
  const weir_test::AllocationCounter allocations;
  auto stream = weir::emits<int>(pool)
                    .sender(std::views::iota(0, events))
                    .receiver(std::move(strategy), [](const auto& e) { return e.data(); })
                    .collect(weir::collect::fold(0LL, [](long long& total, int i) { total += i; }))
                    .start();
  const auto final = weir::sync_wait(stream.final_event());
  const std::uint64_t count = allocations.count();
  REQUIRE(final.collected() == static_cast<long long>(events) * (events - 1) / 2);
  return count;
}

}  // namespace

TEST_CASE("emitting_task: a member of a class, complete and with its name") {
  asio::thread_pool pool(2);
  Station station(pool);
  CHECK(station.read() == 100);
  CHECK(station.read() == 100);
}

TEST_CASE("emitting_task: a moved-from handle says so") {
  weir::sim::Simulator sim;
  auto stream = weir::emits<int>(sim).sender(std::vector{1}).receiver([](auto&) {}).start();
  auto moved = std::move(stream);
  CHECK_THROWS_AS(stream.final_event(), weir::Error);
  CHECK_THROWS_AS(stream.join(), weir::Error);
  CHECK_THROWS_AS(stream.cancel(), weir::Error);
  CHECK_THROWS_AS(stream.stats(), weir::Error);
  CHECK_THROWS_AS(stream.await_final_event([](const auto&) {}), weir::Error);
  try {
    static_cast<void>(stream.is_complete());
  } catch (const weir::Error& error) {
    CHECK(error.code() == weir::Errc::empty_handle);
  }
  CHECK_FALSE(static_cast<bool>(stream));
  CHECK(static_cast<bool>(weir_test::final_of(sim, moved)));
  CHECK_FALSE(moved.cancel(weir::CancellationLevel::immediate));
  CHECK(moved.status() == weir::StreamStatus::complete);
}

TEST_CASE("emitting_task: status and progress go from running to draining to complete") {
  weir::sim::Simulator sim;
  std::vector<weir::StreamStatus> seen;
  auto stream = weir::emits<int>(sim)
                    .capacity(2)
                    .sender([](weir::Emitter<int>& out) -> weir::Task<> {
                      co_await out.emit(1);
                      co_await weir::sleep_for(5s);
                      co_await out.emit(2);
                    })
                    .receiver([](auto&) -> weir::Task<> { co_await weir::sleep_for(2s); })
                    .start();
  sim.spawn([&]() -> weir::Task<> {
    co_await weir::sleep_for(3s);
    seen.push_back(stream.status());
    CHECK(stream.progress().settled == 1);
    CHECK(stream.progress().elapsed == 3s);
    co_await weir::sleep_for(3s);
    seen.push_back(stream.status());
    CHECK(stream.progress().backlog == 1);
    co_await stream.join();
    seen.push_back(stream.status());
    CHECK(stream.progress().elapsed == 7s);
  });
  sim.run();
  CHECK(seen == std::vector{weir::StreamStatus::running, weir::StreamStatus::draining, weir::StreamStatus::complete});
}

TEST_CASE("emitting_task: the final event is awaited by many, again, and by one that is cancelled") {
  weir::sim::Simulator sim(3);
  auto stream = weir::emits<int>(sim)
                    .sender(std::vector{1, 2, 3})
                    .receiver([](const auto& e) -> weir::Task<int> {
                      co_await weir::sleep_for(1s);
                      co_return e.data();
                    })
                    .start();
  int finals = 0;
  for (int i = 0; i < 5; ++i) {
    sim.spawn([&]() -> weir::Task<> {
      const auto first = co_await stream.final_event();
      const auto again = co_await stream.final_event();
      if (&first.collected() == &again.collected() && first.collected().size() == 3) ++finals;
    });
  }
  bool refused = false;
  asio::cancellation_signal signal;
  weir::spawn(
      sim, stream.final_event(),
      asio::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr error, auto) { refused = error != nullptr; }));
  sim.spawn([&]() -> weir::Task<> {
    co_await weir::sleep_for(10ms);
    signal.emit(asio::cancellation_type::all);
  });
  sim.run();
  CHECK(finals == 5);
  CHECK(refused);
}

TEST_CASE("emitting_task: a graceful cancel drains, a forceful one discards, an immediate one ends receivers") {
  const auto run = [](weir::CancellationLevel level) {
    weir::sim::Simulator sim;
    auto stream = weir::emits<int>(sim)
                      .capacity(4)
                      .sender(std::views::iota(1))
                      .receiver([](const auto& e) -> weir::Task<int> {
                        co_await weir::sleep_for(10s);
                        co_return e.data();
                      })
                      .start();
    sim.spawn([&, level]() -> weir::Task<> {
      co_await weir::sleep_for(15s);
      CHECK(stream.cancel(level));
      CHECK_FALSE(stream.cancel(level));
      CHECK(stream.status() == weir::StreamStatus::stopping);
    });
    const auto final = weir_test::final_of(sim, stream);
    CHECK(final.outcome() == weir::Outcome::cancelled);
    CHECK(final.error().text() == "the stream was cancelled");
    CHECK(final.stats().balanced());
    return std::pair(final, std::chrono::duration_cast<std::chrono::seconds>(sim.elapsed()));
  };
  const auto [graceful, drained_after] = run(weir::CancellationLevel::graceful);
  CHECK(graceful.stats().discarded == 0);
  CHECK(graceful.stats().processed == graceful.stats().emitted);
  CHECK(drained_after > 40s);
  const auto [forceful, discarded_after] = run(weir::CancellationLevel::forceful);
  CHECK(forceful.collected() == std::vector{1, 2});
  CHECK(forceful.stats().discarded == forceful.stats().emitted - 2);
  CHECK(discarded_after == 20s);
  const auto [immediate, ended_after] = run(weir::CancellationLevel::immediate);
  CHECK(immediate.collected() == std::vector{1});
  CHECK(immediate.stats().failed == 0);
  CHECK(ended_after == 15s);
}

TEST_CASE("emitting_task: a timeout is forceful, and says so") {
  weir::sim::Simulator sim;
  const auto stream_of = [&](std::chrono::seconds each) {
    return weir::emits<int>(sim)
        .capacity(2)
        .timeout(25s)
        .sender(std::vector{1, 2, 3, 4, 5})
        .receiver([each](const auto& e) -> weir::Task<int> {
          co_await weir::sleep_for(each);
          co_return e.data();
        })
        .start();
  };
  auto slow = stream_of(10s);
  auto quick = stream_of(1s);
  const auto late = weir_test::final_of(sim, slow);
  CHECK(late.outcome() == weir::Outcome::timed_out);
  CHECK(late.collected() == std::vector{1, 2, 3});
  CHECK(late.error().text() == "the stream's time was up");
  CHECK(late.completed() - late.started() == 30s);
  CHECK(late.stats().balanced());
  const auto in_time = weir_test::final_of(sim, quick);
  CHECK(in_time.outcome() == weir::Outcome::completed);
  CHECK(sim.elapsed() == 30s);
}

TEST_CASE("emitting_task: its functions are destroyed before the final event") {
  weir::sim::Simulator sim;
  auto sender_owns = std::make_shared<int>();
  auto receiver_owns = std::make_shared<int>();
  auto stream = weir::emits<int>(sim)
                    .sender([sender_owns](weir::Emitter<int>& out) -> weir::Task<> { co_await out.emit(1); })
                    .receiver(weir::parallel(2), [receiver_owns](auto&) {})
                    .start();
  sim.spawn([&]() -> weir::Task<> {
    co_await stream.join();
    CHECK(sender_owns.use_count() == 1);
    CHECK(receiver_owns.use_count() == 1);
  });
  sim.run();
  CHECK(receiver_owns.use_count() == 1);
}

TEST_CASE("emitting_task: waiting for it on its own thread is refused") {
  asio::thread_pool pool(1);
  std::promise<weir::Errc> refused;
  auto stream = std::make_shared<weir::EmittingTask<int>>();
  *stream = weir::emits<int>(pool)
                .sender(std::vector{1})
                .receiver([](auto&) -> weir::Task<> { co_await weir::sleep_for(1h); })
                .start();
  asio::post(pool, [&, stream] {
    try {
      weir::sync_wait(stream->final_event());
    } catch (const weir::Error& error) {
      refused.set_value(static_cast<weir::Errc>(error.code().value()));
    }
  });
  CHECK(refused.get_future().get() == weir::Errc::would_deadlock);
  stream->cancel(weir::CancellationLevel::immediate);
  CHECK(weir::sync_wait(stream->final_event()).outcome() == weir::Outcome::cancelled);
}

TEST_CASE("emitting_task: a context that ends first leaves nobody of another context waiting") {
  weir_test::Count count;
  asio::io_context other;
  weir::Outcome outcome = weir::Outcome::completed;
  bool balanced = false;
  weir::EmittingTask<weir_test::Counted> stream;
  {
    asio::io_context context;
    stream = weir::emits<weir_test::Counted>(context)
                 .capacity(3)
                 .timeout(1h)
                 .sender([&count](weir::Emitter<weir_test::Counted>& out) -> weir::Task<> {
                   for (int i = 0;; ++i) co_await out.emit_emplace(count, i);
                 })
                 .receiver(weir::parallel(2), [](auto&) -> weir::Task<> { co_await weir::sleep_for(1h); })
                 .start();
    weir::spawn(other, stream.final_event(), [&](std::exception_ptr, auto final) {
      outcome = final.outcome();
      balanced = final.stats().balanced() && final.stats().in_progress == 0;
    });
    context.poll();
    CHECK(count.alive() > 0);
  }
  other.run();
  CHECK(outcome == weir::Outcome::cancelled);
  CHECK(balanced);
  CHECK(count.alive() == 0);
  CHECK(stream.is_complete());
}

TEST_CASE("emitting_task: a program of callbacks, and one of asio::awaitable, await the final event") {
  asio::thread_pool pool(2);
  asio::io_context mine;
  auto stream = weir::emits<int>(pool)
                    .sender(std::views::iota(0, 1000))
                    .receiver(weir::parallel(2), [](const auto& e) { return e.data(); })
                    .start();
  std::size_t by_callback = 0;
  std::thread::id ran_on;
  stream.await_final_event(asio::bind_executor(mine, [&](const std::exception_ptr& error, auto final) {
    if (!error) by_callback = final.collected().size();
    ran_on = std::this_thread::get_id();
  }));
  std::size_t by_awaitable = 0;
  asio::co_spawn(
      mine,
      [&]() -> asio::awaitable<void> {
        const auto final = co_await stream.await_final_event(asio::use_awaitable);
        by_awaitable = final.collected().size();
      },
      asio::detached);
  mine.run();
  CHECK(by_callback == 1000);
  CHECK(by_awaitable == 1000);
  CHECK(ran_on == std::this_thread::get_id());
  asio::io_context theirs;
  std::thread::id called_on;
  stream.await_final_event(asio::bind_executor(
      theirs, [&called_on](weir::FinalEvent<int, int>) { called_on = std::this_thread::get_id(); }));
  theirs.run();
  CHECK(called_on == std::this_thread::get_id());
  std::promise<std::size_t> plain;
  stream.await_final_event([&plain](weir::FinalEvent<int, int> final) { plain.set_value(final.collected().size()); });
  CHECK(plain.get_future().get() == 1000);
}

TEST_CASE("emitting_task: waiting by completion token is cancelled by itself, and the stream goes on") {
  asio::thread_pool pool(2);
  asio::io_context mine;
  auto stream = weir::emits<int>(pool)
                    .sender([](weir::Emitter<int>&) -> weir::Task<> { co_await weir::sleep_for(1h); })
                    .receiver([](auto&) {})
                    .start();
  asio::cancellation_signal signal;
  bool refused = false;
  stream.await_final_event(asio::bind_cancellation_slot(
      signal.slot(),
      asio::bind_executor(mine, [&](const std::exception_ptr& error, auto) { refused = error != nullptr; })));
  asio::post(mine, [&] { signal.emit(asio::cancellation_type::all); });
  mine.run();
  CHECK(refused);
  CHECK_FALSE(stream.is_complete());
  CHECK(stream.cancel());
  CHECK(weir::sync_wait(stream.final_event()).outcome() == weir::Outcome::cancelled);
}

TEST_CASE("emitting_task: nothing is lost on two threads, and on four") {
  for (const std::size_t threads : {2u, 4u}) {
    check_conservation(threads, weir::serial());
    check_conservation(threads, weir::parallel(4));
    check_conservation(threads, weir::parallel(4).ordered());
    check_conservation(threads, weir::parallel(4).by_key([](int i) { return i % 97; }));
  }
}

TEST_CASE("emitting_task: cancelled and dropped from other threads while it runs") {
  const int rounds = std::min(weir_test::long_stress(2000), 2000);
  asio::thread_pool pool(4);
  bool balanced = true;
  for (int round = 0; round < rounds; ++round) {
    std::atomic<std::uint64_t> returned{0};
    auto stream = weir::emits<std::unique_ptr<int>>(pool)
                      .capacity(round % 4 == 0 ? 8 : 512)
                      .timeout(std::chrono::microseconds(round % 7 == 0 ? 50 : 50'000'000))
                      .sender([](weir::Emitter<std::unique_ptr<int>>& out) -> weir::Task<> {
                        for (int i = 0; i < 1000; ++i) {
                          auto value = std::make_unique<int>(i);
                          co_await out.emit(std::move(value));
                        }
                      })
                      .receiver(weir::parallel(3).ordered(),
                                [&returned](auto& e) {
                                  returned.fetch_add(1, std::memory_order_relaxed);
                                  return std::move(e.data());
                                })
                      .start();
    std::thread canceller([&stream, round] {
      for (int i = 0; i < round % 50; ++i) std::this_thread::yield();
      stream.cancel(static_cast<weir::CancellationLevel>(1 + round % 3));
    });
    std::optional<decltype(weir::sync_wait(stream.final_event()))> final;
    if (round % 2 == 0) {
      final = weir::sync_wait(stream.final_event());
      canceller.join();
    } else {
      auto waiting = stream.final_event();
      canceller.join();
      stream = {};
      final = weir::sync_wait(std::move(waiting));
    }
    // Every result counts, also those that were done before the turn of one that was discarded.
    balanced = balanced && final->stats().balanced() && final->stats().processed == final->collected().size() &&
               final->stats().processed == returned;
  }
  CHECK(balanced);
}

TEST_CASE("emitting_task: no allocation per event, serial and parallel, with plain receivers") {
  // What a stream and a pool allocate once varies by a few; events would add thousands.
  const auto steady = [](auto strategy) {
    allocations_of(10000, strategy);
    const std::uint64_t few = allocations_of(1000, strategy);
    const std::uint64_t many = allocations_of(50000, strategy);
    CHECK(many < few + 100);
  };
  steady(weir::serial());
  steady(weir::parallel(4));
  steady(weir::parallel(4).ordered());
  steady(weir::parallel(4).by_key([](int i) { return i % 31; }));
}
