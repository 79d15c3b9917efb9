/// What a stream is apart from its types: its roots, how hard it is being stopped, its clock, and who waits for its
/// end.
///
/// Protocol:
///  1. `roots_`, `alive_`, `cause_`, `error_`, `waiters_` and the growth of `counters_` are guarded by `mutex_`.
///  Nothing is
///     posted and no user code runs under it.
///  2. Every root of the stream holds a `StreamRoot`, counted from its making to the destruction of its frame, whether
///     that comes by the end of the coroutine or by the end of the execution context. `start` holds one too.
///  3. The one that brings `alive_` to 0 finishes the stream, once: nobody else touches the typed part any more.
///  4. `level_` only rises. It is raised before the roots are told, and a root that enters later looks at it.
///  5. When the last receiver leaves before the sender (a strategy may end early), the stream is cancelled forcefully:
///     nobody is left to make room for the sender.
///  6. The channel is closed before it is emptied, so that a stopped stream's channel stays empty.
/// tests/stream/emitting_task_test.cpp breaks when one of these is broken.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <system_error>
#include <utility>

#include <weir/asio.hpp>
#include <weir/core/cancellation.hpp>
#include <weir/core/home.hpp>
#include <weir/core/time_service.hpp>
#include <weir/core/wake_list.hpp>
#include <weir/stream/cancellation_level.hpp>
#include <weir/stream/detail/event_clock.hpp>
#include <weir/stream/detail/event_numbers.hpp>
#include <weir/stream/detail/stream_waiters.hpp>
#include <weir/stream/final_event.hpp>
#include <weir/stream/stats.hpp>

namespace weir::detail {

enum class StreamRole : std::uint8_t { starter, sender, receiver };

/// Written by one worker, read by anybody.
struct alignas(64) WorkerCounters {
  std::atomic<std::uint64_t> taken{0};
  std::atomic<std::uint64_t> processed{0};
  std::atomic<std::uint64_t> failed{0};
  std::atomic<std::uint64_t> dead_lettered{0};
  std::atomic<std::uint64_t> discarded{0};

  static void add(std::atomic<std::uint64_t>& counter, std::uint64_t n = 1) noexcept {
    counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_release);
  }
};

class StreamRoot;

class StreamCore : public std::enable_shared_from_this<StreamCore> {
 public:
  enum class Cause : std::uint8_t { none, cancelled, timed_out, failed };

  StreamCore(std::string name, asio::execution_context& context)
      : clock_(context), started_(clock_.now()), name_(std::move(name)), id_(next_id()) {}
  StreamCore(const StreamCore&) = delete;
  StreamCore& operator=(const StreamCore&) = delete;
  virtual ~StreamCore() = default;

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  [[nodiscard]] EventClock& clock() noexcept { return clock_; }

  /// 0, or a `CancellationLevel`.
  [[nodiscard]] int level() const noexcept { return level_.load(std::memory_order_relaxed); }
  [[nodiscard]] bool discarding() const noexcept { return level() >= static_cast<int>(CancellationLevel::forceful); }
  [[nodiscard]] bool done() const noexcept { return done_.load(std::memory_order_acquire); }
  [[nodiscard]] EventNumbers& numbers() noexcept { return numbers_; }
  [[nodiscard]] const CancellationToken& token() const noexcept { return source_.token(); }
  /// Cancelled once the stream discards: for receivers' workers that wait for something else than an event.
  [[nodiscard]] const CancellationToken& discard_token() const noexcept { return discard_source_.token(); }

  [[nodiscard]] StreamStatus status() const {
    const std::lock_guard lock(mutex_);
    if (done()) return StreamStatus::complete;
    if (level() != 0 || cause_ == Cause::timed_out) return StreamStatus::stopping;
    return senders_ != 0 || fed_from_outside_ ? StreamStatus::running : StreamStatus::draining;
  }

  /// True if it changed anything. Any thread; allocates nothing.
  bool cancel(CancellationLevel level, Cause cause, std::exception_ptr error = nullptr) noexcept;
  /// The sender's function threw.
  void sender_threw(std::exception_ptr error);
  /// What feeds the stream from outside ended with an error: what was taken is processed.
  void source_threw(std::exception_ptr error) {
    set_fed_from_outside(false);
    sender_threw(std::move(error));
  }
  /// A receiver threw under `on_error(stop)`, or a strategy did.
  void worker_threw(std::exception_ptr error) noexcept {
    cancel(CancellationLevel::forceful, Cause::failed, std::move(error));
  }

  /// For a stream without a sender of its own: there is more to come, until there is not.
  void set_fed_from_outside(bool fed) noexcept {
    const std::lock_guard lock(mutex_);
    fed_from_outside_ = fed;
  }

  /// Before the first root is spawned.
  template <class E>
  void arm(TimeService::Duration timeout, const E& executor);

  /// Coroutines of the sender, and workers, that have not ended.
  [[nodiscard]] std::pair<std::size_t, std::size_t> working() const {
    const std::lock_guard lock(mutex_);
    return {senders_, receivers_};
  }
  [[nodiscard]] WorkerCounters& add_worker() {
    const std::lock_guard lock(mutex_);
    return counters_.emplace_back();
  }
  [[nodiscard]] StreamStats stats() const;
  /// Whether the calling thread is one that the stream runs on.
  [[nodiscard]] virtual bool runs_on_this_thread() const noexcept = 0;

  [[nodiscard]] std::mutex& mutex() noexcept { return mutex_; }
  [[nodiscard]] StreamWaitList& waiters() noexcept { return waiters_; }

 protected:
  /// Adds what the channel knows: emitted, dropped, discarded, buffered, and the number received for `in_progress`.
  virtual void count_channel(StreamStats& stats) const = 0;
  virtual void close_channel() noexcept = 0;
  virtual void discard_buffered() noexcept = 0;
  /// All roots have ended: makes the final event, and gives up the user's functions.
  virtual void make_final(Outcome outcome, StreamError error, StreamStats stats) noexcept = 0;

  [[nodiscard]] EventTime started() const noexcept { return started_; }

 private:
  friend class StreamRoot;

  struct Timer : TimeService::Deadline, WakeList::Deferred {
    StreamCore* core = nullptr;
    std::shared_ptr<StreamCore> self;
  };

  static std::uint64_t next_id() noexcept {
    static std::atomic<std::uint64_t> last{0};
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
  }

  void enter(StreamRoot& root);
  void leave(StreamRoot& root) noexcept;
  void tell_roots(bool receivers) noexcept;
  void finish() noexcept;
  [[nodiscard]] StreamError describe(Outcome outcome) const noexcept;

  mutable std::mutex mutex_;
  EventClock clock_;
  EventTime started_;
  std::string name_;
  std::uint64_t id_;
  std::atomic<int> level_{0};
  std::atomic<bool> done_{false};
  CancellationSource source_;
  CancellationSource discard_source_;
  Cause cause_ = Cause::none;
  std::exception_ptr error_;
  /// Coroutines of the sender that have not ended.
  std::size_t senders_ = 0;
  bool fed_from_outside_ = false;
  bool abandoned_ = false;
  std::size_t alive_ = 0;
  std::size_t receivers_ = 0;
  StreamRoot* roots_ = nullptr;
  StreamWaitList waiters_;
  std::deque<WorkerCounters> counters_;
  Timer timer_;
  /// The sender writes it for every event: away from what workers read for every event.
  EventNumbers numbers_;
};

/// The first parameter of each root coroutine of a stream, so that it is destroyed last.
class StreamRoot {
 public:
  StreamRoot(std::shared_ptr<StreamCore> core, StreamRole role) : core_(std::move(core)), role_(role) {
    const std::lock_guard lock(core_->mutex_);
    ++core_->alive_;
    if (role == StreamRole::sender) ++core_->senders_;
    if (role == StreamRole::receiver) ++core_->receivers_;
  }
  /// Only before it entered.
  StreamRoot(StreamRoot&& other) noexcept : core_(std::move(other.core_)), role_(other.role_) {}
  StreamRoot& operator=(StreamRoot&&) = delete;
  ~StreamRoot() {
    if (!core_) return;
    // The last root may be the last owner.
    const std::shared_ptr<StreamCore> core = std::move(core_);
    core->leave(*this);
  }

  /// On the root's home, first. The scope is cancelled at once if the stream was stopped before.
  void enter(Home& home) {
    home_ = &home;
    home.retain();
    core_->enter(*this);
  }
  /// The coroutine ends by itself.
  void returned() noexcept { returned_ = true; }

 private:
  friend class StreamCore;

  std::shared_ptr<StreamCore> core_;
  Home* home_ = nullptr;
  StreamRoot* prev_ = nullptr;
  StreamRoot* next_ = nullptr;
  StreamRole role_;
  bool told_ = false;
  bool returned_ = false;
};

inline void StreamCore::enter(StreamRoot& root) {
  bool stop = false;
  {
    const std::lock_guard lock(mutex_);
    root.next_ = roots_;
    if (roots_) roots_->prev_ = &root;
    roots_ = &root;
    stop = root.role_ == StreamRole::sender ? level() >= static_cast<int>(CancellationLevel::graceful)
                                            : level() >= static_cast<int>(CancellationLevel::immediate);
    root.told_ = stop;
  }
  if (stop) root.home_->scope().cancel();
}

inline void StreamCore::leave(StreamRoot& root) noexcept {
  if (root.role_ == StreamRole::sender) {
    bool last_sender = false;
    {
      // Before the channel says so: a worker that ends because of it must not think that it left the sender alone.
      const std::lock_guard lock(mutex_);
      last_sender = --senders_ == 0;
    }
    if (last_sender) close_channel();
  }
  bool alone = false;
  {
    const std::lock_guard lock(mutex_);
    if (root.role_ == StreamRole::receiver) alone = --receivers_ == 0 && senders_ != 0;
  }
  if (alone) cancel(CancellationLevel::forceful, Cause::cancelled);
  bool last = false;
  {
    const std::lock_guard lock(mutex_);
    if (root.home_) {
      (root.prev_ ? root.prev_->next_ : roots_) = root.next_;
      if (root.next_) root.next_->prev_ = root.prev_;
    }
    if (!root.returned_) abandoned_ = true;
    last = --alive_ == 0;
  }
  if (root.home_) root.home_->release();
  if (last) finish();
}

inline void StreamCore::tell_roots(bool receivers) noexcept {
  for (;;) {
    Home* home = nullptr;
    {
      const std::lock_guard lock(mutex_);
      for (StreamRoot* root = roots_; root && !home; root = root->next_) {
        if (root->told_ || (root->role_ == StreamRole::receiver && !receivers)) continue;
        root->told_ = true;
        home = root->home_;
        home->retain();
      }
    }
    if (!home) return;
    home->request_cancel();
    home->release();
  }
}

inline bool StreamCore::cancel(CancellationLevel level, Cause cause, std::exception_ptr error) noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (alive_ == 0) return false;
    // Nothing is left that a graceful cancel could stop: the stream completes.
    if (level == CancellationLevel::graceful && senders_ == 0 && !fed_from_outside_) return false;
    if (cause_ == Cause::none || (cause == Cause::failed && cause_ == Cause::cancelled)) {
      cause_ = cause;
      error_ = std::move(error);
    }
    if (level_.load(std::memory_order_relaxed) >= static_cast<int>(level)) return false;
    level_.store(static_cast<int>(level), std::memory_order_seq_cst);
  }
  source_.cancel(cause == Cause::timed_out ? Errc::timed_out : Errc::cancelled);
  tell_roots(level >= CancellationLevel::immediate);
  if (level >= CancellationLevel::forceful) {
    discard_source_.cancel(cause == Cause::timed_out ? Errc::timed_out : Errc::cancelled);
    close_channel();
    discard_buffered();
  }
  return true;
}

inline void StreamCore::sender_threw(std::exception_ptr error) {
  const bool stopped = level() != 0;
  const bool told = stopped && is_error_code(error, [](const std::error_code& code) {
                      return is_cancellation(code) || code == Errc::channel_closed || code == Errc::timed_out;
                    });
  if (told) return;
  bool others = false;
  {
    const std::lock_guard lock(mutex_);
    others = senders_ > 1;
    if (!others && (cause_ == Cause::none || cause_ == Cause::cancelled)) {
      cause_ = Cause::failed;
      error_ = std::move(error);
    }
  }
  // Its other partitions stop, and what they have emitted is processed.
  if (others) cancel(CancellationLevel::graceful, Cause::failed, std::move(error));
}

template <class E>
void StreamCore::arm(TimeService::Duration timeout, const E& executor) {
  auto& service = asio::use_service<TimeService>(context_of(executor));
  timer_.core = this;
  timer_.self = shared_from_this();
  timer_.when = service.after(timeout);
  timer_.due = [](TimeService::Deadline& self, WakeList& wakes) noexcept {
    wakes.add(static_cast<WakeList::Deferred&>(static_cast<Timer&>(self)));
  };
  timer_.fire = [](WakeList::Deferred& self) noexcept {
    auto& timer = static_cast<Timer&>(self);
    const std::shared_ptr<StreamCore> core = std::move(timer.self);
    core->cancel(CancellationLevel::forceful, Cause::timed_out);
  };
  try {
    service.add(timer_, executor);
  } catch (...) {
    timer_.self.reset();
    timer_.core = nullptr;
    throw;
  }
}

inline StreamStats StreamCore::stats() const {
  StreamStats stats;
  std::uint64_t taken = 0;
  {
    const std::lock_guard lock(mutex_);
    for (const WorkerCounters& worker : counters_) {
      stats.processed += worker.processed.load(std::memory_order_acquire);
      stats.failed += worker.failed.load(std::memory_order_acquire);
      stats.dead_lettered += worker.dead_lettered.load(std::memory_order_acquire);
      stats.discarded += worker.discarded.load(std::memory_order_acquire);
      taken += worker.taken.load(std::memory_order_acquire);
    }
    stats.workers = counters_.size();
  }
  // The workers first: what they have settled, the channel has counted before.
  stats.in_progress = taken;
  const std::uint64_t settled = stats.processed + stats.failed + stats.dead_lettered + stats.discarded;
  count_channel(stats);
  stats.in_progress -= settled;
  stats.started = started_;
  return stats;
}

inline StreamError StreamCore::describe(Outcome outcome) const noexcept {
  try {
    if (error_) return {message_of(error_), error_};
    if (outcome == Outcome::timed_out) return {"the stream's time was up", nullptr};
    if (outcome == Outcome::cancelled && cause_ != Cause::none) return {"the stream was cancelled", nullptr};
    if (outcome == Outcome::cancelled) return {"the execution context ended before the stream", nullptr};
  } catch (const std::bad_alloc&) {
    // As much as a string holds without memory.
    return {error_ ? std::string() : std::string("ended early"), error_};
  }
  return {};
}

inline void StreamCore::finish() noexcept {
  close_channel();
  discard_buffered();
  if (timer_.core && clock_.timeline().remove(timer_)) timer_.self.reset();
  Outcome outcome = Outcome::completed;
  switch (cause_) {
    case Cause::none:
      if (abandoned_) outcome = Outcome::cancelled;
      break;
    case Cause::cancelled:
      outcome = Outcome::cancelled;
      break;
    case Cause::timed_out:
      outcome = Outcome::timed_out;
      break;
    case Cause::failed:
      outcome = Outcome::failed;
      break;
  }
  StreamStats last = stats();
  last.completed = clock_.now();
  // What an abandoned worker, or sender, had in its hands.
  last.discarded += std::exchange(last.in_progress, 0) + std::exchange(last.buffered, 0);
  make_final(outcome, describe(outcome), last);
  WakeList wakes;
  const std::lock_guard lock(mutex_);
  done_.store(true, std::memory_order_release);
  waiters_.wake_all(wakes);
}

}  // namespace weir::detail
