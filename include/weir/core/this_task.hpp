/// What a coroutine can ask about itself: its home, its scope, its clock. Each is awaited, and none suspends:
/// `auto executor = co_await weir::this_task::executor();`
#pragma once

#include <utility>

#include <weir/core/cancellation.hpp>
#include <weir/core/home_executor.hpp>
#include <weir/core/promise.hpp>
#include <weir/core/time_service.hpp>

namespace weir {
namespace detail {

/// Owned by the scope whose token it is the source of.
class ScopeToken final : public Cancellable {
 public:
  [[nodiscard]] static CancellationToken of(CancelScope& scope) {
    if (Cancellable* const found = scope.find(scope_token_kind())) {
      return static_cast<ScopeToken*>(found)->source_.token();
    }
    if (scope.cancelled()) {
      // A scope that was cancelled keeps no members.
      CancellationSource cancelled;
      cancelled.cancel(scope.reason());
      return cancelled.token();
    }
    auto* const made = new ScopeToken(scope);
    scope.link(*made);
    return made->source_.token();
  }

 private:
  explicit ScopeToken(CancelScope& scope) : Cancellable(scope_token_kind()), scope_(scope) {}

  static const Kind& scope_token_kind() noexcept {
    static constexpr Kind kind{[](Cancellable& self) noexcept {
                                 auto& token = static_cast<ScopeToken&>(self);
                                 token.source_.cancel(token.scope_.reason());
                                 delete &token;
                               },
                               [](Cancellable& self) noexcept { delete &static_cast<ScopeToken&>(self); }, nullptr};
    return kind;
  }

  CancelScope& scope_;
  CancellationSource source_;
};

/// Awaits without suspending: gives `Ask{}(promise)`.
template <class Ask>
class AskAwaiter {
 public:
  explicit AskAwaiter(Ask ask) noexcept : ask_(ask) {}

  void attach(Promise& promise) noexcept { promise_ = &promise; }
  [[nodiscard]] bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  decltype(auto) await_resume() const { return ask_(*promise_); }

 private:
  Ask ask_;
  Promise* promise_ = nullptr;
};

}  // namespace detail

namespace this_task {

/// The `Home&` that the coroutine runs on.
[[nodiscard]] inline AwaitableOf<Home&> auto home() noexcept {
  return detail::AskAwaiter([](Promise& promise) noexcept -> Home& { return promise.home(); });
}

/// A `HomeExecutor`: what is posted to it runs one at a time with the coroutines of the root.
[[nodiscard]] inline AwaitableOf<HomeExecutor> auto executor() noexcept {
  return detail::AskAwaiter([](Promise& promise) noexcept { return HomeExecutor(promise.home()); });
}

/// A `CancellationToken` that is cancelled when the scope of the coroutine is (the root's, or that of the nearest
/// `with_timeout` and its kin), with the scope's reason: to hand to other roots and threads. It is never cancelled once
/// the scope has ended. The first call in a scope allocates the token's state; later ones find it, O(members of the
/// scope).
[[nodiscard]] inline AwaitableOf<CancellationToken> auto token() noexcept {
  return detail::AskAwaiter([](Promise& promise) { return detail::ScopeToken::of(promise.scope()); });
}

/// Whether the scope was cancelled: the next wait would throw.
[[nodiscard]] inline AwaitableOf<bool> auto cancelled() noexcept {
  return detail::AskAwaiter([](Promise& promise) noexcept { return promise.scope().cancelled(); });
}

/// Throws `Error(Errc::cancelled)` if the scope was cancelled: for long stretches without a wait. That is also what a
/// wait would throw; `with_timeout` makes `Errc::timed_out` of it where a deadline was the reason.
[[nodiscard]] inline AwaitableOf<void> auto throw_if_cancelled() noexcept {
  return detail::AskAwaiter([](Promise& promise) {
    if (promise.scope().cancelled()) throw Error(Errc::cancelled);
  });
}

/// Names the root in reports. The name is not copied: a literal.
[[nodiscard]] inline AwaitableOf<void> auto set_name(const char* literal) noexcept {
  return detail::AskAwaiter([literal](Promise& promise) noexcept { promise.home().set_name(literal); });
}

/// The time of the execution context's clock, a `TimeService::TimePoint`: virtual in the simulator.
[[nodiscard]] inline AwaitableOf<TimeService::TimePoint> auto now() noexcept {
  return detail::AskAwaiter(
      [](Promise& promise) { return asio::use_service<TimeService>(promise.home().context()).now(); });
}

}  // namespace this_task
}  // namespace weir
