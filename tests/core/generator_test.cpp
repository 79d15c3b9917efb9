#include <weir/core/generator.hpp>

#include "support/catch.hpp"
#include "support/counted.hpp"

#include <memory>
#include <ranges>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using weir::Generator;
using weir_test::Count;
using weir_test::Counted;

static_assert(std::ranges::input_range<Generator<int>>);
static_assert(std::ranges::view<Generator<int>>);
static_assert(std::ranges::input_range<Generator<std::unique_ptr<int>>>);
static_assert(std::ranges::input_range<Generator<const std::string&>>);
static_assert(!std::ranges::forward_range<Generator<int>>);
static_assert(!std::copy_constructible<Generator<int>>);

Generator<int> count_to(int n) {
  for (int i = 1; i <= n; ++i) co_yield i;
}

Generator<int> noting(std::vector<std::string>& log) {
  log.emplace_back("started");
  co_yield 1;
  log.emplace_back("went on");
  co_yield 2;
  log.emplace_back("ended");
}

Generator<std::unique_ptr<int>> pointers() {
  co_yield std::make_unique<int>(1);
  auto named = std::make_unique<int>(2);
  co_yield std::move(named);
}

Generator<int> failing(int after) {
  for (int i = 0; i < after; ++i) co_yield i;
  throw std::runtime_error("no more");
}

Generator<int> holding(Count& count) {
  Counted held(count);
  for (int i = 0;; ++i) co_yield i;
}

Generator<int&> twice(int& value) {
  co_yield value;
  co_yield value;
}

Generator<const std::string&> strings(const std::string& one) {
  co_yield one;
  co_yield std::string("two");
}

Generator<std::string> copies(const std::string& one) {
  co_yield one;
  co_yield one;
}

}  // namespace

TEST_CASE("generator: gives each value in turn") {
  std::vector<int> seen;
  for (const int i : count_to(4)) seen.push_back(i);
  CHECK(seen == std::vector{1, 2, 3, 4});
  for (const int i : count_to(0)) FAIL_CHECK("gave " << i);
}

TEST_CASE("generator: nothing runs before the first value is asked for, and no further than to the next") {
  std::vector<std::string> log;
  auto values = noting(log);
  CHECK(log.empty());
  auto i = values.begin();
  CHECK(log == std::vector<std::string>{"started"});
  CHECK(*i == 1);
  ++i;
  CHECK(log.size() == 2);
  CHECK(*i == 2);
  ++i;
  CHECK(log.size() == 3);
  CHECK(i == values.end());
}

TEST_CASE("generator: works with the standard's views") {
  std::vector<int> seen;
  const auto odd = [](int i) { return i % 2 == 1; };
  for (const int i : count_to(100) | std::views::filter(odd) | std::views::take(3)) seen.push_back(i);
  CHECK(seen == std::vector{1, 3, 5});
}

TEST_CASE("generator: move-only values are handed over, not copied") {
  int sum = 0;
  for (auto& pointer : pointers()) {
    const auto mine = std::move(pointer);
    sum += *mine;
  }
  CHECK(sum == 3);
}

TEST_CASE("generator: references are the yielded objects themselves") {
  int value = 1;
  for (int& i : twice(value)) {
    CHECK(&i == &value);
    ++i;
  }
  CHECK(value == 3);
  const std::string one = "one";
  std::vector<std::string> seen;
  for (const std::string& s : strings(one)) {
    if (seen.empty()) CHECK(&s == &one);
    seen.push_back(s);
  }
  CHECK(seen == std::vector<std::string>{"one", "two"});
}

TEST_CASE("generator: a yielded lvalue is copied, so that the consumer may move from it") {
  std::vector<std::string> seen;
  const std::string value = "value";
  for (std::string& s : copies(value)) seen.push_back(std::move(s));
  CHECK(seen == std::vector<std::string>{"value", "value"});
}

TEST_CASE("generator: an exception comes out where the value was asked for, and then it is at its end") {
  auto at_once = failing(0);
  CHECK_THROWS_AS(at_once.begin(), std::runtime_error);
  auto later = failing(1);
  auto i = later.begin();
  CHECK(*i == 0);
  CHECK_THROWS_AS(++i, std::runtime_error);
  CHECK(i == later.end());
}

TEST_CASE("generator: destroyed midway, before the start, or after a move, it destroys its frame once") {
  Count count;
  {
    auto values = holding(count);
    auto i = values.begin();
    ++i;
    auto moved = std::move(values);
    CHECK(count.alive() == 1);
    CHECK(values.begin() == values.end());
  }
  CHECK(count.alive() == 0);
  CHECK(count.made == 1);
  {
    [[maybe_unused]] const auto never = holding(count);
  }
  CHECK(count.made == 1);
  auto first = holding(count);
  (void)first.begin();
  first = count_to(2);
  CHECK(count.destroyed == (count.made - count.alive()));
  CHECK(*first.begin() == 1);
}
