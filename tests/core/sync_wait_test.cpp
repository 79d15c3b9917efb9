#include <weir/core/sync_wait.hpp>

#include "support/catch.hpp"
#include "support/counted.hpp"

#include <memory>
#include <stdexcept>
#include <thread>

#include <weir/core/home_executor.hpp>
#include <weir/core/use_task.hpp>

namespace {

using weir::Errc;
using weir::sync_wait;
using weir::Task;

Task<std::thread::id> thread_of_run() { co_return std::this_thread::get_id(); }
Task<int> hop(asio::thread_pool& pool) {
  co_await asio::post(pool, weir::use_task);
  co_return 3;
}

template <class F>
Errc code_thrown(F&& function) {
  try {
    function();
  } catch (const weir::Error& error) {
    return static_cast<Errc>(error.code().value());
  }
  return Errc{};
}

/// Knows that it depends on the pool, as a stream's end does.
class DependsOn {
 public:
  explicit DependsOn(asio::thread_pool& pool) : pool_(&pool) {}
  [[nodiscard]] bool blocks_this_thread() const noexcept { return pool_->get_executor().running_in_this_thread(); }
  void attach(weir::Promise&) {}
  [[nodiscard]] bool await_ready() const { return true; }
  void await_suspend(std::coroutine_handle<>) {}
  [[nodiscard]] int await_resume() const { return 5; }

 private:
  asio::thread_pool* pool_;
};

/// Calls `function` on a thread of the pool and gives the code of what it throws.
template <class F>
Errc code_thrown_on(asio::thread_pool& pool, F function) {
  return sync_wait(pool, [function]() -> Task<Errc> { co_return code_thrown(function); }());
}

}  // namespace

TEST_CASE("sync_wait: runs on the calling thread, or on the executor's") {
  const auto self = std::this_thread::get_id();
  asio::thread_pool pool(1);
  CHECK(sync_wait(thread_of_run()) == self);
  CHECK(sync_wait(pool, thread_of_run()) != self);
  CHECK(sync_wait(pool.get_executor(), thread_of_run()) == sync_wait(pool, thread_of_run()));
}

TEST_CASE("sync_wait: what is awaited may complete elsewhere") {
  asio::thread_pool pool(2);
  for (int i = 0; i < 200; ++i) {
    CHECK(sync_wait(hop(pool)) == 3);
    CHECK(sync_wait(pool, hop(pool)) == 3);
  }
}

TEST_CASE("sync_wait: gives back every kind of result, also from a pool") {
  weir_test::Count count;
  int value = 0;
  asio::thread_pool pool(1);
  {
    const auto counted = sync_wait(
        pool, [](weir_test::Count& c) -> Task<weir_test::Counted> { co_return weir_test::Counted(c, 8); }(count));
    CHECK(counted.value == 8);
  }
  CHECK(count.made == 1);
  CHECK(count.alive() == 0);
  CHECK(&sync_wait(pool, [](int& v) -> Task<int&> { co_return v; }(value)) == &value);
  CHECK(*sync_wait(pool, []() -> Task<std::unique_ptr<int>> { co_return std::make_unique<int>(6); }()) == 6);
  CHECK(sync_wait(DependsOn(pool)) == 5);
}

TEST_CASE("sync_wait: throws what the task throws") {
  asio::thread_pool pool(1);
  const auto fail = []() -> Task<weir_test::Counted> {
    throw std::runtime_error("no");
    co_return std::move(*static_cast<weir_test::Counted*>(nullptr));
  };
  CHECK_THROWS_AS(sync_wait(fail()), std::runtime_error);
  CHECK_THROWS_AS(sync_wait(pool, fail()), std::runtime_error);
}

TEST_CASE("sync_wait: refuses to block a thread of the executor that it waits for") {
  asio::thread_pool pool(2);
  const auto strand = asio::make_strand(pool);
  const asio::any_io_executor any = pool.get_executor();
  const asio::any_io_executor any_strand = strand;
  CHECK(code_thrown_on(pool, [&] { sync_wait(pool, thread_of_run()); }) == Errc::would_deadlock);
  CHECK(code_thrown_on(pool, [&] { sync_wait(strand, thread_of_run()); }) == Errc::would_deadlock);
  CHECK(code_thrown_on(pool, [&] { sync_wait(any, thread_of_run()); }) == Errc::would_deadlock);
  CHECK(code_thrown_on(pool, [&] { sync_wait(any_strand, thread_of_run()); }) == Errc::would_deadlock);
  CHECK(code_thrown_on(pool, [] { sync_wait(thread_of_run()); }) == Errc{});
  asio::io_context loop;
  Errc thrown{};
  asio::post(loop, [&] { thrown = code_thrown([&] { sync_wait(loop, thread_of_run()); }); });
  loop.run();
  CHECK(thrown == Errc::would_deadlock);
}

TEST_CASE("sync_wait: refuses when the awaitable says that it needs this thread") {
  asio::thread_pool pool(1);
  asio::thread_pool other(1);
  static_assert(weir::KnowsWhatItBlocks<DependsOn>);
  static_assert(!weir::KnowsWhatItBlocks<Task<>>);
  CHECK(code_thrown_on(pool, [&] { sync_wait(DependsOn(pool)); }) == Errc::would_deadlock);
  CHECK(code_thrown_on(pool, [&] { sync_wait(other, DependsOn(pool)); }) == Errc::would_deadlock);
  CHECK(code_thrown_on(other, [&] { sync_wait(DependsOn(pool)); }) == Errc{});
}

TEST_CASE("sync_wait: a context that is destroyed meanwhile ends the wait") {
  auto pool = std::make_unique<asio::thread_pool>(1);
  weir_test::Count count;
  std::atomic<bool> waiting = false;
  const auto never = [](weir_test::Count& c, std::atomic<bool>& w) -> Task<> {
    const weir_test::Counted held(c);
    w = true;
    w.notify_one();
    co_await asio::async_initiate<const weir::UseTask<false>&, void()>([](auto&&) {}, weir::use_task);
  };
  const auto executor = pool->get_executor();
  std::thread ender([&] {
    waiting.wait(false);
    pool.reset();
  });
  CHECK(code_thrown([&] { sync_wait(executor, never(count, waiting)); }) == Errc::cancelled);
  ender.join();
  CHECK(count.made == 1);
  CHECK(count.alive() == 0);
}
