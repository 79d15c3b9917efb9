#include <weir/stream/receiver_task.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <chrono>
#include <memory>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include <weir/core/timer.hpp>

#include "stream/run.hpp"
#include "stream/scene.hpp"

using namespace std::chrono_literals;

namespace {

template <class F>
void after(weir::sim::Simulator& sim, std::chrono::milliseconds time, F then) {
  sim.spawn([](std::chrono::milliseconds wait, F call) -> weir::Task<> {
    co_await weir::sleep_for(wait);
    call();
  }(time, std::move(then)));
}

}  // namespace

TEST_CASE("receiver task: processes what is in a channel of the user's until it is closed") {
  weir::sim::Simulator sim;
  auto [tx, rx] = weir::make_channel<int>(sim, {.capacity = 10});
  for (int i = 1; i <= 5; ++i) CHECK(tx.try_send(i));
  weir::ReceiverTask<int, int> half =
      weir::emits<int>(sim)
          .named("doubles")
          .receiver(weir::parallel(2), [](const auto& event) { return 2 * event.data(); })
          .start_from(rx);
  rx.reset();
  after(sim, 1s, [&half, &tx] {
    CHECK(half.status() == weir::StreamStatus::running);
    CHECK(half.stats().emitted == 5);
    CHECK(half.stats().processed == 5);
    CHECK(half.describe().find("parallel(2): 2 workers, 2 waiting") != std::string::npos);
    tx.close();
  });
  const auto final = weir_test::final_of(sim, half);
  CHECK(final.outcome() == weir::Outcome::completed);
  auto collected = final.collected();
  std::sort(collected.begin(), collected.end());
  CHECK(collected == std::vector{2, 4, 6, 8, 10});
  CHECK(final.stats().balanced());
}

TEST_CASE("receiver task: a reason with which the channel is closed fails it, after what came before it") {
  weir::sim::Simulator sim;
  auto [tx, rx] = weir::make_channel<int>(sim, {.capacity = 10});
  for (int i = 1; i <= 5; ++i) CHECK(tx.try_send(i));
  tx.close(std::make_exception_ptr(std::runtime_error("the source broke")));
  auto half = weir::emits<int>(sim)
                  .receiver(weir::parallel(2),
                            [](const auto& event) -> weir::Task<int> {
                              co_await weir::sleep_for(1ms);
                              co_return event.data();
                            })
                  .start_from(std::move(rx));
  const auto final = weir_test::final_of(sim, half);
  CHECK(final.outcome() == weir::Outcome::failed);
  CHECK(final.error().text() == "the source broke");
  CHECK(final.stats().processed == 5);
  CHECK(final.stats().balanced());
}

TEST_CASE("receiver task: what a half leaves is for the others, and its end tells who sends") {
  weir::sim::Simulator sim;
  auto [tx, rx] = weir::make_channel<int>(sim, {.capacity = 10});
  for (int i = 1; i <= 5; ++i) CHECK(tx.try_send(i));
  auto half = weir::emits<int>(sim)
                  .receiver(weir::batched(2, 1h),
                            [](std::span<weir::ReceiverEvent<int>> events) -> weir::Task<std::size_t> {
                              co_await weir::sleep_for(10ms);
                              co_return events.size();
                            })
                  .start_from(rx);
  after(sim, 1ms, [&half] { CHECK(half.cancel()); });
  const auto final = weir_test::final_of(sim, half);
  CHECK(final.outcome() == weir::Outcome::cancelled);
  CHECK(final.collected() == std::vector<std::size_t>{2});
  CHECK(final.stats().emitted == 2);
  CHECK(rx.stats().buffered == 3);
  CHECK_FALSE(tx.closed());
  auto other = weir::emits<int>(sim).receiver([](const auto&) {}).timeout(1ms).start_from(std::move(rx));
  CHECK(weir_test::final_of(sim, other).stats().processed == 3);
  CHECK(tx.closed());
}

TEST_CASE("receiver task: an empty handle is refused at once, and a graceful cancel after the end of the channel") {
  weir::sim::Simulator sim;
  auto builder = weir::emits<int>(sim).receiver([](const auto&) {});
  CHECK_THROWS_AS(std::move(builder).start_from(weir::ChannelReceiver<int>()), weir::Error);
  auto [tx, rx] = weir::make_channel<int>(sim, {.capacity = 10});
  CHECK(tx.try_send(1));
  tx.close();
  auto half = weir::emits<int>(sim)
                  .receiver(weir::parallel(2), [](const auto&) -> weir::Task<> { co_await weir::sleep_for(10ms); })
                  .start_from(std::move(rx));
  after(sim, 5ms, [&half] {
    CHECK(half.status() == weir::StreamStatus::draining);
    CHECK_FALSE(half.cancel());
  });
  CHECK(weir_test::final_of(sim, half).outcome() == weir::Outcome::completed);
}

namespace {

using namespace weir_test;

enum class Side { sender, receiver };

struct Plan {
  Action action = Action::none;
  Side side = Side::receiver;
  bool numbered = false;  // the channel carries numbered events
  bool in_batches = false;
  bool gathers = false;
  bool throws = false;
  int failing = 0;
  bool retries = false;
  bool timeout = false;
};

constexpr int events = 6;

struct World {
  int alive = 0;
  std::uint64_t accepted = 0;
  std::uint64_t begun = 0;
  int running = 0;
  std::vector<int> ended;
  bool sender_gone = false;
  weir::StreamStats last;
  weir::SenderTask<Item> sending;
  weir::ReceiverTask<Item, Found> receiving;
};

weir::Task<> send(World& world, Plan plan, weir::Emitter<Item>& out) {
  for (int i = 1; i <= events; ++i) {
    if (i == 4) co_await weir::sleep_for(3ms);
    Item item(i, world.alive);
    try {
      co_await out.emit(std::move(item));
    } catch (...) {
      ensure(item.whole() && item.value == i, "a refused value was not given back");
      throw;
    }
    ++world.accepted;
  }
  if (plan.throws) throw Refused("the source broke");
}

template <class Element>
void start(weir::sim::Simulator& sim, World& world, Plan plan) {
  auto [tx, rx] = weir::make_channel<Element>(sim, {.capacity = 2});
  const auto sender = [&world, plan](weir::Emitter<Item>& out) { return send(world, plan, out); };
  world.sending =
      weir::emits<Item>(sim).sender(weir::batched(plan.gathers ? 3 : 1, 2ms), sender).start_into(std::move(tx));
  auto builder = weir::emits<Item>(sim).capacity(16);
  if (plan.retries) {
    builder.on_error(weir::retry(weir::RetryPolicy::fixed(1ms).max_attempts(2)).otherwise(weir::continue_));
  } else {
    builder.on_error(weir::continue_);
  }
  if (plan.timeout) builder.timeout(4ms);
  const auto one = [&world, plan](weir::ReceiverEvent<Item>& event, weir::Collector<Found>& out) -> weir::Task<> {
    const int value = event.data().value;
    ++world.begun;
    ++world.running;
    const auto leave = std::shared_ptr<void>(nullptr, [&world](void*) { --world.running; });
    co_await weir::sleep_for(std::chrono::milliseconds(value % 3));
    if (plan.failing == value) throw Refused("no good");
    world.ended.push_back(value);
    out.collect(Found(value));
  };
  if (plan.in_batches) {
    world.receiving =
        std::move(builder)
            .receiver(weir::batched(2, 1ms).parallel(2),
                      [one](std::span<weir::ReceiverEvent<Item>> batch, weir::Collector<Found>& out) -> weir::Task<> {
                        for (auto& event : batch) {
                          auto running = one(event, out);
                          co_await std::move(running);
                        }
                      })
            .start_from(std::move(rx));
  } else {
    world.receiving = std::move(builder).receiver(weir::parallel(2), one).start_from(std::move(rx));
  }
}

using Receiving = weir::ReceiverTask<Item, Found>::final_event_type;
using Sending = weir::SenderTask<Item>::final_event_type;

template <class Half>
void act(Half& half, Action action, weir::sim::Simulator& sim) {
  switch (action) {
    case Action::none:
      break;
    case Action::graceful:
      half.cancel(weir::CancellationLevel::graceful);
      break;
    case Action::forceful:
      half.cancel(weir::CancellationLevel::forceful);
      break;
    case Action::immediate:
      half.cancel(weir::CancellationLevel::immediate);
      break;
    case Action::drop_handle:
      half = Half();
      break;
    case Action::end_context:
      sim.stop();
      break;
  }
}

auto scenario(Plan plan) {
  return [plan](weir::sim::Simulator& sim) {
    asio::io_context elsewhere;
    auto& world = sim.keep<World>();
    auto sent = std::make_shared<Sending>();
    auto received = std::make_shared<Receiving>();
    int times = 0;
    if (plan.numbered) {
      start<weir::SenderEvent<Item>>(sim, world, plan);
    } else {
      start<Item>(sim, world, plan);
    }
    weir::spawn(elsewhere, world.sending.final_event(), [&times, sent](std::exception_ptr error, Sending final) {
      ensure(!error, "waiting for the final event failed");
      times += 1;
      *sent = std::move(final);
    });
    weir::spawn(elsewhere, world.receiving.final_event(),
                [&times, received](std::exception_ptr error, Receiving final) {
                  ensure(!error, "waiting for the final event failed");
                  times += 100;
                  *received = std::move(final);
                });
    sim.on_step([&] {
      elsewhere.poll();
      elsewhere.restart();
      if (world.sending) {
        const weir::StreamStats stats = world.sending.stats();
        ensure(stats.balanced(), "the sender's counts add up at every step");
        ensure(stats.emitted >= world.accepted && stats.emitted <= world.accepted + 1,
               "emitted is what emits returned for");
        ensure(stats.buffered <= (plan.gathers ? 3 : 0), "what is gathered is bounded");
      }
      if (world.receiving) {
        const weir::StreamStats stats = world.receiving.stats();
        ensure(stats.balanced(), "the receivers' counts add up at every step");
        ensure(stats.emitted >= world.last.emitted && stats.settled() >= world.last.settled(), "counters only grow");
        ensure(plan.retries || stats.emitted >= world.begun, "what was begun was taken");
        world.last = stats;
      }
    });
    sim.on_action([&] {
      if (plan.side == Side::sender) {
        act(world.sending, plan.action, sim);
      } else {
        act(world.receiving, plan.action, sim);
      }
    });
    sim.run();
    if (sim.stopped()) sim.shut_down();
    elsewhere.restart();
    elsewhere.run();
    ensure(times == 101, "each final event once");
    const weir::StreamStats out = sent->stats();
    const weir::StreamStats in = received->stats();
    ensure(out.balanced() && out.buffered == 0 && in.balanced() && in.in_progress == 0, "the final counts add up");
    ensure(out.emitted >= world.accepted && out.emitted <= world.accepted + (sim.stopped() ? 1u : 0u),
           "what was emitted is what the emits returned for");
    ensure(in.emitted <= out.processed, "nothing is received that was not sent");
    ensure(in.processed == received->collected().size() || plan.in_batches, "each processed event was collected once");
    ensure(world.running == 0, "a receiver runs after the final event");
    ensure(world.alive == 0, "a value was lost or kept");
    const bool untouched = plan.action == Action::none && !plan.timeout;
    if (untouched) {
      ensure(sent->outcome() == (plan.throws ? weir::Outcome::failed : weir::Outcome::completed),
             "the sender's outcome");
      ensure(received->outcome() == weir::Outcome::completed, "the receivers' outcome");
      ensure(out.processed == events && in.emitted == events, "all went through");
    }
    if (untouched && !plan.in_batches) {
      ensure(in.failed == (plan.failing != 0 ? 1u : 0u), "one failed");
      ensure(in.processed + in.failed == events, "the others did not");
    }
    if (received->outcome() == weir::Outcome::completed && !sim.stopped()) {
      ensure(in.emitted == out.processed, "completed means all that was sent");
    }
    if (plan.action == Action::graceful) {
      ensure(in.discarded == 0, "a graceful cancel processes what was taken");
      ensure(plan.side == Side::receiver || out.discarded == 0, "a graceful cancel delivers what was emitted");
    }
    if (plan.side == Side::sender && plan.action != Action::end_context && plan.action != Action::none) {
      ensure(received->outcome() == weir::Outcome::completed, "the other half ends by itself");
    }
  };
}

void explore(Plan plan) {
  if (plan.action == Action::none) {
    weir::sim::explore(scenario(plan));
  } else {
    weir::sim::explore_each_step(scenario(plan));
  }
}

}  // namespace

TEST_CASE("receiver task: both halves of a stream at a channel, with errors and timeouts, under every schedule") {
  REQUIRE_NOTHROW(explore({}));
  REQUIRE_NOTHROW(explore({.numbered = true, .gathers = true}));
  REQUIRE_NOTHROW(explore({.in_batches = true}));
  REQUIRE_NOTHROW(explore({.throws = true, .failing = 3}));
  REQUIRE_NOTHROW(explore({.gathers = true, .throws = true, .failing = 3, .retries = true}));
  REQUIRE_NOTHROW(explore({.gathers = true, .timeout = true}));
  REQUIRE_NOTHROW(explore({.in_batches = true, .failing = 2, .timeout = true}));
}

TEST_CASE("receiver task: a half is cancelled at each level, dropped and destroyed at every step") {
  for (const Side side : {Side::sender, Side::receiver}) {
    for (const Action action :
         {Action::graceful, Action::forceful, Action::immediate, Action::drop_handle, Action::end_context}) {
      REQUIRE_NOTHROW(explore({.action = action, .side = side}));
      REQUIRE_NOTHROW(explore({.action = action, .side = side, .in_batches = true, .gathers = true}));
    }
  }
}
