/// `with_scope`: children that are always joined.
#pragma once

#include <cassert>
#include <concepts>
#include <cstddef>
#include <exception>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

#include <weir/core/promise.hpp>
#include <weir/core/task.hpp>

namespace weir {
namespace detail {

template <class F>
class WithScopeAwaiter;

template <class F>
concept ChildFunction = std::invocable<std::decay_t<F>&> && Awaitable<std::invoke_result_t<std::decay_t<F>&>>;

}  // namespace detail

/// Where the children of a `with_scope` are started. It lives until `with_scope` resumes; used on its home only, by the
/// body and by the children.
class Scope {
 public:
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

  /// Starts a child beside those that run: a task, or something else that can be awaited. It starts when those that are
  /// ready now have had their turn. What it returns is dropped; the first exception of a child cancels the scope and is
  /// rethrown by `with_scope`. In a scope that was cancelled the child starts too, and ends at its first wait.
  ///
  /// One allocation besides the child's frame, freed with it when the child ends. Throws `Error(Errc::task_consumed)`
  /// for an empty task. O(1).
  template <Awaitable A>
    requires(!std::is_lvalue_reference_v<A>)
  void spawn(A&& awaitable) {
    auto task = into_task(std::move(awaitable));
    using T = typename decltype(task)::value_type;
    if (!task) throw Error(Errc::task_consumed);
    Child<T>* const child = new Child<T>(*this, std::move(task));
    child->start();
  }

  /// The same for a function that returns something to await, such as a coroutine lambda: it is called at once, and it
  /// and its captures live as long as the child.
  template <class F>
    requires(!Awaitable<F> && detail::ChildFunction<F>)
  void spawn(F&& function) {
    using Owned = std::decay_t<F>;
    using T = await_result_t<std::invoke_result_t<Owned&>>;
    auto* const child = new FunctionChild<T, Owned>(*this, static_cast<F&&>(function));
    child->start();
  }

  /// Cancels the children and the body. Children that end by that are no error.
  void cancel() noexcept {
    asked_ = true;
    cancel_scope_.cancel();
  }
  [[nodiscard]] bool cancelled() const noexcept { return cancel_scope_.cancelled(); }
  /// How many children have not ended.
  [[nodiscard]] std::size_t size() const noexcept { return children_; }

 protected:
  explicit Scope(Promise& parent) noexcept : parent_(parent), cancel_scope_(parent.scope()) {}
  ~Scope() = default;

 private:
  template <class F>
  friend class detail::WithScopeAwaiter;

  struct ChildBase : Resumable {
    explicit ChildBase(Scope& s) noexcept : scope(&s), next_child(s.first_) {
      if (next_child) next_child->previous_child = this;
      s.first_ = this;
      ++s.children_;
    }
    ChildBase(const ChildBase&) = delete;
    ChildBase& operator=(const ChildBase&) = delete;
    virtual ~ChildBase() {
      (previous_child ? previous_child->next_child : scope->first_) = next_child;
      if (next_child) next_child->previous_child = previous_child;
      --scope->children_;
    }
    Scope* scope;
    ChildBase* previous_child = nullptr;
    ChildBase* next_child;
  };

  /// The child's own coroutine stands in `coroutine`, which a resumable with a callback has no use for: there is one of
  /// these for each child.
  template <class T>
  struct Child : ChildBase {
    explicit Child(Scope& s) noexcept : ChildBase(s) {}
    Child(Scope& s, Task<T>&& task) noexcept : ChildBase(s) { own(std::move(task)); }
    ~Child() override { destroy_task(); }

    void start() noexcept {
      this->callback = &on_end;
      this->scope->start(promise(), *this);
    }

   protected:
    void own(Task<T>&& task) noexcept { this->coroutine = task.release(); }
    void destroy_task() noexcept {
      if (this->coroutine) std::exchange(this->coroutine, {}).destroy();
    }

   private:
    [[nodiscard]] typename Task<T>::promise_type& promise() const noexcept {
      return Task<T>::Handle::from_address(this->coroutine.address()).promise();
    }
    static void on_end(Resumable& self, bool run) noexcept {
      if (!run) return;
      Child& child = static_cast<Child&>(self);
      Scope& scope = *child.scope;
      std::exception_ptr error = child.promise().result().error();
      delete static_cast<ChildBase*>(&child);
      scope.child_ended(std::move(error));
    }
  };

  template <class T, class F>
  struct FunctionChild final : Child<T> {
    template <class G>
    FunctionChild(Scope& s, G&& f) : Child<T>(s), function(static_cast<G&&>(f)) {
      auto task = into_task(function());
      if (!task) throw Error(Errc::task_consumed);
      this->own(std::move(task));
    }
    // The frame before the function that it refers to.
    ~FunctionChild() override { this->destroy_task(); }
    F function;
  };

  /// The root is being destroyed where it waits.
  void abandon() noexcept {
    while (first_) {
      parent_.home().forget(*first_);
      delete first_;
    }
  }

  void start(Promise& child, Resumable& continuation) noexcept {
    child.place(parent_.home(), cancel_scope_, &continuation);
    parent_.home().resume_here(child.resumable());
  }

  [[nodiscard]] bool is_our_cancellation(const std::exception_ptr& error) const noexcept {
    if (!cancel_scope_.cancelled()) return false;
    try {
      std::rethrow_exception(error);
    } catch (const std::system_error& e) {
      return is_cancellation(e.code()) || e.code() == make_error_code(cancel_scope_.reason());
    } catch (...) {
      return false;
    }
  }

  void child_ended(std::exception_ptr error) noexcept {
    if (error) {
      if (is_our_cancellation(error)) {
        cut_short_ = true;
      } else {
        fail(std::move(error));
      }
    }
    wake_if_done();
  }
  void body_ended(std::exception_ptr error) noexcept {
    body_ended_ = true;
    if (error && !is_our_cancellation(error)) fail(std::move(error));
    wake_if_done();
  }
  void fail(std::exception_ptr error) noexcept {
    if (!error_) error_ = std::move(error);
    cancel_scope_.cancel();
  }
  void wake_if_done() noexcept {
    if (body_ended_ && children_ == 0) parent_.home().resume_next(parent_.resumable());
  }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
    if (cut_short_ && !asked_) throw Error(cancel_scope_.reason());
  }

  Promise& parent_;
  CancelScope cancel_scope_;
  ChildBase* first_ = nullptr;
  std::size_t children_ = 0;
  std::exception_ptr error_;
  bool body_ended_ = false;
  bool asked_ = false;
  bool cut_short_ = false;
};

/// What `with_scope` takes: a function of a `Scope&` that returns something to await.
template <class F>
concept ScopeBody =
    std::invocable<std::decay_t<F>&, Scope&> && Awaitable<std::invoke_result_t<std::decay_t<F>&, Scope&>>;

namespace detail {

template <class F>
class WithScopeAwaiter {
  using T = await_result_t<std::invoke_result_t<F&, Scope&>>;

  struct OpenScope final : Scope {
    explicit OpenScope(Promise& parent) noexcept : Scope(parent) {}
  };
  /// What follows the body.
  struct End : Resumable {
    WithScopeAwaiter* awaiter = nullptr;
  };

 public:
  template <class G>
  explicit WithScopeAwaiter(std::in_place_t, G&& body) : body_(static_cast<G&&>(body)) {}
  WithScopeAwaiter(WithScopeAwaiter&& other) : body_(std::move(other.body_)), parent_(other.parent_) {
    assert(!other.scope_);
  }
  WithScopeAwaiter& operator=(WithScopeAwaiter&&) = delete;
  ~WithScopeAwaiter() {
    if (!scope_) return;
    // Children first: they may refer to what the body owns.
    scope().abandon();
    if (!scope().body_ended_) parent_->home().forget(end_);
  }

  void attach(Promise& parent) noexcept { parent_ = &parent; }
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  [[nodiscard]] bool await_suspend(std::coroutine_handle<>) noexcept {
    scope_.emplace(*parent_);
    try {
      task_ = into_task(body_(scope()));
      if (!task_) throw Error(Errc::task_consumed);
    } catch (...) {
      // The children that it has started are joined all the same.
      scope().body_ended_ = true;
      scope().fail(std::current_exception());
      return scope().size() != 0;
    }
    end_.awaiter = this;
    end_.callback = &on_body_end;
    scope().start(task_.handle().promise(), end_);
    return true;
  }
  T await_resume() {
    scope().rethrow();
    return task_.handle().promise().result().get();
  }

 private:
  [[nodiscard]] Scope& scope() noexcept { return *scope_; }

  static void on_body_end(Resumable& self, bool run) noexcept {
    if (!run) return;
    WithScopeAwaiter& awaiter = *static_cast<End&>(self).awaiter;
    awaiter.scope().body_ended(awaiter.task_.handle().promise().result().error());
  }

  F body_;
  Promise* parent_ = nullptr;
  End end_;
  std::optional<OpenScope> scope_;
  Task<T> task_;
};

}  // namespace detail

/// Runs `body(scope)`, which starts children with `scope.spawn`, and resumes when the body and all children have ended:
/// no child outlives it. Gives what the body returned.
///
///     co_await weir::with_scope([&](weir::Scope& scope) -> weir::Task<> {
///       for (auto& peer : peers) scope.spawn(serve(peer));
///       co_return;
///     });
///
/// The first exception, of the body or of a child, cancels the others and is rethrown when all have ended; what they
/// throw after it is dropped. A child that ends with a cancellation because the scope was cancelled is no error. When
/// the awaiting task is cancelled, so are the body and the children; if that cut a child short, `with_scope` throws
/// `Errc::cancelled` even if the body returned. If the body throws because it met `scope.cancel()`, that is rethrown.
///
/// Everything runs on the home of the one that awaits, one at a time: this is concurrency, not parallelism. `body` and
/// its captures live until the end. A local variable of the body does not: children refer to what is outside of
/// `with_scope`, or own what they need. No allocation besides the body's frame, and no lock. With GCC 12, name a body
/// with captures that own something before awaiting it (see `Task`).
template <ScopeBody F>
[[nodiscard]] auto with_scope(F&& body) {
  return detail::WithScopeAwaiter<std::decay_t<F>>(std::in_place, static_cast<F&&>(body));
}

}  // namespace weir
