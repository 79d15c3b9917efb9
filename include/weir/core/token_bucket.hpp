/// `TokenBucket`: how often something may be done.
///
/// Protocol of the waiters (see `detail/timed_waiters.hpp`):
///  1. `available_` and `updated_` change under the mutex. Tokens never exceed `burst`, so that in any time t no more
///     than burst + t · rate are taken.
///  2. Only the first waiter has a deadline: the time at which there are enough tokens for it. It takes them when it is
///     resumed, then those who come after it, and gives the first that is left its deadline. One that is cancelled or
///     destroyed hands over in the same way.
///  3. Nobody takes tokens while others wait, so that the first come is the first served.
/// tests/core/token_bucket_test.cpp breaks when one of these is broken.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>

#include <weir/asio.hpp>
#include <weir/core/detail/timed_waiters.hpp>
#include <weir/core/error.hpp>
#include <weir/core/promise.hpp>
#include <weir/core/time_service.hpp>

namespace weir {

/// Holds up to `burst` tokens, gains `per_second` of them each second, and begins full. Who wants to do something takes
/// a token first, or waits for it: in the order in which they came, by the context's clock, and without being busy. For
/// all coroutines of one execution context; copies share the bucket, and any thread may use it. The constructor
/// allocates, nothing else does.
///
///     weir::TokenBucket limit(pool, 100);
///     co_await limit.acquire();
class TokenBucket {
  struct State;

 public:
  class AcquireOperation;

  /// `burst` is how many may go at once after a pause: unless it is said, what is gained in 10 ms, and at least one, so
  /// that a high rate is reached although a timer is late by some microseconds. Throws `Error(Errc::invalid_argument)`
  /// for a rate or a burst that is not positive, or is below one token.
  template <ExecutorSource E>
    requires(!std::same_as<std::remove_cvref_t<E>, TokenBucket>)
  TokenBucket(E&& source, double per_second, double burst = 0)
      : TokenBucket(context_of(executor_of(static_cast<E&&>(source))), per_second, burst) {}
  TokenBucket(asio::execution_context& context, double per_second, double burst)
      : state_(std::make_shared<State>(context, checked(per_second),
                                       burst == 0 ? std::max(1.0, per_second / 100) : burst)) {
    if (!(state_->burst >= 1) || std::isinf(state_->burst)) {
      throw Error(Errc::invalid_argument, "TokenBucket: the burst must be at least 1, and finite");
    }
  }

  /// Takes `n` tokens, when they are there and nobody waits who came before. Resumes on the home of the one that
  /// awaits. Throws `Error(Errc::cancelled)` when its scope is cancelled first, and then takes none, and
  /// `Error(Errc::invalid_argument)` for more tokens than `burst` and for a coroutine of another execution context. One
  /// lock; O(log n) amortised if it waits. Allocates nothing.
  [[nodiscard]] AcquireOperation acquire(std::size_t n = 1) const noexcept;
  /// The same if it need not wait.
  [[nodiscard]] bool try_acquire(std::size_t n = 1) const noexcept {
    State& state = *state_;
    const std::lock_guard lock(state.mutex);
    return state.waiters.empty() && state.take_locked(static_cast<double>(n));
  }

  [[nodiscard]] double per_second() const noexcept { return state_->rate; }
  [[nodiscard]] double burst() const noexcept { return state_->burst; }
  /// How many tokens there are now.
  [[nodiscard]] double available() const noexcept {
    const std::lock_guard lock(state_->mutex);
    state_->refill_locked();
    return state_->available;
  }

 private:
  static double checked(double per_second) {
    if (!(per_second > 0) || std::isinf(per_second)) {
      throw Error(Errc::invalid_argument, "TokenBucket: the rate must be above 0, and finite");
    }
    return per_second;
  }

  struct State {
    State(asio::execution_context& context, double per_second, double most)
        : service(asio::use_service<TimeService>(context)),
          rate(per_second),
          burst(most),
          available(most),
          updated(service.now()) {}

    void refill_locked() noexcept {
      const TimeService::TimePoint now = service.now();
      if (now <= updated) return;
      available = std::min(burst, available + std::chrono::duration<double>(now - updated).count() * rate);
      updated = now;
    }
    [[nodiscard]] bool take_locked(double n) noexcept {
      refill_locked();
      // A rate that does not divide a second leaves a last bit missing.
      if (available < n - 1e-9) return false;
      available -= n;
      return true;
    }
    [[nodiscard]] TimeService::TimePoint when_locked(double n) const noexcept {
      const double seconds = (n - available) / rate;
      const auto most = TimeService::TimePoint::max() - updated;
      if (seconds >= std::chrono::duration<double>(most).count()) return TimeService::TimePoint::max();
      return updated + std::max(TimeService::Duration::zero(),
                                std::chrono::ceil<TimeService::Duration>(std::chrono::duration<double>(seconds)));
    }
    void serve_locked(WakeList& wakes) noexcept;

    std::mutex mutex;
    TimeService& service;
    double rate;
    double burst;
    double available;
    TimeService::TimePoint updated;
    detail::TimedWaiters waiters;
  };

  std::shared_ptr<State> state_;
};

/// What `acquire` gives: awaited once, where it is made.
class [[nodiscard("co_await it")]] TokenBucket::AcquireOperation final : public detail::TimedWaiter {
 public:
  AcquireOperation(const std::shared_ptr<State>& state, std::size_t n) noexcept
      : TimedWaiter(kind()), state_(state), n_(static_cast<double>(n)) {}
  /// Until it is attached.
  AcquireOperation(AcquireOperation&& other) noexcept
      : TimedWaiter(kind()), state_(std::move(other.state_)), n_(other.n_) {}
  ~AcquireOperation() {
    if (waited_) leave();
  }

  void attach(Promise& promise) {
    TimedWaiter::attach(promise);
    if (n_ > state_->burst) {
      throw Error(Errc::invalid_argument, "TokenBucket::acquire: more tokens than its burst can never be there");
    }
    if (&asio::use_service<TimeService>(promise.home().context()) != &state_->service) {
      throw Error(Errc::invalid_argument, "TokenBucket: it is for the coroutines of the context that it was made for");
    }
  }
  [[nodiscard]] bool await_ready() {
    {
      const std::lock_guard lock(state_->mutex);
      if (!state_->waiters.empty() || !state_->take_locked(n_)) {
        const bool first = state_->waiters.empty();
        wait_locked(state_->waiters);
        waited_ = true;
        if (first) arm_or_leave();
        return false;
      }
    }
    return promise().home().spend();
  }
  void await_suspend(std::coroutine_handle<>) noexcept {
    if (!waited_) promise().home().resume_here(promise().resumable());
  }
  void await_resume() {
    unlink();
    if (!std::exchange(waited_, false)) return;
    WakeList wakes;
    const std::lock_guard lock(state_->mutex);
    if (stage_locked() == Stage::cancelled) throw Error(Errc::cancelled);
    // Its time has come: it is the first, and there is enough.
    if (leave_locked()) {
      state_->refill_locked();
      state_->available -= n_;
      state_->serve_locked(wakes);
    }
  }

 private:
  friend class TokenBucket;

  static const Kind& kind() noexcept {
    static constexpr Kind of{&cancel, nullptr, "a token of a bucket"};
    return of;
  }
  static void cancel(Cancellable& self) noexcept {
    auto& operation = static_cast<AcquireOperation&>(self);
    WakeList wakes;
    {
      const std::lock_guard lock(operation.state_->mutex);
      if (!operation.take_locked(Stage::cancelled)) return;
      operation.state_->serve_locked(wakes);
    }
    operation.promise().home().resume_here(operation.promise().resumable());
  }

  void arm_or_leave() {
    try {
      arm_locked(state_->service, state_->when_locked(n_));
    } catch (...) {
      leave_locked();
      waited_ = false;
      unlink();
      throw;
    }
  }
  void leave() noexcept {
    WakeList wakes;
    const std::lock_guard lock(state_->mutex);
    if (leave_locked()) state_->serve_locked(wakes);
  }

  std::shared_ptr<State> state_;
  double n_;
  bool waited_ = false;
};

inline TokenBucket::AcquireOperation TokenBucket::acquire(std::size_t n) const noexcept { return {state_, n}; }

/// Wakes those for whom there is enough, and gives the first of the others its time.
inline void TokenBucket::State::serve_locked(WakeList& wakes) noexcept {
  while (detail::TimedWaiter* const first = waiters.first()) {
    const double n = static_cast<AcquireOperation*>(first)->n_;
    if (!take_locked(n)) {
      try {
        first->arm_locked(service, when_locked(n));
        return;
      } catch (...) {
        // No timer for it: it goes ahead, as waiting for ever would be worse.
      }
    }
    if (!first->wake_locked(wakes)) {
      // Its own time has come, and it takes its tokens itself.
      available += n;
      return;
    }
  }
}

}  // namespace weir
