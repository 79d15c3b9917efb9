#include <weir/channel/broadcast.hpp>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <weir/core/timer.hpp>
#include <weir/sim/explore.hpp>

#include "channel/support.hpp"
#include "support/catch.hpp"

namespace {

using channel_test::Errc;
using channel_test::Root;
using channel_test::Task;
using weir::SlowReceiver;
using weir::sim::ensure;
using weir::sim::explore;
using weir::sim::explore_all;
using weir::sim::explore_each_step;
using weir::sim::Simulator;

/// Counts the objects that live, and notices one that is used after its end.
class Value {
 public:
  Value(int& live, int id) noexcept : live_(&live), id_(id) { ++*live_; }
  Value(const Value& other) : live_(other.live_), id_(other.id()) {
    ensure(id_ != gone, "a value was copied that had been moved from");
    ++*live_;
  }
  Value(Value&& other) noexcept : live_(other.live_), id_(std::exchange(other.id_, gone)) { ++*live_; }
  Value& operator=(const Value& other) {
    ensure(other.id() != gone, "a value was copied that had been moved from");
    id_ = other.id();
    return *this;
  }
  Value& operator=(Value&& other) noexcept {
    id_ = std::exchange(other.id_, gone);
    return *this;
  }
  ~Value() {
    self_ = nullptr;
    --*live_;
  }
  [[nodiscard]] int id() const {
    ensure(self_ == this, "a value was used after its end");
    return id_;
  }

 private:
  static constexpr int gone = -1;
  int* live_;
  int id_;
  const Value* self_ = this;
};

enum class SendBy { send, copy, emplace, try_send };
enum class ReceiveBy { receive, counted, some, try_receive };
enum class Act { nothing, cancel, close, close_with_reason, drop_handle, destroy };

struct Plan {
  std::size_t senders = 2;
  std::size_t receivers = 2;
  /// Of the receivers, those that subscribe at some time, not before all.
  std::size_t late = 0;
  std::size_t capacity = 1;
  SlowReceiver slow = SlowReceiver::wait;
  std::vector<SendBy> send_by = {SendBy::send};
  std::vector<ReceiveBy> receive_by = {ReceiveBy::receive};
  int values = 3;
  Act act = Act::nothing;
  /// The root, or the handle, that it is done to: senders first, then receivers.
  std::size_t victim = 0;
};

class World {
 public:
  World(Simulator& sim, const Plan& plan, int& live) : sim_(sim), plan_(plan), live_(live) {
    tx_.push_back(weir::make_broadcast<Value>(sim, {.capacity = plan.capacity, .slow = plan.slow}));
    while (tx_.size() < plan.senders) tx_.push_back(tx_[0]);
    seats_.resize(plan.receivers);
    for (std::size_t i = 0; i + plan.late < plan.receivers; ++i) subscribe(i);
    for (std::size_t i = 0; i < plan.senders; ++i) {
      roots_.push_back(std::make_unique<Root>());
      roots_.back()->start(sim, sends(i, plan.send_by[i % plan.send_by.size()]));
    }
    for (std::size_t i = 0; i < plan.receivers; ++i) {
      roots_.push_back(std::make_unique<Root>());
      roots_.back()->start(sim, receives(i, plan.receive_by[i % plan.receive_by.size()]));
    }
  }

  void act() {
    switch (plan_.act) {
      case Act::nothing:
        break;
      case Act::cancel:
        roots_[plan_.victim]->cancel();
        break;
      case Act::close:
        close(nullptr);
        break;
      case Act::close_with_reason:
        close(std::make_exception_ptr(std::system_error(make_error_code(std::errc::network_down))));
        break;
      case Act::drop_handle:
        if (plan_.victim < plan_.senders) {
          tx_[plan_.victim].reset();
        } else {
          leave(seats_[plan_.victim - plan_.senders]);
        }
        break;
      case Act::destroy:
        sim_.stop();
        break;
    }
  }

  void check() {
    for (const auto& seat : seats_) {
      if (seat.rx) check(seat);
    }
    if (!look()) return;
    ensure(stats_.due == stats_.received + stats_.skipped + stats_.dropped + stats_.pending, "deliveries are missing");
    ensure(stats_.buffered <= stats_.capacity, "more than the capacity");
    ensure(stats_.buffered == stats_.slowest, "a value is kept that nobody needs");
    ensure(stats_.waiting_senders == 0 || (plan_.slow == SlowReceiver::wait && stats_.subscribers != 0),
           "a sender waits for nobody");
    ensure(stats_.waiting_senders == 0 || stats_.buffered == stats_.capacity, "a sender waits though there is room");
    ensure(stats_.waiting_senders == 0 || !closed_, "a sender waits though it is closed");
    std::size_t up_to_date = 0;
    for (const auto& seat : seats_) {
      if (seat.rx && seat.rx.lag() == 0) ++up_to_date;
    }
    ensure(stats_.waiting_receivers <= up_to_date, "a receiver waits though a value is there");
    ensure(stats_.waiting_receivers == 0 || !closed_, "a receiver waits though it is closed");
    if (plan_.slow != SlowReceiver::skip) ensure(stats_.skipped == 0, "the policy does not skip");
    if (plan_.slow != SlowReceiver::disconnect) ensure(stats_.disconnected == 0, "the policy does not disconnect");
  }

  void check_end() {
    for (const auto& root : roots_) ensure(root->ended(), "a root has not ended");
    ensure(stats_.sent == sent_, "the sends that were told to have worked are not what was counted");
    if (plan_.late == 0 && plan_.slow == SlowReceiver::wait && plan_.act == Act::nothing) {
      for (const auto& seat : seats_) {
        ensure(seat.received == plan_.senders * static_cast<std::size_t>(plan_.values), "a value was not received");
      }
    }
    check_order();
  }

  /// When the roots were destroyed: what is left is still there, for all that were subscribed.
  void check_destroyed() {
    check();
    ensure(!look() || (stats_.waiting_receivers == 0 && stats_.waiting_senders == 0), "a destroyed root still waits");
    for (auto& seat : seats_) drain(seat);
    check();
    check_order();
  }

 private:
  /// One receiver, and what it has seen.
  struct Seat {
    weir::BroadcastReceiver<Value> rx;
    std::uint64_t start = 0;
    std::uint64_t received = 0;
    std::uint64_t told = 0;  ///< skipped
    bool disconnected = false;
  };

  void subscribe(std::size_t i) {
    const auto now = tx_[0] ? tx_[0].stats() : stats_;
    if (!tx_[0]) return;
    seats_[i].rx = tx_[0].subscribe();
    seats_[i].start = now.sent - now.unheard;
  }

  void check(const Seat& seat) {
    const auto stats = seat.rx.stats();
    ensure(stats.sent == stats.received + stats.skipped + stats.dropped + stats.pending, "values are missing");
    ensure(stats.received == seat.received, "what the receiver got is not what was counted");
    ensure(stats.skipped >= seat.told, "the receiver was told of more than it missed");
    ensure(stats.skipped == seat.told || stats.pending != 0, "skipped, and nothing comes after");
    ensure(stats.pending <= plan_.capacity, "further behind than the capacity");
    if (seat.disconnected) ensure(stats.disconnected, "disconnected and not counted");
  }

  void got(Seat& seat, const Value& value) {
    const std::uint64_t position = seat.start + seat.received++ + seat.told;
    const auto [at, is_new] = order_.try_emplace(position, value.id());
    ensure(at->second == value.id(), "two receivers saw another order, or a skip was not counted");
  }
  void check_order() const {
    std::map<int, int> last;
    std::set<int> seen;
    for (const auto& [position, id] : order_) {
      ensure(seen.insert(id).second, "a value was received in two places");
      const auto [at, is_new] = last.try_emplace(id / 100, id);
      ensure(is_new || at->second < id, "the values of a sender came out of order");
      at->second = id;
    }
  }
  void at_end(const Seat& seat) const {
    const auto stats = seat.rx.stats();
    ensure(stats.pending == 0 && stats.dropped == 0, "it ended before all values were received");
    ensure(stats.skipped == seat.told, "not all was told that was skipped");
  }

  Task<> sends(std::size_t who, SendBy how) {
    const Leave leave_tx(*this, [this, who] { tx_[who].reset(); });
    auto& tx = tx_[who];
    const int first = static_cast<int>(who) * 100;
    for (int i = 0; i < plan_.values; ++i) {
      Value value(live_, first + i);
      switch (how) {
        case SendBy::send: {
          bool done = false;
          std::exception_ptr failure;
          try {
            co_await tx.send(std::move(value));
            done = true;
          } catch (const weir::Error&) {
            failure = std::current_exception();
          }
          if (!done) {
            ensure(value.id() == first + i, "a refused value is not with the sender");
            std::rethrow_exception(failure);
          }
          break;
        }
        case SendBy::copy: {
          const Value& copied = value;
          co_await tx.send(copied);
          ensure(value.id() == first + i, "a copied value was moved from");
          break;
        }
        case SendBy::emplace:
          co_await tx.send_emplace(std::ref(live_), first + i);
          break;
        case SendBy::try_send:
          for (;;) {
            const auto result = tx.try_send(std::move(value));
            if (result) break;
            ensure(value.id() == first + i, "a refused value is not with the sender");
            if (result.closed()) throw weir::Error(Errc::channel_closed);
            ensure(plan_.slow == SlowReceiver::wait, "refused by a policy that does not refuse");
            co_await weir::yield();
          }
          break;
      }
      ++sent_;
    }
  }

  Task<> receives(std::size_t who, ReceiveBy how) {
    if (who + plan_.late >= plan_.receivers) {
      for (std::size_t i = 0; i < who; ++i) co_await weir::yield();
      subscribe(who);
      if (!seats_[who].rx) co_return;
    }
    const Leave leave_rx(*this, [this, who] { leave(seats_[who]); });
    Seat& seat = seats_[who];
    std::vector<Value> out;
    out.reserve(4);
    for (;;) {
      try {
        if (!co_await receives_once(seat, how, out)) break;
      } catch (const weir::Error& error) {
        if (error.code() == Errc::disconnected) {
          seat.disconnected = true;
          break;
        }
        // A cancelled receive has lost nothing.
        ensure(error.code() == Errc::cancelled, "another error");
        drain(seat);
        throw;
      }
    }
  }

  /// What is told is noted by the coroutine that is told: it may be destroyed before another resumes.
  Task<bool> receives_once(Seat& seat, ReceiveBy how, std::vector<Value>& out) try {
    switch (how) {
      case ReceiveBy::receive: {
        const auto value = co_await seat.rx.receive();
        if (!value) co_return at_end_of(seat);
        got(seat, *value);
        break;
      }
      case ReceiveBy::counted: {
        const auto value = co_await seat.rx.receive(seat.told);
        if (!value) co_return at_end_of(seat);
        got(seat, *value);
        break;
      }
      case ReceiveBy::some: {
        out.clear();
        const std::size_t n = co_await seat.rx.receive_some(out, 2);
        ensure(n == out.size() && n <= 2, "receive_some gave another number of values than it said");
        for (const auto& value : out) got(seat, value);
        if (n == 0) co_return at_end_of(seat);
        break;
      }
      case ReceiveBy::try_receive:
        if (const auto value = seat.rx.try_receive()) {
          got(seat, *value);
        } else if (seat.rx.closed() && seat.rx.lag() == 0) {
          co_return at_end_of(seat);
        }
        co_await weir::yield();
        if (!seat.rx) co_return false;
        break;
    }
    co_return true;
  } catch (const weir::Lagged& lagged) {
    ensure(how != ReceiveBy::counted, "told twice");
    ensure(lagged.code() == Errc::lagged && lagged.skipped() != 0, "it lagged by nothing");
    seat.told += lagged.skipped();
    co_return true;
  }
  /// False. A handle that was dropped in use is at its end as well.
  bool at_end_of(const Seat& seat) const {
    if (seat.rx) at_end(seat);
    return false;
  }

  void drain(Seat& seat) {
    if (!seat.rx) return;
    try {
      while (const auto value = seat.rx.try_receive(seat.told)) got(seat, *value);
      if (seat.rx.closed()) at_end(seat);
    } catch (const weir::Error& error) {
      ensure(error.code() == Errc::disconnected, "another error");
      seat.disconnected = true;
    }
    check(seat);
  }

  void leave(Seat& seat) {
    if (seat.rx) check(seat);
    seat.rx.reset();
  }

  class Leave {
   public:
    Leave(World& world, std::function<void()> leave) : world_(world), leave_(std::move(leave)) {}
    Leave(const Leave&) = delete;
    Leave& operator=(const Leave&) = delete;
    ~Leave() {
      // A destroyed frame leaves its handle, so that the test can look.
      world_.look();
      if (!world_.sim_.stopped()) leave_();
      world_.look();
    }

   private:
    World& world_;
    std::function<void()> leave_;
  };

  void close(std::exception_ptr reason) {
    for (auto& tx : tx_) {
      if (tx) return tx.close(std::move(reason));
    }
  }
  bool look() {
    for (auto& tx : tx_) {
      if (!tx) continue;
      stats_ = tx.stats();
      closed_ = tx.closed();
      return true;
    }
    return false;
  }

  Simulator& sim_;
  const Plan& plan_;
  int& live_;
  std::vector<std::unique_ptr<Root>> roots_;
  std::vector<weir::BroadcastSender<Value>> tx_;
  std::vector<Seat> seats_;
  weir::BroadcastStats stats_;
  bool closed_ = false;
  std::uint64_t sent_ = 0;
  /// What was received, by its place in the sequence of values.
  std::map<std::uint64_t, int> order_;
};

auto scenario(Plan plan) {
  return [plan](Simulator& sim) {
    struct Kept {
      int live = 0;
      std::unique_ptr<World> world;
    };
    auto& kept = sim.keep<Kept>();
    auto& world = *(kept.world = std::make_unique<World>(sim, plan, kept.live));
    sim.on_step([&world] { world.check(); });
    sim.on_action([&world] { world.act(); });
    sim.run();
    if (sim.stopped()) {
      sim.shut_down();
      world.check_destroyed();
    } else {
      world.check_end();
    }
    kept.world.reset();
    ensure(kept.live == 0, "a value was not destroyed, or twice");
  };
}

const std::vector<SendBy> every_send = {SendBy::send, SendBy::copy, SendBy::emplace, SendBy::try_send};
const std::vector<ReceiveBy> every_receive = {ReceiveBy::receive, ReceiveBy::counted, ReceiveBy::some,
                                              ReceiveBy::try_receive};
const std::vector<SlowReceiver> every_policy = {SlowReceiver::wait, SlowReceiver::skip, SlowReceiver::disconnect};

void explore_plan(const Plan& plan) {
  CAPTURE(plan.senders, plan.receivers, plan.late, plan.capacity, static_cast<int>(plan.slow), plan.victim);
  CAPTURE(static_cast<int>(plan.send_by[0]), static_cast<int>(plan.receive_by[0]), static_cast<int>(plan.act));
  if (plan.act == Act::nothing) {
    REQUIRE_NOTHROW(explore(scenario(plan)));
  } else {
    REQUIRE_NOTHROW(explore_each_step(scenario(plan)));
  }
}

/// Each operation by itself under each policy, then all of them together.
template <class F>
void each_way(Plan plan, F&& explore_it) {
  for (const auto slow : every_policy) {
    plan.slow = slow;
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
    Plan all = plan;
    all.send_by = every_send;
    all.receive_by = every_receive;
    all.senders = 3;
    all.receivers = 4;
    all.late = 1;
    all.capacity = 2;
    explore_it(all);
  }
}

TEST_CASE("broadcast: every receiver gets every value in one order, with skips counted, in every schedule tried",
          "[explore]") {
  each_way({}, explore_plan);
  each_way({.senders = 1, .receivers = 3, .capacity = 2, .values = 5}, explore_plan);
}

TEST_CASE("broadcast: who subscribes amid a run gets everything from then on", "[explore]") {
  each_way({.receivers = 3, .late = 2, .values = 4}, explore_plan);
  each_way({.receivers = 2, .late = 2, .values = 4}, explore_plan);
}

TEST_CASE("broadcast: a cancel at any step loses nothing", "[explore]") {
  for (const std::size_t victim : {std::size_t{0}, std::size_t{3}}) {
    each_way({.act = Act::cancel, .victim = victim}, explore_plan);
  }
}

TEST_CASE("broadcast: a close at any step ends everybody and loses nothing", "[explore]") {
  each_way({.act = Act::close}, explore_plan);
  each_way({.act = Act::close_with_reason}, explore_plan);
}

TEST_CASE("broadcast: a handle dropped at any step, also in use, ends its own part only", "[explore]") {
  for (const std::size_t victim : {std::size_t{0}, std::size_t{2}, std::size_t{3}}) {
    each_way({.act = Act::drop_handle, .victim = victim}, explore_plan);
  }
  each_way({.receivers = 1, .act = Act::drop_handle, .victim = 2}, explore_plan);
}

TEST_CASE("broadcast: a context destroyed at any step leaves every value for its receivers", "[explore]") {
  each_way({.act = Act::destroy}, explore_plan);
}

TEST_CASE("broadcast: small scenarios keep their promises under every schedule that there is", "[explore]") {
  const auto exhaust = [](const auto& scene) {
    weir::sim::Explored explored;
    REQUIRE_NOTHROW(explored = explore_all(300'000, scene));
    CHECK(explored.complete);
  };
  for (const auto slow : every_policy) {
    CAPTURE(static_cast<int>(slow));
    exhaust(scenario({.senders = 1, .receivers = 1, .slow = slow, .values = 3}));
    // What a sanitizer would see in the larger ones it sees in this.
    if constexpr (WEIR_EXPLORE_SEEDS < 10000) continue;
    exhaust(scenario({.senders = 2, .receivers = 1, .slow = slow, .values = 1}));
    exhaust([slow](Simulator& sim) {
      struct Seen {
        std::vector<int> values;
        std::uint64_t skipped = 0;
        bool disconnected = false;
      };
      auto& seen = sim.keep<std::vector<Seen>>(2U);
      const auto receives = [](weir::BroadcastReceiver<int> rx, Seen& mine) -> Task<> {
        try {
          while (const auto value = co_await rx.receive(mine.skipped)) mine.values.push_back(*value);
        } catch (const weir::Error& error) {
          mine.disconnected = error.code() == Errc::disconnected;
        }
      };
      const auto sends = [](weir::BroadcastSender<int> tx) -> Task<> {
        for (int i = 1; i <= 2; ++i) co_await tx.send_emplace(i);
      };
      auto tx = weir::make_broadcast<int>(sim, {.capacity = 1, .slow = slow});
      for (auto& each : seen) sim.spawn(receives(tx.subscribe(), each));
      sim.spawn(sends(std::move(tx)));
      sim.run();
      for (const auto& each : seen) {
        const bool all = each.values == std::vector{1, 2} && each.skipped == 0;
        const bool one = each.values == std::vector{2} && each.skipped == 1 && slow == SlowReceiver::skip;
        const bool none = each.disconnected && slow == SlowReceiver::disconnect;
        ensure(all || one || none, "a receiver saw something else");
      }
    });
  }
}

}  // namespace
