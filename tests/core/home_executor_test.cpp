#include <weir/core/home_executor.hpp>

#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/stress.hpp"

#include <algorithm>
#include <atomic>
#include <coroutine>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include <weir/core/spawn.hpp>
#include <weir/core/sync_wait.hpp>
#include <weir/core/use_task.hpp>

namespace {

using weir::HomeExecutor;
using weir::Task;
using weir_test::Count;
using weir_test::Counted;

static_assert(weir::Executor<HomeExecutor>);
static_assert(std::constructible_from<asio::any_io_executor, HomeExecutor>);
static_assert(std::is_nothrow_copy_constructible_v<HomeExecutor>);

class HomeOf {
 public:
  void attach(weir::Promise& promise) { home_ = &promise.home(); }
  [[nodiscard]] bool await_ready() const { return true; }
  void await_suspend(std::coroutine_handle<>) {}
  [[nodiscard]] weir::Home& await_resume() const { return *home_; }

 private:
  weir::Home* home_ = nullptr;
};

Task<HomeExecutor> executor_of_root() { co_return HomeExecutor(co_await HomeOf()); }

struct Tally {
  int allocated = 0;
  int deallocated = 0;
};

template <class T>
struct Counting {
  using value_type = T;
  explicit Counting(Tally& t) : tally(&t) {}
  template <class U>
  Counting(const Counting<U>& other) : tally(other.tally) {}
  T* allocate(std::size_t n) {
    ++tally->allocated;
    return std::allocator<T>().allocate(n);
  }
  void deallocate(T* p, std::size_t n) {
    ++tally->deallocated;
    std::allocator<T>().deallocate(p, n);
  }
  bool operator==(const Counting&) const = default;
  Tally* tally;
};

class Function {
 public:
  using allocator_type = Counting<char>;
  Function(Tally& tally, int& during) : tally_(&tally), during_(&during) {}
  [[nodiscard]] allocator_type get_allocator() const { return allocator_type(*tally_); }
  void operator()() { *during_ = tally_->deallocated; }

 private:
  Tally* tally_;
  int* during_;
};

/// Spawns a root that waits until the context goes, and gives its executor.
HomeExecutor waiting_root(asio::io_context& loop) {
  std::optional<HomeExecutor> executor;
  const auto run = [&executor]() -> Task<> {
    executor.emplace(co_await HomeOf());
    co_await asio::async_initiate<const weir::UseTask<false>&, void()>([](auto) {}, weir::use_task);
  };
  weir::spawn(loop, run());
  loop.poll();
  return *executor;
}

}  // namespace

TEST_CASE("home_executor: copies are equal, others are not, and it tells its context") {
  asio::io_context loop;
  const HomeExecutor one = waiting_root(loop);
  const HomeExecutor other = waiting_root(loop);
  HomeExecutor copy = one;
  CHECK(copy == one);
  CHECK_FALSE(one == other);
  copy = other;
  CHECK(copy == other);
  CHECK(&weir::context_of(one) == &loop);
  CHECK(asio::any_io_executor(one) == asio::any_io_executor(one));
}

TEST_CASE("home_executor: runs what is posted in order, never inline") {
  asio::io_context loop;
  const HomeExecutor executor = waiting_root(loop);
  std::vector<int> order;
  const asio::any_io_executor any = executor;
  for (int i = 0; i < 1000; ++i) {
    if (i % 3 == 0) asio::post(executor, [&order, i] { order.push_back(i); });
    if (i % 3 == 1) asio::dispatch(executor, [&order, i] { order.push_back(i); });
    if (i % 3 == 2) asio::post(any, [&order, i] { order.push_back(i); });
  }
  CHECK(order.empty());
  loop.poll();
  CHECK(order.size() == 1000);
  CHECK(std::is_sorted(order.begin(), order.end()));
}

TEST_CASE("home_executor: posts from many threads run one at a time, each thread's in order") {
  const int each = weir_test::stress(5000);
  asio::thread_pool pool(2);
  int total = 0;
  std::vector<int> last(3, -1);
  bool in_order = true;
  std::atomic<int> done = 0;
  // The root has returned by then: its home serves on while somebody holds an executor.
  const HomeExecutor executor = weir::sync_wait(pool, executor_of_root());
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < each; ++i) {
        asio::post(executor, [&, t, i] {
          in_order = in_order && last[t] == i - 1;
          last[t] = i;
          ++total;
          ++done;
        });
      }
    });
  }
  for (auto& thread : threads) thread.join();
  while (done != 3 * each) std::this_thread::yield();
  pool.join();
  CHECK(total == 3 * each);
  CHECK(in_order);
}

TEST_CASE("home_executor: what has not run when the context goes is destroyed, and so is what comes after") {
  Count count;
  auto loop = std::make_unique<asio::io_context>();
  const HomeExecutor executor = waiting_root(*loop);
  bool ran = false;
  asio::post(executor, [&ran, held = Counted(count)] { ran = true; });
  loop.reset();
  CHECK(count.alive() == 0);
  executor.execute([&ran, held = Counted(count)] { ran = true; });
  CHECK(count.made == 2);
  CHECK(count.alive() == 0);
  CHECK_FALSE(ran);
}

TEST_CASE("home_executor: destroyed after its context, whatever the root ran on") {
  std::optional<HomeExecutor> executor;
  {
    asio::thread_pool pool(1);
    executor.emplace(weir::sync_wait(asio::make_strand(pool), executor_of_root()));
  }
  {
    asio::thread_pool pool(1);
    executor.emplace(weir::sync_wait(asio::any_io_executor(asio::make_strand(pool)), executor_of_root()));
  }
  bool ran = false;
  executor->execute([&ran] { ran = true; });
  CHECK_FALSE(ran);
}

TEST_CASE("home_executor: uses the function's allocator, and gives the memory back before the call") {
  asio::io_context loop;
  const HomeExecutor executor = waiting_root(loop);
  Tally tally;
  int during = -1;
  executor.execute(Function(tally, during));
  CHECK(tally.allocated == 1);
  loop.poll();
  CHECK(during == 1);
}
