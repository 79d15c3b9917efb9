#include <weir/channel/channel.hpp>

#include <vector>

#include <weir/sim/explore.hpp>

#include "channel/support.hpp"
#include "channel/world.hpp"
#include "support/catch.hpp"

namespace {

using namespace channel_test;
using weir::sim::explore;
using weir::sim::explore_all;
using weir::sim::explore_each_step;

const std::vector<SendBy> every_send = {SendBy::send, SendBy::emplace, SendBy::try_send, SendBy::permit, SendBy::all};
const std::vector<ReceiveBy> every_receive = {ReceiveBy::receive, ReceiveBy::some, ReceiveBy::try_receive};
const std::vector<Overflow> every_policy = {Overflow::wait, Overflow::reject, Overflow::drop_newest,
                                            Overflow::drop_oldest, Overflow::latest};

struct Shape {
  std::size_t senders;
  std::size_t receivers;
};
const std::vector<Shape> every_shape = {{1, 1}, {2, 2}, {4, 1}, {1, 4}};

template <class Kind = Shared>
void explore_plan(const Plan& plan) {
  CAPTURE(plan.senders, plan.receivers, plan.capacity, static_cast<int>(plan.overflow), plan.victim);
  CAPTURE(static_cast<int>(plan.send_by[0]), static_cast<int>(plan.receive_by[0]), static_cast<int>(plan.act));
  if (plan.act == Act::nothing) {
    REQUIRE_NOTHROW(explore(scenario<Kind>(plan)));
  } else {
    REQUIRE_NOTHROW(explore_each_step(scenario<Kind>(plan)));
  }
}

/// The plan with each operation in turn, the others on the other side being plain.
template <class Kind = Shared, class F>
void each_operation(Plan plan, F&& explore_it) {
  for (const auto send : every_send) {
    plan.send_by = {send};
    plan.receive_by = {ReceiveBy::receive};
    explore_it(plan);
  }
  for (const auto receive : every_receive) {
    plan.send_by = {SendBy::send};
    plan.receive_by = {receive};
    explore_it(plan);
  }
}

/// The plan with each party of it as the victim: one of each side is enough where the others are the same.
template <class F>
void each_victim(Plan plan, F&& explore_it) {
  for (const std::size_t victim : {std::size_t{0}, plan.senders}) {
    plan.victim = victim;
    explore_it(plan);
  }
}

TEST_CASE("channel: each operation keeps its promises under every schedule tried", "[explore]") {
  for (const auto& shape : every_shape) {
    each_operation({.senders = shape.senders, .receivers = shape.receivers},
                   [](const Plan& plan) { explore_plan(plan); });
  }
}

TEST_CASE("channel: operations of all kinds at once keep their promises", "[explore]") {
  for (const std::size_t capacity : {1U, 2U, 5U}) {
    explore_plan(
        {.senders = 5, .receivers = 3, .capacity = capacity, .send_by = every_send, .receive_by = every_receive});
  }
}

TEST_CASE("channel: each overflow policy keeps its promises", "[explore]") {
  for (const auto policy : every_policy) {
    for (const auto& shape : every_shape) {
      explore_plan({.senders = shape.senders, .receivers = shape.receivers, .overflow = policy});
    }
    for (const auto send : every_send) explore_plan({.overflow = policy, .send_by = {send}});
    explore_plan({.senders = 5,
                  .receivers = 3,
                  .capacity = 2,
                  .overflow = policy,
                  .send_by = every_send,
                  .receive_by = every_receive});
  }
}

TEST_CASE("channel: a cancel at any step loses nothing", "[explore]") {
  each_operation({.act = Act::cancel},
                 [](const Plan& plan) { each_victim(plan, [](const Plan& p) { explore_plan(p); }); });
  for (const auto policy : every_policy) {
    each_victim({.senders = 5,
                 .receivers = 3,
                 .overflow = policy,
                 .send_by = every_send,
                 .receive_by = every_receive,
                 .act = Act::cancel},
                [](const Plan& p) { explore_plan(p); });
  }
}

TEST_CASE("channel: a close at any step ends everybody and loses nothing", "[explore]") {
  for (const auto act : {Act::close, Act::close_with_reason}) {
    each_operation({.act = act}, [](const Plan& plan) { explore_plan(plan); });
    for (const auto policy : every_policy) {
      explore_plan({.senders = 5,
                    .receivers = 3,
                    .overflow = policy,
                    .send_by = every_send,
                    .receive_by = every_receive,
                    .act = act});
    }
  }
}

TEST_CASE("channel: a context destroyed at any step leaves the channel whole", "[explore]") {
  each_operation({.act = Act::destroy}, [](const Plan& plan) { explore_plan(plan); });
  for (const auto policy : every_policy) {
    explore_plan({.senders = 5,
                  .receivers = 3,
                  .overflow = policy,
                  .send_by = every_send,
                  .receive_by = every_receive,
                  .act = Act::destroy});
  }
}

TEST_CASE("channel: a handle dropped at any step, also in use, ends its side only", "[explore]") {
  for (const std::size_t parties : {1U, 2U}) {
    each_operation({.senders = parties, .receivers = parties, .act = Act::drop_handle},
                   [](const Plan& plan) { each_victim(plan, [](const Plan& p) { explore_plan(p); }); });
  }
}

TEST_CASE("channel: a discard at any step counts what it drops", "[explore]") {
  each_operation({.act = Act::discard}, [](const Plan& plan) { explore_plan(plan); });
}

TEST_CASE("channel: local and spsc channels keep the same promises", "[explore]") {
  for (const auto act : {Act::nothing, Act::cancel, Act::close, Act::destroy, Act::drop_handle}) {
    each_operation({.senders = 1, .receivers = 1, .act = act}, [](const Plan& plan) { explore_plan<Spsc>(plan); });
    explore_plan<Local>({.senders = 2,
                         .receivers = 2,
                         .send_by = {SendBy::send, SendBy::permit},
                         .receive_by = {ReceiveBy::receive, ReceiveBy::some},
                         .act = act});
  }
}

TEST_CASE("channel: small scenarios keep their promises under every schedule that there is", "[explore]") {
  constexpr bool thorough = WEIR_EXPLORE_SEEDS >= 10000;
  const auto exhaust = [](const Plan& plan) {
    CAPTURE(static_cast<int>(plan.send_by[0]), static_cast<int>(plan.receive_by[0]), plan.senders, plan.receivers);
    weir::sim::Explored explored;
    REQUIRE_NOTHROW(explored = explore_all(300'000, scenario(plan)));
    CHECK(explored.complete);
  };
  for (const auto send : {SendBy::send, SendBy::emplace, SendBy::permit, SendBy::all}) {
    for (const auto receive : {ReceiveBy::receive, ReceiveBy::some}) {
      exhaust({.senders = 1, .receivers = 1, .send_by = {send}, .receive_by = {receive}, .values = 2});
      // What a sanitizer would see in the larger ones it sees in this.
      if (!thorough) continue;
      exhaust({.senders = 1, .receivers = 2, .send_by = {send}, .receive_by = {receive}, .values = 1});
      if (send == SendBy::permit || send == SendBy::all) continue;
      exhaust({.senders = 2, .receivers = 1, .send_by = {send}, .receive_by = {receive}, .values = 1});
    }
  }
}

}  // namespace
