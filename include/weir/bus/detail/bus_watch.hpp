/// A watchdog for the handlers of a bus.
#pragma once

#include <algorithm>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include <weir/bus/detail/bus_core.hpp>
#include <weir/bus/stuck_event.hpp>
#include <weir/core/task.hpp>
#include <weir/core/timer.hpp>

namespace weir::detail {

template <class Order>
[[nodiscard]] std::vector<StuckEvent> stuck_events(const BusCore<Order>& core, const TimeService& time,
                                                   TimeService::Duration limit) {
  std::vector<StuckEvent> stuck;
  const auto now = time.now();
  const std::lock_guard lock(core.mutex);
  core.for_each_running([&](const BusWorker& worker) {
    const auto running = now - worker.started;
    if (running < limit) return;
    stuck.emplace_back(worker.id, worker.entry->text->view(), worker.priority, running,
                       worker.cut.load(std::memory_order_acquire));
  });
  return stuck;
}

/// Looks every `interval`, until the bus is closed, and calls `report` once for each.
template <class Order, class Report>
Task<> watch_bus(std::shared_ptr<BusCore<Order>> core, TimeService& time, TimeService::Duration limit,
                 TimeService::Duration interval, Report report) {
  std::vector<EventId> known;
  while (!core->is_closed()) {
    co_await sleep_for(interval);
    std::vector<EventId> still;
    for (const StuckEvent& event : stuck_events(*core, time, limit)) {
      still.push_back(event.id());
      if (std::find(known.begin(), known.end(), event.id()) == known.end()) report(event);
    }
    known = std::move(still);
  }
}

}  // namespace weir::detail
