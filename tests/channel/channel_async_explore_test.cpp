#include <weir/channel/channel.hpp>

#include <map>
#include <memory>
#include <set>
#include <vector>

#include "channel/async_world.hpp"
#include "support/catch.hpp"

namespace {

using namespace channel_test;
using weir::sim::ensure;

/// The values of the run that is under way.
Ledger ledger;

struct ChannelLine {
  using Value = Item;

  ChannelLine(weir::sim::Simulator& sim, std::size_t) {
    auto [sender, receiver] = weir::make_channel<Item>(sim, {.capacity = 1});
    tx = std::move(sender);
    rx = std::move(receiver);
  }
  template <class Token>
  void send(std::size_t, Item item, Token&& token) {
    tx.async_send(std::move(item), static_cast<Token&&>(token));
  }
  template <class Token>
  void receive(std::size_t, Token&& token) {
    rx.async_receive(static_cast<Token&&>(token));
  }
  auto send(Item& item) { return tx.send(std::move(item)); }
  auto receive(std::size_t) { return rx.receive(); }
  static Item make(int id) { return Item(ledger, id); }
  static int id(const Item& item) { return item.id(); }
  void close() { tx.close(); }
  bool closed() { return tx.closed(); }

  void check() const {
    const auto stats = rx.stats();
    ensure(adds_up(stats), "admitted values are missing");
    ensure(stats.waiting_receivers == 0 || stats.buffered == 0, "a receiver waits though a value is there");
    ensure(stats.waiting_senders == 0 || stats.buffered == stats.capacity, "a sender waits though there is room");
    ensure(!tx.closed() || stats.waiting_senders + stats.waiting_receivers == 0, "somebody waits for nothing");
  }
  std::vector<int> left(std::size_t) const {
    std::vector<int> ids;
    while (const auto item = rx.try_receive()) ids.push_back(item->id());
    return ids;
  }
  /// Each to one.
  void check_end(const std::set<int>& sent, const std::map<std::size_t, std::set<int>>& received, bool stopped) const {
    const auto stats = rx.stats();
    ensure(stats.waiting_senders == 0 && stats.waiting_receivers == 0, "somebody still waits");
    std::set<int> all;
    std::size_t count = 0;
    for (const auto& [who, ids] : received) {
      all.insert(ids.begin(), ids.end());
      count += ids.size();
    }
    ensure(all.size() == count, "a value was received by two");
    ensure(stopped || all == sent, "what was received is not what was sent");
    // On its way to a handler that is gone with its context.
    ensure(stats.received + stats.dropped >= count && stats.buffered == 0, "a value is not counted");
    if (!stopped) ensure(stats.received == count && stats.dropped == 0, "what was received is not what was counted");
  }
  static void check_gone() {
    ensure(ledger.live == 0, "a value was not destroyed");
    for (const auto& [id, times] : ledger.ends) ensure(times == 1, "a value was destroyed twice");
    ledger.ends.clear();
  }

  weir::ChannelSender<Item> tx;
  weir::ChannelReceiver<Item> rx;
};

TEST_CASE("channel async: no schedule, cancel, close or end of the context loses a value or a handler", "[explore]") {
  REQUIRE_NOTHROW(explore_async<ChannelLine>());
}

}  // namespace
