#include <weir/core/task.hpp>

#include "support/catch.hpp"
#include "support/counted.hpp"

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <weir/core/sync_wait.hpp>

namespace {

using weir::Errc;
using weir::sync_wait;
using weir::Task;
using weir_test::Count;
using weir_test::Counted;

Task<int> answer() { co_return 42; }
Task<> nothing() { co_return; }
Task<int> fail() {
  throw std::runtime_error("failed");
  co_return 0;
}
Task<int&> refer(int& value) { co_return value; }
Task<std::unique_ptr<int>> pointer() { co_return std::make_unique<int>(7); }
Task<Counted> counted(Count& count) { co_return Counted(count, 9); }

Task<std::uint64_t> many(int times) {
  std::uint64_t sum = 0;
  for (int i = 0; i < times; ++i) sum += static_cast<std::uint64_t>(co_await answer());
  co_return sum;
}

Task<int> depth(int n) {
  if (n == 0) co_return 0;
  co_return co_await depth(n - 1) + 1;
}

Task<int> fail_at_depth(int n) {
  if (n == 0) throw std::runtime_error("deep");
  co_return co_await fail_at_depth(n - 1) + 1;
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

}  // namespace

TEST_CASE("task: gives its value, nothing, a reference, a move-only value") {
  CHECK(sync_wait(answer()) == 42);
  sync_wait(nothing());
  int value = 1;
  CHECK(&sync_wait(refer(value)) == &value);
  CHECK(*sync_wait(pointer()) == 7);
}

TEST_CASE("task: a value without a default constructor passes through, and lives once") {
  Count count;
  {
    const Counted got = sync_wait([&count]() -> Task<Counted> { co_return co_await counted(count); }());
    CHECK(got.value == 9);
    CHECK(count.alive() == 1);
  }
  CHECK(count.made == 1);
  CHECK(count.alive() == 0);
}

TEST_CASE("task: what it throws is thrown where it is awaited") {
  CHECK_THROWS_AS(sync_wait(fail()), std::runtime_error);
  const auto caught = []() -> Task<std::string> {
    try {
      co_await fail();
    } catch (const std::runtime_error& error) {
      co_return error.what();
    }
    co_return "nothing";
  };
  CHECK(sync_wait(caught()) == "failed");
}

TEST_CASE("task: lazy until it is awaited, and destroyed unstarted without running") {
  Count count;
  bool ran = false;
  const auto make = [&](Counted) -> Task<> {
    ran = true;
    co_return;
  };
  {
    [[maybe_unused]] const auto task = make(Counted(count));
  }
  CHECK_FALSE(ran);
  CHECK(count.alive() == 0);
  sync_wait(make(Counted(count)));
  CHECK(ran);
  CHECK(count.alive() == 0);
}

TEST_CASE("task: a second await, and one of a moved-from task, say that it was consumed") {
  const auto second = []() -> Task<> {
    auto task = answer();
    co_await std::move(task);
    co_await std::move(task);
  };
  CHECK(code_thrown([&] { sync_wait(second()); }) == Errc::task_consumed);
  const auto moved = []() -> Task<> {
    auto task = answer();
    const auto other = std::move(task);
    co_await std::move(task);
  };
  CHECK(code_thrown([&] { sync_wait(moved()); }) == Errc::task_consumed);
  CHECK(code_thrown([&] { sync_wait(Task<int>()); }) == Errc::task_consumed);
}

TEST_CASE("task: tells whether it can be awaited") {
  auto task = answer();
  CHECK(task);
  auto other = std::move(task);
  CHECK_FALSE(task);
  CHECK(other);
  other = answer();
  CHECK(sync_wait(std::move(other)) == 42);
  CHECK_FALSE(other);
}

TEST_CASE("task: a million awaits that complete at once do not grow the stack") {
  CHECK(sync_wait(many(1'000'000)) == 42'000'000u);
}

TEST_CASE("task: a recursion of a hundred thousand does not grow the stack") {
  CHECK(sync_wait(depth(100'000)) == 100'000);
}

TEST_CASE("task: an exception comes up from the depth of a hundred thousand") {
  CHECK_THROWS_AS(sync_wait(fail_at_depth(100'000)), std::runtime_error);
}

TEST_CASE("task: locals are destroyed in order, the child's before the parent goes on") {
  std::vector<std::string> log;
  struct Note {
    Note(std::vector<std::string>& l, std::string w) : log(l), what(std::move(w)) {}
    Note(const Note&) = delete;
    Note& operator=(const Note&) = delete;
    ~Note() { log.push_back(what); }
    std::vector<std::string>& log;
    std::string what;
  };
  const auto child = [&log]() -> Task<> {
    const Note note(log, "child");
    co_return;
  };
  const auto parent = [&]() -> Task<> {
    const Note note(log, "parent");
    co_await child();
    log.emplace_back("after");
  };
  sync_wait(parent());
  CHECK(log == std::vector<std::string>{"child", "after", "parent"});
}

TEST_CASE("task: into_task makes a task of whatever can be awaited") {
  CHECK(sync_wait(weir::into_task(answer())) == 42);
  static_assert(std::is_same_v<decltype(weir::into_task(answer())), Task<int>>);
}
