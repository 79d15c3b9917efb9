/// What can be the sender of a stream.
#pragma once

#include <concepts>
#include <functional>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>

#include <weir/core/generator.hpp>
#include <weir/core/task.hpp>
#include <weir/stream/detail/flow_run.hpp>
#include <weir/stream/emitter.hpp>
#include <weir/stream/flow/flow.hpp>

namespace weir {
namespace detail {

template <class R, class T>
inline constexpr bool is_optional_of = false;
template <class U, class T>
inline constexpr bool is_optional_of<std::optional<U>, T> = std::constructible_from<T, U&&>;

template <class R>
inline constexpr bool is_generator = false;
template <class U>
inline constexpr bool is_generator<Generator<U>> = true;

}  // namespace detail

/// A coroutine on an emitter: `Task<>(Emitter<T>&)`. It is cancelled, where it waits, when the stream is stopped.
template <class S, class T>
concept CoroutineSender = requires(S& sender, Emitter<T>& out) {
  { std::invoke(sender, out) } -> Awaitable;
};

/// A plain function on an emitter: `void(Emitter<T>&)`. It runs on the stream's executor, from start to end in one go,
/// and can't wait: it has `try_emit`, which refuses when there is no room.
template <class S, class T>
concept FunctionSender = !CoroutineSender<S, T> && std::invocable<S&, Emitter<T>&>;

/// A function that gives the next value, or nothing when there is no more: `std::optional<T>()`. Called on the stream's
/// executor whenever there is room.
template <class S, class T>
concept PullSender = std::invocable<S&> && detail::is_optional_of<std::remove_cvref_t<std::invoke_result_t<S&>>, T>;

/// A range, such as a container (the stream owns it and moves its elements), a view, or a `Generator`.
template <class S, class T>
concept RangeSender =
    std::ranges::input_range<S> && (std::constructible_from<T, std::ranges::range_reference_t<S>> ||
                                    std::constructible_from<T, std::ranges::range_rvalue_reference_t<S>>);

/// A function that returns a range, such as a coroutine that is a `Generator`.
template <class S, class T>
concept RangeFunctionSender =
    !PullSender<S, T> && std::invocable<S&> && RangeSender<std::remove_cvref_t<std::invoke_result_t<S&>>, T>;

/// A flow: `weir::from(...) | weir::map(...)`. It runs in the sender's root, and is closed when the stream is stopped.
template <class S, class T>
concept FlowSender = Flow<S> && std::constructible_from<T, typename S::value_type&&>;

template <class S, class T>
concept Sender = FlowSender<S, T> || CoroutineSender<S, T> || FunctionSender<S, T> || PullSender<S, T> ||
                 RangeSender<S, T> || RangeFunctionSender<S, T>;

namespace detail {

template <class T, class Range>
Task<> send_range(Range& range, Emitter<T>& out) {
  // The elements of a container that the stream owns, and what a generator yields, are the stream's to move.
  constexpr bool move = !std::ranges::view<Range> || is_generator<Range>;
  const auto last = std::ranges::end(range);
  for (auto next = std::ranges::begin(range); next != last; ++next) {
    if constexpr (move && std::constructible_from<T, std::ranges::range_rvalue_reference_t<Range>>) {
      T value(std::ranges::iter_move(next));
      co_await out.emit(std::move(value));
    } else {
      T value(*next);
      co_await out.emit(std::move(value));
    }
  }
}

/// Runs whatever kind of sender it is. A coroutine of its own only where one is needed.
template <class T, class S>
Task<> run_sender(S& sender, Emitter<T>& out) {
  if constexpr (FlowSender<S, T>) {
    auto emit = [&out](typename S::value_type&& value) {
      if constexpr (std::same_as<typename S::value_type, T>) {
        return out.emit(std::move(value));
      } else {
        return out.emit_emplace(std::move(value));
      }
    };
    auto running = run_flow(sender, emit);
    co_await std::move(running);
  } else if constexpr (CoroutineSender<S, T>) {
    auto running = into_task(std::invoke(sender, out));
    co_await std::move(running);
  } else if constexpr (FunctionSender<S, T>) {
    std::invoke(sender, out);
  } else if constexpr (PullSender<S, T>) {
    while (auto next = std::invoke(sender)) {
      T value(std::move(*next));
      co_await out.emit(std::move(value));
    }
  } else if constexpr (RangeSender<S, T>) {
    auto running = send_range<T>(sender, out);
    co_await std::move(running);
  } else {
    auto range = std::invoke(sender);
    auto running = send_range<T>(range, out);
    co_await std::move(running);
  }
  co_return;
}

}  // namespace detail
}  // namespace weir
