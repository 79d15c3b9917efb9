/// `asio::awaitable` and weir's tasks, each awaited inside the other.
#pragma once

#include <coroutine>
#include <optional>
#include <type_traits>
#include <utility>

#include <weir/asio.hpp>
#include <weir/core/home_executor.hpp>
#include <weir/core/spawn.hpp>
#include <weir/core/task.hpp>
#include <weir/core/use_task.hpp>

namespace weir {
namespace detail {

/// Gives the home of the coroutine that awaits it, at once.
class ThisHome {
 public:
  ThisHome() = default;
  ThisHome(const ThisHome&) = delete;
  ThisHome& operator=(const ThisHome&) = delete;

  void attach(Promise& promise) noexcept { home_ = &promise.home(); }
  [[nodiscard]] bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  [[nodiscard]] Home& await_resume() const noexcept { return *home_; }

 private:
  Home* home_ = nullptr;
};

/// `co_spawn` wants to default-construct a result that there is none of, when an exception comes instead.
template <class T, class Ex>
asio::awaitable<void, Ex> into_optional(asio::awaitable<T, Ex> awaitable, std::optional<T>& out) {
  out.emplace(co_await std::move(awaitable));
}

template <class T, class Ex>
Task<T> run_at_home(asio::awaitable<T, Ex> awaitable) {
  Home& home = co_await ThisHome();
  const Ex executor{HomeExecutor(home)};
  if constexpr (std::is_void_v<T>) {
    co_await asio::co_spawn(executor, std::move(awaitable), use_task);
  } else {
    std::optional<T> result;
    co_await asio::co_spawn(executor, into_optional(std::move(awaitable), result), use_task);
    co_return std::move(*result);
  }
}

template <class Ex, class T>
asio::awaitable<T, Ex> run_as_root(Task<T> task) {
  const Ex executor = co_await asio::this_coro::executor;
  constexpr asio::use_awaitable_t<Ex> token;
  if constexpr (std::is_void_v<T>) {
    co_await spawn(executor, std::move(task), token);
  } else if constexpr (std::is_default_constructible_v<T>) {
    co_return co_await spawn(executor, std::move(task), token);
  } else {
    co_return std::move(*co_await spawn(executor, std::move(task), token));
  }
}

}  // namespace detail

/// A weir coroutine awaits an `asio::awaitable<T>`: `co_await session(std::move(socket))`. It runs on the home of the
/// one that awaits it, as `asio::co_spawn` on it would run it: `asio::this_coro::executor` is a `HomeExecutor`, so it
/// never overlaps with the task. A cancel passes through (each kind; `asio::awaitable` heeds `terminal` unless told
/// otherwise). It resumes on the home. What it throws is thrown. `T` need not be default-constructible. `Ex` is
/// `asio::any_io_executor` or whatever else is made of a `HomeExecutor`. Allocates what `asio::co_spawn` does.
template <class T, class Ex>
  requires std::constructible_from<Ex, HomeExecutor>
struct AwaitAdapter<asio::awaitable<T, Ex>> {
  static Task<T> adapt(asio::awaitable<T, Ex>&& awaitable) { return detail::run_at_home(std::move(awaitable)); }
};

/// Awaits something of weir's inside an `asio::awaitable`: `co_await weir::as_awaitable(rx.receive())`. A root of its
/// own runs it on the coroutine's executor (in a home: on that home), and it resumes there. The coroutine's
/// cancellation, such as that of a slot bound to it, cancels the root. What it throws is thrown. `T` need not be
/// default-constructible. Allocates the frame, and the block of a root.
template <class Ex = asio::any_io_executor, Awaitable A>
  requires(!std::is_lvalue_reference_v<A>)
[[nodiscard]] asio::awaitable<await_result_t<A>, Ex> as_awaitable(A&& awaitable) {
  return detail::run_as_root<Ex>(into_task(std::move(awaitable)));
}

}  // namespace weir
