/// A channel with senders and receivers for the simulator, and everything that must hold of it: at each step, at the
/// end, and after its context was destroyed.
#pragma once

#include <weir/channel/channel.hpp>

#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include <weir/core/timer.hpp>
#include <weir/sim/explore.hpp>

#include "channel/support.hpp"

namespace channel_test {

using weir::sim::ensure;
using weir::sim::Simulator;

enum class SendBy { send, emplace, try_send, permit, all };
enum class ReceiveBy { receive, some, try_receive };

/// What is done at one of the steps.
enum class Act { nothing, cancel, close, close_with_reason, drop_handle, discard, destroy };

struct Plan {
  std::size_t senders = 2;
  std::size_t receivers = 2;
  std::size_t capacity = 1;
  Overflow overflow = Overflow::wait;
  /// The ways in which the senders send, in turn; the same for the receivers.
  std::vector<SendBy> send_by = {SendBy::send};
  std::vector<ReceiveBy> receive_by = {ReceiveBy::receive};
  /// What each sender sends.
  int values = 3;
  Act act = Act::nothing;
  /// The root, or the handle, that it is done to: senders first, then receivers.
  std::size_t victim = 0;
};

template <class Kind>
class World {
 public:
  World(Simulator& sim, const Plan& plan, Ledger& ledger)
      : sim_(sim), plan_(plan), ledger_(ledger), roots_(plan.senders + plan.receivers) {
    auto [tx, rx] = Kind::template make<Item>(sim, {.capacity = plan.capacity, .overflow = plan.overflow});
    tx_.push_back(std::move(tx));
    rx_.push_back(std::move(rx));
    if constexpr (std::is_copy_constructible_v<SenderOf<Item, Kind>>) {
      while (tx_.size() < plan.senders) tx_.push_back(tx_[0]);
      while (rx_.size() < plan.receivers) rx_.push_back(rx_[0]);
    }
    for (std::size_t i = 0; i < plan.senders; ++i) {
      roots_[i] = std::make_unique<Root>();
      roots_[i]->start(sim, sends(i, plan.send_by[i % plan.send_by.size()]));
    }
    for (std::size_t i = 0; i < plan.receivers; ++i) {
      auto& root = roots_[plan.senders + i];
      root = std::make_unique<Root>();
      root->start(sim, receives(i, plan.receive_by[i % plan.receive_by.size()]));
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
        look();
        if (plan_.victim < plan_.senders) {
          tx_[plan_.victim].reset();
        } else {
          rx_[plan_.victim - plan_.senders].reset();
        }
        break;
      case Act::discard:
        for (auto& rx : rx_) {
          if (rx) {
            rx.discard();
            break;
          }
        }
        break;
      case Act::destroy:
        sim_.stop();
        break;
    }
  }

  /// Invariants 1, 2, 4 and 5 of the channel.
  void check() {
    if (!look()) return;
    ensure(stats_.admitted == stats_.received + stats_.buffered + stats_.dropped, "admitted values are missing");
    ensure(stats_.buffered + stats_.reserved <= stats_.capacity, "more than the capacity");
    ensure(stats_.waiting_receivers == 0 || stats_.buffered == 0, "a receiver waits though a value is there");
    ensure(stats_.waiting_senders == 0 || stats_.buffered + stats_.reserved == stats_.capacity,
           "a sender waits though there is room");
    ensure(stats_.waiting_senders == 0 || (plan_.overflow == Overflow::wait && !closed_), "a sender waits for nothing");
    ensure(stats_.waiting_receivers == 0 || !closed_ || stats_.reserved != 0, "a receiver waits for nothing");
  }

  /// When all roots have ended.
  void check_end() const {
    for (const auto& root : roots_) ensure(root->ended(), "a root has not ended");
    std::size_t received = 0;
    for (const auto& [id, times] : received_) {
      ensure(times == 1, "a value was received twice");
      ensure(sent_.contains(id), "a value was received that no send was told of");
      ++received;
    }
    ensure(stats_.admitted == sent_.size(), "the sends that were told to have worked are not what was admitted");
    ensure(stats_.received == received, "what the receivers got is not what was counted");
    ensure(stats_.buffered + stats_.dropped == sent_.size() - received, "a value is neither received nor counted");
    if (nothing_drops()) ensure(stats_.buffered + stats_.dropped == 0, "a value was dropped");
    if (plan_.overflow == Overflow::wait && plan_.act == Act::nothing) {
      ensure(received == plan_.senders * static_cast<std::size_t>(plan_.values), "a value was not received");
    }
    if (plan_.receivers == 1 && in_turn(plan_.send_by, SendBy::send, SendBy::emplace)) {
      ensure(in_order(received_order_), "senders were not served in order");
    }
    if (plan_.senders == 1 && plan_.receive_by == std::vector{ReceiveBy::receive} &&
        (plan_.act == Act::nothing || plan_.act == Act::close)) {
      for (std::size_t i = 1; i < got_by_turn_.size(); ++i) {
        ensure(got_by_turn_[i - 1] < got_by_turn_[i] || got_by_turn_[i] == nothing_got,
               "receivers were not served in order");
      }
    }
  }

  /// When the roots were destroyed: what is left is still there.
  void check_destroyed() {
    for (auto& rx : rx_) {
      while (rx) {
        const auto value = rx.try_receive();
        if (!value) break;
        got(0, *value);
        ensure(received_[value->id()] == 1, "a value was received twice");
      }
    }
    check();
    // What receive_some put into its vector is received, whether or not the receiver came to look at it.
    if (std::ranges::find(plan_.receive_by, ReceiveBy::some) == plan_.receive_by.end()) {
      ensure(stats_.received == received_.size(), "a value that was not received is counted as received");
    }
    ensure(stats_.buffered == 0 || rx_closed(), "a value can't be received");
    ensure(stats_.waiting_receivers == 0 && stats_.waiting_senders == 0, "a destroyed root still waits");
    ensure(stats_.reserved == 0, "the permit of a destroyed root was not given back");
  }

 private:
  static constexpr int nothing_got = 1 << 30;
  using Tx = SenderOf<Item, Kind>;
  using Rx = ReceiverOf<Item, Kind>;

  /// Gives a handle up at the end of its root.
  template <class Handle>
  class Leave {
   public:
    explicit Leave(World& world, Handle& handle) : world_(world), handle_(handle) {}
    Leave(const Leave&) = delete;
    Leave& operator=(const Leave&) = delete;
    ~Leave() {
      // A destroyed frame leaves its handle, so that the test can look at the channel.
      world_.look();
      if (!world_.sim_.stopped()) handle_.reset();
      world_.look();
    }

   private:
    World& world_;
    Handle& handle_;
  };

  Task<> sends(std::size_t who, SendBy how) {
    const Leave<Tx> leave(*this, tx_[who]);
    const int first = static_cast<int>(who) * 100;
    if (how == SendBy::all) {
      co_await sends_all(tx_[who], first);
      co_return;
    }
    for (int i = 0; i < plan_.values; ++i) {
      Item item(ledger_, first + i);
      try {
        co_await sends_one(tx_[who], how, item);
        sent_[first + i] = true;
      } catch (const weir::Error& error) {
        // Refused or cancelled: the value is still here.
        if (how != SendBy::emplace) ensure(item.id() == first + i, "a refused value is not with the sender");
        if (error.code() != Errc::channel_full) throw;
      }
    }
  }

  Task<> sends_one(Tx& tx, SendBy how, Item& item) {
    switch (how) {
      case SendBy::emplace: {
        auto* const ledger = &ledger_;
        const int id = item.id();
        item.forget();
        begun_.push_back(id);
        co_await tx.send_emplace(std::ref(*ledger), id);
        break;
      }
      case SendBy::try_send:
        for (;;) {
          const auto result = tx.try_send(std::move(item));
          if (result) break;
          if (result.closed()) throw weir::Error(Errc::channel_closed);
          if (plan_.overflow == Overflow::reject) throw weir::Error(Errc::channel_full);
          co_await weir::yield();
        }
        break;
      case SendBy::permit: {
        if (item.id() % 3 == 1) {
          // One that is not used.
          const auto unused = co_await tx.reserve();
          co_await weir::yield();
        }
        auto permit = co_await tx.reserve();
        co_await weir::yield();
        permit.send(std::move(item));
        break;
      }
      default:
        begun_.push_back(item.id());
        co_await tx.send(std::move(item));
    }
  }

  Task<> sends_all(Tx& tx, int first) {
    std::vector<Item> items;
    for (int i = 0; i < plan_.values; ++i) items.emplace_back(ledger_, first + i);
    std::size_t n = 0;
    std::exception_ptr failure;
    try {
      n = co_await tx.send_all(std::move(items));
      ensure(n == items.size(), "send_all did not send all");
    } catch (const weir::PartialSend& error) {
      n = error.sent();
      failure = std::current_exception();
    }
    for (std::size_t i = 0; i < items.size(); ++i) {
      const int id = first + static_cast<int>(i);
      if (i < n) {
        sent_[id] = true;
      } else {
        ensure(items[i].id() == id, "send_all moved from a value that it did not send");
      }
    }
    if (failure) std::rethrow_exception(failure);
  }

  Task<> receives(std::size_t who, ReceiveBy how) {
    const Leave<Rx> leave(*this, rx_[who]);
    Rx& rx = rx_[who];
    std::vector<Item> out;
    out.reserve(4);
    for (;;) {
      switch (how) {
        case ReceiveBy::receive: {
          const std::size_t turn = got_by_turn_.size();
          got_by_turn_.push_back(nothing_got);
          const auto value = co_await rx.receive();
          if (!value) co_return;
          got_by_turn_[turn] = value->id();
          got(who, *value);
          break;
        }
        case ReceiveBy::some: {
          const std::size_t n = co_await rx.receive_some(out, 2);
          ensure(n == out.size() && n <= 2, "receive_some gave another number of values than it said");
          if (n == 0) co_return;
          for (const auto& value : out) got(who, value);
          out.clear();
          break;
        }
        case ReceiveBy::try_receive:
          if (const auto value = rx.try_receive()) {
            got(who, *value);
          } else {
            const auto stats = rx.stats();
            if (rx.closed() && stats.buffered == 0 && stats.reserved == 0) co_return;
          }
          co_await weir::yield();
          break;
      }
    }
  }

  void got(std::size_t who, const Item& value) {
    ++received_[value.id()];
    received_order_.push_back(value.id());
    const std::size_t from = static_cast<std::size_t>(value.id() / 100);
    auto& last = last_seen_[{who, from}];
    ensure(last <= value.id() % 100, "the values of a sender came out of order");
    last = value.id() % 100 + 1;
  }

  /// Whether some receiver goes on to the end, with every sender waiting for it.
  [[nodiscard]] bool nothing_drops() const {
    if (plan_.overflow != Overflow::wait) return false;
    switch (plan_.act) {
      case Act::nothing:
      case Act::close:
      case Act::close_with_reason:
        return true;
      case Act::cancel:
      case Act::drop_handle:
        return plan_.victim < plan_.senders || (plan_.receivers > 1 && plan_.act == Act::cancel);
      default:
        return false;
    }
  }

  void close(std::exception_ptr reason) {
    for (auto& rx : rx_) {
      if (rx) return rx.close(std::move(reason));
    }
    for (auto& tx : tx_) {
      if (tx) return tx.close(std::move(reason));
    }
  }

  /// Takes a snapshot by whichever handle is left.
  bool look() {
    for (auto& tx : tx_) {
      if (tx) return take(tx);
    }
    for (auto& rx : rx_) {
      if (rx) return take(rx);
    }
    return false;
  }
  template <class Handle>
  bool take(Handle& handle) {
    stats_ = handle.stats();
    closed_ = handle.closed();
    return true;
  }
  [[nodiscard]] bool rx_closed() const {
    return std::ranges::none_of(rx_, [](const Rx& rx) { return static_cast<bool>(rx); });
  }

  static bool in_turn(const std::vector<SendBy>& kinds, SendBy a, SendBy b) {
    return std::ranges::all_of(kinds, [=](SendBy kind) { return kind == a || kind == b; });
  }
  /// In the order in which their sends were begun.
  [[nodiscard]] bool in_order(const std::vector<int>& ids) const {
    std::size_t from = 0;
    for (const int id : ids) {
      const auto at = static_cast<std::size_t>(std::ranges::find(begun_, id) - begun_.begin());
      if (at < from) return false;
      from = at;
    }
    return true;
  }

  Simulator& sim_;
  const Plan& plan_;
  Ledger& ledger_;
  std::vector<std::unique_ptr<Root>> roots_;
  std::vector<Tx> tx_;
  std::vector<Rx> rx_;
  weir::ChannelStats stats_;
  bool closed_ = false;
  std::map<int, bool> sent_;
  std::map<int, int> received_;
  std::map<std::pair<std::size_t, std::size_t>, int> last_seen_;
  std::vector<int> begun_;
  std::vector<int> received_order_;
  std::vector<int> got_by_turn_;
};

/// The scenario of a plan, for `explore` and its kin.
template <class Kind = Shared>
auto scenario(Plan plan) {
  return [plan](Simulator& sim) {
    struct Kept {
      Ledger ledger;
      std::unique_ptr<World<Kind>> world;
    };
    auto& kept = sim.keep<Kept>();
    auto& world = *(kept.world = std::make_unique<World<Kind>>(sim, plan, kept.ledger));
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
    ensure(kept.ledger.live == 0, "a value was not destroyed");
    for (const auto& [id, times] : kept.ledger.ends) ensure(times == 1, "a value was destroyed twice");
  };
}

}  // namespace channel_test
