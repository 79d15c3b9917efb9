#include <weir/stream/flow/emitted.hpp>

#include "support/catch.hpp"

#include <memory>
#include <stdexcept>
#include <vector>

#include <weir/stream/flow/take.hpp>

#include "flow/scene.hpp"

namespace {

using namespace weir_test;

/// Emits as a flow's source does in the other tests; guarded.
auto emitting(FlowScene& scene, int count) {
  return weir::from<int>([&scene, count, guard = Guard(scene.ledger)](weir::FlowEmitter<int>& out) -> weir::Task<> {
    const Guard frame(scene.ledger);
    for (int i = 1; i <= count; ++i) {
      if (i == scene.failing) throw std::runtime_error("the source broke");
      if (i % 2 == 0) co_await weir::sleep_for(2ms);
      ++scene.pulled;
      co_await out.emit(i);
    }
  });
}

}  // namespace

TEST_CASE("from<T>: what a coroutine emits, by move and by copy") {
  const auto boxes = [](weir::FlowEmitter<std::unique_ptr<int>>& out) -> weir::Task<> {
    for (int i = 1; i <= 3; ++i) {
      auto box = std::make_unique<int>(i);
      co_await out.emit(std::move(box));
    }
  };
  const auto emitted = run(weir::from<std::unique_ptr<int>>(boxes) | weir::to_vector());
  REQUIRE(emitted.size() == 3);
  CHECK(*emitted[2] == 3);
  const auto same = [](weir::FlowEmitter<int>& out) -> weir::Task<> {
    const int one = 1;
    co_await out.emit(one);
    co_await out.emit(one);
  };
  CHECK(run(weir::from<int>(same) | weir::to_vector()) == Ints{1, 1});
  CHECK(run(weir::from<int>([](weir::FlowEmitter<int>&) -> weir::Task<> { co_return; }) | weir::count()) == 0);
}

TEST_CASE("from<T>: it goes on when the next value is asked for, and no sooner") {
  int begun = 0;
  const auto counting = [&begun](weir::FlowEmitter<int>& out) -> weir::Task<> {
    for (int i = 1; i <= 3; ++i) {
      begun = i;
      co_await out.emit(i);
    }
    begun = 4;
  };
  const auto slow = [&begun](int n) -> weir::Task<> {
    co_await weir::sleep_for(1ms);
    ensure(begun == n, "it is ahead of the flow");
  };
  REQUIRE_NOTHROW(run(weir::from<int>(counting) | weir::for_each(slow)));
  CHECK(begun == 4);
}

TEST_CASE("from<T>: it is cancelled where it waits when there is enough, and what it threw ends the flow") {
  bool told = false;
  const auto endless = [&told](weir::FlowEmitter<int>& out) -> weir::Task<> {
    try {
      for (int i = 0;; ++i) co_await out.emit(i);
    } catch (const weir::Error& error) {
      told = error.code() == weir::Errc::cancelled;
      throw;
    }
  };
  CHECK(run(weir::from<int>(endless) | weir::take(2) | weir::to_vector()) == Ints{0, 1});
  CHECK(told);
  Ints seen;
  const auto see = [&seen](int n) { seen.push_back(n); };
  const auto breaking = [](weir::FlowEmitter<int>& out) -> weir::Task<> {
    co_await out.emit(1);
    throw std::runtime_error("broke");
  };
  CHECK_THROWS_WITH(run(weir::from<int>(breaking) | weir::for_each(see)), "broke");
  CHECK(seen == Ints{1});
}

TEST_CASE("from<T>: cancelled, destroyed, failing and timed out at every step") {
  const auto make = [](FlowScene& scene) { return emitting(scene, 4); };
  const auto judge = [](FlowScene& scene, bool completed) {
    const Ints all{1, 2, 3, 4};
    ensure(std::equal(scene.seen.begin(), scene.seen.end(), all.begin()), "in order");
    ensure(!completed || scene.seen.size() == all.size(), "all of them");
    ensure(scene.pulled <= scene.taken + 1, "it runs ahead");
  };
  REQUIRE_NOTHROW(explore_flow(make, judge));
}
