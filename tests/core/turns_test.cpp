#include <weir/core/turns.hpp>

#include "support/catch.hpp"

#include <vector>

#include <weir/core/spawn.hpp>
#include <weir/core/this_task.hpp>
#include <weir/core/timer.hpp>

#include "support/long_turn.hpp"

using weir::Errc;
using weir::Task;

namespace {

/// Which of two roots made each step, when each of them goes on by itself, never waiting.
std::vector<int> steps_of_two(asio::io_context& context, int steps) {
  std::vector<int> order;
  for (int which = 0; which < 2; ++which) {
    weir::spawn(context, [&order, which, steps]() -> Task<> {
      const auto child = [](std::vector<int>& into, int who) -> Task<> {
        into.push_back(who);
        co_return;
      };
      for (int i = 0; i < steps; ++i) co_await child(order, which);
    });
  }
  context.run();
  return order;
}

std::size_t longest_run(const std::vector<int>& order) {
  std::size_t longest = 0;
  std::size_t run = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    run = i != 0 && order[i] == order[i - 1] ? run + 1 : 1;
    longest = std::max(longest, run);
  }
  return longest;
}

/// The same for two that compute for longer than a turn, and then await what `pause` makes.
template <class Pause>
std::vector<int> computing(asio::io_context& context, Pause pause) {
  std::vector<int> order;
  for (int which = 0; which < 2; ++which) {
    weir::spawn(context, [&order, which, pause]() -> Task<> {
      for (int i = 0; i < 5; ++i) {
        order.push_back(which);
        weir_test::outlast_a_turn();
        co_await pause();
      }
    });
  }
  context.run();
  return order;
}

}  // namespace

TEST_CASE("turns: one that has lasted long is over at the next yield", "[turns]") {
  if (!weir_test::turns_have_time()) return;
  asio::io_context context;
  const std::vector<int> by_turns{0, 1, 0, 1, 0, 1, 0, 1, 0, 1};
  CHECK(computing(context, [] { return weir::yield(); }) == by_turns);
  context.restart();
  CHECK(computing(context, [] { return weir::yield_when_due(); }) == by_turns);
}

TEST_CASE("turns: those that don't go by time end by their budget alone", "[turns]") {
  asio::io_context context;
  weir::set_turns(context, {.by_time = false});
  const std::vector<int> one_by_one{0, 0, 0, 0, 0, 1, 1, 1, 1, 1};
  CHECK(computing(context, [] { return weir::yield(); }) == one_by_one);
  context.restart();
  CHECK(computing(context, [] { return weir::yield_when_due(); }) == one_by_one);
}

TEST_CASE("turns: yield_when_due is cancelled as any wait is, and lets others run when the budget is spent",
          "[turns]") {
  asio::io_context context;
  weir::set_turns(context, {.budget = 4});
  Errc code{};
  weir::spawn(context, [&]() -> Task<> {
    (co_await weir::this_task::home()).scope().cancel();
    try {
      co_await weir::yield_when_due();
    } catch (const weir::Error& error) {
      code = static_cast<Errc>(error.code().value());
    }
  });
  std::vector<int> order;
  for (int which = 0; which < 2; ++which) {
    weir::spawn(context, [&order, which]() -> Task<> {
      for (int i = 0; i < 20; ++i) {
        order.push_back(which);
        co_await weir::yield_when_due();
      }
    });
  }
  context.run();
  CHECK(code == Errc::cancelled);
  CHECK(order.size() == 40);
  CHECK(longest_run(order) <= 4);
}

TEST_CASE("turns: a root gives way after as many resumptions as its budget", "[turns]") {
  asio::io_context context;
  weir::set_turns(context, {.budget = 8});
  const auto order = steps_of_two(context, 100);
  CHECK(order.size() == 200);
  CHECK(longest_run(order) <= 8);
}

TEST_CASE("turns: a larger budget lets a root go on for longer", "[turns]") {
  asio::io_context context;
  weir::set_turns(context.get_executor(), {.budget = 1000});
  CHECK(longest_run(steps_of_two(context, 100)) == 100);
}

TEST_CASE("turns: a budget below 1 is refused", "[turns]") {
  asio::io_context context;
  try {
    weir::set_turns(context, {.budget = 0});
    FAIL("a budget of 0 was taken");
  } catch (const weir::Error& error) {
    CHECK(error.code() == Errc::invalid_argument);
  }
}

TEST_CASE("turns: patience is for executors of several threads, unless it is set", "[turns]") {
  asio::thread_pool several(2);
  asio::io_context one;
  CHECK(weir::threads_of(several.get_executor()) == 2);
  CHECK(weir::threads_of(asio::any_io_executor(several.get_executor())) == 2);
  CHECK(weir::threads_of(one.get_executor()) == 1);
  auto& registry = asio::use_service<weir::RootRegistry>(static_cast<asio::execution_context&>(several));
  CHECK(registry.patience(1) == 0);
  weir::set_turns(several, {.patience = 0});
  CHECK(registry.patience(2) == 0);
  weir::set_turns(several, {.patience = 77});
  CHECK(registry.patience(2) == 77);
  CHECK(registry.patience(1) == 77);
}

TEST_CASE("turns: the woken are run along unless that is turned off", "[turns]") {
  asio::io_context context;
  auto& registry = asio::use_service<weir::RootRegistry>(context);
  CHECK(registry.runs_woken());
  weir::set_turns(context, {.run_woken = false});
  CHECK_FALSE(registry.runs_woken());
}
