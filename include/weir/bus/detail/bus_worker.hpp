/// A worker of a bus: a root that runs one event at a time.
#pragma once

#include <atomic>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include <weir/bus/detail/bus_base.hpp>
#include <weir/bus/detail/bus_record.hpp>
#include <weir/bus/detail/bus_run.hpp>
#include <weir/core/home.hpp>
#include <weir/core/time_service.hpp>

namespace weir::detail {

/// The events of one key: one runs, the others wait aside.
struct KeyedEvents : EventList {
  KeyedEvents() noexcept { aside = true; }
  /// Its name among the keys: an event that was buried has taken its own along.
  const std::string* name = nullptr;
  std::size_t events = 0;
  bool busy = false;
};

/// Lives in the worker's frame. What is not said to be its own is under the lock of the bus.
struct BusWorker : RunningEvent {
  /// A member of the root's scope by which an operation finds out that it is used by a handler of the bus.
  struct Mark : Cancellable {
    Mark() noexcept : Cancellable(kind()) {}
    static const Kind& kind() noexcept {
      static constexpr Kind kind{nullptr, nullptr, nullptr};
      return kind;
    }
    BusWorker* worker = nullptr;
  };
  /// Run on its home to cancel what it runs.
  struct Interrupt : Resumable {
    BusWorker* worker = nullptr;
  };

  explicit BusWorker(BusBase* bus) noexcept : owner(bus) {
    mark.worker = this;
    interrupt.worker = this;
    interrupt.callback = [](Resumable& self, bool alive) noexcept {
      BusWorker& worker = *static_cast<Interrupt&>(self).worker;
      worker.interrupt_pending = false;
      if (alive && worker.scope) worker.scope->cancel(worker.reason());
    };
    late.worker = this;
    late.callback = [](Resumable& self, bool alive) noexcept {
      BusWorker& worker = *static_cast<Interrupt&>(self).worker;
      worker.deadline_armed = false;
      if (!alive || !worker.cut_off(Errc::timed_out)) return;
      if (worker.scope) worker.scope->cancel(Errc::timed_out);
      if (auto handlers_token = worker.token_source()) handlers_token->cancel(Errc::timed_out);
    };
  }

  /// The worker whose handler runs on this home, if it is one of this bus.
  [[nodiscard]] static BusWorker* at(Home& home, const BusBase* bus) noexcept {
    auto* const found = static_cast<Mark*>(home.scope().find(Mark::kind()));
    return found && found->worker->owner == bus ? found->worker : nullptr;
  }

  Task<EventId> publish(Event&& published) override {
    if (publisher) return publisher->publish_from(*this, std::move(published));
    return owner->publish_from(*this, std::move(published));
  }
  PublishResult try_publish(Event&& published) override {
    if (publisher) return publisher->try_publish_from(*this, std::move(published));
    return owner->try_publish_from(*this, std::move(published));
  }

  CancellationToken token() override {
    if (state && state->source) return state->source->token();
    const std::lock_guard lock(source_mutex);
    if (!source) source.emplace();
    // Who cuts it looks for the source after raising the flag, so one of the two sees the other.
    if (cut.load(std::memory_order_acquire)) source->cancel(reason());
    return source->token();
  }

  void tell_requester() noexcept override {
    if (state) const_cast<BusBase*>(owner)->answer(*state);
  }

  /// Its own, before the handlers of an event are called.
  void begin_event(const Event& begun) noexcept {
    event = &begun;
    stopped = false;
    if (source) forget_source();
  }
  /// Under the lock of the bus, or on the home: handlers that have not started are skipped. False: it was cut before.
  bool cut_off(Errc why) noexcept {
    Errc none{};
    if (!cut_reason.compare_exchange_strong(none, why, std::memory_order_relaxed)) return false;
    cut.store(true, std::memory_order_release);
    return true;
  }
  [[nodiscard]] Errc reason() const noexcept { return cut_reason.load(std::memory_order_relaxed); }
  /// What the handlers see of it, if they asked.
  [[nodiscard]] std::optional<CancellationSource> token_source() {
    if (state && state->source) return state->source;
    const std::lock_guard lock(source_mutex);
    return source;
  }

  void forget_source() noexcept {
    const std::lock_guard lock(source_mutex);
    source.reset();
  }

  BusBase* const owner;
  Mark mark;
  Home* home = nullptr;
  Resumable* resumable = nullptr;
  BusWorker* prev = nullptr;
  BusWorker* next = nullptr;
  BusWorker* next_idle = nullptr;
  bool idle = false;
  /// It was woken to look for an event.
  bool waking = false;
  /// The end of the bus has been told to it.
  bool told = false;
  /// Its handler waits for its own bus, and another has its place.
  bool lent = false;
  /// Batches that its handler waits for piece by piece: once that was allowed it is not refused half-way.
  std::size_t batches = 0;

  /// The event that it runs, or the first of a run: that one may have ended already.
  RecordBase* record = nullptr;
  BusRun run;
  /// Of that one, which others may not look at: it may be gone.
  EventId id = 0;
  EventPriority priority = EventPriority::normal;
  TopicEntry* entry = nullptr;
  TopicEntry::Handlers* handlers = nullptr;
  EventState* state = nullptr;
  EventOwner* event_owner = nullptr;
  /// What a handler threw, for the report of a batch.
  std::exception_ptr failure;
  KeyedEvents* key = nullptr;
  std::size_t class_index = 0;
  /// The class whose place it has: that of an event which had to wait for this one.
  std::size_t place_index = 0;
  TimeService::TimePoint started{};
  /// Which handler runs; see rule 6 of bus_core.hpp.
  std::atomic<std::size_t> position{0};

  /// Its own: what the handler's coroutine is cancelled by.
  CancelScope* scope = nullptr;
  Interrupt interrupt;
  bool interrupt_pending = false;
  Interrupt late;
  TimeService::Deadline deadline;
  bool deadline_armed = false;
  std::mutex source_mutex;
  std::optional<CancellationSource> source;
  /// None as long as nothing has cut it.
  std::atomic<Errc> cut_reason{};
};

}  // namespace weir::detail
