#include <weir/core/blocking.hpp>

#include "support/allocation_counter.hpp"
#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/explored_root.hpp"

#include <atomic>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

#include <weir/core/spawn.hpp>
#include <weir/core/sync_wait.hpp>
#include <weir/core/this_task.hpp>
#include <weir/core/timer.hpp>
#include <weir/core/with_scope.hpp>
#include <weir/sim/simulator.hpp>

namespace {

using weir::BlockingCalls;
using weir::BlockingService;
using weir::run_blocking;
using weir::Task;
using weir_test::Count;
using weir_test::Counted;

/// Blocks until it is let go; the test waits until it blocks.
struct Barrier {
  std::promise<void> entered;
  std::promise<void> let_go;
  std::atomic<int> calls{0};

  void enter() {
    ++calls;
    entered.set_value();
    let_go.get_future().wait();
  }
};

std::error_code code_of(const std::exception_ptr& error) {
  try {
    if (error) std::rethrow_exception(error);
  } catch (const std::system_error& e) {
    return e.code();
  }
  return {};
}

}  // namespace

TEST_CASE("run_blocking: gives what the function returns or throws, from another thread, with signals blocked there") {
  asio::io_context context;
  auto& service = asio::use_service<BlockingService>(context);
  CHECK(service.threads() == 0);
  std::exception_ptr error;
  int done = 0;
  weir::spawn(
      context,
      [&]() -> Task<> {
        const auto here = std::this_thread::get_id();
        const auto there = co_await run_blocking([] { return std::this_thread::get_id(); });
        CHECK(there != here);
        CHECK(std::this_thread::get_id() == here);
        auto pointer = co_await run_blocking([] { return std::make_unique<int>(3); });
        CHECK(*pointer == 3);
        co_await run_blocking([&done] { ++done; });
        const bool blocked = co_await run_blocking([] {
          sigset_t set;
          pthread_sigmask(SIG_SETMASK, nullptr, &set);
          return sigismember(&set, SIGINT) == 1;
        });
        CHECK(blocked);
        co_await run_blocking([] { throw std::runtime_error("no such disk"); });
      },
      [&error](std::exception_ptr e) { error = std::move(e); });
  context.run();
  CHECK(done == 1);
  CHECK(service.threads() >= 1);
  CHECK(service.threads() <= 4);
  CHECK_THROWS_WITH(std::rethrow_exception(error), "no such disk");
}

TEST_CASE("run_blocking: the executor's thread goes on meanwhile, and as many run at once as there are threads") {
  asio::io_context context;
  std::array<Barrier, 3> barriers;
  asio::use_service<BlockingService>(context).set_limit(barriers.size());
  int ended = 0;
  for (Barrier& barrier : barriers) {
    weir::spawn(context, [&]() -> Task<> {
      co_await run_blocking([&barrier] { barrier.enter(); });
      ++ended;
    });
  }
  weir::spawn(context, [&]() -> Task<> {
    // This would hang if a function held up the context, or another one.
    for (Barrier& barrier : barriers) {
      co_await weir::yield();
      barrier.entered.get_future().wait();
    }
    CHECK(ended == 0);
    for (Barrier& barrier : barriers) barrier.let_go.set_value();
  });
  context.run();
  CHECK(ended == 3);
  CHECK(asio::use_service<BlockingService>(context).threads() == 3);
}

TEST_CASE("BlockingCalls: one after another, each beside the coroutine, without an allocation for a call") {
  asio::io_context context;
  // Starting a thread allocates.
  asio::use_service<BlockingService>(context).set_limit(1);
  std::uint64_t allocated = 1;
  int sum = 0;
  weir::spawn(context, [&]() -> Task<> {
    weir::Home& home = co_await weir::this_task::home();
    BlockingCalls calls(home, [n = 0]() mutable { return ++n; });
    calls.start();
    sum += co_await calls.result();
    const weir_test::AllocationCounter counter;
    for (int i = 0; i < 1000; ++i) {
      calls.start();
      sum += co_await calls.result();
    }
    allocated = counter.count();
  });
  context.run();
  CHECK(sum == 1001 * 1002 / 2);
  CHECK(allocated == 0);
}

TEST_CASE("BlockingCalls: cancelled while its call runs, it ends at once, and the call and the function later") {
  Barrier barrier;
  Count count;
  asio::io_context context;
  asio::cancellation_signal signal;
  std::exception_ptr error;
  auto function = [&barrier, kept = Counted(count, 1)] { barrier.enter(); };
  weir::spawn(context, run_blocking(std::move(function)),
              asio::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr e) {
                error = std::move(e);
                CHECK(count.alive() == 1);
              }));
  context.poll();
  barrier.entered.get_future().wait();
  signal.emit(asio::cancellation_type::terminal);
  context.run();
  CHECK(code_of(error) == weir::Errc::cancelled);
  barrier.let_go.set_value();
  context.restart();
  weir::spawn(context, run_blocking([] {}));
  context.run();
}

TEST_CASE("BlockingCalls: cancelled before a thread took it, it never runs") {
  Barrier busy;
  Count count;
  asio::io_context context;
  asio::use_service<BlockingService>(context).set_limit(1);
  asio::cancellation_signal signal;
  std::exception_ptr error;
  bool ran = false;
  weir::spawn(context, run_blocking([&busy] { busy.enter(); }));
  context.poll();
  busy.entered.get_future().wait();
  auto function = [&ran, kept = Counted(count, 1)] { ran = true; };
  weir::spawn(context, run_blocking(std::move(function)),
              asio::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr e) { error = std::move(e); }));
  context.poll();
  signal.emit(asio::cancellation_type::terminal);
  while (!error) context.run_one();
  CHECK(code_of(error) == weir::Errc::cancelled);
  CHECK(count.alive() == 0);
  busy.let_go.set_value();
  context.run();
  CHECK_FALSE(ran);
}

TEST_CASE("BlockingService: the end of the context waits for the call that runs, and drops those that do not yet") {
  Count count;
  Barrier busy;
  bool ran = false;
  // The call that runs goes on when the queued one is dropped.
  std::shared_ptr<void> opener(nullptr, [&busy](void*) { busy.let_go.set_value(); });
  {
    asio::io_context context;
    asio::use_service<BlockingService>(context).set_limit(1);
    auto running = [&busy, kept = Counted(count, 1)] { busy.enter(); };
    auto queued = [&ran, opens = std::move(opener), kept = Counted(count, 2)] { ran = true; };
    weir::spawn(context, run_blocking(std::move(running)));
    context.poll();
    weir::spawn(context, run_blocking(std::move(queued)));
    context.poll();
    busy.entered.get_future().wait();
  }
  CHECK(busy.calls == 1);
  CHECK_FALSE(ran);
  CHECK(count.alive() == 0);
}

TEST_CASE("BlockingService: many roots of a pool, and its end at any time") {
  std::atomic<int> calls{0};
  std::atomic<int> ended{0};
  for (int round = 0; round < 20; ++round) {
    asio::thread_pool pool(2);
    for (int i = 0; i < 20; ++i) {
      weir::spawn(pool, [&]() -> Task<> {
        for (int k = 0; k < 10; ++k) co_await run_blocking([&calls] { ++calls; });
        ++ended;
      });
    }
    if (round % 2 == 0) {
      pool.join();
    } else {
      pool.stop();
    }
  }
  CHECK(ended >= 200);
  CHECK(calls >= ended * 10);
}

TEST_CASE("run_blocking: in the simulator the function is called in place, under every schedule and end") {
  weir_test::explore_root<int>(
      [](weir::sim::Simulator& sim, auto& root, weir_test::Ledger& ledger) {
        root.start(sim, [](weir_test::Guard) -> Task<int> {
          const auto here = std::this_thread::get_id();
          int n = 0;
          for (int i = 0; i < 3; ++i) {
            const auto in_place = [here] { return std::this_thread::get_id() == here ? 1 : 0; };
            n += co_await run_blocking(in_place);
          }
          co_return n;
        }(weir_test::Guard(ledger)));
      },
      [](weir::sim::Simulator& sim, auto& root) {
        weir::sim::ensure(root.cancelled() ? sim.acted() : root.value() == 3, "each call was in place");
      });
}
