/// How a bus is drained.
#pragma once

#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include <weir/bus/detail/bus_operations.hpp>
#include <weir/core/this_task.hpp>
#include <weir/core/timeout.hpp>

namespace weir::detail {

template <class Order>
struct DrainRegistration {
  static constexpr const char* what = "drain of a bus";

  explicit DrainRegistration(std::shared_ptr<BusCore<Order>> c) noexcept : core(std::move(c)) {}
  DrainRegistration(DrainRegistration&&) noexcept = default;
  BusWait add(Home& home, Resumable& resumable, bool) {
    waiter.home = &home;
    waiter.resumable = &resumable;
    return core->wait(waiter) ? BusWait::waits : BusWait::done;
  }
  // It is never a handler's.
  void add_worker(Home&) noexcept {}
  bool stop() noexcept {
    if (!core->forget(waiter)) return false;
    waiter.home->resume_here(*waiter.resumable);
    return true;
  }
  void forget() noexcept { core->forget(waiter); }
  void result() const noexcept {}

  std::shared_ptr<BusCore<Order>> core;
  typename BusCore<Order>::DrainWaiter waiter;
};

template <class Order>
Task<> await_quiet(std::shared_ptr<BusCore<Order>> core) {
  co_await BusWaitAwaiter<DrainRegistration<Order>>(std::move(core));
}

template <class Order>
Task<DrainReport> drain_bus(std::shared_ptr<BusCore<Order>> core, std::optional<TimeService::Duration> limit) {
  Home& home = co_await this_task::home();
  if (BusWorker::at(home, core.get()) || core->undoes_at(home)) {
    throw Error(Errc::would_deadlock, "a handler cannot wait for its own bus to be drained: let another task do it");
  }
  core->begin_drain();
  bool late = false;
  try {
    if (limit) {
      co_await with_timeout(*limit, await_quiet(core));
    } else {
      co_await await_quiet(core);
    }
  } catch (const std::system_error& error) {
    if (!limit || error.code() != Errc::timed_out) throw;
    late = true;
  }
  if (late) co_return core->abort();
  core->close();
  DrainReport report;
  report.complete = true;
  co_return report;
}

}  // namespace weir::detail
