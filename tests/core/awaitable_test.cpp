#include <weir/core/awaitable.hpp>

#include "support/asio_net.hpp"
#include "support/catch.hpp"
#include "support/counted.hpp"

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <typeinfo>
#include <utility>

#include <weir/core/sync_wait.hpp>

namespace {

using namespace std::chrono_literals;
using weir::as_awaitable;
using weir::sync_wait;
using weir::Task;
using weir_test::Count;
using weir_test::Counted;

asio::awaitable<int> asio_answer() {
  asio::steady_timer timer(co_await asio::this_coro::executor, 1ms);
  co_await timer.async_wait(asio::use_awaitable);
  co_return 42;
}
asio::awaitable<Counted> asio_counted(Count& count) { co_return Counted(count, 5); }
asio::awaitable<Counted> asio_fail(Count&) {
  throw std::runtime_error("asio");
  co_return std::move(*static_cast<Counted*>(nullptr));
}
asio::awaitable<void> asio_wait(Count& count, std::error_code& error) {
  const Counted held(count);
  asio::steady_timer timer(co_await asio::this_coro::executor, 1h);
  try {
    co_await timer.async_wait(asio::use_awaitable);
  } catch (const std::system_error& e) {
    error = e.code();
    throw;
  }
}

Task<int> weir_answer() {
  asio::steady_timer timer(asio::system_executor(), 1ms);
  co_await timer.async_wait(weir::use_task);
  co_return 42;
}
Task<Counted> weir_counted(Count& count) { co_return Counted(count, 6); }
Task<Counted> weir_fail(Count&) {
  throw std::runtime_error("weir");
  co_return std::move(*static_cast<Counted*>(nullptr));
}

static_assert(weir::AwaitableOf<asio::awaitable<int>, int>);
static_assert(weir::AwaitableOf<asio::awaitable<void>, void>);
static_assert(weir::AwaitableOf<asio::awaitable<Counted, weir::HomeExecutor>, Counted>);

}  // namespace

TEST_CASE("awaitable: a task awaits an asio::awaitable") {
  Count count;
  asio::thread_pool pool(2);
  const auto run = [&count]() -> Task<int> {
    const int answer = co_await asio_answer();
    const Counted counted = co_await asio_counted(count);
    co_return answer + counted.value;
  };
  CHECK(sync_wait(run()) == 47);
  for (int i = 0; i < 50; ++i) CHECK(sync_wait(pool, run()) == 47);
  CHECK(count.made == 51);
  CHECK(count.alive() == 0);
}

TEST_CASE("awaitable: what an asio::awaitable throws is thrown by the await") {
  Count count;
  const auto run = [&count]() -> Task<> { co_await asio_fail(count); };
  CHECK_THROWS_WITH(sync_wait(run()), "asio");
}

TEST_CASE("awaitable: the asio::awaitable runs on the home of the task") {
  asio::io_context loop;
  const auto inner = [](bool& same) -> asio::awaitable<void> {
    const asio::any_io_executor executor = co_await asio::this_coro::executor;
    same = executor.target_type() == typeid(weir::HomeExecutor);
  };
  const auto run = [&inner]() -> Task<bool> {
    bool same = false;
    co_await inner(same);
    co_return same;
  };
  CHECK(sync_wait(run()));
}

TEST_CASE("awaitable: a cancel of the task passes into the asio::awaitable") {
  Count count;
  std::error_code inner;
  bool cancelled = false;
  asio::io_context loop;
  asio::cancellation_signal signal;
  const auto run = [&]() -> Task<> { co_await asio_wait(count, inner); };
  weir::spawn(loop, run(), asio::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr error) {
                try {
                  if (error) std::rethrow_exception(error);
                } catch (const std::system_error& e) {
                  cancelled = weir::is_cancellation(e.code());
                }
              }));
  loop.poll();
  CHECK(count.alive() == 1);
  signal.emit(asio::cancellation_type::terminal);
  loop.run();
  CHECK(inner == asio::error::operation_aborted);
  CHECK(cancelled);
  CHECK(count.alive() == 0);
}

TEST_CASE("awaitable: an asio::awaitable that waits goes with the context of the task") {
  Count count;
  std::error_code inner;
  {
    asio::thread_pool pool(2);
    std::atomic<bool> started = false;
    const auto run = [&]() -> Task<> {
      started = true;
      co_await asio_wait(count, inner);
    };
    weir::spawn(pool, run());
    while (!started) std::this_thread::yield();
    pool.stop();
  }
  CHECK(count.alive() == 0);
  CHECK_FALSE(inner);
}

TEST_CASE("awaitable: an asio::awaitable awaits a task") {
  Count count;
  asio::thread_pool pool(2);
  const auto run = [&count]() -> asio::awaitable<int> {
    const int answer = co_await as_awaitable(weir_answer());
    const Counted counted = co_await as_awaitable(weir_counted(count));
    co_await as_awaitable([]() -> Task<> { co_return; }());
    co_return answer + counted.value;
  };
  for (int i = 0; i < 50; ++i) CHECK(asio::co_spawn(pool, run(), asio::use_future).get() == 48);
  CHECK(count.made == 50);
  CHECK(count.alive() == 0);
}

TEST_CASE("awaitable: what the task throws is thrown by as_awaitable") {
  Count count;
  asio::io_context loop;
  std::string thrown;
  const auto run = [&]() -> asio::awaitable<void> {
    try {
      co_await as_awaitable(weir_fail(count));
    } catch (const std::runtime_error& error) {
      thrown = error.what();
    }
  };
  asio::co_spawn(loop, run(), asio::detached);
  loop.run();
  CHECK(thrown == "weir");
}

TEST_CASE("awaitable: a cancel of the asio::awaitable passes into the task") {
  asio::io_context loop;
  asio::cancellation_signal signal;
  std::error_code inner;
  const auto task = [&]() -> Task<> {
    asio::steady_timer timer(loop, 1h);
    const auto [error] = co_await timer.async_wait(weir::use_task.as_tuple());
    inner = error;
  };
  const auto run = [&]() -> asio::awaitable<void> { co_await as_awaitable(task()); };
  asio::co_spawn(loop, run(), asio::bind_cancellation_slot(signal.slot(), asio::detached));
  loop.poll();
  CHECK_FALSE(inner);
  signal.emit(asio::cancellation_type::terminal);
  loop.run();
  CHECK(inner == asio::error::operation_aborted);
}

TEST_CASE("awaitable: nested in each other, to and fro") {
  struct Nest {
    static asio::awaitable<int> in_asio(int n) {
      if (n == 0) co_return 0;
      co_return co_await as_awaitable(in_weir(n - 1)) + 1;
    }
    static Task<int> in_weir(int n) {
      if (n == 0) co_return 0;
      co_return co_await in_asio(n - 1) + 1;
    }
  };
  CHECK(sync_wait(Nest::in_weir(20)) == 20);
  asio::thread_pool pool(2);
  CHECK(sync_wait(pool, Nest::in_weir(21)) == 21);
}
