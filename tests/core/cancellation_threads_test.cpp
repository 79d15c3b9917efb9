#include <weir/core/cancellation.hpp>

#include "support/catch.hpp"
#include "support/stress.hpp"

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <thread>

#include <weir/core/spawn.hpp>
#include <weir/core/timeout.hpp>
#include <weir/core/timer.hpp>
#include <weir/core/with_cancellation.hpp>

namespace {

using namespace std::chrono_literals;
using weir::CancellationCallback;
using weir::CancellationSource;
using weir::Task;

/// Hands one source after another to a thread that cancels it.
class Canceller {
 public:
  Canceller() : thread_([this] { run(); }) {}
  ~Canceller() {
    stop_ = true;
    thread_.join();
  }
  void cancel_soon(CancellationSource& source) { handed_.store(&source, std::memory_order_release); }
  void join() {
    while (handed_.load(std::memory_order_acquire)) std::this_thread::yield();
  }

 private:
  void run() {
    while (!stop_) {
      if (CancellationSource* const source = handed_.load(std::memory_order_acquire)) {
        source->cancel();
        handed_.store(nullptr, std::memory_order_release);
      } else {
        std::this_thread::yield();
      }
    }
  }

  std::atomic<CancellationSource*> handed_{nullptr};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

Task<> sleep_long() { co_await weir::sleep_for(1h); }

Task<> sleep_until_cancelled(weir::CancellationToken token, std::atomic<int>& cancelled) {
  try {
    co_await weir::with_cancellation(std::move(token), sleep_long());
  } catch (const weir::Error& error) {
    if (error.code() == weir::Errc::cancelled) ++cancelled;
  }
}

Task<> sleep_at_most(std::chrono::microseconds delay, weir::CancellationToken token, std::atomic<int>& ended) {
  try {
    co_await weir::with_cancellation(std::move(token), weir::with_timeout(delay, sleep_long()));
  } catch (const weir::Error& error) {
    if (error.code() == weir::Errc::cancelled || error.code() == weir::Errc::timed_out) ++ended;
  }
}

}  // namespace

TEST_CASE("cancellation threads: registrations come and go while another thread cancels") {
  asio::io_context context;
  Canceller canceller;
  const int rounds = weir_test::long_stress(100000);
  int late = 0, called = 0;
  for (int i = 0; i < rounds; ++i) {
    CancellationSource source;
    CancellationSource child = CancellationSource::linked_to(source.token());
    bool owned = true;
    canceller.cancel_soon(source);
    std::optional<CancellationCallback> callback;
    callback.emplace(child.token(), context, [&] {
      ++called;
      if (!owned) ++late;
    });
    while (i % 4 == 0 && !child.cancelled()) std::this_thread::yield();
    if (i % 2 == 0) context.poll();
    callback.reset();
    owned = false;
    if (i % 3 == 0) child = CancellationSource();
    canceller.join();
    context.poll();
    context.restart();
  }
  CHECK(late == 0);
  CHECK(called > 0);
  CHECK(called < rounds);
}

TEST_CASE("cancellation threads: the executor's context may go as soon as the registration has") {
  Canceller canceller;
  for (int i = 0; i < weir_test::long_stress(5000); ++i) {
    CancellationSource source;
    auto context = std::make_unique<asio::io_context>(1);
    auto callback = std::make_unique<CancellationCallback>(source.token(), *context, [] {});
    canceller.cancel_soon(source);
    if (i % 2 == 0) std::this_thread::yield();
    callback.reset();
    context.reset();
    canceller.join();
  }
  SUCCEED();
}

TEST_CASE("cancellation threads: two parents cancelled at once, while the child goes") {
  Canceller canceller;
  for (int i = 0; i < weir_test::long_stress(20000); ++i) {
    CancellationSource a, b;
    auto child = std::make_unique<CancellationSource>(CancellationSource::linked_to(a.token(), b.token()));
    const weir::CancellationToken token = i % 2 == 0 ? child->token() : weir::CancellationToken();
    canceller.cancel_soon(a);
    if (i % 3 == 0) child.reset();
    b.cancel();
    if (token.connected() && !token.cancelled() && i % 3 != 0) FAIL("cancelled on return of the parent's cancel");
    canceller.join();
  }
  SUCCEED();
}

TEST_CASE("cancellation threads: sleeps on a two-thread pool are cancelled from elsewhere") {
  const int rounds = weir_test::long_stress(20000);
  asio::thread_pool pool(2);
  std::atomic<int> cancelled{0};
  for (int i = 0; i < rounds; ++i) {
    CancellationSource source;
    weir::spawn(pool, sleep_until_cancelled(source.token(), cancelled));
    if (i % 4 == 0) std::this_thread::yield();
    source.cancel();
  }
  pool.join();
  CHECK(cancelled == rounds);
}

TEST_CASE("cancellation threads: timeouts, deadlines of sources and cancels meet on a pool") {
  const int rounds = weir_test::long_stress(20000);
  asio::thread_pool pool(2);
  std::atomic<int> ended{0};
  for (int i = 0; i < rounds; ++i) {
    CancellationSource source;
    source.cancel_after(pool, std::chrono::microseconds(i % 40));
    weir::spawn(pool, sleep_at_most(std::chrono::microseconds(i % 50), source.token(), ended));
    if (i % 3 == 0) source.cancel();
    // What nobody else ends is ended by its own timeout: the deadline goes with the last handle.
  }
  pool.join();
  CHECK(ended == rounds);
}

TEST_CASE("cancellation threads: a pool destroyed while tasks sleep and another thread cancels them") {
  for (int i = 0; i < 200; ++i) {
    CancellationSource source;
    std::atomic<int> cancelled{0};
    std::thread other;
    {
      asio::thread_pool pool(2);
      for (int n = 0; n < 10; ++n) weir::spawn(pool, sleep_until_cancelled(source.token(), cancelled));
      other = std::thread([&] { source.cancel(); });
      if (i % 2 == 0) std::this_thread::yield();
      pool.stop();
    }
    other.join();
    if (cancelled > 10) FAIL("each ends once");
  }
  SUCCEED();
}
