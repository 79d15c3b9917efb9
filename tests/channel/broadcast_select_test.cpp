#include <weir/channel/broadcast.hpp>
#include <weir/channel/select.hpp>

#include <cstdint>
#include <deque>
#include <memory>
#include <set>
#include <vector>

#include <weir/core/timer.hpp>
#include <weir/sim/explore.hpp>

#include "channel/select_scene.hpp"
#include "channel/support.hpp"
#include "support/catch.hpp"

namespace {

using namespace channel_test;
using namespace std::chrono_literals;
using weir::after;
using weir::select;
using weir::select_in_order;
using weir::SlowReceiver;
using weir::when;
using weir::sim::ensure;
using weir::sim::explore;
using weir::sim::explore_each_step;
using weir::sim::Simulator;

TEST_CASE("broadcast: select receives what is there, and leaves the other where it is") {
  asio::io_context context;
  const auto tx = weir::make_broadcast<int>(context, {.capacity = 4});
  const auto rx = tx.subscribe();
  auto [b_tx, b_rx] = weir::make_channel<int>(context);
  auto& b = b_rx;
  std::vector<int> got;
  Root root(context, [&]() -> Task<> {
    for (int i = 0; i < 3; ++i) {
      const auto done = co_await select_in_order(rx.receive(), b.receive());
      got.push_back(done.index() == 0 ? *std::get<0>(done) : *std::get<1>(done));
    }
  });
  REQUIRE(b_tx.try_send(10));
  REQUIRE(tx.try_send(1));
  REQUIRE(tx.try_send(2));
  poll(context);
  CHECK(root.fine());
  CHECK(got == std::vector{1, 2, 10});
  CHECK(rx.stats().pending == 0);
  CHECK(tx.stats().waiting_receivers == 0);
}

TEST_CASE("broadcast: a value wakes every select that waits for it, and one that has lost is passed by") {
  asio::io_context context;
  const auto tx = weir::make_broadcast<int>(context, {.capacity = 4});
  const auto one = tx.subscribe();
  const auto two = tx.subscribe();
  auto [b_tx, b_rx] = weir::make_channel<int>(context);
  auto& b = b_rx;
  std::vector<int> got_one;
  std::size_t won_two = 9;
  Root first(context, [&]() -> Task<> {
    const auto done = co_await select(one.receive(), after(1h));
    got_one.push_back(*std::get<0>(done));
  });
  Root second(context, [&]() -> Task<> { won_two = (co_await select(two.receive(), b.receive())).index(); });
  poll(context);
  CHECK(tx.stats().waiting_receivers == 2);
  REQUIRE(b_tx.try_send(10));
  // Served already, it is not counted, and what comes stays for its next call.
  CHECK(tx.stats().waiting_receivers == 1);
  REQUIRE(tx.try_send(1));
  poll(context);
  CHECK(got_one == std::vector{1});
  CHECK(won_two == 1);
  CHECK(two.try_receive() == 1);
  CHECK(b_rx.stats().received == 1);
}

TEST_CASE("broadcast: select sends when the slowest has room for it, and else the value stays") {
  asio::io_context context;
  const auto tx = weir::make_broadcast<std::shared_ptr<int>>(context, {.capacity = 1});
  const auto rx = tx.subscribe();
  auto [b_tx, b_rx] = weir::make_channel<int>(context);
  auto& b = b_rx;
  auto value = std::make_shared<int>(2);
  std::vector<std::size_t> won;
  Root root(context, [&]() -> Task<> {
    won.push_back((co_await select(tx.send_emplace(std::make_shared<int>(1)), b.receive())).index());
    won.push_back((co_await select(tx.send(std::move(value)), b.receive())).index());
    won.push_back((co_await select(tx.send(std::move(value)), b.receive())).index());
  });
  poll(context);
  CHECK(won == std::vector<std::size_t>{0});
  CHECK(tx.stats().waiting_senders == 1);
  REQUIRE(b_tx.try_send(1));
  CHECK(tx.stats().waiting_senders == 0);
  poll(context);
  CHECK(won == std::vector<std::size_t>{0, 1});
  CHECK(value);
  CHECK(**rx.try_receive() == 1);
  poll(context);
  CHECK(won == std::vector<std::size_t>{0, 1, 0});
  CHECK(!value);
  CHECK(**rx.try_receive() == 2);
}

TEST_CASE("broadcast: select tells of what was skipped, and of a run, and of the end, as receive does") {
  asio::io_context context;
  const auto tx = weir::make_broadcast<int>(context, {.capacity = 2, .slow = SlowReceiver::skip});
  const auto rx = tx.subscribe();
  std::vector<int> got;
  std::uint64_t skipped = 0;
  std::vector<std::size_t> counts;
  std::error_code code;
  bool ended = false;
  Root root(context, [&]() -> Task<> {
    code = co_await code_of([&] { return select(rx.receive(), after(1h)); });
    counts.push_back(std::get<0>(co_await select(rx.receive_some(got, 5), after(1h))));
    got.push_back(*std::get<0>(co_await select(rx.receive(skipped), after(1h))));
    got.push_back(*std::get<0>(co_await select(rx.receive(skipped), after(1h))));
    ended = !std::get<0>(co_await select(rx.receive(), after(1h)));
  });
  for (int i = 0; i < 5; ++i) REQUIRE(tx.try_send(i));
  poll(context);
  for (int i = 5; i < 9; ++i) REQUIRE(tx.try_send(i));
  poll(context);
  tx.close();
  poll(context);
  CHECK(root.fine());
  CHECK(code == Errc::lagged);
  CHECK(counts == std::vector<std::size_t>{2});
  CHECK(got == std::vector{3, 4, 7, 8});
  CHECK(skipped == 2);
  CHECK(ended);
  Root closed(context, [&]() -> Task<> { co_await select(tx.send(1), after(1h)); });
  poll(context);
  CHECK(closed.code() == Errc::channel_closed);
}

TEST_CASE("broadcast: one place twice in a select is refused, and leaves it free") {
  asio::io_context context;
  const auto tx = weir::make_broadcast<int>(context, {.capacity = 2});
  const auto rx = tx.subscribe();
  Root root(context, [&]() -> Task<> { co_await select(rx.receive(), rx.receive()); });
  poll(context);
  CHECK(root.code() == Errc::invalid_argument);
  CHECK(tx.stats().waiting_receivers == 0);
  REQUIRE(tx.try_send(1));
  CHECK(rx.try_receive() == 1);
}

/// Two broadcasts, a plain sender to each, one that selects where to send; two that select from which to receive, and
/// one that receives plainly.
struct Scene {
  SlowReceiver slow = SlowReceiver::wait;
  bool timed = false;
  Act act = Act::nothing;
  std::size_t victim = 0;
};

class World {
 public:
  static constexpr std::size_t producers = 3;
  static constexpr std::size_t consumers = 3;

  World(Simulator& sim, const Scene& scene) : sim_(sim), scene_(scene) {
    for (int i = 0; i < 2; ++i) tx_.push_back(weir::make_broadcast<int>(sim, {.capacity = 1, .slow = scene.slow}));
    for (std::size_t i = 0; i < consumers; ++i) {
      for (std::size_t c = 0; c < 2; ++c) seats_.push_back({tx_[c].subscribe(), {}});
    }
    start(sends(0));
    start(sends(1));
    start(sends_either());
    for (std::size_t i = 0; i < 2; ++i) start(receives_either(seats_[2 * i], seats_[2 * i + 1]));
    start(receives(seats_[4]));
    seats_[5].rx.reset();
  }

  void act() {
    if (scene_.act == Act::cancel) roots_[scene_.victim]->cancel();
    if (scene_.act == Act::close) tx_[scene_.victim].close();
    if (scene_.act == Act::destroy) sim_.stop();
  }
  void check() {
    for (auto& tx : tx_) {
      const auto stats = tx.stats();
      ensure(stats.buffered <= stats.capacity, "more than the capacity");
      ensure(!tx.closed() || stats.waiting_senders == 0, "a sender waits for nothing");
      ensure(!tx.closed() || stats.waiting_receivers == 0, "a receiver waits for nothing");
      ensure(stats.waiting_senders == 0 || stats.buffered == stats.capacity, "a sender waits though there is room");
      if (producing_ == 0) tx.close();
    }
    for (const auto& seat : seats_) {
      if (!seat.rx) continue;
      const auto stats = seat.rx.stats();
      ensure(stats.sent == stats.received + stats.skipped + stats.dropped + stats.pending, "values are missing");
    }
  }
  void check_end() {
    for (auto& tx : tx_) {
      const auto stats = tx.stats();
      ensure(stats.waiting_senders == 0 && stats.waiting_receivers == 0, "somebody still waits");
    }
    for (auto& seat : seats_) {
      if (!seat.rx) continue;
      // Whoever was destroyed or cancelled in between has left its place as it was.
      std::uint64_t skipped = 0;
      while (const auto value = seat.rx.try_receive(skipped)) seat.got.push_back(*value);
      const auto stats = seat.rx.stats();
      ensure(stats.received == seat.got.size(), "what was received is not what was counted");
      ensure(stats.pending == 0 && stats.dropped == 0, "values are left");
      ensure(scene_.slow == SlowReceiver::skip || stats.skipped == 0, "a value was skipped");
      ensure(std::set<int>(seat.got.begin(), seat.got.end()).size() == seat.got.size(), "a value was received twice");
    }
    if (sim_.stopped()) return;
    for (const auto& root : roots_) ensure(root->ended(), "a root has not ended");
  }

 private:
  struct Seat {
    weir::BroadcastReceiver<int> rx;
    std::vector<int> got;
  };
  void start(Task<> task) { roots_.push_back(std::make_unique<Root>(sim_, std::move(task))); }

  Task<> sends(std::size_t c) {
    const Producing producing(producing_);
    for (int i = 0; i < 2; ++i) co_await tx_[c].send(static_cast<int>(c) * 100 + i);
  }
  Task<> sends_either() {
    const Producing producing(producing_);
    for (int i = 0; i < 2;) {
      const auto done = co_await select(tx_[0].send(200 + i), tx_[1].send(300 + i), when(scene_.timed, after(1ms)));
      if (done.index() != 2) ++i;
    }
  }
  Task<> receives_either(Seat& a, Seat& b) {
    for (bool first = true, second = true; first || second;) {
      std::uint64_t skipped = 0;
      const auto done = co_await select(when(first, a.rx.receive(skipped)), when(second, b.rx.receive(skipped)),
                                        when(scene_.timed, after(1ms)));
      if (done.index() == 2) continue;
      const auto& value = done.index() == 0 ? std::get<0>(done) : std::get<1>(done);
      if (value) {
        (done.index() == 0 ? a : b).got.push_back(*value);
      } else {
        (done.index() == 0 ? first : second) = false;
      }
    }
  }
  Task<> receives(Seat& seat) {
    std::uint64_t skipped = 0;
    while (const auto value = co_await seat.rx.receive(skipped)) seat.got.push_back(*value);
  }

  Simulator& sim_;
  const Scene scene_;
  std::size_t producing_ = producers;
  std::vector<weir::BroadcastSender<int>> tx_;
  std::deque<Seat> seats_;
  std::vector<std::unique_ptr<Root>> roots_;
};

auto scenario_of(Scene scene) { return scenario_in<World>(scene); }

const std::vector<Scene> every_scene = {
    {}, {.slow = SlowReceiver::skip}, {.timed = true}, {.slow = SlowReceiver::skip, .timed = true}};

TEST_CASE("broadcast: selects lose no value, and nobody sleeps on, under every schedule tried", "[explore]") {
  for (const auto& scene : every_scene) {
    CAPTURE(&scene - every_scene.data());
    REQUIRE_NOTHROW(explore(scenario_of(scene)));
    REQUIRE_NOTHROW(explore({.seeds = 1000, .scheduling = {.pct_depth = 3}}, scenario_of(scene)));
  }
}

TEST_CASE("broadcast: a cancel of a select, a close or the end of the context at any step loses nothing", "[explore]") {
  for (Scene scene : every_scene) {
    CAPTURE(&scene - every_scene.data());
    for (const auto act : {Act::close, Act::destroy}) {
      scene.act = act;
      REQUIRE_NOTHROW(explore_each_step(scenario_of(scene)));
    }
    // A receiver that is gone and keeps its place stops those that wait for it.
    scene.act = Act::cancel;
    const std::size_t victims = World::producers + (scene.slow == SlowReceiver::wait ? 0 : World::consumers);
    for (scene.victim = 2; scene.victim < victims; ++scene.victim) {
      REQUIRE_NOTHROW(explore_each_step(scenario_of(scene)));
    }
  }
}

TEST_CASE("broadcast: threads that select on two broadcasts hear all of both", "[threads]") {
  constexpr int count = 2000;
  asio::thread_pool pool(4);
  auto a = weir::make_broadcast<int>(pool, {.capacity = 2});
  auto b = weir::make_broadcast<int>(pool, {.capacity = 2});
  struct Listener {
    weir::BroadcastReceiver<int> a;
    weir::BroadcastReceiver<int> b;
    std::int64_t sum = 0;
    int heard = 0;
  };
  std::deque<Listener> listeners;
  for (int who = 0; who < 2; ++who) listeners.push_back({a.subscribe(), b.subscribe()});
  for (auto& me : listeners) {
    weir::spawn(
        pool,
        [&me]() -> Task<> {
          for (bool first = true, second = true; first || second;) {
            const auto got = co_await select(when(first, me.a.receive()), when(second, me.b.receive()));
            const auto& value = got.index() == 0 ? std::get<0>(got) : std::get<1>(got);
            if (value) {
              me.sum += *value;
              ++me.heard;
            } else {
              (got.index() == 0 ? first : second) = false;
            }
          }
        },
        asio::detached);
    weir::spawn(
        pool,
        [a, b]() -> Task<> {
          for (int i = 1; i <= count; ++i) {
            auto to_a = i;
            auto to_b = i;
            co_await select(a.send(std::move(to_a)), b.send(std::move(to_b)));
          }
        },
        asio::detached);
  }
  a.reset();
  b.reset();
  pool.join();
  for (const auto& me : listeners) {
    CHECK(me.heard == 2 * count);
    CHECK(me.sum == std::int64_t{count} * (count + 1));
  }
}

}  // namespace
