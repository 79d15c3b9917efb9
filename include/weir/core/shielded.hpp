/// `shielded`: a task that is not cancelled with the one that awaits it.
#pragma once

#include <optional>
#include <utility>

#include <weir/core/promise.hpp>
#include <weir/core/task.hpp>

namespace weir {
namespace detail {

template <class T>
class ShieldedAwaiter : public Cancellable {
 public:
  explicit ShieldedAwaiter(Task<T>&& task) noexcept : Cancellable(shield_kind()), task_(std::move(task)) {}
  ShieldedAwaiter(ShieldedAwaiter&& other) noexcept
      : Cancellable(shield_kind()), task_(std::move(other.task_)), parent_(other.parent_) {}
  ShieldedAwaiter& operator=(ShieldedAwaiter&&) = delete;

  void attach(Promise& parent) {
    if (!task_) throw Error(Errc::task_consumed);
    parent_ = &parent;
  }
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<>) noexcept {
    // Linked only to be seen in reports.
    if (!parent_->scope().cancelled()) parent_->scope().link(*this);
    scope_.emplace();
    Promise& child = task_.handle().promise();
    child.place(parent_->home(), *scope_, &parent_->resumable());
    parent_->home().resume_next(child.resumable());
  }
  T await_resume() {
    unlink();
    return task_.handle().promise().result().get();
  }

 private:
  static const Kind& shield_kind() noexcept {
    static constexpr Kind kind{nullptr, nullptr, "shielded task"};
    return kind;
  }

  // The task last: what waits in it is linked into the scope.
  std::optional<CancelScope> scope_;
  Task<T> task_;
  Promise* parent_ = nullptr;
};

}  // namespace detail

/// Awaits `awaitable` in a scope of its own, which is not cancelled when the awaiting task is: for clean-up that has to
/// wait, after a cancellation too. It starts even if the task has been cancelled already, and the cancellation takes
/// effect at the next operation after it. Keep what is inside short, or give it a timeout: nothing else ends it but the
/// end of the execution context. Runs on the same home; gives and throws what the task does. Costs no allocation and no
/// lock. Throws `Error(Errc::task_consumed)` for an empty task.
template <Awaitable A>
  requires(!std::is_lvalue_reference_v<A>)
[[nodiscard]] auto shielded(A&& awaitable) {
  return detail::ShieldedAwaiter<await_result_t<A>>(into_task(std::move(awaitable)));
}

}  // namespace weir
