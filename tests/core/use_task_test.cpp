#include <weir/core/use_task.hpp>

#include "support/allocation_counter.hpp"
#include "support/asio_net.hpp"
#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/stress.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>

#include <weir/core/spawn.hpp>
#include <weir/core/sync_wait.hpp>
#include <weir/core/this_task.hpp>

namespace {

using namespace std::chrono_literals;
using asio::ip::tcp;
using weir::sync_wait;
using weir::Task;
using weir::use_task;
using weir_test::Count;
using weir_test::Counted;

/// An operation that hands its handler to `initiation`, for operations of every kind and manner.
template <class Signature, class Token, class Initiation>
auto operation(Initiation initiation, const Token& token) {
  return asio::async_initiate<const Token&, Signature>(std::move(initiation), token);
}

/// A handler kept for later, as an I/O object keeps it.
template <class Signature>
class Kept;
template <class... Args>
class Kept<void(Args...)> {
 public:
  template <class Handler>
  void keep(Handler&& handler) {
    auto shared = std::make_shared<std::decay_t<Handler>>(static_cast<Handler&&>(handler));
    call_ = [shared](Args... args) { std::move (*shared)(std::move(args)...); };
  }
  void operator()(Args... args) { std::exchange(call_, {})(std::move(args)...); }
  void drop() { call_ = {}; }
  [[nodiscard]] bool kept() const { return static_cast<bool>(call_); }

 private:
  std::function<void(Args...)> call_;
};

std::error_code code_of(const std::function<void()>& function) {
  try {
    function();
  } catch (const std::system_error& error) {
    return error.code();
  }
  return {};
}

struct Pair {
  tcp::socket one;
  tcp::socket other;
};
template <class Executor>
Pair connected(const Executor& executor) {
  tcp::acceptor acceptor(executor, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
  Pair pair{tcp::socket(executor), tcp::socket(executor)};
  pair.one.connect(acceptor.local_endpoint());
  acceptor.accept(pair.other);
  return pair;
}

}  // namespace

TEST_CASE("use_task: gives back nothing, a value, or a tuple") {
  const auto run = []() -> Task<std::string> {
    co_await operation<void()>([](auto handler) { handler(); }, use_task);
    const int one = co_await operation<void(int)>([](auto handler) { handler(1); }, use_task);
    const auto [number, text] =
        co_await operation<void(int, std::string)>([](auto handler) { handler(2, "two"); }, use_task);
    const auto pointer = co_await operation<void(std::error_code, std::unique_ptr<int>)>(
        [](auto handler) { handler(std::error_code(), std::make_unique<int>(3)); }, use_task);
    co_return std::to_string(one) + std::to_string(number) + text + std::to_string(*pointer);
  };
  CHECK(sync_wait(run()) == "12two3");
}

TEST_CASE("use_task: a value without a default constructor passes through once") {
  Count count;
  const auto run = [&count]() -> Task<int> {
    const auto start = [&count](auto handler) { handler(std::exception_ptr(), Counted(count, 4)); };
    const Counted got = co_await operation<void(std::exception_ptr, Counted)>(start, use_task);
    co_return got.value;
  };
  CHECK(sync_wait(run()) == 4);
  CHECK(count.made == 1);
  CHECK(count.alive() == 0);
}

TEST_CASE("use_task: an error code is thrown with its category, an exception as it is") {
  const auto refused = []() -> Task<> {
    co_await operation<void(std::error_code, int)>([](auto handler) { handler(asio::error::connection_refused, 0); },
                                                   use_task);
  };
  CHECK(code_of([&] { sync_wait(refused()); }) == asio::error::connection_refused);
  const auto failed = []() -> Task<> {
    co_await operation<void(std::exception_ptr)>(
        [](auto handler) { handler(std::make_exception_ptr(std::logic_error("mine"))); }, use_task);
  };
  CHECK_THROWS_AS(sync_wait(failed()), std::logic_error);
}

TEST_CASE("use_task: as_tuple gives the error instead of throwing it") {
  const auto run = []() -> Task<bool> {
    const auto [error, number] = co_await operation<void(std::error_code, int)>(
        [](auto handler) { handler(asio::error::eof, 5); }, use_task.as_tuple());
    const auto all = co_await operation<void()>([](auto handler) { handler(); }, use_task.as_tuple());
    static_assert(std::tuple_size_v<std::decay_t<decltype(all)>> == 0);
    co_return error == asio::error::eof&& number == 5;
  };
  CHECK(sync_wait(run()));
}

TEST_CASE("use_task: starts when it is awaited, and what the initiation throws is thrown by the await") {
  bool started = false;
  const auto run = [&started]() -> Task<bool> {
    const auto start = [&started](auto handler) {
      started = true;
      handler();
    };
    auto waiting = operation<void()>(start, use_task);
    const bool before = started;
    co_await waiting;
    co_return !before && started;
  };
  CHECK(sync_wait(run()));
  const auto fail = []() -> Task<> {
    co_await operation<void()>([](auto) { throw std::runtime_error("not started"); }, use_task);
  };
  CHECK_THROWS_AS(sync_wait(fail()), std::runtime_error);
}

TEST_CASE("use_task: awaits timers, posts and spawned tasks of another executor") {
  asio::thread_pool pool(2);
  const auto run = [&pool]() -> Task<int> {
    asio::steady_timer timer(pool, 1ms);
    co_await timer.async_wait(use_task);
    co_await asio::post(pool, use_task);
    const auto inner = []() -> Task<int> { co_return 6; };
    co_return co_await weir::spawn(pool, inner(), use_task);
  };
  for (int i = 0; i < 50; ++i) CHECK(sync_wait(run()) == 6);
  CHECK(sync_wait(pool, run()) == 6);
}

TEST_CASE("use_task: composed operations on sockets") {
  asio::thread_pool pool(2);
  Pair pair = connected(pool.get_executor());
  constexpr std::size_t size = 300'000;
  const auto send = [&pair]() -> Task<std::size_t> {
    const std::string data(size, 'x');
    co_return co_await asio::async_write(pair.one, asio::buffer(data), use_task);
  };
  const auto receive = [&pair]() -> Task<std::size_t> {
    std::string data(size, ' ');
    const std::size_t n = co_await asio::async_read(pair.other, asio::buffer(data), use_task);
    co_return data == std::string(size, 'x') ? n : 0;
  };
  auto sent = weir::spawn(pool, send(), asio::use_future);
  auto received = weir::spawn(pool, receive(), asio::use_future);
  CHECK(sent.get() == size);
  CHECK(received.get() == size);
  pair.one.close();
  const auto at_end = [&pair]() -> Task<> {
    std::array<char, 1> byte{};
    co_await pair.other.async_read_some(asio::buffer(byte), use_task);
  };
  CHECK(code_of([&] { sync_wait(pool, at_end()); }) == asio::error::eof);
}

TEST_CASE("use_task: a cancel of the root cancels the operation, and later ones do not start") {
  asio::io_context loop;
  asio::cancellation_signal signal;
  std::error_code first;
  std::error_code second;
  std::error_code third;
  const auto run = [&]() -> Task<> {
    asio::steady_timer timer(loop, 1h);
    const auto [error] = co_await timer.async_wait(use_task.as_tuple());
    first = error;
    const auto [again] = co_await timer.async_wait(use_task.as_tuple());
    second = again;
    try {
      co_await timer.async_wait(use_task);
    } catch (const weir::Error& thrown) {
      third = thrown.code();
    }
  };
  bool done = false;
  weir::spawn(loop, run(), asio::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr) { done = true; }));
  loop.poll();
  CHECK_FALSE(done);
  signal.emit(asio::cancellation_type::terminal);
  loop.run();
  CHECK(done);
  CHECK(first == asio::error::operation_aborted);
  CHECK(second == weir::Errc::cancelled);
  CHECK(third == weir::Errc::cancelled);
}

TEST_CASE("use_task: cancels an operation that heeds only one kind of cancellation") {
  for (const auto kind :
       {asio::cancellation_type::terminal, asio::cancellation_type::partial, asio::cancellation_type::total}) {
    asio::io_context loop;
    asio::cancellation_signal signal;
    bool ended = false;
    const auto run = [&]() -> Task<> {
      const auto start = [kind](auto handler) {
        auto slot = asio::get_associated_cancellation_slot(handler);
        auto shared = std::make_shared<decltype(handler)>(std::move(handler));
        slot.assign([kind, shared](asio::cancellation_type type) {
          if ((type & kind) != asio::cancellation_type::none) std::move (*shared)(asio::error::operation_aborted);
        });
      };
      const auto [error] = co_await operation<void(std::error_code)>(start, use_task.as_tuple());
      ended = error == asio::error::operation_aborted;
    };
    weir::spawn(loop, run(), asio::bind_cancellation_slot(signal.slot(), asio::detached));
    loop.poll();
    signal.emit(asio::cancellation_type::all);
    loop.run();
    CHECK(ended);
  }
}

TEST_CASE("use_task: completed beats cancelled, and no signal is emitted after completion") {
  const bool cancelled_first = GENERATE(false, true);
  asio::io_context loop;
  asio::cancellation_signal signal;
  Kept<void(int)> kept;
  int emitted = 0;
  int got = 0;
  const auto run = [&]() -> Task<> {
    const auto start = [&](auto handler) {
      asio::get_associated_cancellation_slot(handler).assign([&](asio::cancellation_type) { ++emitted; });
      kept.keep(std::move(handler));
    };
    got = co_await operation<void(int)>(start, use_task);
  };
  weir::spawn(loop, run(), asio::bind_cancellation_slot(signal.slot(), asio::detached));
  loop.poll();
  if (cancelled_first) signal.emit(asio::cancellation_type::terminal);
  kept(7);
  if (!cancelled_first) signal.emit(asio::cancellation_type::terminal);
  loop.run();
  CHECK(got == 7);
  CHECK(emitted == 0);
}

TEST_CASE("use_task: a handler called on a foreign thread resumes on the home, once") {
  asio::thread_pool pool(2);
  const int times = weir_test::stress(2000);
  const auto run = [times]() -> Task<int> {
    int sum = 0;
    std::thread thread;
    for (int i = 0; i < times; ++i) {
      const auto start = [&thread](auto handler) {
        thread = std::thread([handler = std::move(handler)]() mutable { std::move(handler)(1, std::string(50, 'a')); });
      };
      const auto [number, text] = co_await operation<void(int, std::string)>(start, use_task);
      sum += number + static_cast<int>(text.size());
      thread.join();
    }
    co_return sum;
  };
  auto one = weir::spawn(pool, run(), asio::use_future);
  auto other = weir::spawn(pool, run(), asio::use_future);
  CHECK(one.get() == 51 * times);
  CHECK(other.get() == 51 * times);
}

TEST_CASE("use_task: a handler that is dropped leaves the coroutine waiting until its context goes") {
  Count count;
  auto loop = std::make_unique<asio::io_context>();
  const auto run = [&count]() -> Task<> {
    const Counted held(count);
    co_await operation<void()>([](auto) {}, use_task);
  };
  weir::spawn(*loop, run());
  loop->poll();
  CHECK(count.made == 1);
  CHECK(count.alive() == 1);
  loop.reset();
  CHECK(count.alive() == 0);
}

TEST_CASE("use_task: a handler that outlives the frame may be called or destroyed") {
  for (const bool call : {false, true}) {
    Count count;
    Count results;
    Kept<void(Counted)> kept;
    auto loop = std::make_unique<asio::io_context>();
    const auto run = [&]() -> Task<> {
      const Counted held(count);
      const auto start = [&kept](auto handler) { kept.keep(std::move(handler)); };
      const Counted got = co_await operation<void(Counted)>(start, use_task);
      FAIL_CHECK("resumed with " << got.value);
    };
    weir::spawn(*loop, run());
    loop->poll();
    REQUIRE(kept.kept());
    loop.reset();
    CHECK(count.made == 1);
    CHECK(count.alive() == 0);
    if (call) kept(Counted(results));
    kept.drop();
    CHECK(results.alive() == 0);
  }
}

TEST_CASE("use_task: completed and not yet resumed when the context goes, the result is destroyed once") {
  Count count;
  Kept<void(Counted)> kept;
  auto loop = std::make_unique<asio::io_context>();
  const auto run = [&]() -> Task<> {
    const auto start = [&kept](auto handler) { kept.keep(std::move(handler)); };
    const Counted got = co_await operation<void(Counted)>(start, use_task);
    FAIL_CHECK("resumed with " << got.value);
  };
  weir::spawn(*loop, run());
  loop->poll();
  kept(Counted(count));
  loop.reset();
  CHECK(count.made == 1);
  CHECK(count.alive() == 0);
}

TEST_CASE("use_task: timers and sockets of another context, destroyed before and after the root's") {
  for (const bool home_first : {true, false}) {
    Count count;
    auto net = std::make_unique<asio::io_context>();
    auto timer = std::make_unique<asio::steady_timer>(*net, 1h);
    auto pair = std::make_unique<Pair>(connected(net->get_executor()));
    auto pool = std::make_unique<asio::thread_pool>(2);
    std::thread runner([&net] {
      const auto work = asio::make_work_guard(*net);
      net->run();
    });
    std::atomic<int> waiting = 0;
    // What is posted to the home runs when the coroutine has suspended, and so has started its operation.
    const auto say_when_it_waits = [&waiting](const weir::HomeExecutor& home) {
      asio::post(home, [&waiting] { ++waiting; });
    };
    const auto on_timer = [&]() -> Task<> {
      const Counted held(count);
      const auto home = co_await weir::this_task::executor();
      say_when_it_waits(home);
      co_await timer->async_wait(use_task);
    };
    const auto on_socket = [&]() -> Task<> {
      const Counted held(count);
      std::array<char, 8> bytes{};
      const auto home = co_await weir::this_task::executor();
      say_when_it_waits(home);
      co_await asio::async_read(pair->one, asio::buffer(bytes), use_task);
    };
    weir::spawn(*pool, on_timer());
    weir::spawn(*pool, on_socket());
    while (waiting != 2) std::this_thread::yield();
    const auto end_net = [&] {
      net->stop();
      runner.join();
      pair.reset();
      timer.reset();
      net.reset();
    };
    if (!home_first) end_net();
    pool.reset();
    CHECK(count.made == 2);
    CHECK(count.alive() == 0);
    if (home_first) end_net();
  }
}

TEST_CASE("use_task: waits on timers and sockets of its own context go with it") {
  Count count;
  {
    asio::thread_pool pool(2);
    std::atomic<int> waiting = 0;
    const auto on_timer = [&]() -> Task<> {
      const Counted held(count);
      asio::steady_timer timer(pool, 1h);
      ++waiting;
      co_await timer.async_wait(use_task);
    };
    const auto on_socket = [&]() -> Task<> {
      const Counted held(count);
      Pair pair = connected(pool.get_executor());
      std::array<char, 8> bytes{};
      ++waiting;
      co_await asio::async_read(pair.one, asio::buffer(bytes), use_task);
    };
    for (int i = 0; i < 10; ++i) {
      weir::spawn(pool, on_timer());
      weir::spawn(pool, on_socket());
    }
    while (waiting != 20) std::this_thread::yield();
    pool.stop();
  }
  CHECK(count.made == 20);
  CHECK(count.alive() == 0);
}

TEST_CASE("use_task: a context that goes while another thread calls the handlers") {
  const int times = weir_test::stress(300);
  Count count;
  Count results;
  for (int i = 0; i < times; ++i) {
    std::array<Kept<void(Counted)>, 4> kept;
    auto pool = std::make_unique<asio::thread_pool>(1);
    const auto run = [&](Kept<void(Counted)>& mine) -> Task<> {
      const Counted held(count);
      const auto start = [&mine](auto handler) { mine.keep(std::move(handler)); };
      co_await operation<void(Counted)>(start, use_task);
    };
    for (auto& mine : kept) weir::spawn(*pool, run(mine));
    sync_wait(*pool, []() -> Task<> { co_return; }());
    std::thread caller([&] {
      for (auto& mine : kept) mine(Counted(results));
    });
    pool.reset();
    caller.join();
  }
  CHECK(count.made == 4 * times);
  CHECK(count.alive() == 0);
  CHECK(results.made == 4 * times);
  CHECK(results.alive() == 0);
}

TEST_CASE("use_task: no allocation per await in the steady state") {
  asio::io_context loop(1);
  std::uint64_t counted = 0;
  const auto run = [&loop, &counted]() -> Task<> {
    asio::steady_timer timer(loop);
    const auto wait = [&timer](int times) -> Task<> {
      for (int i = 0; i < times; ++i) {
        timer.expires_at(std::chrono::steady_clock::time_point::min());
        co_await timer.async_wait(use_task);
        co_await asio::post(timer.get_executor(), use_task);
      }
    };
    co_await wait(10);
    auto measured = wait(1000);
    const weir_test::AllocationCounter allocations;
    co_await std::move(measured);
    counted = allocations.count();
  };
  weir::spawn(loop, run());
  loop.run();
  CHECK(counted == 0);
}

namespace {

/// Spawns roots one after the other, and cancels each from the spawning thread while the pool runs it.
class Canceller {
 public:
  template <class Make>
  void run(asio::thread_pool& pool, int times, unsigned seed, Make make) {
    for (int i = 0; i < times; ++i) {
      asio::cancellation_signal signal;
      const auto handler = [this](std::exception_ptr error) {
        try {
          if (error) std::rethrow_exception(error);
          ++completed;
        } catch (const std::system_error& e) {
          ++(weir::is_cancellation(e.code()) ? cancelled : failed);
        }
        ++done_;
        done_.notify_one();
      };
      weir::spawn(pool, make(), asio::bind_cancellation_slot(signal.slot(), handler));
      seed = seed * 1664525u + 1013904223u;
      for (volatile unsigned spin = (seed >> 16) % 2048; spin != 0;) spin = spin - 1;
      signal.emit(asio::cancellation_type::terminal);
      done_.wait(i);
    }
  }

  std::atomic<int> completed = 0;
  std::atomic<int> cancelled = 0;
  std::atomic<int> failed = 0;

 private:
  std::atomic<int> done_ = 0;
};

}  // namespace

TEST_CASE("use_task: timers and sockets on a two-thread pool, cancelled from elsewhere over and over") {
  const int times = weir_test::stress(20'000) / 2;
  asio::thread_pool pool(2);
  Pair pair = connected(pool.get_executor());
  Canceller timers;
  Canceller sockets;
  const auto on_timer = [&pool](int i) -> Task<> {
    asio::steady_timer timer(pool, (i % 4 == 0) ? 20us : 1h);
    co_await timer.async_wait(use_task);
    asio::steady_timer next(pool, 1h);
    co_await next.async_wait(use_task);
  };
  const auto on_socket = [&pair](int i) -> Task<> {
    std::array<char, 64> bytes{};
    if (i % 4 == 0) co_await pair.other.async_write_some(asio::buffer(bytes, 1), use_task);
    for (;;) co_await asio::async_read(pair.one, asio::buffer(bytes), use_task);
  };
  std::thread one([&] { timers.run(pool, times, 1, [&, i = 0]() mutable { return on_timer(i++); }); });
  std::thread other([&] { sockets.run(pool, times, 2, [&, i = 0]() mutable { return on_socket(i++); }); });
  one.join();
  other.join();
  CHECK(timers.completed + timers.cancelled == times);
  CHECK(timers.failed == 0);
  CHECK(sockets.completed + sockets.cancelled == times);
  CHECK(sockets.failed == 0);
}
