/// A plugin on a bus: the host's part of a scope.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <weir/bus/detail/plugin_handler.hpp>
#include <weir/bus/event_bus.hpp>
#include <weir/core/spawn.hpp>

namespace weir::detail {

template <class Order>
class PluginCoreOf final : public PluginCore {
  using Core = BusCore<Order>;

 public:
  PluginCoreOf(std::shared_ptr<Core> bus, const asio::any_io_executor& executor, std::string_view name,
               const PluginOptions& options)
      : PluginCore(name, options, asio::use_service<TimeService>(context_of(executor))),
        bus_(std::move(bus)),
        executor_(executor) {
    make_clock();
  }

  Task<EventId> publish(GivenEvent event) override {
    return publish_event<EventId>(PluginHold(*this), std::move(event), {});
  }
  Task<EventTicket> publish_cancellable(GivenEvent event) override {
    return publish_event<EventTicket>(PluginHold(*this), std::move(event), EventStateRef(new EventState));
  }
  PublishResult try_publish(Event& event) override;
  Task<BatchReport> publish_batch(std::vector<Event> events, BatchMode mode, const BatchOptions& options) override {
    return publish_batch_later(PluginHold(*this), std::move(events), mode, options);
  }
  Task<EventId> publish_from(RunningEvent& running, Event&& event) override {
    auto& worker = static_cast<BusWorker&>(running);
    if (!BusBatches<Order>::is_saga(worker)) return publish(GivenEvent(std::move(event)));
    own_held_back(event);
    return publish_in_handler(bus_, worker, std::move(event));
  }
  PublishResult try_publish_from(RunningEvent& running, Event&& event) override {
    auto& worker = static_cast<BusWorker&>(running);
    if (!BusBatches<Order>::is_saga(worker)) return try_publish(event);
    own_held_back(event);
    return try_publish_in_handler(*bus_, worker, std::move(event));
  }
  Subscription subscribe(std::unique_ptr<BusHandler> handler) override;
  void spawn(Task<> task, std::string_view name) override {
    // Made first: it is the last to go, also when the task is never started.
    Job job(*this, name);
    job.task = std::move(task);
    weir::spawn(executor_, run_task(std::move(job)), asio::detached);
  }
  CancellationSource start_timer(TimeService::Duration delay, TimeService::Duration interval,
                                 std::unique_ptr<PluginFunction> function, std::string_view name) override {
    Job job(*this, name);
    job.function = std::move(function);
    job.next = time_.after(delay);
    job.interval = interval;
    CancellationSource stop = source();
    job.stop = stop.token();
    weir::spawn(executor_, run_timer(std::move(job)), asio::detached);
    return stop;
  }
  CancellationSource source() override { return CancellationSource::linked_to(source_.token()); }
  Task<PluginReport> close(TimeService::Duration deadline) override { return close_later(PluginHold(*this), deadline); }
  void end() noexcept override {
    take_back();
    cancel_running();
  }
  PluginStats stats() override;
  void drop() noexcept override { unref(); }

  // For those who wait.

  BusWait wait(QuotaWaiter& waiter, bool worker_made);
  bool stop_waiting(QuotaWaiter& waiter) noexcept {
    BusAfter after;
    const std::lock_guard lock(bus_->mutex);
    if (!std::exchange(waiter.waiting, false)) return false;
    quota_waiters_.remove(waiter);
    bus_->end_wait(waiter, after);
    return true;
  }
  void forget(QuotaWaiter& waiter) noexcept {
    BusAfter after;
    const std::lock_guard lock(bus_->mutex);
    if (std::exchange(waiter.waiting, false)) quota_waiters_.remove(waiter);
    bus_->forget_wait(waiter);
    if (std::exchange(waiter.granted, false)) give_quota(after, waiter.need);
  }
  BusWait wait(PluginEndWaiter& waiter, bool worker_made) {
    BusAfter after;
    Core::prepare(after);
    const std::lock_guard lock(bus_->mutex);
    if (quiet()) return BusWait::done;
    const BusWait wait = bus_->begin_wait(waiter, worker_made, after);
    if (wait == BusWait::waits) {
      closers_.push(waiter);
      waiter.waiting = true;
    }
    return wait;
  }
  bool stop_waiting(PluginEndWaiter& waiter) noexcept {
    BusAfter after;
    const std::lock_guard lock(bus_->mutex);
    if (!std::exchange(waiter.waiting, false)) return false;
    closers_.remove(waiter);
    bus_->end_wait(waiter, after);
    return true;
  }
  void forget(PluginEndWaiter& waiter) noexcept {
    const std::lock_guard lock(bus_->mutex);
    if (std::exchange(waiter.waiting, false)) closers_.remove(waiter);
    bus_->forget_wait(waiter);
  }
  void add_worker(Home& home) { bus_->add_worker(home); }

  void left_queue(BusAfter& after) noexcept override { give_quota(after, 1); }

 private:
  /// What a task or a timer of the plugin needs. Its place among the users is the last to go, also when it never runs.
  struct Job {
    Job(PluginCore& core, std::string_view n) : use(core), name(n) {}

    PluginUse use;
    std::string name;
    Task<> task;
    std::unique_ptr<PluginFunction> function;
    TimeService::TimePoint next{};
    TimeService::Duration interval{};
    CancellationToken stop;
  };

  struct QuotaRegistration {
    static constexpr const char* what = "quota of a plugin";

    explicit QuotaRegistration(PluginCoreOf& c, std::size_t need = 1) noexcept : core(c) { waiter.need = need; }
    BusWait add(Home& home, Resumable& resumable, bool worker_made) {
      waiter.home = &home;
      waiter.resumable = &resumable;
      return core.wait(waiter, worker_made);
    }
    void add_worker(Home& home) { core.bus_->add_worker(home); }
    bool stop() noexcept { return core.stop_waiting(waiter); }
    void forget() noexcept { core.forget(waiter); }
    void result() {
      waiter.granted = false;
      if (!waiter.error) return;
      core.note_refused(waiter.need);
      if (*waiter.error == Errc::bus_closed) core.refuse();
      throw Error(*waiter.error, "\"" + core.name_ + "\" has " + std::to_string(core.options_.quota));
    }

    PluginCoreOf& core;
    QuotaWaiter waiter;
  };
  struct EndRegistration {
    static constexpr const char* what = "end of a plugin";

    explicit EndRegistration(PluginCoreOf& c) noexcept : core(c) {}
    BusWait add(Home& home, Resumable& resumable, bool worker_made) {
      waiter.home = &home;
      waiter.resumable = &resumable;
      return core.wait(waiter, worker_made);
    }
    void add_worker(Home& home) { core.bus_->add_worker(home); }
    bool stop() noexcept { return core.stop_waiting(waiter); }
    void forget() noexcept { core.forget(waiter); }
    void result() const noexcept {}

    PluginCoreOf& core;
    PluginEndWaiter waiter;
  };

  /// An event between the quota and the bus: with a place in the one, and one more user. What was not admitted is given
  /// back as it was.
  class Owning {
   public:
    Owning(PluginCoreOf& core, Event& event) : core_(core), event_(event) {
      event.own(core);
      event.owned()->has_place = true;
      core.enter_along();
    }
    Owning(const Owning&) = delete;
    Owning& operator=(const Owning&) = delete;
    ~Owning() {
      if (!event_.disown()) return;
      core_.return_quota();
      core_.leave();
    }

   private:
    PluginCoreOf& core_;
    Event& event_;
  };

  void make_clock() {
    // The timer of the context is made by who waits first, and must not be made by a plugin.
    TimeService::Deadline never;
    never.when = TimeService::TimePoint::max();
    time_.add(never, executor_);
    time_.remove(never);
  }
  void stamp(Event& event) {
    event.source(EventOrigin::plugin, name_);
    if (event.priority() >= options_.highest) return;
    event.priority(options_.highest);
    const std::lock_guard lock(mutex_);
    ++stats_.capped;
  }
  /// A saga holds it back until it commits: it is the plugin's from now on, and outside of the quota.
  void own_held_back(Event& event) {
    if (closed()) refuse();
    stamp(event);
    event.own(*this);
    enter_along();
  }
  void note_published(std::size_t count = 1) noexcept {
    const std::lock_guard lock(mutex_);
    stats_.published += count;
  }
  void note_refused(std::size_t count = 1) noexcept {
    const std::lock_guard lock(mutex_);
    stats_.refused += count;
  }

  void give_quota(BusAfter& after, std::size_t count) noexcept {
    held_ -= count;
    while (quota_waiters_.first) {
      auto& next = static_cast<QuotaWaiter&>(*quota_waiters_.first);
      if (held_ + next.need > options_.quota) return;
      held_ += next.need;
      quota_waiters_.remove(next);
      next.waiting = false;
      next.granted = true;
      bus_->end_wait(next, after);
    }
  }
  void return_quota(std::size_t count = 1) noexcept {
    BusAfter after;
    const std::lock_guard lock(bus_->mutex);
    give_quota(after, count);
  }
  [[nodiscard]] bool try_take_quota() noexcept {
    const std::lock_guard lock(bus_->mutex);
    if (held_ >= options_.quota || quota_waiters_.first) return false;
    ++held_;
    return true;
  }

  template <class Result>
  static Task<Result> publish_event(PluginHold hold, GivenEvent given, EventStateRef state);
  class OwningAll;
  static Task<BatchReport> publish_batch_later(PluginHold hold, std::vector<Event> events, BatchMode mode,
                                               BatchOptions options);
  static Task<BatchReport> publish_parts(PluginCoreOf& self, std::vector<Event>&& events, const BatchOptions& options);
  static Task<BatchReport> publish_whole(PluginCoreOf& self, std::vector<Event>& events, BatchMode mode,
                                         const BatchOptions& options);
  static Task<> run_task(Job job);
  static Task<> run_timer(Job job);
  static Task<> tick(Job& job, const Home& home);

  void take_back() noexcept;
  void cancel_running() noexcept {
    late_.cancel();
    bus_->interrupt(*this);
  }
  void tell_closers() noexcept override;
  void refuse_own(Home& home) const;
  static Task<> await_end(PluginCoreOf& self) {
    BusWaitAwaiter<EndRegistration> ending(self);
    co_await ending;
  }
  static Task<bool> quiet_within(PluginCoreOf& self, TimeService::Duration limit);
  static Task<PluginReport> close_later(PluginHold hold, TimeService::Duration deadline);
  [[nodiscard]] std::vector<PluginStuck> stuck() const;

  const std::shared_ptr<Core> bus_;
  const asio::any_io_executor executor_;
  /// Under the lock of the bus: places of the quota that are taken, and those who wait.
  std::size_t held_ = 0;
  BusWaiters quota_waiters_;
  BusWaiters closers_;
  /// Under `mutex_`: what the end has found.
  PluginReport found_;
};

template <class Order>
PublishResult PluginCoreOf<Order>::try_publish(Event& event) {
  if (!enter()) return {0, Errc::bus_closed};
  struct Leave {
    PluginCore& core;
    ~Leave() { core.leave(); }
  } const leave{*this};
  stamp(event);
  if (!try_take_quota()) {
    note_refused();
    return {0, Errc::quota_exceeded};
  }
  const Owning owning(*this, event);
  EventDraft<Order> draft;
  draft.event = &event;
  draft.rank = Order::rank(event);
  typename Core::Publisher publisher;
  {
    BusAfter after;
    Core::prepare(after);
    const auto now = time_.coarse_now();
    const std::lock_guard lock(bus_->mutex);
    const auto admission = bus_->admit(draft, now, nullptr, after, publisher);
    if (admission == Core::Admission::full) publisher.error = Errc::queue_full;
  }
  publisher.error ? note_refused() : note_published();
  return {publisher.id, publisher.error};
}

template <class Order>
Subscription PluginCoreOf<Order>::subscribe(std::unique_ptr<BusHandler> handler) {
  auto made = std::make_unique<PluginHandler>(*this, std::move(handler));
  BusHandler* const subscribed = made.get();
  bus_->subscribe(std::move(made), time_.coarse_now());
  Subscription subscription(bus_, subscribed);
  if (!closed()) return subscription;
  // It ended meanwhile, and may not have seen this one.
  subscription.reset();
  refuse();
}

template <class Order>
PluginStats PluginCoreOf<Order>::stats() {
  PluginStats stats;
  {
    const std::lock_guard lock(mutex_);
    stats = stats_;
  }
  const std::lock_guard lock(bus_->mutex);
  stats.queued = held_;
  return stats;
}

template <class Order>
BusWait PluginCoreOf<Order>::wait(QuotaWaiter& waiter, bool worker_made) {
  BusAfter after;
  Core::prepare(after);
  const std::lock_guard lock(bus_->mutex);
  if (ended) {
    waiter.error = Errc::bus_closed;
  } else if (held_ + waiter.need <= options_.quota && !quota_waiters_.first) {
    held_ += waiter.need;
    waiter.granted = true;
  } else if (options_.on_quota == PluginQuota::reject) {
    waiter.error = Errc::quota_exceeded;
  } else {
    const BusWait wait = bus_->begin_wait(waiter, worker_made, after);
    if (wait == BusWait::waits) {
      quota_waiters_.push(waiter);
      waiter.waiting = true;
    }
    return wait;
  }
  return BusWait::done;
}

template <class Order>
template <class Result>
Task<Result> PluginCoreOf<Order>::publish_event(PluginHold hold, GivenEvent given, EventStateRef state) {
  auto& self = static_cast<PluginCoreOf&>(*hold);
  const PluginUse use(self);
  // One of its own goes before the place among the users does.
  GivenEvent mine(std::move(given));
  Event& event = mine.get();
  self.stamp(event);
  {
    BusWaitAwaiter<QuotaRegistration> quota(self);
    co_await quota;
  }
  const Owning owning(self, event);
  PublishAwaiter<Order, Result> publishing(*self.bus_, event, Order::rank(event), std::move(state));
  try {
    Result result = co_await publishing;
    self.note_published();
    co_return result;
  } catch (const Error& error) {
    self.note_refused();
    if (self.closed() && error.code() == Errc::bus_closed) self.refuse();
    throw;
  }
}

}  // namespace weir::detail
