/// The one door to Asio: every other header of the library reaches Asio through this one, and what differs between
/// Asio's releases is settled here. Standalone Asio 1.22.1 and up.
#pragma once

// Asio 1.22 takes Clang's coroutines for the experimental ones of old, and hides asio::awaitable.
#if defined(__clang__) && defined(__cpp_impl_coroutine) && !defined(ASIO_HAS_CO_AWAIT)
#  if defined(ASIO_DETAIL_CONFIG_HPP)
#    error "this Asio hides asio::awaitable from Clang: include weir before Asio, or define ASIO_HAS_CO_AWAIT=1"
#  endif
#  define ASIO_HAS_CO_AWAIT 1
#endif

#include <asio/any_io_executor.hpp>
#include <asio/associated_allocator.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/awaitable.hpp>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/dispatch.hpp>
#include <asio/error.hpp>
#include <asio/execution.hpp>
#include <asio/execution_context.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/post.hpp>
#include <asio/prefer.hpp>
#include <asio/query.hpp>
#include <asio/require.hpp>
#include <asio/steady_timer.hpp>
#include <asio/strand.hpp>
#include <asio/this_coro.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/version.hpp>
#include <concepts>
#include <type_traits>
#include <typeinfo>

#if ASIO_VERSION < 102201
#  error "weir needs standalone Asio 1.22.1 or newer"
#endif

namespace weir {

/// An executor in Asio's sense: what `asio::post` takes first.
template <class E>
concept Executor = asio::execution::is_executor<std::remove_cvref_t<E>>::value;

/// Something that has an executor and is an execution context, such as `asio::io_context` and `asio::thread_pool`.
template <class C>
concept ExecutionContext =
    std::derived_from<std::remove_cvref_t<C>, asio::execution_context> && requires(std::remove_cvref_t<C>& context) {
      { context.get_executor() } -> Executor;
    };

/// Where work can be started: an executor or an execution context.
template <class E>
concept ExecutorSource = Executor<E> || ExecutionContext<E>;

/// The executor of either. A context must outlive what is started on it.
template <ExecutorSource E>
[[nodiscard]] auto executor_of(E&& source) {
  if constexpr (Executor<E>) {
    return std::remove_cvref_t<E>(static_cast<E&&>(source));
  } else {
    return source.get_executor();
  }
}

/// The execution context behind an executor.
template <Executor E>
[[nodiscard]] asio::execution_context& context_of(const E& executor) {
  return asio::query(executor, asio::execution::context_as<asio::execution_context&>);
}

namespace detail {

template <class E>
concept KnowsItsThreads = requires(const E& executor) {
  { executor.running_in_this_thread() } -> std::convertible_to<bool>;
};

template <class E>
concept WrapsExecutor = requires(const E& executor) {
  { executor.get_inner_executor() } -> Executor;
};

}  // namespace detail

/// Whether the calling thread is one of those that run `executor`, as far as it tells: a strand tells of what it is on,
/// an `any_io_executor` only of Asio's own executors inside it. False when it does not tell.
template <Executor E>
[[nodiscard]] bool runs_on_this_thread(const E& executor) noexcept {
  if constexpr (std::same_as<E, asio::any_io_executor>) {
    const auto one_of = [&executor]<class... T>(std::type_identity<T>...) {
      // Asio 1.22's target() takes the caller's word for the type.
      return ((executor.target_type() == typeid(T) && runs_on_this_thread(*executor.template target<T>())) || ...);
    };
    return one_of(std::type_identity<asio::io_context::executor_type>(),
                  std::type_identity<asio::thread_pool::executor_type>(),
                  std::type_identity<asio::strand<asio::io_context::executor_type>>(),
                  std::type_identity<asio::strand<asio::thread_pool::executor_type>>(),
                  std::type_identity<asio::strand<asio::any_io_executor>>());
  } else if constexpr (detail::WrapsExecutor<E>) {
    return runs_on_this_thread(executor.get_inner_executor());
  } else if constexpr (detail::KnowsItsThreads<E>) {
    return executor.running_in_this_thread();
  } else {
    return false;
  }
}

/// True for the types of executors that run what they are given as it comes, without rules of their own (as a strand
/// has): what runs on such a one may run something else that was meant for it.
template <class E>
inline constexpr bool is_plain_executor =
    std::same_as<E, asio::io_context::executor_type> || std::same_as<E, asio::thread_pool::executor_type>;

/// The same of an executor: what an `any_io_executor` holds counts.
template <Executor E>
[[nodiscard]] bool is_plain(const E& executor) noexcept {
  if constexpr (std::same_as<E, asio::any_io_executor>) {
    return executor.target_type() == typeid(asio::io_context::executor_type) ||
           executor.target_type() == typeid(asio::thread_pool::executor_type);
  } else {
    return is_plain_executor<E>;
  }
}

/// How many threads run `executor`, as far as it tells: 1 if it does not. A `thread_pool` does, an `io_context` can't.
template <Executor E>
[[nodiscard]] std::size_t threads_of(const E& executor) noexcept {
  if constexpr (std::same_as<E, asio::any_io_executor>) {
    // Asio 1.22's target() takes the caller's word for the type.
    if (executor.target_type() != typeid(asio::thread_pool::executor_type)) return 1;
    return threads_of(*executor.template target<asio::thread_pool::executor_type>());
  } else if constexpr (asio::can_query<const E&, asio::execution::occupancy_t>::value) {
    return static_cast<std::size_t>(asio::query(executor, asio::execution::occupancy));
  } else {
    return 1;
  }
}

}  // namespace weir
