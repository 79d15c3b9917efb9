/// How what publishers leave in the inbox gets into the queue, and how far the inbox is open. Parts of `BusCore`: see
/// bus_core.hpp and bus_inbox.hpp, whose rules they keep.
#pragma once

#include <weir/bus/detail/bus_core.hpp>

namespace weir::detail {

template <class Order>
void BusCore<Order>::enqueue_all(std::span<Record* const> records) noexcept {
  for (std::size_t i = 0; i < records.size(); ++i) {
    // Publishers have written them last.
    if (i + 4 < records.size()) prefetch(*records[i + 4]);
    Record& record = *records[i];
    ++record.entry->events;
    enqueue(record, Order::class_of(record.rank()));
  }
}

template <class Order>
void BusCore<Order>::close_inbox() noexcept {
  inbox_is_open = false;
  enqueue_all(inbox_.close());
}

template <class Order>
void BusCore<Order>::empty_inbox() noexcept {
  enqueue_all(inbox_.take());
}

template <class Order>
auto BusCore<Order>::inbox_shares() const noexcept {
  typename BusInbox<Order>::Shares shares;
  if (closed_ || draining_ || !workers_ || waiting_publishers() != 0) return shares;
  for (std::size_t i = 0; i < Order::classes; ++i) {
    const Class& c = classes_[i];
    // That policy replaces what is queued.
    if (c.overflow == Overflow::latest || (idle_ && has_place_for(i))) continue;
    shares[i] = {true, c.capacity > c.stats.queued ? c.capacity - c.stats.queued : 0};
  }
  return shares;
}

template <class Order>
void BusCore<Order>::open_inbox() noexcept {
  if constexpr (has_inbox) {
    const auto shares = inbox_shares();
    if (std::none_of(shares.begin(), shares.end(), [](const auto& share) { return share.open; })) return;
    inbox_.check_topics(table_.changes());
    const std::optional<Rank> limit = runner_ ? std::optional<Rank>(runner_rank_) : std::nullopt;
    inbox_is_open = inbox_.open(shares, limit, blocks_);
  }
}

template <class Order>
void BusCore<Order>::keep_inbox_open(BusAfter& after) noexcept {
  inbox_is_open = false;
  open_inbox();
  if (inbox_is_open) return;
  close_inbox();
  wake_idle(after);
}

}  // namespace weir::detail
