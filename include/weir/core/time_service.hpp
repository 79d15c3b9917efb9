/// The one clock of an execution context: every wait for a time, and every "now" of the library, goes through it.
///
/// Protocol (tests/core/time_service_test.cpp breaks when one of these is broken):
///  1. The heap of deadlines, the backend and what the backend was told last are touched under one mutex only.
///  2. A deadline is linked, or it has been handed on (`due`, or its resumable is in its home's inbox), or it was
///     removed. The step from linked to handed on happens under the mutex, so `remove` knows which: false means that
///     the wake is on its way, and that the one who waits takes it from its home.
///  3. Homes are enqueued under the mutex and posted after it (`WakeList`).
///  4. After `expire`, and whenever the earliest deadline changes, the backend is told the earliest.
///  5. The timeline is shared: a deadline that is not a coroutine's may outlive the context. Shutting down closes it:
///     the backend goes, nothing fires any more, and `remove` keeps working.
#pragma once

#include <time.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

#include <weir/asio.hpp>
#include <weir/core/detail/pairing_heap.hpp>
#include <weir/core/home.hpp>
#include <weir/core/wake_list.hpp>

namespace weir {
namespace detail {

/// The steady clock as of the system's last tick, some milliseconds ago at most.
[[nodiscard]] inline std::chrono::steady_clock::time_point coarse_time() noexcept {
#ifdef CLOCK_MONOTONIC_COARSE
  ::timespec time{};
  if (::clock_gettime(CLOCK_MONOTONIC_COARSE, &time) == 0) {
    return std::chrono::steady_clock::time_point(std::chrono::duration_cast<std::chrono::steady_clock::duration>(
        std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec)));
  }
#endif
  return std::chrono::steady_clock::now();
}

}  // namespace detail

/// A service of each execution context in which something waits for a time. Thread-safe where nothing else is said.
class TimeService final : public asio::execution_context::service {
 public:
  using Clock = std::chrono::steady_clock;
  using TimePoint = Clock::time_point;
  using Duration = Clock::duration;

  /// The key under which Asio keeps the service: its type, so that a shared object with a copy of this finds it.
  static inline asio::detail::service_id<TimeService> id;

  /// Where the time comes from. The default is `Clock` and one `asio::steady_timer` for the whole context.
  struct Backend {
    virtual ~Backend() = default;
    /// Any thread.
    [[nodiscard]] virtual TimePoint now() const noexcept = 0;
    /// The same, cheaper and no later than `now`, for reports.
    [[nodiscard]] virtual TimePoint coarse_now() const noexcept { return now(); }
    /// Asks for one call of `expire()` when `when` has come; it replaces what was asked before. `TimePoint::max()`:
    /// nothing is waited for. Called under the lock of the service, so it must not call back.
    virtual void wake_at(TimePoint when) = 0;
  };

  /// One wait. Intrusive: it lives in what waits, which keeps it alive until it was removed or has fired.
  struct Deadline : detail::PairingNode<Deadline> {
    TimePoint when;
    /// What is woken, and where.
    Home* home = nullptr;
    Resumable* resumable = nullptr;
    /// Called instead, if it is set, under the lock of the service: it may only add to the list.
    void (*due)(Deadline& self, WakeList& wakes) noexcept = nullptr;

   private:
    friend class TimeService;
    std::uint64_t order_ = 0;
  };

  /// What outlives the context as long as a deadline refers to it.
  class Timeline;

  explicit TimeService(asio::execution_context& context)
      : asio::execution_context::service(context), timeline_(std::make_shared<Timeline>()) {}

  /// Replaces the clock. Before anything of the context waits or asks for the time.
  void set_backend(std::unique_ptr<Backend> backend);

  [[nodiscard]] TimePoint now() const noexcept;
  /// The time to the precision of the system's tick, which is read several times as fast.
  [[nodiscard]] TimePoint coarse_now() const noexcept;
  /// The same as `now`, also while the context is being destroyed by another thread.
  [[nodiscard]] TimePoint report_time() const noexcept;
  /// `delay` from now; never past `TimePoint::max()`, which never comes.
  [[nodiscard]] TimePoint after(Duration delay) const noexcept {
    const TimePoint start = now();
    return delay > TimePoint::max() - start ? TimePoint::max() : start + delay;
  }

  /// Wakes all that is due, the earliest first, and what came first among equals. For the backend: any thread.
  void expire();

  /// Waits for `deadline.when`. O(1). Allocates nothing, except for the default backend's first use. May throw what
  /// arming Asio's timer throws; then the deadline is not linked.
  void add(Deadline& deadline);
  /// The same for a deadline without a home: the default backend is made from `executor`.
  template <class E>
  void add(Deadline& deadline, const E& executor);
  /// Takes it back. True if it was linked, and so has not fired and will not. O(log n) amortised.
  bool remove(Deadline& deadline) noexcept;

  [[nodiscard]] const std::shared_ptr<Timeline>& timeline() const noexcept { return timeline_; }

 private:
  class TimerBackend;

  void shutdown() noexcept override;

  std::shared_ptr<Timeline> timeline_;
};

class TimeService::Timeline : public std::enable_shared_from_this<Timeline> {
 public:
  [[nodiscard]] TimePoint now() const noexcept {
    const Backend* const backend = current_.load(std::memory_order_acquire);
    return backend ? backend->now() : Clock::now();
  }
  [[nodiscard]] TimePoint coarse_now() const noexcept {
    const Backend* const backend = current_.load(std::memory_order_acquire);
    return backend ? backend->coarse_now() : detail::coarse_time();
  }
  [[nodiscard]] TimePoint report_time() const noexcept {
    const std::lock_guard lock(mutex_);
    return now();
  }

  bool remove(Deadline& deadline) noexcept {
    const std::lock_guard lock(mutex_);
    if (!deadline.linked()) return false;
    heap_.remove(deadline);
    // Asking for a later time, or for none, arms nothing: it does not throw.
    tell(false);
    return true;
  }

  template <class MakeExecutor>
  void add(Deadline& deadline, const MakeExecutor& make_executor);

 private:
  friend class TimeService;

  struct Earlier {
    [[nodiscard]] bool operator()(const Deadline& a, const Deadline& b) const noexcept {
      return a.when != b.when ? a.when < b.when : a.order_ < b.order_;
    }
  };

  void install(std::unique_ptr<Backend> backend) {
    current_.store(backend.get(), std::memory_order_release);
    backend_.swap(backend);
    told_ = TimePoint::max();
  }

  void tell(bool always) {
    const TimePoint earliest = heap_.top() ? heap_.top()->when : TimePoint::max();
    if (!backend_ || (!always && earliest == told_)) return;
    told_ = TimePoint::max();
    backend_->wake_at(earliest);
    told_ = earliest;
  }

  void expire(WakeList& wakes) {
    const TimePoint time = now();
    while (Deadline* const first = heap_.top()) {
      if (first->when > time) break;
      heap_.pop();
      if (first->due) {
        first->due(*first, wakes);
      } else {
        wakes.add(*first->home, *first->resumable);
      }
    }
    tell(true);
  }

  mutable std::mutex mutex_;
  detail::PairingHeap<Deadline, Earlier> heap_;
  std::unique_ptr<Backend> backend_;
  std::atomic<Backend*> current_{nullptr};
  TimePoint told_ = TimePoint::max();
  std::uint64_t last_order_ = 0;
  bool closed_ = false;
};

/// One timer a context, armed for the earliest deadline or an earlier time that was asked for before: a timeout that
/// is taken back, which is what most are, does not touch it unless it was the last. Its handler runs on the executor
/// of the first one that waited.
class TimeService::TimerBackend final : public Backend {
 public:
  TimerBackend(Timeline& timeline, const asio::any_io_executor& executor) : timeline_(timeline), timer_(executor) {}

  [[nodiscard]] TimePoint now() const noexcept override { return Clock::now(); }
  [[nodiscard]] TimePoint coarse_now() const noexcept override { return detail::coarse_time(); }

  void wake_at(TimePoint when) override {
    if (when == TimePoint::max()) {
      // A timer that waits is outstanding work: `run()` would not end.
      if (armed_ != TimePoint::max()) disarm();
      return;
    }
    if (when >= armed_) return;
    armed_ = TimePoint::max();
    timer_.expires_at(when);
    const std::uint64_t wait = ++wait_;
    timer_.async_wait([timeline = timeline_.shared_from_this(), this, wait](const std::error_code&) {
      fire(*timeline, *this, wait);
    });
    armed_ = when;
  }

 private:
  void disarm() {
    armed_ = TimePoint::max();
    ++wait_;
    timer_.cancel();
  }

  /// `self` is only looked at once it is known to be there: the handler may be what is left of a context.
  static void fire(Timeline& timeline, TimerBackend& self, std::uint64_t wait) {
    WakeList wakes;
    const std::lock_guard lock(timeline.mutex_);
    if (timeline.backend_.get() != &self || self.wait_ != wait) return;
    self.armed_ = TimePoint::max();
    timeline.expire(wakes);
  }

  Timeline& timeline_;
  asio::steady_timer timer_;
  TimePoint armed_ = TimePoint::max();
  std::uint64_t wait_ = 0;
};

template <class MakeExecutor>
void TimeService::Timeline::add(Deadline& deadline, const MakeExecutor& make_executor) {
  const std::lock_guard lock(mutex_);
  if (!backend_ && !closed_) install(std::make_unique<TimerBackend>(*this, make_executor()));
  deadline.order_ = ++last_order_;
  heap_.push(deadline);
  try {
    tell(false);
  } catch (...) {
    heap_.remove(deadline);
    throw;
  }
}

inline void TimeService::set_backend(std::unique_ptr<Backend> backend) {
  const std::lock_guard lock(timeline_->mutex_);
  timeline_->install(std::move(backend));
  timeline_->tell(true);
}

inline TimeService::TimePoint TimeService::now() const noexcept { return timeline_->now(); }
inline TimeService::TimePoint TimeService::coarse_now() const noexcept { return timeline_->coarse_now(); }
inline TimeService::TimePoint TimeService::report_time() const noexcept { return timeline_->report_time(); }

inline std::chrono::steady_clock::time_point Home::turn_time() noexcept {
  using TimePoint = TimeService::TimePoint;
  if (running_ && running_->time != TimePoint::min()) return running_->time;
  if (!clock_known_) {
    // Not made for this: a context in which nothing waits for a time needs none, and making it may throw.
    if (asio::has_service<TimeService>(context_)) clock_ = &asio::use_service<TimeService>(context_);
    clock_known_ = true;
  }
  const TimePoint time = clock_ ? clock_->coarse_now() : detail::coarse_time();
  if (running_) running_->time = time;
  return time;
}

inline std::chrono::steady_clock::time_point Home::report_time() const noexcept {
  return clock_ ? clock_->report_time() : TimeService::Clock::now();
}

inline void TimeService::expire() {
  WakeList wakes;
  const std::lock_guard lock(timeline_->mutex_);
  timeline_->expire(wakes);
}

inline void TimeService::add(Deadline& deadline) {
  timeline_->add(deadline, [&] { return deadline.home->base_executor(); });
}

template <class E>
void TimeService::add(Deadline& deadline, const E& executor) {
  timeline_->add(deadline, [&]() -> asio::any_io_executor {
    // A home ends with its root; the timer lasts as long as the context.
    if constexpr (requires { executor.home().base_executor(); }) {
      return executor.home().base_executor();
    } else {
      return executor;
    }
  });
}

inline bool TimeService::remove(Deadline& deadline) noexcept { return timeline_->remove(deadline); }

inline void TimeService::shutdown() noexcept {
  std::unique_ptr<Backend> last;
  const std::lock_guard lock(timeline_->mutex_);
  timeline_->closed_ = true;
  timeline_->current_.store(nullptr, std::memory_order_release);
  last.swap(timeline_->backend_);
}

}  // namespace weir
