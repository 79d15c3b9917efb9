/// `when_all`: awaits several tasks beside each other.
#pragma once

#include <cstddef>
#include <exception>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <weir/core/detail/join.hpp>
#include <weir/core/task.hpp>

namespace weir {
namespace detail {

template <class... T>
class WhenAllAwaiter {
 public:
  explicit WhenAllAwaiter(Task<T>&&... tasks) noexcept : children_(Child<T>(std::move(tasks))...) {}
  WhenAllAwaiter(WhenAllAwaiter&&) noexcept = default;
  WhenAllAwaiter& operator=(WhenAllAwaiter&&) = delete;

  void attach(Promise& parent) {
    const bool all =
        std::apply([](const auto&... child) { return (true && ... && static_cast<bool>(child)); }, children_);
    if (!all) throw Error(Errc::task_consumed);
    join_.attach(parent);
  }
  [[nodiscard]] bool await_ready() const noexcept { return sizeof...(T) == 0; }
  void await_suspend(std::coroutine_handle<>) noexcept {
    join_.start(sizeof...(T));
    std::size_t index = 0;
    std::apply([&](auto&... child) { (child.start(join_, index++), ...); }, children_);
  }
  std::tuple<stored_t<T>...> await_resume() {
    rethrow(std::index_sequence_for<T...>());
    return std::apply([](auto&... child) { return std::tuple<stored_t<T>...>{child.take()...}; }, children_);
  }

 private:
  template <std::size_t... I>
  void rethrow(std::index_sequence<I...>) const {
    if (join_.decided() == Join::none) return;
    std::exception_ptr error;
    ((I == join_.decided() ? void(error = std::get<I>(children_).error()) : void()), ...);
    std::rethrow_exception(std::move(error));
  }

  Join join_{Join::Decides::first_error};
  std::tuple<Child<T>...> children_;
};

template <class T>
class WhenAllOfAwaiter {
 public:
  explicit WhenAllOfAwaiter(std::vector<Task<T>>&& tasks) {
    children_.reserve(tasks.size());
    for (Task<T>& task : tasks) children_.emplace_back(std::move(task));
  }
  WhenAllOfAwaiter(WhenAllOfAwaiter&&) noexcept = default;
  WhenAllOfAwaiter& operator=(WhenAllOfAwaiter&&) = delete;

  void attach(Promise& parent) {
    for (const Child<T>& child : children_) {
      if (!child) throw Error(Errc::task_consumed);
    }
    join_.attach(parent);
  }
  [[nodiscard]] bool await_ready() const noexcept { return children_.empty(); }
  void await_suspend(std::coroutine_handle<>) noexcept {
    join_.start(children_.size());
    for (std::size_t i = 0; i < children_.size(); ++i) children_[i].start(join_, i);
  }
  auto await_resume() {
    if (join_.decided() != Join::none) std::rethrow_exception(children_[join_.decided()].error());
    if constexpr (!std::is_void_v<T>) {
      std::vector<stored_t<T>> results;
      results.reserve(children_.size());
      for (Child<T>& child : children_) results.push_back(child.take());
      return results;
    }
  }

 private:
  Join join_{Join::Decides::first_error};
  std::vector<Child<T>> children_;
};

}  // namespace detail

/// Runs the tasks (or what else can be awaited) beside each other, and gives all their results, once all have ended:
/// `std::tuple`, with `std::monostate` for void and `std::reference_wrapper` for a reference.
///
/// All run on the home of the one that awaits, one at a time: this is concurrency, not parallelism (for that, `spawn`
/// on a pool). They start in their order. The first one that throws cancels the others; when all have ended, that first
/// exception is rethrown, and what the others gave or threw is dropped. When the awaiting task is cancelled, so are
/// they. Throws `Error(Errc::task_consumed)` for an empty task, before any has started. Nothing is allocated besides
/// the frames of the tasks, and no lock is taken.
template <Awaitable... A>
  requires(!std::is_lvalue_reference_v<A> && ...)
[[nodiscard]] auto when_all(A&&... awaitables) {
  return detail::WhenAllAwaiter<await_result_t<A>...>(into_task(std::move(awaitables))...);
}

/// The same for any number of tasks of one type: gives `std::vector<T>` in their order, or nothing for void. Allocates
/// one block for the group.
template <class T>
[[nodiscard]] auto when_all(std::vector<Task<T>> tasks) {
  return detail::WhenAllOfAwaiter<T>(std::move(tasks));
}

}  // namespace weir
