#include <weir/channel/broadcast.hpp>

#include <map>
#include <set>
#include <vector>

#include "channel/async_world.hpp"
#include "support/catch.hpp"

namespace {

using namespace channel_test;
using weir::sim::ensure;

struct BroadcastLine {
  using Value = int;

  BroadcastLine(weir::sim::Simulator& sim, std::size_t receivers)
      : tx(weir::make_broadcast<int>(sim, {.capacity = 1})) {
    while (rx.size() < receivers) rx.push_back(tx.subscribe());
  }
  template <class Token>
  void send(std::size_t, int value, Token&& token) {
    tx.async_send(value, static_cast<Token&&>(token));
  }
  template <class Token>
  void receive(std::size_t who, Token&& token) {
    rx[who].async_receive(static_cast<Token&&>(token));
  }
  auto send(int& value) { return tx.send(std::move(value)); }
  auto receive(std::size_t who) { return rx[who].receive(); }
  static int make(int id) { return id; }
  static int id(int value) { return value; }
  void close() { tx.close(); }
  bool closed() { return tx.closed(); }

  void check() const {
    const auto stats = tx.stats();
    ensure(stats.buffered <= stats.capacity, "more than the capacity");
    ensure(stats.waiting_senders == 0 || stats.buffered == stats.capacity, "a sender waits though there is room");
    ensure(!tx.closed() || stats.waiting_senders + stats.waiting_receivers == 0, "somebody waits for nothing");
    for (const auto& place : rx) {
      const auto mine = place.stats();
      ensure(mine.sent == mine.received + mine.skipped + mine.dropped + mine.pending, "values are missing");
    }
  }
  std::vector<int> left(std::size_t who) const {
    std::vector<int> ids;
    while (const auto value = rx[who].try_receive()) ids.push_back(*value);
    return ids;
  }
  /// Each to all.
  void check_end(const std::set<int>& sent, const std::map<std::size_t, std::set<int>>& received, bool stopped) const {
    const auto stats = tx.stats();
    ensure(stats.waiting_senders == 0 && stats.waiting_receivers == 0, "somebody still waits");
    for (const auto& place : rx) ensure(place.stats().pending == 0, "a value is left");
    if (stopped) return;
    for (std::size_t who = 0; who < rx.size(); ++who) {
      const auto mine = received.find(who);
      ensure(sent.empty() || (mine != received.end() && mine->second == sent),
             "what was received is not what was sent");
    }
  }
  static void check_gone() {}

  weir::BroadcastSender<int> tx;
  std::vector<weir::BroadcastReceiver<int>> rx;
};

TEST_CASE("broadcast async: no schedule, cancel, close or end of the context loses a value or a handler", "[explore]") {
  REQUIRE_NOTHROW(explore_async<BroadcastLine>());
}

}  // namespace
