/// What every coroutine of the library has in common, and what it can await.
#pragma once

#include <concepts>
#include <coroutine>
#include <type_traits>
#include <utility>

#include <weir/core/home.hpp>

namespace weir {

/// The base of the promise of every `Task`: where it runs, what cancels it, and what follows it. An awaiter gets it in
/// `attach`, before anything else happens, and wakes the coroutine by handing `resumable()` to the home.
class Promise {
 public:
  Promise(const Promise&) = delete;
  Promise& operator=(const Promise&) = delete;

  [[nodiscard]] Home& home() const noexcept { return *home_; }
  [[nodiscard]] CancelScope& scope() const noexcept { return *scope_; }
  /// The coroutine itself: it waits in one place at a time, so one is enough for all its waits.
  [[nodiscard]] Resumable& resumable() noexcept { return self_; }

  /// Gives a task that has not started its place: it runs at `home`, is cancelled by `scope`, and `continuation`
  /// follows it (null: it is the root).
  void place(Home& home, CancelScope& scope, Resumable* continuation) noexcept {
    home_ = &home;
    scope_ = &scope;
    continuation_ = continuation;
  }

 protected:
  Promise() = default;

  struct FinalAwaiter {
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <class P>
    void await_suspend(std::coroutine_handle<P> finished) const noexcept {
      Promise& promise = finished.promise();
      if (promise.continuation_) {
        promise.home_->resume_next(*promise.continuation_);
      } else {
        promise.home_->root_returned();
      }
    }
    void await_resume() const noexcept {}
  };

  Resumable self_;

 private:
  Home* home_ = nullptr;
  CancelScope* scope_ = nullptr;
  Resumable* continuation_ = nullptr;
};

/// What a weir coroutine can wait with. The contract:
///  1. `attach(promise)` comes first, on the home of the coroutine that awaits; it may throw.
///  2. `await_ready()` true: done at once. Otherwise `await_suspend(handle)`, which returns void (it is suspended) or
///  bool.
///  3. To wake it, hand `promise.resumable()` to `promise.home()`, once, by any of the home's functions.
///  4. While suspended it is linked into `promise.scope()`, if it can be cancelled; its destructor unlinks it
///  everywhere,
///     because the frame may be destroyed while it waits.
template <class A>
concept Awaiter = requires(A& awaiter, Promise& promise) {
  awaiter.attach(promise);
  { awaiter.await_ready() } -> std::convertible_to<bool>;
  awaiter.await_resume();
};

/// Makes something else awaitable in a weir coroutine: specialise it with `static` `adapt(T&&)`, which returns an
/// `Awaiter` or a `Task`. The library does so for `asio::awaitable`.
template <class T>
struct AwaitAdapter;

namespace detail {

template <class T>
concept HasCoAwait = requires(T&& t) {
  { static_cast<T&&>(t).operator co_await() } -> Awaiter;
};

template <class T>
concept Adapted = requires(T&& t) { AwaitAdapter<std::remove_cvref_t<T>>::adapt(static_cast<T&&>(t)); };

template <class T>
decltype(auto) awaiter_of(T&& t) {
  if constexpr (HasCoAwait<T>) {
    return static_cast<T&&>(t).operator co_await();
  } else {
    return static_cast<T&&>(t);
  }
}

template <class T>
struct await_result {};
template <class T>
  requires Awaiter<std::remove_reference_t<T>> || HasCoAwait<T>
struct await_result<T> {
  using type = decltype(detail::awaiter_of(std::declval<T>()).await_resume());
};
template <class T>
  requires(!Awaiter<std::remove_reference_t<T>> && !HasCoAwait<T> && Adapted<T>)
struct await_result<T> : await_result<decltype(AwaitAdapter<std::remove_cvref_t<T>>::adapt(std::declval<T>()))> {};

}  // namespace detail

/// What a weir coroutine can `co_await`: a task, a weir awaiter, what has an `AwaitAdapter`.
template <class T>
concept Awaitable = requires { typename detail::await_result<T>::type; };

/// What `co_await` of it gives.
template <Awaitable T>
using await_result_t = typename detail::await_result<T>::type;

/// An `Awaitable` that gives a `R`: lets a declaration say what comes back.
template <class T, class R>
concept AwaitableOf = Awaitable<T> && std::same_as<await_result_t<T>, R>;

}  // namespace weir
