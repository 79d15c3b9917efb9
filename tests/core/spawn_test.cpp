#include <weir/core/spawn.hpp>

#include "support/asio_net.hpp"
#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/stress.hpp"

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include <weir/core/home_executor.hpp>
#include <weir/core/use_task.hpp>

namespace {

using weir::spawn;
using weir::Task;
using weir_test::Count;
using weir_test::Counted;

Task<int> answer() { co_return 42; }
Task<> nothing() { co_return; }
Task<int> fail() {
  throw std::runtime_error("failed");
  co_return 0;
}

/// A completion token of one's own, which starts nothing until it is told to.
struct Later {};

/// Starts `answer()` there and waits for it, by a future of the standard's own.
template <class Where>
int answer_on(Where&& where) {
  return spawn(where, answer(), asio::use_future).get();
}

/// Knows whether two of its visitors were inside at once; the plain counter is for the thread sanitizer.
class OneAtATime {
 public:
  void visit() {
    if (inside_.exchange(true)) overlapped = true;
    ++visits;
    inside_ = false;
  }
  int visits = 0;
  std::atomic<bool> overlapped = false;

 private:
  std::atomic<bool> inside_ = false;
};

}  // namespace

template <class... Args>
class asio::async_result<Later, void(Args...)> {
 public:
  template <class Initiation, class... InitArgs>
  static auto initiate(Initiation&& initiation, Later, InitArgs&&... args) {
    return [initiation = static_cast<Initiation&&>(initiation),
            tuple = std::make_tuple(static_cast<InitArgs&&>(args)...)](auto handler) mutable {
      std::apply([&](auto&... kept) { std::move(initiation)(std::move(handler), std::move(kept)...); }, tuple);
    };
  }
};

TEST_CASE("spawn: gives the result to a callback") {
  asio::io_context loop;
  int got = 0;
  spawn(loop, answer(), [&got](std::exception_ptr error, int value) { got = error ? -1 : value; });
  CHECK(got == 0);
  loop.run();
  CHECK(got == 42);
}

TEST_CASE("spawn: gives an exception to a callback, and drops it when detached") {
  asio::io_context loop;
  std::exception_ptr got;
  spawn(loop, fail(), [&got](std::exception_ptr error, int) { got = error; });
  spawn(loop, fail());
  spawn(loop, fail(), asio::detached);
  loop.run();
  CHECK_THROWS_AS(std::rethrow_exception(got), std::runtime_error);
}

TEST_CASE("spawn: any executor and any context") {
  asio::thread_pool pool(2);
  CHECK(answer_on(pool) == 42);
  CHECK(answer_on(pool.get_executor()) == 42);
  CHECK(answer_on(asio::make_strand(pool)) == 42);
  CHECK(answer_on(asio::any_io_executor(pool.get_executor())) == 42);
  CHECK(answer_on(asio::any_io_executor(asio::make_strand(pool))) == 42);
  CHECK(answer_on(asio::system_executor()) == 42);
  asio::io_context loop;
  auto future = spawn(loop, answer(), asio::use_future);
  loop.run();
  CHECK(future.get() == 42);
}

TEST_CASE("spawn: on the home of another root, it runs there") {
  asio::thread_pool pool(2);
  OneAtATime place;
  const auto child = [&place]() -> Task<int> {
    for (int i = 0; i < 100; ++i) {
      place.visit();
      co_await asio::post(weir::use_task);
    }
    co_return 1;
  };
  class HomeOf {
   public:
    void attach(weir::Promise& promise) { home_ = &promise.home(); }
    [[nodiscard]] bool await_ready() const { return true; }
    void await_suspend(std::coroutine_handle<>) {}
    [[nodiscard]] weir::Home& await_resume() const { return *home_; }

   private:
    weir::Home* home_ = nullptr;
  };
  const auto parent = [&]() -> Task<int> {
    weir::Home& home = co_await HomeOf();
    auto one = spawn(weir::HomeExecutor(home), child(), asio::use_future);
    auto other = spawn(weir::HomeExecutor(home), child(), asio::use_future);
    int sum = 0;
    while (one.wait_for(std::chrono::seconds(0)) != std::future_status::ready ||
           other.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
      place.visit();
      co_await asio::post(pool, weir::use_task);
    }
    sum += one.get() + other.get();
    co_return sum;
  };
  CHECK(spawn(pool, parent(), asio::use_future).get() == 2);
  CHECK(place.visits >= 200);
  CHECK_FALSE(place.overlapped);
}

TEST_CASE("spawn: any completion token") {
  asio::thread_pool pool(2);
  spawn(pool, nothing(), asio::use_future).get();
  CHECK_THROWS_AS(spawn(pool, fail(), asio::use_future).get(), std::runtime_error);

  const auto awaiting = [&pool]() -> asio::awaitable<int> {
    co_return co_await spawn(pool, answer(), asio::use_awaitable);
  };
  CHECK(asio::co_spawn(pool, awaiting(), asio::use_future).get() == 42);

  auto later = spawn(pool, answer(), Later());
  std::promise<int> promise;
  later([&promise](std::exception_ptr, int value) { promise.set_value(value); });
  CHECK(promise.get_future().get() == 42);
}

TEST_CASE("spawn: the handler runs on its own executor, after the frame is gone") {
  asio::thread_pool pool(1);
  asio::io_context loop;
  Count count;
  int alive = -1;
  std::thread::id thread;
  const auto run = [](Counted) -> Task<> { co_return; };
  spawn(pool, run(Counted(count)), asio::bind_executor(loop, [&](std::exception_ptr) {
          alive = count.alive();
          thread = std::this_thread::get_id();
        }));
  loop.run();
  CHECK(alive == 0);
  CHECK(thread == std::this_thread::get_id());
}

TEST_CASE("spawn: results of every kind reach the handler") {
  asio::io_context loop;
  Count count;
  int value = 3;
  int got = 0;
  std::exception_ptr thrown;
  const auto make = [](Count& c, bool bad) -> Task<Counted> {
    if (bad) throw std::runtime_error("none");
    co_return Counted(c, 5);
  };
  spawn(loop, make(count, false), [&got](std::exception_ptr, std::optional<Counted> counted) { got = counted->value; });
  spawn(loop, make(count, true),
        [&](std::exception_ptr error, std::optional<Counted> none) { thrown = none ? nullptr : error; });
  const auto refer = [](int& v) -> Task<int&> { co_return v; };
  spawn(loop, refer(value), [&value](std::exception_ptr, int* pointer) { CHECK(pointer == &value); });
  spawn(
      loop, []() -> Task<std::unique_ptr<int>> { co_return std::make_unique<int>(6); },
      [&got](std::exception_ptr, std::unique_ptr<int> pointer) { got += *pointer; });
  loop.run();
  CHECK(got == 11);
  CHECK(thrown);
  CHECK(count.made == 1);
  CHECK(count.alive() == 0);
}

TEST_CASE("spawn: a function lives as long as its task") {
  asio::io_context loop;
  Count count;
  int seen = 0;
  {
    auto held = std::make_shared<Counted>(count, 8);
    spawn(loop, [held, &seen]() -> Task<> {
      co_await asio::post(weir::use_task);
      seen = held->value;
    });
  }
  loop.run();
  CHECK(seen == 8);
  CHECK(count.alive() == 0);
}

TEST_CASE("spawn: an empty task is refused") {
  asio::io_context loop;
  auto task = answer();
  const auto moved = std::move(task);
  CHECK_THROWS_AS(spawn(loop, std::move(task)), weir::Error);
  CHECK(loop.run() == 0);
}

TEST_CASE("spawn: an unfinished task counts as work, and a finished one no more") {
  asio::io_context loop;
  asio::io_context elsewhere;
  bool done = false;
  const auto run = [&]() -> Task<> {
    co_await asio::post(elsewhere, weir::use_task);
    done = true;
  };
  spawn(loop, run());
  loop.poll();
  CHECK_FALSE(loop.stopped());
  elsewhere.run();
  loop.run();
  CHECK(done);
  CHECK(loop.stopped());
}

TEST_CASE("spawn: a cancel before the first step, in the middle and after the end") {
  for (const int polls : {0, 1, 2}) {
    asio::io_context loop;
    asio::cancellation_signal signal;
    bool failed = false;
    bool done = false;
    const auto run = [&loop, polls]() -> Task<> {
      asio::steady_timer timer(loop, polls == 2 ? std::chrono::hours(0) : std::chrono::hours(1));
      co_await timer.async_wait(weir::use_task);
    };
    spawn(loop, run(), asio::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr error) {
            done = true;
            failed = static_cast<bool>(error);
          }));
    if (polls == 1) loop.poll();
    if (polls == 2) loop.run();
    signal.emit(asio::cancellation_type::terminal);
    loop.restart();
    loop.run();
    CHECK(done);
    CHECK(failed == (polls != 2));
  }
}

TEST_CASE("spawn: a root's resumptions never overlap, wherever they are woken from") {
  const int rounds = weir_test::stress(3000);
  asio::thread_pool pool(2);
  asio::thread_pool other(2);
  OneAtATime place;
  const auto run = [&]() -> Task<> {
    for (int i = 0; i < rounds; ++i) {
      place.visit();
      co_await asio::post(other, weir::use_task);
      place.visit();
      asio::steady_timer timer(other, std::chrono::microseconds(i % 3));
      co_await timer.async_wait(weir::use_task);
      place.visit();
      const auto start = [&](auto handler) {
        // A composed operation whose inner step runs on the handler's executor.
        auto executor = asio::get_associated_executor(handler);
        asio::post(other, [executor, &place, handler = std::move(handler)]() mutable {
          asio::post(executor, [&place, handler = std::move(handler)]() mutable {
            place.visit();
            std::move(handler)();
          });
        });
      };
      co_await asio::async_initiate<const weir::UseTask<false>&, void()>(start, weir::use_task);
    }
  };
  spawn(pool, run(), asio::use_future).get();
  CHECK(place.visits == 4 * rounds);
  CHECK_FALSE(place.overlapped);
}

TEST_CASE("spawn: from many threads at once, each task runs once") {
  const int each = weir_test::stress(2000);
  asio::thread_pool pool(2);
  std::atomic<int> ran = 0;
  std::atomic<int> handled = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < each; ++i) {
        const auto run = [&ran]() -> Task<> {
          ++ran;
          co_return;
        };
        spawn(pool, run, [&handled](std::exception_ptr) { ++handled; });
      }
    });
  }
  for (auto& thread : threads) thread.join();
  pool.join();
  CHECK(ran == 3 * each);
  CHECK(handled == 3 * each);
}
