/// `with_cancellation`: a task that a token can cancel.
///
/// Protocol (tests/core/with_cancellation_test.cpp breaks when one of these is broken):
///  1. The awaiter's node is added to the token's state on the home, before the task starts. A token that is cancelled
///     already cancels the task's scope at once instead.
///  2. Whoever cancels unlinks the node and enqueues `wake_` at the home, both under the state's lock, and submits the
///     home after it.
///  3. `wake_` runs on the home and cancels the scope there; scopes are touched nowhere else.
///  4. At its end, and in its destructor, the awaiter removes the node. If the state says that it was told, `wake_` is
///  in
///     the home's queue or has run, because of 2; unless it has run, the awaiter takes it back with `forget`.
///  5. The awaiter holds the token, so the state outlives the node.
#pragma once

#include <optional>
#include <utility>

#include <weir/core/cancellation.hpp>
#include <weir/core/task.hpp>

namespace weir {
namespace detail {

/// Movable until it is attached.
template <class T>
class CancellationAwaiter final {
 public:
  CancellationAwaiter(CancellationToken&& token, Task<T>&& task) noexcept
      : token_(std::move(token)), task_(std::move(task)) {}
  CancellationAwaiter(CancellationAwaiter&& other) noexcept
      : token_(std::move(other.token_)), task_(std::move(other.task_)) {}
  CancellationAwaiter& operator=(CancellationAwaiter&&) = delete;
  ~CancellationAwaiter() { leave(); }

  void attach(Promise& parent) {
    if (!task_) throw Error(Errc::task_consumed);
    home_ = &parent.home();
    scope_.emplace(parent.scope());
    wake_.awaiter = this;
    wake_.callback = &on_cancel;
    node_.awaiter = this;
    if (token_.connected() && !scope_->cancelled()) {
      added_ = token_.state()->add(node_);
      if (!added_) cancel_scope();
    }
    task_.handle().promise().place(parent.home(), *scope_, &parent.resumable());
  }
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<>) noexcept {
    Promise& child = task_.handle().promise();
    child.home().resume_next(child.resumable());
  }
  T await_resume() {
    leave();
    return task_.handle().promise().result().get();
  }

 private:
  struct Wake : Resumable {
    CancellationAwaiter* awaiter = nullptr;
  };
  struct Node : CancellationNode {
    Node() noexcept
        : CancellationNode([](CancellationNode& self, CancellationFiring& firing) noexcept {
            CancellationAwaiter& told = *static_cast<Node&>(self).awaiter;
            firing.wakes.add(*told.home_, told.wake_);
          }) {}
    CancellationAwaiter* awaiter = nullptr;
  };

  static void on_cancel(Resumable& self, bool run) noexcept {
    // A dead home says so under the state's lock: nothing to do, the destructor follows.
    if (!run) return;
    CancellationAwaiter& told = *static_cast<Wake&>(self).awaiter;
    told.added_ = false;
    told.cancel_scope();
  }

  void cancel_scope() noexcept {
    scope_->cancel(token_.reason() == Errc::timed_out ? Errc::timed_out : Errc::cancelled);
  }

  void leave() noexcept {
    if (!std::exchange(added_, false)) return;
    if (!token_.state()->remove(node_)) home_->forget(wake_);
  }

  CancellationToken token_;
  Home* home_ = nullptr;
  bool added_ = false;
  Wake wake_;
  Node node_;
  std::optional<CancelScope> scope_;
  Task<T> task_;
};

}  // namespace detail

/// Runs `task` (or anything awaitable) in a scope that is cancelled when the token is, from whatever thread; with the
/// reason `Errc::timed_out` if that is the token's, otherwise `Errc::cancelled`. The task is joined in any case, and
/// gives its value or its exception: completed beats cancelled. If the token is cancelled already, the task starts, and
/// its first wait throws. Resumes on the home of the one that awaits. Allocates nothing but the task (a frame for an
/// awaitable that is no task); being cancelled allocates nothing.
template <Awaitable A>
  requires(!std::is_lvalue_reference_v<A>)
[[nodiscard]] auto with_cancellation(CancellationToken token, A&& task) {
  auto owned = into_task(std::move(task));
  using T = typename decltype(owned)::value_type;
  return detail::CancellationAwaiter<T>(std::move(token), std::move(owned));
}

}  // namespace weir
