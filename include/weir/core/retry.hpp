/// Trying again: `RetryPolicy`, which says how often and when; `RetryBudget`, which bounds how much of it there is in
/// all; and `retry(policy, function)`, which does it for any function.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

#include <weir/core/detail/called.hpp>
#include <weir/core/error.hpp>
#include <weir/core/home.hpp>
#include <weir/core/promise.hpp>
#include <weir/core/task.hpp>
#include <weir/core/this_task.hpp>
#include <weir/core/time_service.hpp>
#include <weir/core/timer.hpp>

namespace weir {

/// What may be spent on retries by all who share it: each success deposits a part of a token, each retry takes a whole
/// one, and there is none when the account is empty. So a service that is down gets a bounded number of calls more,
/// whatever each caller's policy says. Copies share the account. Any thread; a deposit into a full account writes
/// nothing. The constructor allocates, nothing else does.
class RetryBudget {
 public:
  /// `per_success` tokens for each success, from 0 to 1: 0.1 allows one retry for ten successes. The account begins
  /// full, with `capacity` tokens. Throws `Error(Errc::invalid_argument)` for another rate, or a capacity of 0.
  explicit RetryBudget(double per_success = 0.1, std::uint32_t capacity = 10) {
    if (!(per_success >= 0 && per_success <= 1)) {
      throw Error(Errc::invalid_argument, "RetryBudget: tokens for a success are from 0 to 1");
    }
    if (capacity == 0) throw Error(Errc::invalid_argument, "RetryBudget: a capacity of 0 allows no retry");
    account_ = std::make_shared<Account>();
    account_->deposit = std::llround(per_success * token);
    account_->capacity = std::int64_t{capacity} * token;
    account_->balance = account_->capacity;
  }

  void deposit() const noexcept {
    std::int64_t seen = account_->balance.load(std::memory_order_relaxed);
    while (seen < account_->capacity &&
           !account_->balance.compare_exchange_weak(seen, std::min(seen + account_->deposit, account_->capacity),
                                                    std::memory_order_relaxed)) {
    }
  }
  /// Takes a token. False: there is none, and so no retry.
  [[nodiscard]] bool withdraw() const noexcept {
    std::int64_t seen = account_->balance.load(std::memory_order_relaxed);
    while (seen >= token) {
      if (account_->balance.compare_exchange_weak(seen, seen - token, std::memory_order_relaxed)) return true;
    }
    return false;
  }
  [[nodiscard]] double tokens() const noexcept {
    return static_cast<double>(account_->balance.load(std::memory_order_relaxed)) / token;
  }

 private:
  static constexpr std::int64_t token = 1'000'000;
  struct Account {
    std::int64_t deposit;
    std::int64_t capacity;
    std::atomic<std::int64_t> balance;
  };
  std::shared_ptr<Account> account_;
};

/// How often something that failed is tried again, and how long to wait before. A value: each setting gives a changed
/// copy.
///
///     const auto policy = weir::RetryPolicy::exponential(100ms).max_delay(5s).max_attempts(6).full_jitter();
///
/// Unless said otherwise there are three attempts, the first included, no jitter, and every error is tried again but a
/// cancellation, which never is.
class RetryPolicy {
 public:
  using Duration = TimeService::Duration;
  static constexpr std::uint32_t unlimited = std::numeric_limits<std::uint32_t>::max();

  /// The same delay each time; 0 lets others run once. This and the next two throw `Error(Errc::invalid_argument)` for
  /// a delay below 0.
  template <class Rep, class Period>
  [[nodiscard]] static RetryPolicy fixed(std::chrono::duration<Rep, Period> delay) {
    return RetryPolicy(Growth::none, checked(delay), 1);
  }
  /// `first`, two times `first`, three times `first`, and so on.
  template <class Rep, class Period>
  [[nodiscard]] static RetryPolicy linear(std::chrono::duration<Rep, Period> first) {
    return RetryPolicy(Growth::linear, checked(first), 1);
  }
  /// Each delay is `factor` times the one before. Throws `Error(Errc::invalid_argument)` for a factor below 1, too.
  template <class Rep, class Period>
  [[nodiscard]] static RetryPolicy exponential(std::chrono::duration<Rep, Period> first, double factor = 2) {
    if (!(factor >= 1) || std::isinf(factor)) {
      throw Error(Errc::invalid_argument, "RetryPolicy::exponential: the factor must be at least 1, and finite");
    }
    return RetryPolicy(Growth::exponential, checked(first), factor);
  }

  /// No more than `attempts` calls, the first included, or `unlimited`. Throws `Error(Errc::invalid_argument)` for 0.
  [[nodiscard]] RetryPolicy max_attempts(std::uint32_t attempts) const {
    if (attempts == 0) throw Error(Errc::invalid_argument, "RetryPolicy: at least 1 attempt, the first call");
    return changed([attempts](RetryPolicy& policy) { policy.attempts_ = attempts; });
  }
  /// No delay is longer.
  template <class Rep, class Period>
  [[nodiscard]] RetryPolicy max_delay(std::chrono::duration<Rep, Period> delay) const {
    return changed([cap = checked(delay)](RetryPolicy& policy) { policy.cap_ = cap; });
  }
  /// Each wait is anything between nothing and the delay, so that those who failed together don't come back together.
  /// The dice are those of the root that waits: a run can be repeated. Processes that do the same at the same time
  /// should give each a `seed` of its own.
  [[nodiscard]] RetryPolicy full_jitter(std::uint64_t seed = 0) const {
    return changed([seed](RetryPolicy& policy) {
      policy.jitter_ = true;
      policy.seed_ = seed;
    });
  }
  /// Every retry takes a token of `budget`, which others may share.
  [[nodiscard]] RetryPolicy budget(RetryBudget shared) const {
    return changed([&shared](RetryPolicy& policy) { policy.budget_ = std::move(shared); });
  }
  /// Only what is, or derives from, one of these exceptions is tried again.
  template <class... Exceptions>
    requires(sizeof...(Exceptions) > 0)
  [[nodiscard]] RetryPolicy only_for() const {
    return when([](const std::exception_ptr& error) { return (is<Exceptions>(error) || ...); });
  }
  /// Only what `predicate` says yes to is tried again: a function, or a lambda without captures.
  [[nodiscard]] RetryPolicy when(bool (*predicate)(const std::exception_ptr& error)) const {
    return changed([predicate](RetryPolicy& policy) { policy.predicate_ = predicate; });
  }

  /// The delay before the retry of this number, from 1, without jitter.
  [[nodiscard]] Duration delay(std::uint32_t retry) const noexcept {
    double times = 1;
    if (growth_ == Growth::linear) times = retry;
    if (growth_ == Growth::exponential) times = std::pow(factor_, static_cast<double>(retry) - 1);
    const double ticks = static_cast<double>(first_.count()) * times;
    // NaN is nothing times infinity.
    if (!(ticks < static_cast<double>(cap_.count()))) return first_ == Duration::zero() ? first_ : cap_;
    return Duration(static_cast<Duration::rep>(ticks));
  }

  /// For those who carry a policy out: after `attempts` calls, the last of which threw `error`, how long to wait for
  /// the next one; nothing: give up. Takes a token of the budget when there is to be one. On the home.
  [[nodiscard]] std::optional<Duration> next(std::uint32_t attempts, const std::exception_ptr& error,
                                             Home& home) const {
    if (attempts_ != unlimited && attempts >= attempts_) return std::nullopt;
    if (!retryable(error) || (budget_ && !budget_->withdraw())) return std::nullopt;
    const Duration full = delay(attempts);
    if (!jitter_) return full;
    const double part = static_cast<double>(roll(home) >> 11) * 0x1p-53;
    return Duration(static_cast<Duration::rep>(static_cast<double>(full.count()) * part));
  }
  /// The call succeeded, at whichever attempt: the budget's deposit. Any thread.
  void succeeded() const noexcept {
    if (budget_) budget_->deposit();
  }
  [[nodiscard]] bool retryable(const std::exception_ptr& error) const {
    return !cancellation(error) && (!predicate_ || predicate_(error));
  }

 private:
  enum class Growth : std::uint8_t { none, linear, exponential };

  RetryPolicy(Growth growth, Duration first, double factor) noexcept
      : first_(first), factor_(factor), growth_(growth) {}

  template <class Rep, class Period>
  static Duration checked(std::chrono::duration<Rep, Period> delay) {
    if (!(delay >= delay.zero())) throw Error(Errc::invalid_argument, "RetryPolicy: a delay can't be negative");
    return detail::clock_duration(delay);
  }
  template <class Change>
  [[nodiscard]] RetryPolicy changed(Change change) const {
    RetryPolicy policy(*this);
    change(policy);
    return policy;
  }
  template <class E>
  [[nodiscard]] static bool is(const std::exception_ptr& error) {
    try {
      std::rethrow_exception(error);
    } catch (const E&) {
      return true;
    } catch (...) {
      return false;
    }
  }
  [[nodiscard]] static bool cancellation(const std::exception_ptr& error) {
    try {
      std::rethrow_exception(error);
    } catch (const std::system_error& e) {
      return is_cancellation(e.code());
    } catch (...) {
      return false;
    }
  }
  /// The dice of every root begin alike: its number makes the difference. SplitMix64.
  [[nodiscard]] std::uint64_t roll(Home& home) const noexcept {
    constexpr auto all = std::numeric_limits<std::uint32_t>::max();
    std::uint64_t x = seed_ ^ (home.id() << 32) ^ home.pick(all);
    x += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
  }

  Duration first_;
  Duration cap_ = Duration::max();
  double factor_;
  std::uint64_t seed_ = 0;
  std::uint32_t attempts_ = 3;
  Growth growth_;
  bool jitter_ = false;
  bool (*predicate_)(const std::exception_ptr&) = nullptr;
  std::optional<RetryBudget> budget_;
};

/// Calls `function`, a plain one or one that returns something awaitable, until it succeeds or `policy` gives up; then
/// it throws what the last call threw. Runs, waits and calls on the home of the coroutine that awaits; the task owns
/// the function. When the scope is cancelled, a wait throws `Error(Errc::cancelled)`, and what a call throws is thrown.
/// Allocates the task's frame, and one for each call.
///
///     auto page = co_await weir::retry(policy, [&] { return get(url); });
template <class F>
  requires std::invocable<F&>
[[nodiscard]] Task<detail::called_t<F>> retry(RetryPolicy policy, F function) {
  Home& home = co_await this_task::home();
  for (std::uint32_t attempts = 1;; ++attempts) {
    std::exception_ptr error;
    try {
      if constexpr (std::is_void_v<detail::called_t<F>>) {
        co_await detail::call_as_task(function);
        policy.succeeded();
        co_return;
      } else {
        auto result = co_await detail::call_as_task(function);
        policy.succeeded();
        co_return std::move(result);
      }
    } catch (...) {
      error = std::current_exception();
    }
    const bool cancelled = co_await this_task::cancelled();
    const auto delay = cancelled ? std::nullopt : policy.next(attempts, error, home);
    if (!delay) std::rethrow_exception(std::move(error));
    co_await sleep_for(*delay);
  }
}

}  // namespace weir
