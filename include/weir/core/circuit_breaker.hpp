/// `CircuitBreaker`: leaves something alone for a while that keeps failing.
///
/// Protocol:
///  1. Everything is guarded by the mutex but `state`, which is also read without it.
///  2. `epoch` counts the changes of state. A call that ends tells the epoch in which it began, and one of an earlier
///     epoch says nothing about the present one.
///  3. Half-open lets `probes` calls through at a time; each gives its place back, whether it ends or is dropped.
///  4. Who waits is woken whenever it might be let through: by its own deadline while the circuit is open, and by every
///     change of state, and by a probe that ends, otherwise. It then looks again.
/// tests/core/circuit_breaker_test.cpp breaks when one of these is broken.
#pragma once

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <weir/asio.hpp>
#include <weir/core/detail/called.hpp>
#include <weir/core/detail/timed_waiters.hpp>
#include <weir/core/error.hpp>
#include <weir/core/promise.hpp>
#include <weir/core/task.hpp>
#include <weir/core/time_service.hpp>

namespace weir {

/// When a circuit opens, and how it closes again.
struct CircuitBreakerOptions {
  /// It opens when at least this part of the last `window` calls failed, above 0, up to 1,
  double failure_rate = 0.5;
  std::uint32_t window = 20;
  /// and there were at least so many calls since it closed.
  std::uint32_t min_calls = 10;
  /// So long it lets nothing through.
  std::chrono::nanoseconds open_for = std::chrono::seconds(5);
  /// Then so many calls at a time; when as many have succeeded in a row it closes, and when one fails it opens again.
  std::uint32_t probes = 1;
};

enum class CircuitState : std::uint8_t { closed, open, half_open };

struct CircuitStats {
  CircuitState state = CircuitState::closed;
  std::uint64_t succeeded = 0;
  std::uint64_t failed = 0;
  std::uint64_t refused = 0;  ///< not let through at once
  std::uint64_t opened = 0;   ///< how often
};

/// Counts how calls to something end, and while most of them fail lets none through: what is down is not made worse,
/// and who calls it need not wait for its timeouts. After a pause a few calls are let through to see whether it has
/// recovered. By the context's clock. Copies share the circuit; any thread. The constructor allocates, calls don't.
///
///     weir::CircuitBreaker breaker(pool, {.failure_rate = 0.5, .open_for = 10s});
///     auto answer = co_await breaker.call([&] { return ask(server); });
class CircuitBreaker {
  struct State;

 public:
  /// One call that was let through. Say how it ended: when it goes without, it counts as neither.
  class Call {
   public:
    Call(Call&& other) noexcept : state_(std::move(other.state_)), epoch_(other.epoch_) {}
    Call& operator=(Call&& other) noexcept {
      if (this != &other) {
        end(Verdict::none);
        state_ = std::move(other.state_);
        epoch_ = other.epoch_;
      }
      return *this;
    }
    ~Call() { end(Verdict::none); }
    void succeeded() noexcept { end(Verdict::succeeded); }
    void failed() noexcept { end(Verdict::failed); }

   private:
    friend class CircuitBreaker;
    enum class Verdict : std::uint8_t { none, succeeded, failed };
    Call(std::shared_ptr<State> state, std::uint64_t epoch) noexcept : state_(std::move(state)), epoch_(epoch) {}
    void end(Verdict verdict) noexcept;

    std::shared_ptr<State> state_;
    std::uint64_t epoch_;
  };

  /// Throws `Error(Errc::invalid_argument)` for options out of their range.
  template <ExecutorSource E>
    requires(!std::same_as<std::remove_cvref_t<E>, CircuitBreaker>)
  explicit CircuitBreaker(E&& source, const CircuitBreakerOptions& options = {})
      : CircuitBreaker(context_of(executor_of(static_cast<E&&>(source))), options) {}
  CircuitBreaker(asio::execution_context& context, const CircuitBreakerOptions& options);

  /// Lets a call through, or not (empty) while the circuit is open or enough probes are under way. One lock.
  [[nodiscard]] std::optional<Call> try_enter() const;
  /// Waits until a call is let through. Resumes on the home of the one that awaits; throws `Error(Errc::cancelled)`
  /// when its scope is cancelled first. Allocates a frame.
  [[nodiscard]] Task<Call> enter() const;

  /// Calls a function, plain or not, if it is let through, and counts what it throws as a failure (but a cancellation
  /// as nothing); else throws `Error(Errc::circuit_open)`. Runs on the home of the one that awaits; the task owns the
  /// function.
  template <class F>
    requires std::invocable<F&>
  [[nodiscard]] auto call(F function) const;

  /// While it is open: when it will let something through again.
  [[nodiscard]] CircuitState state() const noexcept;
  [[nodiscard]] CircuitStats stats() const noexcept;
  /// Closes it, and forgets what it has counted.
  void reset() const noexcept;

 private:
  class ChangeOperation;

  [[nodiscard]] static bool is_cancelled(const std::exception_ptr& error) noexcept {
    try {
      std::rethrow_exception(error);
    } catch (const std::system_error& e) {
      return is_cancellation(e.code());
    } catch (...) {
      return false;
    }
  }

  std::shared_ptr<State> state_;
};

struct CircuitBreaker::State {
  State(asio::execution_context& context, const CircuitBreakerOptions& o)
      : options(o), service(asio::use_service<TimeService>(context)), outcomes(o.window) {}

  /// Under the mutex: what state it is in now.
  CircuitState look(WakeList& wakes) noexcept {
    if (state == CircuitState::open && service.now() >= opens_at) change(CircuitState::half_open, wakes);
    return state;
  }
  [[nodiscard]] bool lets_through(WakeList& wakes) noexcept {
    switch (look(wakes)) {
      case CircuitState::closed:
        return true;
      case CircuitState::half_open:
        return under_way < options.probes;
      case CircuitState::open:
        break;
    }
    return false;
  }
  void change(CircuitState to, WakeList& wakes) noexcept {
    state = to;
    ++epoch;
    under_way = 0;
    in_a_row = 0;
    if (to == CircuitState::open) {
      ++stats.opened;
      opens_at = service.after(options.open_for);
    }
    if (to == CircuitState::closed) {
      seen = 0;
      failures = 0;
    }
    wake_all(wakes);
  }
  void wake_all(WakeList& wakes) noexcept {
    detail::TimedWaiter* waiter = waiters.first();
    while (waiter) {
      detail::TimedWaiter* const next = waiter->next();
      waiter->wake_locked(wakes);
      waiter = next;
    }
  }
  void count(bool failed, WakeList& wakes) noexcept {
    const std::size_t place = static_cast<std::size_t>(seen % options.window);
    if (seen >= options.window && outcomes[place]) --failures;
    outcomes[place] = failed;
    ++seen;
    if (failed) ++failures;
    const auto calls = static_cast<double>(std::min<std::uint64_t>(seen, options.window));
    if (failed && seen >= options.min_calls && failures >= options.failure_rate * calls) {
      change(CircuitState::open, wakes);
    }
  }
  void probed(bool failed, WakeList& wakes) noexcept {
    if (failed) {
      change(CircuitState::open, wakes);
    } else if (++in_a_row >= options.probes) {
      change(CircuitState::closed, wakes);
    }
  }

  const CircuitBreakerOptions options;
  TimeService& service;
  std::mutex mutex;
  CircuitState state = CircuitState::closed;
  std::uint64_t epoch = 0;
  TimeService::TimePoint opens_at{};
  std::uint32_t under_way = 0;
  std::uint32_t in_a_row = 0;
  std::uint64_t seen = 0;
  std::uint32_t failures = 0;
  std::vector<bool> outcomes;
  CircuitStats stats;
  detail::TimedWaiters waiters;
};

inline CircuitBreaker::CircuitBreaker(asio::execution_context& context, const CircuitBreakerOptions& options) {
  const auto check = [](bool good, const char* what) {
    if (!good) throw Error(Errc::invalid_argument, what);
  };
  check(options.failure_rate > 0 && options.failure_rate <= 1, "CircuitBreaker: failure_rate is above 0, up to 1");
  check(options.window > 0, "CircuitBreaker: a window of 0 calls sees nothing");
  check(options.min_calls > 0 && options.min_calls <= options.window,
        "CircuitBreaker: min_calls is from 1 to the window");
  check(options.open_for > std::chrono::nanoseconds::zero(), "CircuitBreaker: open_for must be above 0");
  check(options.probes > 0, "CircuitBreaker: with 0 probes it would never close again");
  state_ = std::make_shared<State>(context, options);
}

/// Waits until the circuit may let something through.
class CircuitBreaker::ChangeOperation final : public detail::TimedWaiter {
 public:
  explicit ChangeOperation(std::shared_ptr<State> state) noexcept : TimedWaiter(kind()), state_(std::move(state)) {}
  ~ChangeOperation() {
    const std::lock_guard lock(state_->mutex);
    leave_locked();
  }

  void attach(Promise& promise) {
    TimedWaiter::attach(promise);
    if (&asio::use_service<TimeService>(promise.home().context()) != &state_->service) {
      throw Error(Errc::invalid_argument, "CircuitBreaker: who waits for it is of the context that it was made for");
    }
  }
  [[nodiscard]] bool await_ready() {
    WakeList wakes;
    const std::lock_guard lock(state_->mutex);
    if (state_->lets_through(wakes)) return true;
    wait_locked(state_->waiters);
    if (state_->state == CircuitState::open) {
      try {
        arm_locked(state_->service, state_->opens_at);
      } catch (...) {
        leave_locked();
        unlink();
        throw;
      }
    }
    return false;
  }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  void await_resume() {
    unlink();
    const std::lock_guard lock(state_->mutex);
    leave_locked();
    if (stage_locked() == Stage::cancelled) throw Error(Errc::cancelled);
  }

 private:
  static const Kind& kind() noexcept {
    static constexpr Kind of{&cancel, nullptr, "a circuit to close"};
    return of;
  }
  static void cancel(Cancellable& self) noexcept {
    auto& operation = static_cast<ChangeOperation&>(self);
    {
      const std::lock_guard lock(operation.state_->mutex);
      if (!operation.take_locked(Stage::cancelled)) return;
    }
    operation.promise().home().resume_here(operation.promise().resumable());
  }

  std::shared_ptr<State> state_;
};

inline void CircuitBreaker::Call::end(Verdict verdict) noexcept {
  if (!state_) return;
  const std::shared_ptr<State> held = std::move(state_);
  State& state = *held;
  WakeList wakes;
  const std::lock_guard lock(state.mutex);
  if (verdict == Verdict::succeeded) ++state.stats.succeeded;
  if (verdict == Verdict::failed) ++state.stats.failed;
  if (epoch_ != state.epoch) return;
  const bool failed = verdict == Verdict::failed;
  if (state.state == CircuitState::closed) {
    if (verdict != Verdict::none) state.count(failed, wakes);
    return;
  }
  --state.under_way;
  if (verdict != Verdict::none) state.probed(failed, wakes);
  // A place is free: for one of those who wait, which knows better than the breaker whether it still wants it.
  if (state.epoch == epoch_) state.wake_all(wakes);
}

inline std::optional<CircuitBreaker::Call> CircuitBreaker::try_enter() const {
  State& state = *state_;
  WakeList wakes;
  const std::lock_guard lock(state.mutex);
  if (!state.lets_through(wakes)) {
    ++state.stats.refused;
    return std::nullopt;
  }
  if (state.state == CircuitState::half_open) ++state.under_way;
  return Call(state_, state.epoch);
}

inline Task<CircuitBreaker::Call> CircuitBreaker::enter() const {
  const CircuitBreaker self(*this);
  for (;;) {
    auto call = self.try_enter();
    if (call) co_return std::move(*call);
    co_await ChangeOperation(self.state_);
  }
}

inline CircuitState CircuitBreaker::state() const noexcept {
  WakeList wakes;
  const std::lock_guard lock(state_->mutex);
  return state_->look(wakes);
}
inline CircuitStats CircuitBreaker::stats() const noexcept {
  WakeList wakes;
  const std::lock_guard lock(state_->mutex);
  CircuitStats stats = state_->stats;
  stats.state = state_->look(wakes);
  return stats;
}
inline void CircuitBreaker::reset() const noexcept {
  WakeList wakes;
  const std::lock_guard lock(state_->mutex);
  state_->change(CircuitState::closed, wakes);
}

template <class F>
  requires std::invocable<F&>
auto CircuitBreaker::call(F function) const {
  return [](CircuitBreaker self, F f) -> Task<detail::called_t<F>> {
    auto call = self.try_enter();
    if (!call) throw Error(Errc::circuit_open);
    try {
      if constexpr (std::is_void_v<detail::called_t<F>>) {
        co_await detail::call_as_task(f);
        call->succeeded();
        co_return;
      } else {
        auto result = co_await detail::call_as_task(f);
        call->succeeded();
        co_return std::move(result);
      }
    } catch (...) {
      if (!is_cancelled(std::current_exception())) call->failed();
      throw;
    }
  }(*this, std::move(function));
}

}  // namespace weir
