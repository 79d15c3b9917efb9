/// The tasks and timers of a plugin, and its end.
#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <weir/bus/detail/plugin_bus.hpp>
#include <weir/core/this_task.hpp>
#include <weir/core/timeout.hpp>
#include <weir/core/timer.hpp>
#include <weir/core/with_cancellation.hpp>

namespace weir::detail {

template <class Order>
Task<> PluginCoreOf<Order>::run_task(Job job) {
  PluginCore& core = job.use.core();
  const Home& home = co_await this_task::home();
  const PluginRun run(core, PluginStuck::Kind::task, job.name, 0, &home);
  try {
    Task<> task = std::move(job.task);
    auto guarded = with_cancellation(core.token(), std::move(task));
    co_await guarded;
  } catch (...) {
    static_cast<void>(core.translate(std::current_exception()));
  }
}

template <class Order>
Task<> PluginCoreOf<Order>::run_timer(Job job) {
  const Home& home = co_await this_task::home();
  try {
    auto ticking = tick(job, home);
    auto guarded = with_cancellation(job.stop, std::move(ticking));
    co_await guarded;
  } catch (const Error&) {
    // It was stopped.
  }
}

template <class Order>
Task<> PluginCoreOf<Order>::tick(Job& job, const Home& home) {
  auto& self = static_cast<PluginCoreOf&>(job.use.core());
  for (;;) {
    co_await sleep_until(job.next);
    {
      const PluginRun run(self, PluginStuck::Kind::timer, job.name, 0, &home);
      try {
        Task<> call = job.function->call();
        if (call) co_await std::move(call);
      } catch (...) {
        static_cast<void>(self.translate(std::current_exception()));
      }
    }
    if (job.interval == TimeService::Duration::zero()) co_return;
    job.next = std::max(job.next + job.interval, self.time_.now());
  }
}

template <class Order>
void PluginCoreOf<Order>::take_back() noexcept {
  if (!close_gate()) return;
  std::size_t handlers = 0;
  std::size_t withdrawn = 0;
  {
    BusAfter after;
    Core::prepare(after);
    const std::lock_guard lock(bus_->mutex);
    handlers = bus_->remove_handlers(*this, after);
    while (quota_waiters_.first) {
      auto& waiter = static_cast<QuotaWaiter&>(*quota_waiters_.first);
      quota_waiters_.remove(waiter);
      waiter.waiting = false;
      waiter.error = Errc::bus_closed;
      bus_->end_wait(waiter, after);
    }
    withdrawn = bus_->withdraw(*this, after);
  }
  drop_boxes();
  source_.cancel();
  const std::lock_guard lock(mutex_);
  found_.handlers = handlers;
  found_.withdrawn = withdrawn;
}

template <class Order>
void PluginCoreOf<Order>::tell_closers() noexcept {
  BusAfter after;
  const std::lock_guard lock(bus_->mutex);
  while (closers_.first) {
    auto& waiter = static_cast<PluginEndWaiter&>(*closers_.first);
    closers_.remove(waiter);
    waiter.waiting = false;
    bus_->end_wait(waiter, after);
  }
}

template <class Order>
void PluginCoreOf<Order>::refuse_own(Home& home) const {
  const BusWorker* const worker = BusWorker::at(home, bus_.get());
  if (!runs_at(home) && !(worker && worker->event_owner == this)) return;
  throw Error(Errc::would_deadlock, "what runs for the plugin \"" + name_ +
                                        "\" cannot wait for the plugin's end: another task has to close it");
}

template <class Order>
Task<bool> PluginCoreOf<Order>::quiet_within(PluginCoreOf& self, TimeService::Duration limit) {
  if (self.quiet()) co_return true;
  try {
    co_await with_timeout(limit, await_end(self));
  } catch (const std::system_error& error) {
    if (error.code() != Errc::timed_out) throw;
  }
  co_return self.quiet();
}

template <class Order>
Task<PluginReport> PluginCoreOf<Order>::close_later(PluginHold hold, TimeService::Duration deadline) {
  auto& self = static_cast<PluginCoreOf&>(*hold);
  Home& home = co_await this_task::home();
  self.refuse_own(home);
  self.take_back();
  bool quiet = co_await quiet_within(self, deadline);
  if (!quiet) {
    const std::size_t left = self.stuck().size();
    self.cancel_running();
    {
      const std::lock_guard lock(self.mutex_);
      self.found_.cancelled = std::max(self.found_.cancelled, left);
    }
    quiet = co_await quiet_within(self, self.options_.grace);
  }
  PluginReport report;
  {
    const std::lock_guard lock(self.mutex_);
    report = self.found_;
  }
  report.complete = quiet;
  if (!quiet) report.stuck = self.stuck();
  co_return report;
}

template <class Order>
std::vector<PluginStuck> PluginCoreOf<Order>::stuck() const {
  std::vector<PluginStuck> all;
  const auto now = time_.coarse_now();
  {
    const std::lock_guard lock(mutex_);
    for (const PluginRun* run = runs_; run; run = run->next) {
      all.push_back({run->kind, std::string(run->name), run->event, now - run->started});
    }
  }
  const std::lock_guard lock(bus_->mutex);
  bus_->for_each_running(*this, [&](EventId id, std::string_view topic, TimeService::TimePoint started) {
    all.push_back({PluginStuck::Kind::event, std::string(topic), id, now - started});
  });
  bus_->batches().for_each_kept(*this, [&](const RecordBase& record) {
    all.push_back({PluginStuck::Kind::event, std::string(record.entry->text->view()), record.number(),
                   now - record.event.timestamp()});
  });
  return all;
}

}  // namespace weir::detail
