#include <weir/core/cancellation.hpp>

#include "support/catch.hpp"

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <weir/core/home_executor.hpp>
#include <weir/core/task.hpp>
#include <weir/core/this_task.hpp>
#include <weir/sim/explore.hpp>

#include "support/allocation_counter.hpp"

namespace {

using namespace std::chrono_literals;
using weir::CancellationCallback;
using weir::CancellationSource;
using weir::CancellationToken;
using weir::Errc;
using weir::Task;
using weir::sim::ensure;
using weir::sim::Simulator;

}  // namespace

TEST_CASE("cancellation: a token sees its source, with the first reason") {
  CancellationSource source;
  const CancellationSource copy = source;
  const CancellationToken token = source.token();
  CHECK_FALSE(token.cancelled());
  CHECK(token.reason() == std::error_code());
  CHECK_NOTHROW(token.throw_if_cancelled());
  CHECK(source.cancel(Errc::timed_out));
  CHECK_FALSE(source.cancel(Errc::cancelled));
  CHECK(token.cancelled());
  CHECK(copy.cancelled());
  CHECK(token.reason() == Errc::timed_out);
}

TEST_CASE("cancellation: throw_if_cancelled throws a cancellation whatever the reason, except timed_out") {
  const auto thrown = [](std::error_code reason) -> std::error_code {
    CancellationSource source;
    source.cancel(reason);
    try {
      source.token().throw_if_cancelled();
    } catch (const weir::Error& error) {
      return error.code();
    }
    return {};
  };
  CHECK(thrown(Errc::cancelled) == Errc::cancelled);
  CHECK(thrown(Errc::timed_out) == Errc::timed_out);
  CHECK(thrown(std::make_error_code(std::errc::host_unreachable)) == Errc::cancelled);
}

TEST_CASE("cancellation: a default token is never cancelled and costs nothing") {
  const weir_test::AllocationCounter counter;
  const CancellationToken token;
  const auto allocations = counter.count();
  CHECK(allocations == 0);
  CHECK_FALSE(token.cancelled());
  CHECK_FALSE(token.connected());
  CHECK(token == CancellationToken());
  asio::io_context context;
  const CancellationCallback callback(token, context, [] { FAIL("never"); });
  CHECK(context.poll() == 0);
}

TEST_CASE("cancellation: tokens compare by their source") {
  const CancellationSource one, two;
  CHECK(one.token() == CancellationToken(one.token()));
  CHECK_FALSE(one.token() == two.token());
}

TEST_CASE("cancellation: a moved-from source does nothing") {
  CancellationSource source;
  const CancellationSource taken = std::move(source);
  CHECK_FALSE(source.cancel());  // NOLINT(bugprone-use-after-move): that is the test
  CHECK_FALSE(taken.cancelled());
}

TEST_CASE("cancellation: a linked source is cancelled by any parent, with its reason, and never cancels one") {
  CancellationSource a, b;
  CancellationSource child = CancellationSource::linked_to(a.token(), b.token(), CancellationToken());
  const CancellationSource grandchild = CancellationSource::linked_to(child.token());
  const CancellationSource sibling = CancellationSource::linked_to(a.token(), b.token());
  child.cancel();
  CHECK(grandchild.cancelled());
  CHECK_FALSE(a.cancelled());
  CHECK_FALSE(sibling.cancelled());
  b.cancel(Errc::timed_out);
  CHECK(sibling.token().reason() == Errc::timed_out);
  CHECK(CancellationSource::linked_to(b.token()).token().reason() == Errc::timed_out);
}

TEST_CASE("cancellation: a source linked to one parent twice, or to a list, is cancelled once") {
  CancellationSource parent;
  const std::vector<CancellationToken> parents(3, parent.token());
  const CancellationSource child = CancellationSource::linked_to(parents);
  parent.cancel();
  CHECK(child.cancelled());
}

TEST_CASE("cancellation: a link works on after the handles between are gone, and a chain of any length does") {
  CancellationSource first;
  CancellationSource last = first;
  for (int i = 0; i < 200000; ++i) last = CancellationSource::linked_to(last.token());
  const CancellationToken token = last.token();
  last = CancellationSource();
  first.cancel(Errc::timed_out);
  CHECK(token.reason() == Errc::timed_out);
}

TEST_CASE("cancellation: children that go leave their parent") {
  CancellationSource parent;
  for (int i = 0; i < 1000; ++i) {
    const CancellationSource child = CancellationSource::linked_to(parent.token());
    CHECK_FALSE(child.cancelled());
  }
  CHECK(parent.cancel());
}

TEST_CASE("cancellation: a callback is posted to its executor, once, never inline") {
  asio::io_context context;
  CancellationSource source;
  int calls = 0;
  const CancellationCallback before(source.token(), context, [&] { ++calls; });
  source.cancel();
  source.cancel();
  CHECK(calls == 0);
  context.poll();
  CHECK(calls == 1);
  context.restart();
  const CancellationCallback after(source.token(), context.get_executor(), [&] { ++calls; });
  CHECK(calls == 1);
  context.poll();
  CHECK(calls == 2);
}

TEST_CASE("cancellation: callbacks run in the order of registration") {
  asio::io_context context;
  CancellationSource source;
  std::vector<int> order;
  std::vector<CancellationCallback> callbacks;
  for (int i = 0; i < 5; ++i) callbacks.emplace_back(source.token(), context, [&order, i] { order.push_back(i); });
  source.cancel();
  context.poll();
  CHECK(order == std::vector<int>{0, 1, 2, 3, 4});
}

TEST_CASE("cancellation: a callback whose registration is gone does not start, posted or not") {
  asio::io_context context;
  auto witness = std::make_shared<int>(0);
  CancellationSource source;
  std::optional<CancellationCallback> early(std::in_place, source.token(), context, [witness] { ++*witness; });
  std::optional<CancellationCallback> late(std::in_place, source.token(), context, [witness] { ++*witness; });
  early.reset();
  CHECK(witness.use_count() == 2);
  source.cancel();
  late.reset();
  context.poll();
  CHECK(*witness == 0);
  CHECK(witness.use_count() == 1);
}

TEST_CASE("cancellation: a callback may destroy its own registration and its source") {
  asio::io_context context;
  auto source = std::make_unique<CancellationSource>();
  std::optional<CancellationCallback> callback;
  bool called = false;
  callback.emplace(source->token(), context, [&, held = std::make_unique<int>(1)] {
    callback.reset();
    source.reset();
    called = *held == 1;
  });
  source->cancel();
  context.poll();
  CHECK(called);
}

TEST_CASE("cancellation: a registration can be moved, and dropped by an assignment") {
  asio::io_context context;
  CancellationSource source;
  int a = 0, b = 0;
  CancellationCallback first(source.token(), context, [&] { ++a; });
  CancellationCallback second(source.token(), context, [&] { ++b; });
  first = std::move(second);
  source.cancel();
  context.poll();
  CHECK(a == 0);
  CHECK(b == 1);
}

TEST_CASE("cancellation: what was posted to a context that is destroyed is dropped with it") {
  auto witness = std::make_shared<int>(0);
  CancellationSource source;
  {
    asio::io_context context;
    CancellationCallback callback(source.token(), context, [witness] { ++*witness; });
    source.cancel();
    callback.reset();
  }
  CHECK(*witness == 0);
  CHECK(witness.use_count() == 1);
}

TEST_CASE("cancellation: cancelling allocates nothing") {
  asio::io_context context;
  asio::thread_pool pool(1);
  CancellationSource source;
  const CancellationSource child = CancellationSource::linked_to(source.token());
  int calls = 0;
  std::atomic<int> pool_calls{0};
  const CancellationCallback one(source.token(), context, [&] { ++calls; });
  const CancellationCallback two(child.token(), context, [&] { ++calls; });
  const CancellationCallback three(child.token(), pool, [&] { ++pool_calls; });
  source.cancel_after(context, 1h);
  const weir_test::AllocationCounter counter;
  source.cancel();
  const auto allocations = counter.count();
  CHECK(allocations == 0);
  context.run();
  pool.join();
  CHECK(calls == 2);
  CHECK(pool_calls == 1);
}

TEST_CASE("cancellation: a deadline cancels with timed_out, by the clock of the context") {
  Simulator sim(1);
  CancellationSource source, with_reason;
  source.cancel_after(sim, 5ms);
  with_reason.cancel_at(sim.get_executor(), sim.now() + 7ms, Errc::channel_closed);
  bool called = false;
  const CancellationCallback callback(source.token(), sim, [&] { called = sim.elapsed() == 5ms; });
  sim.run();
  CHECK(called);
  CHECK(source.token().reason() == Errc::timed_out);
  CHECK(with_reason.token().reason() == Errc::channel_closed);
}

TEST_CASE("cancellation: a later deadline replaces an earlier one") {
  Simulator sim(1);
  CancellationSource source;
  source.cancel_after(sim, 5ms);
  source.cancel_after(sim, 9ms);
  sim.run();
  CHECK(source.cancelled());
  CHECK(sim.elapsed() == 9ms);
}

TEST_CASE("cancellation: a deadline leaves no work when the source is cancelled or gone, and may outlive the context") {
  asio::io_context context;
  CancellationSource cancelled;
  cancelled.cancel_after(context, 24h);
  cancelled.cancel();
  {
    CancellationSource gone;
    gone.cancel_after(context, 24h);
  }
  context.run();
  CancellationSource outlives;
  {
    asio::io_context brief;
    outlives.cancel_after(brief, 24h);
    brief.poll();
  }
  CHECK_FALSE(outlives.cancelled());
  outlives.cancel();
  CHECK(outlives.cancelled());
}

TEST_CASE("cancellation: a deadline named by a home's executor works on after the root") {
  asio::io_context context;
  CancellationSource source;
  weir::spawn(context, [&]() -> Task<> { source.cancel_after(co_await weir::this_task::executor(), 1ms); });
  context.run();
  CHECK(source.cancelled());
}

TEST_CASE("cancellation: explored: a callback on a home does not start once its registration was destroyed there") {
  int called = 0, discarded = 0;
  const auto explored = weir::sim::explore_each_step([&](Simulator& sim) {
    CancellationSource source;
    const CancellationSource child = CancellationSource::linked_to(source.token());
    int state = 0;  // 0: registered, 1: called, 2: destroyed
    const auto owner = [&]() -> Task<> {
      const auto executor = co_await weir::this_task::executor();
      std::optional<CancellationCallback> callback;
      callback.emplace(child.token(), executor, [&] {
        ensure(state == 0, "it starts once, and not after the end of its registration");
        state = 1;
      });
      for (int i = 0; i < 4; ++i) co_await weir::yield();
      callback.reset();
      if (state == 0) state = 2;
      for (int i = 0; i < 4; ++i) co_await weir::yield();
    };
    sim.spawn(owner());
    sim.spawn([]() -> Task<> {
      for (int i = 0; i < 6; ++i) co_await weir::yield();
    });
    sim.on_action([&] { source.cancel(); });
    sim.run();
    ensure(state != 0, "one of the two happened");
    if (!sim.acted()) ensure(state == 2, "nothing calls it but a cancellation");
    (state == 1 ? called : discarded)++;
  });
  CHECK(explored.runs > 1);
  CHECK(called > 0);
  CHECK(discarded > 0);
}

TEST_CASE("cancellation: explored: destroying the context at every step frees callbacks and sources once") {
  const auto explored = weir::sim::explore_each_step([](Simulator& sim) {
    auto witness = std::make_shared<int>(0);
    CancellationSource source;
    sim.spawn([&source, witness]() -> Task<> {
      CancellationSource own = CancellationSource::linked_to(source.token());
      const auto executor = co_await weir::this_task::executor();
      const CancellationCallback callback(own.token(), executor, [witness] {});
      own.cancel_after(executor, 2ms);
      co_await weir::sleep_for(1ms);
      co_await weir::sleep_for(2ms);
    });
    sim.spawn([&source]() -> Task<> {
      co_await weir::sleep_for(1ms);
      source.cancel();
    });
    sim.on_action([&] { sim.shut_down(); });
    sim.run();
    ensure(witness.use_count() == 1, "nothing holds the callback any more");
  });
  CHECK(explored.runs > 1);
}
