#include <weir/core/promise.hpp>

#include "support/catch.hpp"

#include <coroutine>
#include <memory>

#include <weir/core/sync_wait.hpp>
#include <weir/core/task.hpp>

namespace {

/// An awaiter of one's own, as the contract says: done at once, or resumed by the home.
class Ask {
 public:
  Ask(int value, bool suspend, bool refuse = false) : value_(value), suspend_(suspend), refuse_(refuse) {}
  Ask(const Ask&) = delete;
  Ask& operator=(const Ask&) = delete;

  void attach(weir::Promise& promise) {
    promise_ = &promise;
    if (refuse_) throw weir::Error(weir::Errc::empty_handle);
  }
  [[nodiscard]] bool await_ready() const { return !suspend_; }
  void await_suspend(std::coroutine_handle<>) { promise_->home().resume_here(promise_->resumable()); }
  int await_resume() const { return value_; }

 private:
  weir::Promise* promise_ = nullptr;
  int value_;
  bool suspend_;
  bool refuse_;
};

struct ToTask {
  int value;
};
struct ToAwaiter {
  int value;
};
struct Wrapped {
  Ask operator co_await() && { return Ask(5, true); }
};
struct Foreign {
  bool await_ready() { return true; }
  void await_suspend(std::coroutine_handle<>) {}
  void await_resume() {}
};

}  // namespace

template <>
struct weir::AwaitAdapter<ToTask> {
  static weir::Task<int> adapt(ToTask t) { co_return t.value; }
};
template <>
struct weir::AwaitAdapter<ToAwaiter> {
  static Ask adapt(ToAwaiter t) { return Ask(t.value, true); }
};

namespace {

static_assert(weir::Awaiter<Ask>);
static_assert(weir::AwaitableOf<Ask, int>);
static_assert(weir::AwaitableOf<weir::Task<std::unique_ptr<int>>, std::unique_ptr<int>>);
static_assert(weir::AwaitableOf<weir::Task<int&>, int&>);
static_assert(weir::AwaitableOf<weir::Task<>, void>);
static_assert(weir::AwaitableOf<Wrapped, int>);
static_assert(weir::AwaitableOf<ToTask, int>);
static_assert(weir::AwaitableOf<ToAwaiter, int>);
// A task is awaited once, as an rvalue; what is not of weir has no `attach`.
static_assert(!weir::Awaitable<weir::Task<int>&>);
static_assert(!weir::Awaitable<Foreign>);
static_assert(!weir::Awaitable<std::suspend_always>);
static_assert(!weir::Awaitable<int>);
static_assert(!weir::Awaitable<void>);

}  // namespace

TEST_CASE("promise: an awaiter of one's own is attached first, and gives its result ready or resumed") {
  const auto sum = []() -> weir::Task<int> {
    const int ready = co_await Ask(1, false);
    const int resumed = co_await Ask(2, true);
    Ask named(4, true);
    co_return ready + resumed + co_await named;
  };
  CHECK(weir::sync_wait(sum()) == 7);
}

TEST_CASE("promise: what attach throws is thrown by the await") {
  const auto refused = []() -> weir::Task<int> { co_return co_await Ask(1, true, true); };
  CHECK_THROWS_AS(weir::sync_wait(refused()), weir::Error);
}

TEST_CASE("promise: an operator co_await and an AwaitAdapter are found") {
  const auto sum = []() -> weir::Task<int> {
    int total = co_await Wrapped();
    total += co_await ToTask(10);
    total += co_await ToAwaiter(20);
    co_return total;
  };
  CHECK(weir::sync_wait(sum()) == 35);
}

TEST_CASE("promise: a child runs on the home and in the scope of its parent") {
  struct Place {
    weir::Home* home = nullptr;
    weir::CancelScope* scope = nullptr;
  };
  class Where {
   public:
    void attach(weir::Promise& promise) { place_ = Place{&promise.home(), &promise.scope()}; }
    [[nodiscard]] bool await_ready() const { return true; }
    void await_suspend(std::coroutine_handle<>) {}
    [[nodiscard]] Place await_resume() const { return place_; }

   private:
    Place place_;
  };
  const auto child = []() -> weir::Task<Place> { co_return co_await Where(); };
  const auto parent = [&]() -> weir::Task<bool> {
    const Place mine = co_await Where();
    const Place its = co_await child();
    co_return mine.home == its.home&& mine.scope == its.scope&& mine.scope == &mine.home->scope();
  };
  CHECK(weir::sync_wait(parent()));
}
