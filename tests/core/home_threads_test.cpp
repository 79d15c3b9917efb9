#include <weir/core/home.hpp>

#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/stress.hpp"

#include <atomic>
#include <chrono>
#include <coroutine>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <weir/core/spawn.hpp>
#include <weir/core/use_task.hpp>
#include <weir/core/wake_list.hpp>

namespace {

using weir::Task;
using weir_test::Count;
using weir_test::Counted;

/// Where coroutines wait for a number of tickets that any thread hands out: the pattern of every primitive.
class Gate {
 public:
  class Wait {
   public:
    explicit Wait(Gate& gate) : gate_(&gate) {}
    Wait(const Wait&) = delete;
    Wait& operator=(const Wait&) = delete;
    ~Wait() {
      const std::lock_guard lock(gate_->mutex_);
      std::erase(gate_->waiting_, this);
    }
    void attach(weir::Promise& promise) { promise_ = &promise; }
    [[nodiscard]] bool await_ready() const { return false; }
    bool await_suspend(std::coroutine_handle<>) {
      const std::lock_guard lock(gate_->mutex_);
      if (gate_->tickets_ != 0) {
        --gate_->tickets_;
        if (promise_->home().spend()) return false;
        promise_->home().resume_here(promise_->resumable());
        return true;
      }
      gate_->waiting_.push_back(this);
      return true;
    }
    void await_resume() const {}

   private:
    friend class Gate;
    Gate* gate_;
    weir::Promise* promise_ = nullptr;
  };

  Wait pass() { return Wait(*this); }

  void open(int tickets) {
    weir::WakeList wake;
    const std::lock_guard lock(mutex_);
    for (; tickets != 0; --tickets) {
      if (waiting_.empty()) {
        tickets_ += tickets;
        return;
      }
      Wait* const first = waiting_.front();
      waiting_.erase(waiting_.begin());
      wake.add(first->promise_->home(), first->promise_->resumable());
    }
  }

 private:
  std::mutex mutex_;
  std::vector<Wait*> waiting_;
  int tickets_ = 0;
};

}  // namespace

TEST_CASE("home threads: no wake is lost and none is doubled, woken from two threads on two") {
  const int each = weir_test::stress(20'000);
  asio::thread_pool pool(2);
  Gate gate;
  std::atomic<int> passed = 0;
  constexpr int roots = 4;
  for (int r = 0; r < roots; ++r) {
    weir::spawn(pool, [&gate, &passed, each]() -> Task<> {
      for (int i = 0; i < each; ++i) {
        co_await gate.pass();
        ++passed;
      }
    });
  }
  std::vector<std::thread> wakers;
  for (int t = 0; t < 2; ++t) {
    wakers.emplace_back([&gate, each] {
      for (int i = 0; i < roots * each / 4; ++i) gate.open(2);
    });
  }
  for (auto& waker : wakers) waker.join();
  pool.join();
  CHECK(passed == roots * each);
}

TEST_CASE("home threads: a wake that meets the end of the drain is not lost") {
  const int rounds = weir_test::stress(300'000);
  asio::thread_pool pool(1);
  Gate gate;
  std::atomic<int> passed = 0;
  weir::spawn(pool, [&gate, &passed, rounds]() -> Task<> {
    for (int i = 0; i < rounds; ++i) {
      co_await gate.pass();
      ++passed;
    }
  });
  int opened = 0;
  bool lost = false;
  while (opened != rounds && !lost) {
    // The drain is about to end when the last pass is seen: somewhat later, a different time in each round.
    for (volatile int spin = opened % 150; spin != 0;) spin = spin - 1;
    gate.open(1);
    ++opened;
    int patience = 20'000'000;
    while (passed != opened && --patience != 0) {
    }
    lost = patience == 0;
  }
  CHECK_FALSE(lost);
  CHECK(passed == rounds);
  pool.stop();
}

TEST_CASE("home threads: a context that goes while others wake its roots") {
  const int rounds = weir_test::stress(300);
  Count count;
  for (int i = 0; i < rounds; ++i) {
    Gate gate;
    std::atomic<bool> stop = false;
    std::thread waker([&] {
      while (!stop) {
        gate.open(3);
        std::this_thread::yield();
      }
    });
    {
      asio::thread_pool pool(2);
      for (int r = 0; r < 4; ++r) {
        weir::spawn(pool, [&gate, held = std::make_shared<Counted>(count)]() -> Task<> {
          for (;;) co_await gate.pass();
        });
      }
      gate.open(1);
      pool.stop();
    }
    stop = true;
    waker.join();
  }
  CHECK(count.made == 4 * rounds);
  CHECK(count.alive() == 0);
}

TEST_CASE("home threads: a cancel requested from elsewhere, while it runs and after it ended") {
  const int rounds = weir_test::stress(3000);
  asio::thread_pool pool(2);
  class HomeOf {
   public:
    void attach(weir::Promise& promise) { home_ = &promise.home(); }
    [[nodiscard]] bool await_ready() const { return true; }
    void await_suspend(std::coroutine_handle<>) {}
    [[nodiscard]] weir::Home& await_resume() const { return *home_; }

   private:
    weir::Home* home_ = nullptr;
  };
  int ended = 0;
  for (int i = 0; i < rounds; ++i) {
    std::atomic<weir::Home*> shared = nullptr;
    const auto run = [&pool, &shared, i]() -> Task<> {
      weir::Home& home = co_await HomeOf();
      home.retain();
      shared = &home;
      shared.notify_one();
      if (i % 3 == 0) co_return;
      asio::steady_timer timer(pool, std::chrono::hours(1));
      co_await timer.async_wait(weir::use_task);
    };
    auto future_done = std::make_shared<std::atomic<int>>(0);
    weir::spawn(pool, run(), [future_done](std::exception_ptr) {
      *future_done = 1;
      future_done->notify_one();
    });
    shared.wait(nullptr);
    weir::Home& home = *shared;
    std::thread helper([&home] { home.request_cancel(); });
    home.request_cancel();
    helper.join();
    future_done->wait(0);
    home.release();
    ++ended;
  }
  CHECK(ended == rounds);
}
