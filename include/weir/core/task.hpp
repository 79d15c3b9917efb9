/// `Task<T>`: a lazy coroutine that is awaited once.
#pragma once

#include <exception>
#include <memory>
#include <optional>
#include <utility>
#include <variant>

#include <weir/core/always_inline.hpp>
#include <weir/core/detail/frame_memory.hpp>
#include <weir/core/promise.hpp>

namespace weir {

template <class T>
class Task;

namespace detail {

template <class T>
class Result {
 public:
  template <class U>
  void set(U&& value) {
    value_.template emplace<1>(static_cast<U&&>(value));
  }
  void fail(std::exception_ptr error) noexcept { value_.template emplace<2>(std::move(error)); }
  T get() {
    if (value_.index() == 2) std::rethrow_exception(std::get<2>(std::move(value_)));
    return std::get<1>(std::move(value_));
  }
  [[nodiscard]] std::exception_ptr error() const noexcept {
    return value_.index() == 2 ? std::get<2>(value_) : nullptr;
  }

 private:
  std::variant<std::monostate, T, std::exception_ptr> value_;
};

template <class T>
class Result<T&> {
 public:
  void set(T& value) noexcept { value_ = std::addressof(value); }
  void fail(std::exception_ptr error) noexcept { error_ = std::move(error); }
  T& get() {
    if (error_) std::rethrow_exception(std::move(error_));
    return *value_;
  }
  [[nodiscard]] std::exception_ptr error() const noexcept { return error_; }

 private:
  T* value_ = nullptr;
  std::exception_ptr error_;
};

template <>
class Result<void> {
 public:
  void fail(std::exception_ptr error) noexcept { error_ = std::move(error); }
  void get() {
    if (error_) std::rethrow_exception(std::move(error_));
  }
  [[nodiscard]] std::exception_ptr error() const noexcept { return error_; }

 private:
  std::exception_ptr error_;
};

/// An awaiter by reference. GCC 12 copies what `await_transform` returns as a reference (GCC bug 99576 and its kin),
/// and an awaiter is not copyable.
template <class A>
class AwaiterRef {
 public:
  explicit AwaiterRef(A& awaiter) noexcept : awaiter_(&awaiter) {}
  [[nodiscard]] WEIR_ALWAYS_INLINE bool await_ready() { return static_cast<bool>(awaiter_->await_ready()); }
  template <class P>
  auto await_suspend(std::coroutine_handle<P> handle) {
    return awaiter_->await_suspend(handle);
  }
  WEIR_ALWAYS_INLINE decltype(auto) await_resume() { return awaiter_->await_resume(); }

 private:
  A* awaiter_;
};

/// An awaiter that was made for this one await, built in place because it need not be movable.
template <class Make>
class AttachedAwaiter {
 public:
  WEIR_ALWAYS_INLINE AttachedAwaiter(Promise& promise, const Make& make) : awaiter_(make()) {
    awaiter_.attach(promise);
  }
  [[nodiscard]] WEIR_ALWAYS_INLINE bool await_ready() { return static_cast<bool>(awaiter_.await_ready()); }
  template <class P>
  auto await_suspend(std::coroutine_handle<P> handle) {
    return awaiter_.await_suspend(handle);
  }
  WEIR_ALWAYS_INLINE decltype(auto) await_resume() { return awaiter_.await_resume(); }

 private:
  std::invoke_result_t<const Make&> awaiter_;
};

/// Which awaitables a `Task` takes. The messages are what a user reads who awaits something else.
class AwaitTransform : public Promise, public PooledFrame {
 public:
  template <class A>
    requires Awaiter<std::remove_reference_t<A>>
  auto await_transform(A&& awaiter) {
    awaiter.attach(*this);
    return AwaiterRef<std::remove_reference_t<A>>(awaiter);
  }

  template <class T>
    requires HasCoAwait<T>
  auto await_transform(T&& awaitable) {
    return AttachedAwaiter(*this, [&awaitable] { return static_cast<T&&>(awaitable).operator co_await(); });
  }

  template <class T>
    requires(!Awaiter<std::remove_reference_t<T>> && !HasCoAwait<T> && Adapted<T>)
  auto await_transform(T&& foreign) {
    const auto adapt = [&foreign] { return AwaitAdapter<std::remove_cvref_t<T>>::adapt(static_cast<T&&>(foreign)); };
    if constexpr (HasCoAwait<decltype(adapt())>) {
      return await_transform(adapt());
    } else {
      return AttachedAwaiter(*this, adapt);
    }
  }

  template <class T>
  void await_transform(Task<T>&) = delete;  // a Task is awaited once: co_await std::move(task)

  template <class T>
    requires(!Awaiter<std::remove_reference_t<T>> && !HasCoAwait<T> && !Adapted<T>)
  std::suspend_never await_transform(T&&) {
    static_assert(
        sizeof(T) == 0,
        "a weir::Task awaits tasks, weir's own operations, Asio's with the token weir::use_task, and asio::awaitable");
    return {};
  }
};

template <class T>
class TaskPromiseBase : public AwaitTransform {
 public:
  [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }
  [[nodiscard]] FinalAwaiter final_suspend() const noexcept { return {}; }
  void unhandled_exception() noexcept { result_.fail(std::current_exception()); }
  [[nodiscard]] Result<T>& result() noexcept { return result_; }

 protected:
  Result<T> result_;
};

template <class T>
class TaskPromise : public TaskPromiseBase<T> {
 public:
  Task<T> get_return_object() noexcept;
  template <class U = T>
    requires std::convertible_to<U&&, T> || std::constructible_from<T, U&&>
  void return_value(U&& value) {
    this->result_.set(static_cast<U&&>(value));
  }
};

template <>
class TaskPromise<void> : public TaskPromiseBase<void> {
 public:
  Task<void> get_return_object() noexcept;
  void return_void() const noexcept {}
};

}  // namespace detail

/// A lazy coroutine: nothing runs before it is awaited or spawned. Move-only; awaited once, as `co_await
/// std::move(task)` or `co_await function()`. It runs where the one that awaits it runs (on the same `Home`), and is
/// cancelled with it. A second await, or one of a moved-from task, throws `Error(Errc::task_consumed)`.
///
/// Allocates the coroutine's frame, and nothing else: from blocks that the calling thread keeps of earlier frames, up
/// to 1 KiB each, else by `operator new`; when the coroutine's parameters begin with `std::allocator_arg_t` and an
/// allocator (behind the object, in a member function or a lambda), by that allocator, of any value type. It is copied
/// into the frame, and frees it, on whichever thread that is destroyed. When there is no memory the call of the
/// coroutine throws. Awaiting costs no post and no lock. Any depth: the stack does not grow, in no
/// build type, because each step goes through the loop of the home. Destroying a task that never started is fine; one
/// that started is destroyed by finishing, or together with its root when the execution context goes.
///
/// With GCC 12, don't build a temporary with braces inside a `co_await` expression when it owns something: it is
/// destroyed twice (GCC bug 104031 and its kin). Name it first.
template <class T = void>
class [[nodiscard("a task does nothing before it is awaited or spawned")]] Task {
 public:
  using promise_type = detail::TaskPromise<T>;
  using value_type = T;
  using Handle = std::coroutine_handle<promise_type>;

  Task() noexcept = default;
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      reset();
      handle_ = std::exchange(other.handle_, {});
    }
    return *this;
  }
  ~Task() { reset(); }

  /// True unless it was awaited, spawned or moved from.
  [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(handle_); }

  class Awaiter {
   public:
    explicit Awaiter(Task&& task) noexcept : task_(std::move(task)) {}

    void attach(Promise& parent) {
      if (!task_) throw Error(Errc::task_consumed);
      task_.handle_.promise().place(parent.home(), parent.scope(), &parent.resumable());
    }
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<>) noexcept {
      Promise& child = task_.handle_.promise();
      child.home().resume_next(child.resumable());
    }
    T await_resume() { return task_.handle_.promise().result().get(); }

   private:
    Task task_;
  };

  Awaiter operator co_await() && noexcept { return Awaiter(std::move(*this)); }

  /// Gives the coroutine away: for those that write their own way of running it, such as `spawn`.
  [[nodiscard]] Handle release() noexcept { return std::exchange(handle_, {}); }
  /// The coroutine, still owned by the task.
  [[nodiscard]] Handle handle() const noexcept { return handle_; }

 private:
  friend promise_type;
  explicit Task(Handle handle) noexcept : handle_(handle) {}
  void reset() noexcept {
    if (handle_) std::exchange(handle_, {}).destroy();
  }

  Handle handle_;
};

namespace detail {

template <class T>
Task<T> TaskPromise<T>::get_return_object() noexcept {
  const auto handle = std::coroutine_handle<TaskPromise>::from_promise(*this);
  this->self_.coroutine = handle;
  return Task<T>(handle);
}

inline Task<void> TaskPromise<void>::get_return_object() noexcept {
  const auto handle = std::coroutine_handle<TaskPromise>::from_promise(*this);
  self_.coroutine = handle;
  return Task<void>(handle);
}

template <class T>
inline constexpr bool is_task = false;
template <class T>
inline constexpr bool is_task<Task<T>> = true;

}  // namespace detail

/// A task that awaits `awaitable` and returns what it gives: for what takes tasks only. A task passes through.
template <Awaitable A>
auto into_task(A&& awaitable) {
  if constexpr (detail::is_task<std::remove_cvref_t<A>>) {
    return Task(static_cast<A&&>(awaitable));
  } else {
    return [](std::remove_cvref_t<A> owned) -> Task<await_result_t<std::remove_cvref_t<A>>> {
      co_return co_await std::move(owned);
    }(static_cast<A&&>(awaitable));
  }
}

}  // namespace weir

/// A task whose frame comes from an allocator.
template <class T, class... Args>
  requires weir::detail::AllocatorFirst<weir::detail::TaskPromise<T>, Args...>::found
struct std::coroutine_traits<weir::Task<T>, Args...>
    : weir::detail::AllocatorFirst<weir::detail::TaskPromise<T>, Args...> {};
