#include <weir/core/timer.hpp>

#include "support/catch.hpp"

#include <atomic>
#include <memory>
#include <vector>

#include <weir/core/spawn.hpp>
#include <weir/core/this_task.hpp>
#include <weir/sim/explore.hpp>

#include "support/allocation_counter.hpp"

namespace {

using namespace std::chrono_literals;
using weir::Task;
using weir::sim::ensure;
using weir::sim::Simulator;

struct Counted {
  explicit Counted(int& c) : count(&c) { ++*count; }
  Counted(const Counted&) = delete;
  ~Counted() { --*count; }
  int* count;
};

Task<> log_after(std::chrono::milliseconds delay, int number, std::vector<int>& log) {
  co_await weir::sleep_for(delay);
  log.push_back(number);
}

/// What became of a wait.
enum class Outcome { none, completed, cancelled };

Task<> note(Task<> task, Outcome& outcome) {
  try {
    co_await std::move(task);
    outcome = Outcome::completed;
  } catch (const weir::Error& error) {
    ensure(error.code() == weir::Errc::cancelled, "a wait is ended by a cancellation only");
    outcome = Outcome::cancelled;
  }
}

Task<> sleep_task(std::chrono::milliseconds delay) { co_await weir::sleep_for(delay); }
Task<> wait_task(weir::Timer& timer) { co_await timer.wait(); }

}  // namespace

TEST_CASE("timer: sleeps end in the order of their times, on the context's clock") {
  std::vector<int> log;
  Simulator sim(1);
  sim.spawn(log_after(30ms, 3, log));
  sim.spawn(log_after(10ms, 1, log));
  sim.spawn(log_after(20ms, 2, log));
  sim.run();
  CHECK(log == std::vector<int>{1, 2, 3});
  CHECK(sim.elapsed() == 30ms);
}

TEST_CASE("timer: sleep_until waits for the time given, and a past time only yields") {
  Simulator sim(1);
  sim.spawn([]() -> Task<> {
    const auto start = co_await weir::this_task::now();
    co_await weir::sleep_until(start + 7ms);
    ensure(co_await weir::this_task::now() == start + 7ms, "slept until the time");
    co_await weir::sleep_until(start);
    co_await weir::sleep_for(-1h);
    co_await weir::sleep_for(0s);
    ensure(co_await weir::this_task::now() == start + 7ms, "no time passed");
  });
  sim.run();
  CHECK(sim.elapsed() == 7ms);
}

TEST_CASE("timer: durations of any unit are rounded up, and the longest never ends") {
  using weir::detail::clock_duration;
  using Duration = weir::TimeService::Duration;
  CHECK(clock_duration(std::chrono::duration<double>(1e-9)) == Duration(1));
  CHECK(clock_duration(std::chrono::duration<double, std::nano>(1.5)) == Duration(2));
  CHECK(clock_duration(std::chrono::hours::max()) == Duration::max());
  CHECK(clock_duration(std::chrono::hours::min()) == Duration::zero());
  CHECK(clock_duration(3ms) == 3ms);
}

TEST_CASE("timer: a zero sleep and a yield let another root run") {
  for (const bool zero_sleep : {false, true}) {
    asio::io_context context;
    bool ready = false;
    int turns = 0;
    weir::spawn(context, [&]() -> Task<> {
      while (!ready && turns < 100000) {
        ++turns;
        if (zero_sleep) {
          co_await weir::sleep_for(0s);
        } else {
          co_await weir::yield();
        }
      }
    });
    weir::spawn(context, [&]() -> Task<> {
      ready = true;
      co_return;
    });
    context.run();
    CHECK(turns > 0);
    CHECK(turns < 100000);
  }
}

TEST_CASE("timer: a sleep that is cancelled at any step ends at once, or was complete") {
  int completed = 0, cancelled = 0;
  const auto explored = weir::sim::explore_each_step([&](Simulator& sim) {
    asio::cancellation_signal signal;
    Outcome outcome = Outcome::none;
    int frames = 0;
    weir::TimeService::Duration cancelled_at = 1h;
    weir::spawn(
        sim,
        [&]() -> Task<> {
          const Counted counted(frames);
          co_await note(sleep_task(5ms), outcome);
          if (outcome == Outcome::completed) ensure(sim.elapsed() >= 5ms, "it slept long enough");
          if (outcome == Outcome::cancelled) ensure(sim.elapsed() <= cancelled_at, "it ended when it was cancelled");
        },
        asio::bind_cancellation_slot(signal.slot(), [](std::exception_ptr) {}));
    sim.spawn([]() -> Task<> {
      for (int i = 0; i < 6; ++i) co_await weir::sleep_for(1ms);
    });
    sim.on_action([&] {
      cancelled_at = sim.elapsed();
      signal.emit(asio::cancellation_type::terminal);
    });
    sim.run();
    ensure(outcome != Outcome::none && frames == 0, "it ended");
    if (!sim.acted()) ensure(outcome == Outcome::completed, "nothing ends it but a cancellation");
    (outcome == Outcome::completed ? completed : cancelled)++;
  });
  CHECK(explored.runs > 1);
  CHECK(completed > 0);
  CHECK(cancelled > 0);
}

TEST_CASE("timer: a context destroyed at any step destroys the sleepers where they wait, once") {
  const auto explored = weir::sim::explore_each_step([](Simulator& sim) {
    int frames = 0;
    for (int i = 0; i < 3; ++i) {
      sim.spawn([&frames, i]() -> Task<> {
        const Counted counted(frames);
        weir::Timer timer(co_await weir::this_task::executor());
        timer.expires_after(std::chrono::milliseconds(i));
        co_await timer.wait();
        co_await weir::yield();
        co_await weir::sleep_for(std::chrono::milliseconds(2 - i));
      });
    }
    sim.on_action([&] { sim.shut_down(); });
    sim.run();
    ensure(frames == 0, "each frame was destroyed");
  });
  CHECK(explored.runs > 1);
}

TEST_CASE("timer: moving the expiry, earlier and later, moves those that wait") {
  Simulator sim(3);
  Outcome outcome = Outcome::none;
  sim.spawn([&]() -> Task<> {
    const auto executor = co_await weir::this_task::executor();
    weir::Timer timer(executor);
    for (const auto to : {2ms, 50ms}) {
      const auto start = co_await weir::this_task::now();
      timer.expires_at(start + 10ms);
      asio::post(executor, [&timer, start, to] { timer.expires_at(start + to); });
      co_await note(wait_task(timer), outcome);
      ensure(outcome == Outcome::completed, "moving is not cancelling");
      ensure(co_await weir::this_task::now() - start == to, "it waited for the new time");
    }
  });
  sim.run();
  CHECK(sim.elapsed() == 52ms);
}

TEST_CASE("timer: cancel wakes the waiter with Errc::cancelled, and the timer can be waited for again") {
  Simulator sim(3);
  std::size_t woken = 0;
  sim.spawn([&]() -> Task<> {
    const auto executor = co_await weir::this_task::executor();
    weir::Timer timer(executor);
    timer.expires_after(10ms);
    asio::post(executor, [&] { woken = timer.cancel(); });
    Outcome outcome = Outcome::none;
    co_await note(wait_task(timer), outcome);
    ensure(outcome == Outcome::cancelled && sim.elapsed() == 0ms, "it was cancelled before its time");
    ensure(timer.cancel() == 0, "nobody is left to cancel");
    co_await timer.wait();
    ensure(sim.elapsed() == 10ms, "the expiry stayed");
  });
  sim.run();
  CHECK(woken == 1);
}

TEST_CASE("timer: destroying a timer wakes the one that waits") {
  Simulator sim(3);
  Outcome outcome = Outcome::none;
  sim.spawn([&]() -> Task<> {
    const auto executor = co_await weir::this_task::executor();
    auto timer = std::make_unique<weir::Timer>(executor);
    timer->expires_after(10ms);
    asio::post(executor, [&] { timer.reset(); });
    co_await note(wait_task(*timer), outcome);
  });
  sim.run();
  CHECK(outcome == Outcome::cancelled);
  CHECK(sim.elapsed() == 0ms);
}

TEST_CASE("timer: a second root is refused") {
  Simulator sim(3);
  weir::Timer timer(sim);
  timer.expires_after(10ms);
  sim.spawn([&]() -> Task<> { co_await timer.wait(); });
  weir::Errc seen{};
  sim.spawn([&]() -> Task<> {
    co_await weir::sleep_for(1ms);
    try {
      co_await timer.wait();
    } catch (const weir::Error& error) {
      seen = static_cast<weir::Errc>(error.code().value());
    }
  });
  sim.run();
  CHECK(seen == weir::Errc::invalid_argument);
}

TEST_CASE("timer: a wait in a cancelled scope throws without waiting") {
  Simulator sim(1);
  int thrown = 0;
  sim.spawn([&]() -> Task<> {
    (co_await weir::this_task::home()).scope().cancel();
    const auto attempt = [&thrown](auto wait) -> Task<> {
      try {
        co_await std::move(wait);
      } catch (const weir::Error& error) {
        if (error.code() == weir::Errc::cancelled) ++thrown;
      }
    };
    co_await attempt(weir::sleep_for(1h));
    co_await attempt(weir::yield());
    weir::Timer timer(sim);
    co_await attempt(timer.wait());
  });
  sim.run();
  CHECK(thrown == 3);
  CHECK(sim.elapsed() == 0ms);
}

TEST_CASE("timer: on Asio, a cancelled sleep leaves no work behind") {
  asio::io_context context;
  asio::cancellation_signal signal;
  bool ended = false;
  weir::spawn(context, sleep_task(24h),
              asio::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr error) { ended = error != nullptr; }));
  context.poll();
  CHECK_FALSE(ended);
  signal.emit(asio::cancellation_type::terminal);
  context.run();
  CHECK(ended);
}

TEST_CASE("timer: on Asio, a context destroyed while tasks sleep runs each destructor once") {
  int frames = 0;
  {
    asio::io_context context;
    for (int i = 0; i < 4; ++i) {
      weir::spawn(context, [&frames, i]() -> Task<> {
        const Counted counted(frames);
        co_await weir::sleep_for(std::chrono::hours(i));
        co_await weir::sleep_for(1h);
      });
    }
    context.poll();
    CHECK(frames == 4);
  }
  CHECK(frames == 0);
}

TEST_CASE("timer: waiting allocates nothing, on the simulator and on Asio") {
  const auto loop = [](int rounds, std::chrono::microseconds delay, std::uint64_t& allocated) -> Task<> {
    weir::Timer timer(co_await weir::this_task::executor());
    for (int i = 0; i < 2; ++i) {
      const weir_test::AllocationCounter counter;
      for (int round = 0; round < rounds; ++round) {
        co_await weir::sleep_for(delay);
        timer.expires_after(delay);
        co_await timer.wait();
        co_await weir::yield();
      }
      allocated = counter.count();
    }
  };
  std::uint64_t simulated = 1, real = 1;
  Simulator sim(1);
  sim.spawn(loop(100, 1ms, simulated));
  sim.run();
  CHECK(simulated == 0);
  asio::io_context context;
  weir::spawn(context, loop(30, 50us, real));
  context.run();
  CHECK(real == 0);
}
