#include <weir/sim/simulator.hpp>

#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <weir/core/spawn.hpp>
#include <weir/core/task.hpp>

#include "support/catch.hpp"

namespace {

using namespace std::chrono_literals;
using weir::Task;
using weir::sim::Simulator;

/// Lets others run: a wait that is over at once.
struct Turn {
  Turn() = default;
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  void attach(weir::Promise& p) noexcept { promise = &p; }
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<>) noexcept { promise->home().resume_here(promise->resumable()); }
  void await_resume() const noexcept {}
  weir::Promise* promise = nullptr;
};

/// Waits until it is cancelled.
class Never : public weir::Cancellable {
 public:
  Never() noexcept : Cancellable(waits) {}
  void attach(weir::Promise& p) {
    if (p.scope().cancelled()) throw weir::Error(p.scope().reason());
    promise_ = &p;
  }
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<>) noexcept { promise_->scope().link(*this); }
  void await_resume() const { throw weir::Error(weir::Errc::cancelled); }

 private:
  static void on_cancel(Cancellable& self) noexcept {
    weir::Promise& promise = *static_cast<Never&>(self).promise_;
    promise.home().resume_here(promise.resumable());
  }
  static constexpr Kind waits{&on_cancel, nullptr, "never"};
  weir::Promise* promise_ = nullptr;
};

class Sleep {
 public:
  Sleep(Simulator& sim, Simulator::Duration delay) : service_(asio::use_service<weir::TimeService>(sim)) {
    deadline_.when = service_.after(delay);
  }
  Sleep(const Sleep&) = delete;
  Sleep& operator=(const Sleep&) = delete;
  ~Sleep() { service_.remove(deadline_); }
  void attach(weir::Promise& p) noexcept {
    deadline_.home = &p.home();
    deadline_.resumable = &p.resumable();
  }
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<>) { service_.add(deadline_); }
  void await_resume() const noexcept {}

 private:
  weir::TimeService& service_;
  weir::TimeService::Deadline deadline_;
};

std::string failure_of(Simulator& sim) {
  try {
    sim.run();
  } catch (const std::exception& error) {
    return error.what();
  }
  return {};
}

Task<> three_turns(std::string& order, char name) {
  for (int i = 0; i < 3; ++i) {
    order += name;
    co_await Turn();
  }
}

std::string order_of(std::uint64_t seed) {
  std::string order;
  Simulator sim(seed);
  for (const char name : {'a', 'b', 'c', 'd'}) sim.spawn(three_turns(order, name));
  sim.run();
  return order;
}

TEST_CASE("simulator: the same seed gives the same order, and seeds give different ones") {
  int different = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    const std::string order = order_of(seed);
    CHECK(order.size() == 12);
    CHECK(order == order_of(seed));
    if (order != order_of(seed + 1)) ++different;
  }
  CHECK(different > 95);
}

TEST_CASE("simulator: what a root throws, run throws") {
  Simulator sim(1);
  sim.spawn([]() -> Task<> {
    co_await Turn();
    throw std::runtime_error("no");
  });
  REQUIRE_THROWS_WITH(sim.run(), "no");
}

TEST_CASE("simulator: the clock jumps to the earliest deadline when nothing is ready") {
  Simulator sim(1);
  std::vector<Simulator::Duration> times;
  const auto sleeper = [&](Simulator::Duration delay) -> Task<> {
    Sleep sleep(sim, delay);
    co_await sleep;
    times.push_back(sim.elapsed());
  };
  sim.spawn(sleeper(48h));
  sim.spawn(sleeper(5ms));
  sim.spawn(sleeper(1s));
  std::string order;
  sim.spawn(three_turns(order, 'a'));
  sim.on_step([&] { weir::sim::ensure(order.size() == 3 || sim.elapsed() == 0s, "time passed while one was ready"); });
  sim.run();
  CHECK(times == std::vector<Simulator::Duration>{5ms, 1s, 48h});
  CHECK(sim.elapsed() == 48h);
}

TEST_CASE("simulator: a stall says who waits for what") {
  Simulator sim(7);
  const auto never = []() -> Task<> {
    Never wait;
    co_await wait;
  };
  sim.spawn(never(), "reader");
  sim.spawn([]() -> Task<> { co_await Turn(); }, "other");
  try {
    sim.run();
    FAIL("it did not stall");
  } catch (const weir::Error& error) {
    CHECK(error.code() == weir::Errc::stalled);
    const std::string what = error.what();
    CHECK(what.find("seed 7") != std::string::npos);
    CHECK(what.find("root 1 'reader' waits in: never") != std::string::npos);
    CHECK(what.find("other") == std::string::npos);
  }
}

/// Waits until it is cancelled, and says for how many.
class Described : public weir::Cancellable {
 public:
  explicit Described(int count) noexcept : Cancellable(waits), count_(count) {}
  void attach(weir::Promise& p) noexcept { promise_ = &p; }
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<>) noexcept { promise_->scope().link(*this); }
  void await_resume() const noexcept {}

 private:
  static void on_cancel(Cancellable& self) noexcept {
    weir::Promise& promise = *static_cast<Described&>(self).promise_;
    promise.home().resume_here(promise.resumable());
  }
  static void tell(const Cancellable& self, std::string& text) {
    text += std::to_string(static_cast<const Described&>(self).count_) + " to come";
  }
  static constexpr Kind waits{&on_cancel, nullptr, "a toy", &tell};

  int count_;
  weir::Promise* promise_ = nullptr;
};

TEST_CASE("simulator: a stall's report says what each wait describes") {
  Simulator sim(7);
  sim.spawn(
      []() -> Task<> {
        Described wait(3);
        co_await wait;
      },
      "child");
  CHECK(failure_of(sim).find("root 1 'child' waits in: a toy — 3 to come\n") != std::string::npos);
}

TEST_CASE("simulator: outstanding work without a root is a stall too") {
  Simulator sim(7);
  const auto work = asio::make_work_guard(sim);
  asio::post(sim, [] {});
  CHECK(failure_of(sim).find("1 piece(s) of outstanding work") != std::string::npos);
}

TEST_CASE("simulator: a hook that throws fails the run with seed and step") {
  Simulator sim(5);
  std::string order;
  sim.spawn(three_turns(order, 'a'));
  sim.on_step([&] { weir::sim::ensure(order.size() < 2, "two turns"); });
  try {
    sim.run();
    FAIL("it did not fail");
  } catch (const weir::sim::InvariantBroken& error) {
    const std::string what = error.what();
    CHECK(what == "seed 5, step 2: two turns");
  }
}

TEST_CASE("simulator: a post from another thread fails the run and names the thread") {
  bool ran = false;
  Simulator sim(1);
  std::string order;
  sim.spawn(three_turns(order, 'a'));
  std::string name;
  std::thread([&] {
    std::ostringstream id;
    id << std::this_thread::get_id();
    name = id.str();
    asio::post(sim, [&] { ran = true; });
  }).join();
  CHECK(failure_of(sim).find("thread " + name) != std::string::npos);
  CHECK_FALSE(ran);
}

TEST_CASE("simulator: it runs one step at a time and counts them") {
  Simulator sim(1);
  int ran = 0;
  asio::post(sim, [&] { ++ran; });
  asio::post(sim, [&] { ++ran; });
  CHECK(sim.ready() == 2);
  CHECK(sim.step());
  CHECK(ran == 1);
  CHECK(sim.step());
  CHECK_FALSE(sim.step());
  CHECK(sim.steps() == 2);
}

TEST_CASE("simulator: stop ends the run, and the next run goes on") {
  Simulator sim(1);
  std::string order;
  sim.spawn(three_turns(order, 'a'));
  sim.on_action([&] { sim.stop(); });
  sim.act_at(2);
  sim.run();
  CHECK(sim.stopped());
  CHECK(order == "aa");
  sim.run();
  CHECK(order == "aaa");
}

TEST_CASE("simulator: a scenario without an end fails") {
  Simulator sim(1);
  sim.limit_steps(1000);
  sim.spawn([]() -> Task<> {
    for (;;) co_await Turn();
  });
  CHECK(failure_of(sim).find("step 1000: no end in sight") != std::string::npos);
}

struct Counted {
  explicit Counted(int& c) : count(&c) { ++*count; }
  Counted(Counted&& other) noexcept : count(std::exchange(other.count, nullptr)) {}
  Counted& operator=(Counted&&) = delete;
  ~Counted() {
    if (count) --*count;
  }
  int* count;
};

TEST_CASE("simulator: destroyed while roots wait, it runs every destructor once and calls no handler") {
  for (int steps = 0; steps < 12; ++steps) {
    int alive = 0;
    int called = 0;
    {
      Simulator sim(static_cast<std::uint64_t>(steps));
      auto waits = [](Simulator& s, Counted) -> Task<> {
        co_await Turn();
        Sleep sleep(s, 1s);
        co_await sleep;
        Never wait;
        co_await wait;
      };
      weir::spawn(sim, waits(sim, Counted(alive)),
                  [&called, c = Counted(alive)](const std::exception_ptr&) { ++called; });
      sim.spawn(waits(sim, Counted(alive)));
      asio::post(sim, [&called, c = Counted(alive)] { called += 100; });
      for (int i = 0; i < steps; ++i) sim.step();
    }
    CHECK(alive == 0);
    CHECK(called % 100 == 0);
  }
}

TEST_CASE("simulator: what it keeps outlives the roots and goes with it") {
  int alive = 0;
  bool outlived = false;
  {
    Simulator sim(1);
    auto& kept = sim.keep<Counted>(alive);
    struct Looks {
      ~Looks() { *outlived = *kept->count == 1; }
      bool* outlived;
      Counted* kept;
    };
    sim.spawn([](Counted& k, bool& o) -> Task<> {
      const Looks looks{&o, &k};
      Never wait;
      co_await wait;
    }(kept, outlived));
    sim.step();
    CHECK(alive == 1);
  }
  CHECK(alive == 0);
  CHECK(outlived);
}

TEST_CASE("simulator: its executor works as any_io_executor and under a strand") {
  Simulator sim(3);
  std::string order;
  asio::any_io_executor any = sim.get_executor();
  CHECK(&asio::query(any, asio::execution::context) == &sim);
  weir::spawn(any, three_turns(order, 'a'));
  weir::spawn(asio::make_strand(sim), three_turns(order, 'b'));
  asio::dispatch(any, [&] { order += 'c'; });
  CHECK(order.empty());
  sim.run();
  CHECK(order.size() == 7);
}

TEST_CASE("simulator: plain Asio coroutines run on it") {
  Simulator sim(3);
  int result = 0;
  asio::co_spawn(
      sim,
      [&]() -> asio::awaitable<void> {
        co_await asio::post(co_await asio::this_coro::executor, asio::use_awaitable);
        result = co_await weir::spawn(
            sim,
            []() -> Task<int> {
              co_await Turn();
              co_return 7;
            },
            asio::use_awaitable);
      },
      asio::detached);
  sim.run();
  CHECK(result == 7);
}

}  // namespace
