/// `when_any`: awaits the first of several tasks.
#pragma once

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <weir/core/detail/join.hpp>
#include <weir/core/task.hpp>

namespace weir {

/// What `when_any` of a vector gives: which task was first, and its result.
template <class T>
struct WhenAny {
  WhenAny(std::size_t i, T v) : index(i), value(std::move(v)) {}
  std::size_t index;
  T value;
};
template <>
struct WhenAny<void> {
  explicit WhenAny(std::size_t i) noexcept : index(i) {}
  std::size_t index;
};
template <class T>
struct WhenAny<T&> {
  WhenAny(std::size_t i, T& v) noexcept : index(i), value(v) {}
  std::size_t index;
  T& value;
};

namespace detail {

template <class... T>
class WhenAnyAwaiter {
 public:
  explicit WhenAnyAwaiter(Task<T>&&... tasks) noexcept : children_(Child<T>(std::move(tasks))...) {}
  WhenAnyAwaiter(WhenAnyAwaiter&&) noexcept = default;
  WhenAnyAwaiter& operator=(WhenAnyAwaiter&&) = delete;

  void attach(Promise& parent) {
    const bool all =
        std::apply([](const auto&... child) { return (true && ... && static_cast<bool>(child)); }, children_);
    if (!all) throw Error(Errc::task_consumed);
    join_.attach(parent);
  }
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<>) noexcept {
    join_.start(sizeof...(T));
    std::size_t index = 0;
    std::apply([&](auto&... child) { (child.start(join_, index++), ...); }, children_);
  }
  std::variant<stored_t<T>...> await_resume() { return take<0>(); }

 private:
  template <std::size_t I>
  std::variant<stored_t<T>...> take() {
    if constexpr (I + 1 < sizeof...(T)) {
      if (join_.decided() != I) return take<I + 1>();
    }
    return std::variant<stored_t<T>...>(std::in_place_index<I>, std::get<I>(children_).take());
  }

  Join join_{Join::Decides::first_end};
  std::tuple<Child<T>...> children_;
};

template <class T>
class WhenAnyOfAwaiter {
 public:
  explicit WhenAnyOfAwaiter(std::vector<Task<T>>&& tasks) {
    children_.reserve(tasks.size());
    for (Task<T>& task : tasks) children_.emplace_back(std::move(task));
  }
  WhenAnyOfAwaiter(WhenAnyOfAwaiter&&) noexcept = default;
  WhenAnyOfAwaiter& operator=(WhenAnyOfAwaiter&&) = delete;

  void attach(Promise& parent) {
    if (children_.empty()) throw Error(Errc::invalid_argument, "when_any of no tasks would never end");
    for (const Child<T>& child : children_) {
      if (!child) throw Error(Errc::task_consumed);
    }
    join_.attach(parent);
  }
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<>) noexcept {
    join_.start(children_.size());
    for (std::size_t i = 0; i < children_.size(); ++i) children_[i].start(join_, i);
  }
  WhenAny<T> await_resume() {
    Child<T>& first = children_[join_.decided()];
    if constexpr (std::is_void_v<T>) {
      first.take();
      return WhenAny<T>(join_.decided());
    } else {
      return WhenAny<T>(join_.decided(), first.take());
    }
  }

 private:
  Join join_{Join::Decides::first_end};
  std::vector<Child<T>> children_;
};

}  // namespace detail

/// Runs the tasks (or what else can be awaited) beside each other; the first that ends, with a result or an exception,
/// decides. The others are then cancelled, and it resumes when all have ended: nothing of them is left behind. Gives a
/// `std::variant` whose `index()` is the task's (`std::monostate` for void, `std::reference_wrapper` for a reference),
/// or throws what the first threw.
///
/// What another task gave is dropped, also when it ended at about the same time: something that must not be lost, such
/// as a value received from a channel, is better waited for in another way. All run on the home of the one that awaits,
/// one at a time: this is concurrency, not parallelism. They start in their order. When the awaiting task is cancelled,
/// so are they. Throws `Error(Errc::task_consumed)` for an empty task, before any has started. Nothing is allocated
/// besides the frames of the tasks, and no lock is taken.
template <Awaitable... A>
  requires(sizeof...(A) != 0 && (!std::is_lvalue_reference_v<A> && ...))
[[nodiscard]] auto when_any(A&&... awaitables) {
  return detail::WhenAnyAwaiter<await_result_t<A>...>(into_task(std::move(awaitables))...);
}

/// The same for tasks of one type; gives a `WhenAny<T>`. Throws `Error(Errc::invalid_argument)` when there are none.
/// Allocates one block for the group.
template <class T>
[[nodiscard]] auto when_any(std::vector<Task<T>> tasks) {
  return detail::WhenAnyOfAwaiter<T>(std::move(tasks));
}

}  // namespace weir
