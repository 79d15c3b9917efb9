/// The batches of a plugin.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include <weir/bus/detail/bus_batch_operations.hpp>
#include <weir/bus/detail/plugin_bus.hpp>

namespace weir::detail {

/// Events between the quota, in which there is a place for each, and the bus. What was not admitted is given back as it
/// was.
template <class Order>
class PluginCoreOf<Order>::OwningAll {
 public:
  OwningAll(PluginCoreOf& core, std::vector<Event>& events) : core_(core), events_(events), places_(events.size()) {
    try {
      for (Event& event : events_) {
        event.own(core_);
        event.owned()->has_place = true;
        core_.enter_along();
        --places_;
      }
    } catch (...) {
      give_back();
      throw;
    }
  }
  OwningAll(const OwningAll&) = delete;
  OwningAll& operator=(const OwningAll&) = delete;
  ~OwningAll() { give_back(); }

 private:
  void give_back() noexcept {
    for (Event& event : events_) {
      if (!event.disown()) continue;
      ++places_;
      core_.leave();
    }
    if (places_ != 0) core_.return_quota(places_);
  }

  PluginCoreOf& core_;
  std::vector<Event>& events_;
  std::size_t places_;
};

template <class Order>
Task<BatchReport> PluginCoreOf<Order>::publish_parts(PluginCoreOf& self, std::vector<Event>&& events,
                                                     const BatchOptions& options) {
  BatchEvents<Order> own(std::move(events));
  BatchRef batch = open_batch(*self.bus_, own, BatchMode::independent, options);
  const auto publish = [&self](Event& event, const typename Order::Rank&, EventStateRef state) {
    return publish_event<EventId>(PluginHold(self), GivenEvent(event), std::move(state));
  };
  return detail::publish_each(self.bus_, std::move(batch), std::move(own), publish);
}

template <class Order>
Task<BatchReport> PluginCoreOf<Order>::publish_whole(PluginCoreOf& self, std::vector<Event>& events, BatchMode mode,
                                                     const BatchOptions& options) {
  BatchEvents<Order> caller_s(std::span<Event>{events});
  BatchRef batch = open_batch(*self.bus_, caller_s, mode, options);
  const std::size_t count = events.size();
  if (count > self.options_.quota) {
    self.note_refused(count);
    throw Error(Errc::invalid_argument, "a batch of " + std::to_string(count) +
                                            " that is admitted as a whole is larger than the quota of the plugin \"" +
                                            self.name_ + "\", which is " + std::to_string(self.options_.quota));
  }
  for (Event& event : events) self.stamp(event);
  {
    BusWaitAwaiter<QuotaRegistration> quota(self, count);
    co_await quota;
  }
  const OwningAll owning(self, events);
  auto publishing = detail::publish_whole(self.bus_, self.executor_, std::move(batch), std::move(caller_s));
  try {
    BatchReport report = co_await std::move(publishing);
    self.note_published(count);
    co_return report;
  } catch (const Error& error) {
    // A publisher that was cancelled leaves what was admitted to go on.
    events.front().type().empty() ? self.note_published(count) : self.note_refused(count);
    if (self.closed() && error.code() == Errc::bus_closed) self.refuse();
    throw;
  }
}

template <class Order>
Task<BatchReport> PluginCoreOf<Order>::publish_batch_later(PluginHold hold, std::vector<Event> events, BatchMode mode,
                                                           BatchOptions options) {
  auto& self = static_cast<PluginCoreOf&>(*hold);
  const PluginUse use(self);
  // They go before the place among the users does.
  std::vector<Event> mine(std::move(events));
  if (mode == BatchMode::independent) {
    auto publishing = publish_parts(self, std::move(mine), options);
    co_return co_await std::move(publishing);
  }
  auto publishing = publish_whole(self, mine, mode, options);
  co_return co_await std::move(publishing);
}

}  // namespace weir::detail
