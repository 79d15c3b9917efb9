// Senders and receivers of one channel with little patience, whose time ends just when a value, or room, comes: for the
// simulator.
#pragma once

#include <weir/channel/channel.hpp>

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include <weir/sim/explore.hpp>

#include "channel/support.hpp"

namespace channel_test {

/// What is done to them at some step.
struct Disturbance {
  bool cancels = false;  ///< the root `victim`; else the context ends
  std::size_t victim = 0;
};

struct Impatient {
  Impatient(weir::sim::Simulator& sim, std::size_t capacity) : sim_(sim) {
    auto [sender, receiver] = weir::make_channel<Item>(sim, {.capacity = capacity});
    tx.emplace(std::move(sender));
    rx.emplace(std::move(receiver));
  }

  template <class F>
  void start(F&& task) {
    roots.push_back(std::make_unique<Root>(sim_, std::forward<F>(task)));
  }
  void disturb(const Disturbance& how) {
    if (how.cancels) {
      roots[how.victim]->cancel();
    } else {
      sim_.stop();
    }
  }
  void check() const {
    using weir::sim::ensure;
    const auto stats = rx->stats();
    ensure(adds_up(stats), "admitted values are missing");
    ensure(stats.waiting_receivers == 0 || stats.buffered == 0, "a receiver waits though a value is there");
    ensure(stats.waiting_senders == 0 || stats.buffered + stats.reserved == stats.capacity,
           "a sender waits though there is room");
  }
  void check_end() {
    using weir::sim::ensure;
    const bool stopped = sim_.stopped();
    sim_.shut_down();
    while (const auto item = rx->try_receive()) ++received[item->id()];
    for (const auto& [id, times] : received) ensure(times == 1, "a value was received twice");
    ensure(std::set<int>(sent.begin(), sent.end()).size() == sent.size(), "a value was sent twice");
    for (const int id : sent) {
      ensure(stopped || received.contains(id) || ledger.ends[id] == 1, "a value that was sent was lost");
    }
    const auto stats = rx->stats();
    ensure(adds_up(stats), "admitted values are missing");
    ensure((stopped && in_runs) || stats.received == received.size(), "what was received is not what was counted");
    ensure(stopped || stats.admitted == sent.size(), "what was sent is not what was counted");
    ensure(stopped || stats.dropped == 0, "a value was dropped");
    ensure(stats.reserved == 0, "a permit was not given back");
    ensure(stats.waiting_senders == 0 && stats.waiting_receivers == 0, "somebody still waits");
    tx.reset();
    rx.reset();
    roots.clear();
    ensure(ledger.live == 0, "a value was not destroyed");
    for (const auto& [id, times] : ledger.ends) ensure(times == 1, "a value was destroyed twice");
  }

  Ledger ledger;
  std::vector<std::unique_ptr<Root>> roots;
  std::optional<weir::ChannelSender<Item>> tx;
  std::optional<weir::ChannelReceiver<Item>> rx;
  std::vector<int> sent;
  std::map<int, int> received;
  /// Who is destroyed takes along the run that it received.
  bool in_runs = false;

 private:
  weir::sim::Simulator& sim_;
};

/// The scenario: `start(impatient)` starts its roots.
template <class Start>
auto race_of(std::size_t capacity, Disturbance how, Start start) {
  return [=](weir::sim::Simulator& sim) {
    auto& kept = *sim.keep<std::unique_ptr<Impatient>>(std::make_unique<Impatient>(sim, capacity));
    start(kept);
    sim.on_step([&kept] { kept.check(); });
    sim.on_action([&kept, how] { kept.disturb(how); });
    sim.run();
    kept.check_end();
  };
}

}  // namespace channel_test
