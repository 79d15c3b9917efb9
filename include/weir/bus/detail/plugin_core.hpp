/// What the scope of a plugin, its handlers, its tasks and its events share.
///
/// Rules (tests/bus/plugin_scope_test.cpp and plugin_explore_test.cpp break when one of these is broken):
///  1. What is of the plugin, or runs its code, is a user of the gate: its handler objects, calls, tasks, timers,
///     events until they are destroyed, and publishers under way. A user counts itself and then looks whether the gate
///     is closed; who closes it does so and then looks at the count. So after the end no user begins, and the last one
///     to leave finds those who wait for it.
///  2. A user leaves as the last thing, when no code of the plugin is on its stack and nothing of it is left.
///  3. The calls that run and the handlers are under `mutex_`; the quota and those who wait for the end are under the
///     lock of the bus. The two are never held together. Nothing of the plugin's is destroyed or called under either.
///  4. What is left behind in the host must have been made by the host's code. So all that a plugin calls here is
///     virtual, and there is no code of it in the plugin: no coroutine, no function pointer, no table of virtuals.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <weir/bus/batch.hpp>
#include <weir/bus/detail/bus_handler.hpp>
#include <weir/bus/detail/event_owner.hpp>
#include <weir/bus/event_ticket.hpp>
#include <weir/bus/plugin_options.hpp>
#include <weir/bus/subscription.hpp>
#include <weir/core/cancellation.hpp>
#include <weir/core/task.hpp>
#include <weir/core/time_service.hpp>

namespace weir::detail {

/// Waits for places in a plugin's quota. It has given its worker's place away, if it is a handler's.
struct QuotaWaiter : BusWaiter {
  std::size_t need = 1;
  bool waiting = false;
  /// It has its places, and has not taken them over yet.
  bool granted = false;
  std::optional<Errc> error;
};

/// Waits for the end of a plugin.
struct PluginEndWaiter : BusWaiter {
  bool waiting = false;
};

/// A function of a plugin, called by a timer.
struct PluginFunction {
  PluginFunction() = default;
  PluginFunction(const PluginFunction&) = delete;
  PluginFunction& operator=(const PluginFunction&) = delete;
  virtual ~PluginFunction() = default;
  /// A coroutine is returned, not started; what is none has run.
  virtual Task<> call() = 0;
};

/// An event that is to be published: the caller's, who still has it if it is refused, or one's own.
class GivenEvent {
 public:
  explicit GivenEvent(Event& event) noexcept : theirs_(&event) {}
  explicit GivenEvent(Event&& event) noexcept : own_(std::move(event)) {}

  [[nodiscard]] Event& get() noexcept { return theirs_ ? *theirs_ : *own_; }

 private:
  Event* theirs_ = nullptr;
  std::optional<Event> own_;
};

class PluginCore;

/// A call of a plugin's code that runs.
struct PluginRun {
  PluginRun(PluginCore& core, PluginStuck::Kind kind, std::string_view name, EventId event, const Home* home) noexcept;
  PluginRun(const PluginRun&) = delete;
  PluginRun& operator=(const PluginRun&) = delete;
  ~PluginRun();

  PluginCore& core;
  const PluginStuck::Kind kind;
  const std::string_view name;
  const EventId event;
  /// Null for a plain function, which cannot wait for anything.
  const Home* const home;
  const TimeService::TimePoint started;
  PluginRun* prev = nullptr;
  PluginRun* next = nullptr;
};

/// Keeps the core alive, and is no user.
class PluginHold {
 public:
  explicit PluginHold(PluginCore& core) noexcept;
  PluginHold(PluginHold&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
  PluginHold& operator=(PluginHold&&) = delete;
  ~PluginHold();
  PluginCore* operator->() const noexcept { return core_; }
  PluginCore& operator*() const noexcept { return *core_; }

 private:
  PluginCore* core_;
};

/// A handler of a plugin. It is destroyed with its last call, when its scope has ended.
struct PluginHandlerBox {
  std::unique_ptr<BusHandler> handler;
  PluginCore* core = nullptr;
  std::atomic<std::uint32_t> refs{1};
};

class PluginHandler;

/// See the rules above. Counted: by the scope, and by each user.
class PluginCore : public EventOwner, public HandlerPublisher {
 public:
  PluginCore(std::string_view name, const PluginOptions& options, TimeService& time)
      : name_(name), options_(options), time_(time) {
    if (name.empty()) throw Error(Errc::invalid_argument, "a plugin has a name");
    if (options.quota == 0) throw Error(Errc::invalid_argument, "PluginOptions::quota is at least 1");
  }

  // For the plugin. See rule 4.

  virtual Task<EventId> publish(GivenEvent event) = 0;
  virtual Task<EventTicket> publish_cancellable(GivenEvent event) = 0;
  virtual PublishResult try_publish(Event& event) = 0;
  virtual Task<BatchReport> publish_batch(std::vector<Event> events, BatchMode mode, const BatchOptions& options) = 0;
  virtual Subscription subscribe(std::unique_ptr<BusHandler> handler) = 0;
  virtual void spawn(Task<> task, std::string_view name) = 0;
  virtual CancellationSource start_timer(TimeService::Duration delay, TimeService::Duration interval,
                                         std::unique_ptr<PluginFunction> function, std::string_view name) = 0;
  virtual CancellationSource source() = 0;
  virtual Task<PluginReport> close(TimeService::Duration deadline) = 0;
  /// Takes back what can be without waiting, and cancels the rest.
  virtual void end() noexcept = 0;
  virtual PluginStats stats() = 0;
  virtual void drop() noexcept = 0;

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] const PluginOptions& options() const noexcept { return options_; }
  [[nodiscard]] CancellationToken token() const noexcept { return source_.token(); }
  [[nodiscard]] bool closed() const noexcept { return (gate_.load(std::memory_order_seq_cst) & 1) != 0; }

  // Users. Rule 1.

  /// False: it has ended.
  [[nodiscard]] bool enter() noexcept {
    if ((gate_.fetch_add(2, std::memory_order_seq_cst) & 1) != 0) {
      leave();
      return false;
    }
    return true;
  }
  /// Besides another user, which keeps it from ending.
  void enter_along() noexcept { gate_.fetch_add(2, std::memory_order_relaxed); }
  void leave() noexcept {
    // The one who finds it empty after the end may find the scope gone, too.
    const PluginHold hold(*this);
    if (gate_.fetch_sub(2, std::memory_order_seq_cst) == 3) tell_closers();
  }
  [[nodiscard]] bool quiet() const noexcept { return gate_.load(std::memory_order_seq_cst) == 1; }
  [[noreturn]] void refuse() const {
    throw Error(Errc::bus_closed, "the scope of the plugin \"" + name_ + "\" has ended");
  }

  void another() noexcept override { enter_along(); }
  void gone() noexcept override { leave(); }

  // What runs.

  [[nodiscard]] TimeService::TimePoint now() const noexcept { return time_.coarse_now(); }
  void begin(PluginRun& run) noexcept {
    const std::lock_guard lock(mutex_);
    run.next = runs_;
    if (runs_) runs_->prev = &run;
    runs_ = &run;
    ++stats_.running;
    if (run.kind != PluginStuck::Kind::task) ++stats_.calls;
  }
  void end(PluginRun& run) noexcept {
    const std::lock_guard lock(mutex_);
    (run.prev ? run.prev->next : runs_) = run.next;
    if (run.next) run.next->prev = run.prev;
    --stats_.running;
  }
  /// A call or a task has thrown: counts it, and gives what can be thrown on, with nothing of the plugin in it.
  [[nodiscard]] Error translate(const std::exception_ptr& thrown);

  // Handlers.

  void add(PluginHandler& handler, std::unique_ptr<PluginHandlerBox> box);
  void remove(PluginHandler& handler) noexcept;
  [[nodiscard]] PluginHandlerBox* take(PluginHandler& handler) noexcept;
  void release(PluginHandlerBox& box) noexcept {
    if (box.refs.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    delete &box;
    {
      const std::lock_guard lock(mutex_);
      --stats_.handlers;
    }
    leave();
  }

 protected:
  ~PluginCore() override = default;

  /// True for the first.
  bool close_gate() noexcept { return (gate_.fetch_or(1, std::memory_order_seq_cst) & 1) == 0; }
  void unref() noexcept {
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }
  void drop_boxes() noexcept;
  [[nodiscard]] bool runs_at(const Home& home) const noexcept {
    const std::lock_guard lock(mutex_);
    for (const PluginRun* run = runs_; run; run = run->next) {
      if (run->home == &home) return true;
    }
    return false;
  }
  virtual void tell_closers() noexcept = 0;

  const std::string name_;
  const PluginOptions options_;
  TimeService& time_;
  /// Cancelled at the end: tasks, timers, and the tokens that were given out.
  CancellationSource source_;
  /// Cancelled at the deadline: the calls of handlers.
  CancellationSource late_;

  mutable std::mutex mutex_;
  PluginRun* runs_ = nullptr;
  PluginHandler* handlers_ = nullptr;
  PluginStats stats_;

 private:
  friend class PluginHold;
  friend class PluginHandler;

  /// The lowest bit: closed. The rest: users.
  std::atomic<std::uint64_t> gate_{0};
  std::atomic<std::uint32_t> refs_{1};
};

inline PluginHold::PluginHold(PluginCore& core) noexcept : core_(&core) {
  core.refs_.fetch_add(1, std::memory_order_relaxed);
}
inline PluginHold::~PluginHold() {
  if (core_) core_->unref();
}

/// A user, which keeps the core alive, too. Throws `Errc::bus_closed` when the scope has ended.
class PluginUse {
 public:
  explicit PluginUse(PluginCore& core) : hold_(core) {
    if (!core.enter()) core.refuse();
    core_ = &core;
  }
  PluginUse(PluginUse&& other) noexcept : hold_(std::move(other.hold_)), core_(std::exchange(other.core_, nullptr)) {}
  PluginUse& operator=(PluginUse&&) = delete;
  ~PluginUse() {
    if (core_) core_->leave();
  }
  [[nodiscard]] PluginCore& core() const noexcept { return *core_; }

 private:
  PluginHold hold_;
  PluginCore* core_ = nullptr;
};

inline PluginRun::PluginRun(PluginCore& c, PluginStuck::Kind k, std::string_view n, EventId e, const Home* h) noexcept
    : core(c), kind(k), name(n), event(e), home(h), started(c.now()) {
  core.begin(*this);
}
inline PluginRun::~PluginRun() { core.end(*this); }

inline Error PluginCore::translate(const std::exception_ptr& thrown) {
  std::string what = "something that is no std::exception";
  std::optional<Errc> code;
  try {
    std::rethrow_exception(thrown);
  } catch (const std::system_error& error) {
    what = error.what();
    // The category may be the plugin's own copy.
    if (is_cancellation(error.code())) {
      code = Errc::cancelled;
    } else if (std::string_view(error.code().category().name()) == error_category().name()) {
      code = static_cast<Errc>(error.code().value());
    }
  } catch (const std::exception& error) {
    what = error.what();
  } catch (...) {
  }
  if (code == Errc::cancelled || (code == Errc::bus_closed && closed())) return Error(*code);
  const std::lock_guard lock(mutex_);
  ++stats_.failed;
  stats_.last_error = what;
  return code ? Error(*code, "the plugin \"" + name_ + "\"") : Error(Errc::handler_failed, name_ + ": " + what);
}
}  // namespace weir::detail
