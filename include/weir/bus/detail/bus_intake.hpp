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
auto BusCore<Order>::inbox_share(std::size_t index) const noexcept {
  const Class& c = classes_[index];
  typename BusInbox<Order>::Share share;
  // That policy replaces what is queued.
  share.open = c.overflow != Overflow::latest && !(idle_ && has_place_for(index));
  if (share.open && c.capacity > c.stats.queued) share.room = c.capacity - c.stats.queued;
  return share;
}

template <class Order>
void BusCore<Order>::open_inbox() noexcept {
  if constexpr (has_inbox) {
    if (closed_ || draining_ || !workers_ || waiting_publishers() != 0) return;
    typename BusInbox<Order>::Shares shares;
    bool any = false;
    for (std::size_t i = 0; i < Order::classes; ++i) {
      shares[i] = inbox_share(i);
      any = any || shares[i].open;
    }
    if (!any) return;
    inbox_.check_topics(table_.changes());
    inbox_is_open = inbox_.open(shares, inbox_limit(), blocks_);
  }
}

template <class Order>
void BusCore<Order>::keep_inbox_open(std::size_t ended, std::size_t started, BusAfter& after) noexcept {
  if constexpr (has_inbox) {
    // All are at work, as before: there is only more room, which is not counted where nobody looks.
    if (!idle_) {
      inbox_.renew(ended, inbox_share(ended), started, inbox_share(started), inbox_limit(), blocks_);
      return;
    }
    inbox_is_open = false;
    open_inbox();
    if (inbox_is_open) return;
    close_inbox();
    wake_idle(after);
  }
}

}  // namespace weir::detail
