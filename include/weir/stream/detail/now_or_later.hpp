/// What an operation gives that is done at once in nearly every case.
#pragma once

#include <coroutine>
#include <optional>
#include <utility>

#include <weir/core/task.hpp>

namespace weir::detail {

/// Done at once: then no frame and no suspension. Otherwise a task does the rest.
template <class R>
class [[nodiscard("co_await it")]] NowOrLater {
 public:
  explicit NowOrLater(R&& value) : value_(std::move(value)) {}
  explicit NowOrLater(Task<R>&& rest) noexcept : rest_(std::move(rest)) {}
  NowOrLater(const NowOrLater&) = delete;
  NowOrLater& operator=(const NowOrLater&) = delete;

  void attach(Promise& parent) noexcept {
    if (rest_) rest_.handle().promise().place(parent.home(), parent.scope(), &parent.resumable());
  }
  [[nodiscard]] bool await_ready() const noexcept { return !rest_; }
  void await_suspend(std::coroutine_handle<>) noexcept {
    Promise& child = rest_.handle().promise();
    child.home().resume_next(child.resumable());
  }
  R await_resume() {
    if (rest_) return rest_.handle().promise().result().get();
    return std::move(*value_);
  }

 private:
  std::optional<R> value_;
  Task<R> rest_;
};

template <>
class [[nodiscard("co_await it")]] NowOrLater<void> {
 public:
  NowOrLater() noexcept = default;
  /// An empty task: it is done.
  explicit NowOrLater(Task<>&& rest) noexcept : rest_(std::move(rest)) {}
  NowOrLater(const NowOrLater&) = delete;
  NowOrLater& operator=(const NowOrLater&) = delete;

  void attach(Promise& parent) noexcept {
    if (rest_) rest_.handle().promise().place(parent.home(), parent.scope(), &parent.resumable());
  }
  [[nodiscard]] bool await_ready() const noexcept { return !rest_; }
  void await_suspend(std::coroutine_handle<>) noexcept {
    Promise& child = rest_.handle().promise();
    child.home().resume_next(child.resumable());
  }
  void await_resume() {
    if (rest_) rest_.handle().promise().result().get();
  }

 private:
  Task<> rest_;
};

}  // namespace weir::detail
