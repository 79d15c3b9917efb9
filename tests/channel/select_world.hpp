// Selects of all kinds on two channels, beside plain senders and receivers, for the simulator.
#pragma once

#include <weir/channel/select.hpp>

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include <weir/core/timer.hpp>
#include <weir/sim/explore.hpp>

#include "channel/select_scene.hpp"
#include "channel/support.hpp"

namespace channel_test {

struct SelectScene {
  std::size_t plain_senders = 1;
  std::size_t plain_receivers = 0;
  std::size_t receiving = 2;  ///< select a receive of either channel
  std::size_t sending = 1;    ///< select a send to either channel
  std::size_t both = 0;       ///< select a send and a receive of the same channel
  std::size_t reserving = 0;  ///< select a permit of either channel
  std::size_t in_runs = 0;    ///< select a run of either channel
  bool timed = false;
  bool permits = false;
  Act act = Act::nothing;
  std::size_t victim = 0;
};

class Selects {
  using Simulator = weir::sim::Simulator;

 public:
  Selects(Simulator& sim, const SelectScene& scene)
      : sim_(sim), scene_(scene), producers_(scene.plain_senders + scene.sending + scene.both + scene.reserving) {
    for (int c = 0; c < 2; ++c) {
      auto [tx, rx] = weir::make_channel<Item>(sim, {.capacity = 1});
      tx_.push_back(std::move(tx));
      rx_.push_back(std::move(rx));
    }
    for (std::size_t i = 0; i < scene.plain_senders; ++i) start(sends(next_first_ += 100, i % 2));
    for (std::size_t i = 0; i < scene.sending; ++i) start(sends_either(next_first_ += 100));
    for (std::size_t i = 0; i < scene.both; ++i) start(both(next_first_ += 100));
    for (std::size_t i = 0; i < scene.reserving; ++i) start(reserves_either(next_first_ += 100));
    for (std::size_t i = 0; i < scene.plain_receivers; ++i) start(receives(i % 2));
    for (std::size_t i = 0; i < scene.receiving; ++i) start(receives_either());
    for (std::size_t i = 0; i < scene.in_runs; ++i) start(receives_runs(runs_.emplace_back()));
  }

  void act() {
    switch (scene_.act) {
      case Act::nothing:
        break;
      case Act::cancel:
        roots_[scene_.victim]->cancel();
        break;
      case Act::close:
        tx_[scene_.victim].close();
        break;
      case Act::destroy:
        sim_.stop();
        break;
    }
  }

  void check() {
    for (std::size_t c = 0; c < 2; ++c) {
      const auto stats = rx_[c].stats();
      weir::sim::ensure(adds_up(stats), "admitted values are missing");
      weir::sim::ensure(stats.waiting_receivers == 0 || stats.buffered == 0,
                        "a receiver waits though a value is there");
      weir::sim::ensure(stats.waiting_senders == 0 || stats.buffered + stats.reserved == stats.capacity,
                        "a sender waits though there is room");
      weir::sim::ensure(!rx_[c].closed() || stats.waiting_senders == 0, "a sender waits for nothing");
    }
    // The last producer closes what is still open.
    if (producers_ == 0) {
      for (auto& tx : tx_) tx.close();
    }
  }

  void check_end() {
    // Of those that were destroyed when they had won, and were not resumed.
    for (const auto& run : runs_) {
      for (const auto& item : run) got(item);
    }
    std::size_t received = 0;
    std::uint64_t counted = 0;
    std::uint64_t admitted = 0;
    for (std::size_t c = 0; c < 2; ++c) {
      while (const auto item = rx_[c].try_receive()) got(*item);
      const auto stats = rx_[c].stats();
      weir::sim::ensure(stats.waiting_receivers == 0 && stats.waiting_senders == 0, "somebody still waits");
      weir::sim::ensure(stats.reserved == 0, "a permit was not given back");
      weir::sim::ensure(sim_.stopped() || stats.dropped == 0, "a value was dropped");
      counted += stats.received;
      admitted += stats.admitted;
    }
    for (const auto& [id, times] : received_) {
      weir::sim::ensure(times == 1, "a value was received twice");
      ++received;
    }
    weir::sim::ensure(counted == received, "what was received is not what was counted");
    check_senders(admitted);
    roots_.clear();
    runs_.clear();
    tx_.clear();
    rx_.clear();
    weir::sim::ensure(ledger_.live == 0, "a value was not destroyed");
    for (const auto& [id, times] : ledger_.ends) weir::sim::ensure(times == 1, "a value was destroyed twice");
  }

 private:
  void check_senders(std::uint64_t admitted) const {
    if (sim_.stopped()) return;
    for (const auto& root : roots_) weir::sim::ensure(root->ended(), "a root has not ended");
    weir::sim::ensure(admitted == sent_.size(), "what was admitted is not what was sent");
    for (const int id : sent_) weir::sim::ensure(received_.contains(id), "a value was lost");
  }

  template <class F>
  void start(F&& task) {
    roots_.push_back(std::make_unique<Root>(sim_, std::forward<F>(task)));
  }
  void got(const Item& item) { ++received_[item.id()]; }

  Task<> sends(int first, std::size_t c) {
    const Producing producing(producers_);
    auto& tx = tx_[c];
    for (int i = 0; i < 3; ++i) {
      Item item(ledger_, first + i);
      if (scene_.permits) {
        auto permit = co_await tx.reserve();
        co_await weir::yield();
        permit.send(std::move(item));
      } else {
        co_await tx.send(std::move(item));
      }
      sent_.insert(first + i);
    }
  }
  Task<> sends_either(int first) {
    const Producing producing(producers_);
    for (int i = 0; i < 3; ++i) {
      Item item(ledger_, first + i);
      bool sent = false;
      try {
        while (!sent) {
          const auto which = co_await weir::select(tx_[0].send(std::move(item)), tx_[1].send(std::move(item)),
                                                   weir::when(scene_.timed, weir::after(std::chrono::milliseconds(1))));
          sent = which.index() != 2;
          weir::sim::ensure(sent == item.moved_from(), "a value is not where it should be");
        }
      } catch (const weir::Error&) {
        weir::sim::ensure(item.id() == first + i, "a value that was not sent is not with its sender");
        throw;
      }
      sent_.insert(first + i);
    }
  }
  Task<> reserves_either(int first) {
    const Producing producing(producers_);
    for (int i = 0; i < 3;) {
      Item item(ledger_, first + i);
      auto done = co_await weir::select(tx_[0].reserve(), tx_[1].reserve(),
                                        weir::when(scene_.timed, weir::after(std::chrono::milliseconds(1))));
      if (done.index() == 2) continue;
      auto& permit = done.index() == 0 ? std::get<0>(done) : std::get<1>(done);
      weir::sim::ensure(static_cast<bool>(permit), "a permit was won that holds no room");
      co_await weir::yield();
      permit.send(std::move(item));
      sent_.insert(first + i++);
    }
  }
  Task<> both(int first) {
    const Producing producing(producers_);
    for (int i = 0; i < 3; ++i) {
      Item item(ledger_, first + i);
      auto& tx = tx_[static_cast<std::size_t>(i % 2)];
      auto& rx = rx_[static_cast<std::size_t>(i % 2)];
      for (;;) {
        const auto done = co_await weir::select(tx.send(std::move(item)), rx.receive());
        if (done.index() == 0) break;
        weir::sim::ensure(item.id() == first + i, "a value that was not sent is not with its sender");
        if (!std::get<1>(done)) co_return;
        got(*std::get<1>(done));
      }
      sent_.insert(first + i);
    }
  }
  Task<> receives(std::size_t c) {
    while (const auto item = co_await rx_[c].receive()) got(*item);
  }
  Task<> receives_either() {
    for (bool first = true, second = true; first || second;) {
      auto done = co_await weir::select(weir::when(first, rx_[0].receive()), weir::when(second, rx_[1].receive()),
                                        weir::when(scene_.timed, weir::after(std::chrono::milliseconds(1))));
      if (done.index() == 2) continue;
      auto& item = done.index() == 0 ? std::get<0>(done) : std::get<1>(done);
      if (item) {
        got(*item);
      } else {
        (done.index() == 0 ? first : second) = false;
      }
    }
  }

  Task<> receives_runs(std::vector<Item>& run) {
    for (bool first = true, second = true; first || second;) {
      const auto done = co_await weir::select(weir::when(first, rx_[0].receive_some(run, 2)),
                                              weir::when(second, rx_[1].receive_some(run, 2)),
                                              weir::when(scene_.timed, weir::after(std::chrono::milliseconds(1))));
      if (done.index() == 2) {
        weir::sim::ensure(run.empty(), "a run that did not win has taken something");
        continue;
      }
      const std::size_t count = done.index() == 0 ? std::get<0>(done) : std::get<1>(done);
      weir::sim::ensure(count == run.size(), "another number of values came than was told");
      for (const auto& item : run) got(item);
      run.clear();
      if (count == 0) (done.index() == 0 ? first : second) = false;
    }
  }

  Simulator& sim_;
  const SelectScene scene_;
  Ledger ledger_;
  int next_first_ = 0;
  std::size_t producers_;
  std::vector<std::unique_ptr<Root>> roots_;
  std::deque<std::vector<Item>> runs_;
  std::vector<weir::ChannelSender<Item>> tx_;
  std::vector<weir::ChannelReceiver<Item>> rx_;
  std::set<int> sent_;
  std::map<int, int> received_;
};

inline auto scenario_of(SelectScene scene) { return scenario_in<Selects>(scene); }

}  // namespace channel_test
