/// `use_task`: any Asio operation, awaited in a weir coroutine.
///
/// Who owns what, and who may touch it:
///  1. The awaiter lives in the coroutine's frame; an `AsioOperation` block of its own, counted by references, holds
///  what
///     the operation needs: the cancellation signal, the results. The handler holds the block, never the frame, so it
///     may outlive the frame: the frame is destroyed with the root's context, the handler with the I/O object's.
///  2. The block becomes ready by being handed to the home with the handler's reference. If the home is dead by then,
///     it refuses, and the reference is dropped: nobody looks for the frame.
///  3. `waiting_` is read and written on the home, or by the frame's destructor on a dead home.
///  4. The signal is emitted on the home, and only until the handler was called.
/// (core/use_task_test.cpp: the two orders of destruction under ASan, the foreign threads under TSan.)
#pragma once

#include <atomic>
#include <cassert>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>

#include <weir/asio.hpp>
#include <weir/core/home_executor.hpp>
#include <weir/core/promise.hpp>

namespace weir {
namespace detail {

template <class T>
struct HomeAllocator {
  using value_type = T;

  explicit HomeAllocator(Home& h) noexcept : home(&h) {}
  template <class U>
  HomeAllocator(const HomeAllocator<U>& other) noexcept : home(other.home) {}

  T* allocate(std::size_t n) {
    static_assert(alignof(T) <= alignof(std::max_align_t));
    return static_cast<T*>(home->allocate(n * sizeof(T)));
  }
  void deallocate(T* p, std::size_t n) noexcept { home->deallocate(p, n * sizeof(T)); }
  template <class U>
  friend bool operator==(const HomeAllocator& a, const HomeAllocator<U>& b) noexcept {
    return a.home == b.home;
  }

  Home* home;
};

template <class... Args>
class AsioOperation final : public Resumable {
 public:
  using Results = std::tuple<std::decay_t<Args>...>;

  static AsioOperation& make(Promise& waiting) {
    Home& home = waiting.home();
    return *::new (home.allocate(sizeof(AsioOperation))) AsioOperation(waiting);
  }

  void retain() noexcept { refs_.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept {
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    Home& home = home_;
    this->~AsioOperation();
    home.deallocate(this, sizeof(AsioOperation));
  }

  [[nodiscard]] Home& home() const noexcept { return home_; }
  [[nodiscard]] asio::cancellation_slot slot() noexcept { return signal_.slot(); }

  /// Called by the handler, on any thread; takes over its reference.
  template <class... A>
  void complete(A&&... values) noexcept {
    called_.store(true, std::memory_order_relaxed);
    try {
      results_.emplace(static_cast<A&&>(values)...);
    } catch (...) {
      failure_ = std::current_exception();
    }
    callback = &wake;
    home_.resume_later(*this);
  }

  void emit_cancellation() noexcept {
    if (called_.load(std::memory_order_relaxed)) return;
    // All three kinds: an operation may support any of them alone.
    signal_.emit(asio::cancellation_type::terminal | asio::cancellation_type::partial | asio::cancellation_type::total);
  }

  /// The frame is going.
  void forsake() noexcept {
    waiting_ = nullptr;
    release();
  }

  Results take() {
    if (failure_) std::rethrow_exception(std::move(failure_));
    return std::move(*results_);
  }

 private:
  explicit AsioOperation(Promise& waiting) noexcept : home_(waiting.home()), waiting_(&waiting) {}
  ~AsioOperation() = default;

  static void wake(Resumable& self, bool run) noexcept {
    auto& operation = static_cast<AsioOperation&>(self);
    Promise* const waiting = run ? operation.waiting_ : nullptr;
    if (waiting) operation.home_.resume_next(waiting->resumable());
    operation.release();
  }

  Home& home_;
  Promise* waiting_;
  std::atomic<int> refs_{1};
  std::atomic<bool> called_{false};
  asio::cancellation_signal signal_;
  std::optional<Results> results_;
  std::exception_ptr failure_;
};

/// What Asio calls at the end of the operation.
template <class... Args>
class OperationHandler {
 public:
  using executor_type = HomeExecutor;
  using allocator_type = HomeAllocator<void>;
  using cancellation_slot_type = asio::cancellation_slot;

  explicit OperationHandler(AsioOperation<Args...>& operation) noexcept
      : operation_(&operation), home_(&operation.home()) {
    operation.retain();
  }
  OperationHandler(OperationHandler&& other) noexcept
      : operation_(std::exchange(other.operation_, nullptr)), home_(other.home_) {}
  OperationHandler& operator=(OperationHandler&& other) noexcept {
    std::swap(operation_, other.operation_);
    std::swap(home_, other.home_);
    return *this;
  }
  ~OperationHandler() {
    if (operation_) operation_->release();
  }

  // Asio asks a handler for these also in the expression that moves from it, in either order.
  [[nodiscard]] executor_type get_executor() const noexcept { return HomeExecutor(*home_); }
  [[nodiscard]] allocator_type get_allocator() const noexcept { return allocator_type(*home_); }
  [[nodiscard]] cancellation_slot_type get_cancellation_slot() const noexcept { return operation_->slot(); }

  template <class... A>
    requires std::constructible_from<std::tuple<std::decay_t<Args>...>, A...>
  void operator()(A&&... values) {
    assert(operation_ && "a completion handler is called once");
    std::exchange(operation_, nullptr)->complete(static_cast<A&&>(values)...);
  }

 private:
  AsioOperation<Args...>* operation_;
  Home* home_;
};

template <class Tuple>
decltype(auto) unwrap(Tuple&& results) {
  if constexpr (std::tuple_size_v<Tuple> == 1) {
    return std::tuple_element_t<0, Tuple>(std::get<0>(std::move(results)));
  } else if constexpr (std::tuple_size_v<Tuple> > 1) {
    return Tuple(std::move(results));
  }
}

/// The results without their error, which is thrown.
template <class First, class... Rest>
decltype(auto) results_or_throw(std::tuple<First, Rest...>&& results) {
  constexpr bool is_code = std::is_same_v<First, asio::error_code>;
  constexpr bool is_exception = std::is_same_v<First, std::exception_ptr>;
  if constexpr (is_code || is_exception) {
    if (auto& error = std::get<0>(results)) {
      if constexpr (is_code) {
        throw asio::system_error(error);
      } else {
        std::rethrow_exception(std::move(error));
      }
    }
    return std::apply(
        [](First&, Rest&... rest) -> decltype(auto) { return unwrap(std::tuple<Rest...>(std::move(rest)...)); },
        results);
  } else {
    return unwrap(std::move(results));
  }
}
inline void results_or_throw(std::tuple<>&&) {}

template <bool AsTuple, class Initiation, class InitArgs, class... Args>
class OperationAwaiter : private Cancellable {
 public:
  using Results = std::tuple<std::decay_t<Args>...>;

  template <class I, class... A>
  explicit OperationAwaiter(I&& initiation, A&&... args)
      : Cancellable(own_kind()), initiation_(static_cast<I&&>(initiation)), args_(static_cast<A&&>(args)...) {}
  OperationAwaiter(const OperationAwaiter&) = delete;
  OperationAwaiter& operator=(const OperationAwaiter&) = delete;
  ~OperationAwaiter() {
    if (operation_) operation_->forsake();
  }

  void attach(Promise& promise) {
    promise_ = &promise;
    if (promise.scope().cancelled() && !refusable) throw Error(Errc::cancelled);
  }
  [[nodiscard]] bool await_ready() const noexcept { return refusable && promise_->scope().cancelled(); }

  void await_suspend(std::coroutine_handle<>) {
    operation_ = &AsioOperation<Args...>::make(*promise_);
    promise_->scope().link(*this);
    std::apply(
        [this](auto&... args) { std::move(initiation_)(OperationHandler<Args...>(*operation_), std::move(args)...); },
        args_);
  }

  decltype(auto) await_resume() {
    if constexpr (AsTuple) {
      if constexpr (refusable) {
        if (!operation_) return refusal();
      }
      return operation_->take();
    } else {
      return results_or_throw(operation_->take());
    }
  }

 private:
  static const Kind& own_kind() noexcept {
    static constexpr Kind kind{&OperationAwaiter::cancel, nullptr, "asio operation"};
    return kind;
  }

  /// Whether an operation that was cancelled before it started can say so in its results instead of throwing.
  static constexpr bool refusable = []<class First, class... Rest>(std::tuple<First, Rest...>*) {
    return AsTuple && std::is_same_v<First, asio::error_code> && (std::is_default_constructible_v<Rest> && ...);
  }(static_cast<std::conditional_t<sizeof...(Args) == 0, std::tuple<int>, Results>*>(nullptr));

  static Results refusal() {
    Results results;
    std::get<0>(results) = make_error_code(Errc::cancelled);
    return results;
  }

  static void cancel(Cancellable& self) noexcept {
    static_cast<OperationAwaiter&>(self).operation_->emit_cancellation();
  }

  Promise* promise_ = nullptr;
  AsioOperation<Args...>* operation_ = nullptr;
  Initiation initiation_;
  InitArgs args_;
};

}  // namespace detail

/// The type of `use_task` (and, with `true`, of `use_task.as_tuple()`).
template <bool AsTuple>
struct UseTask {
  /// The same, without exceptions for errors: the await gives all that the handler is called with, as a `std::tuple`,
  /// the `asio::error_code` first. An operation that was cancelled before it started has `Errc::cancelled` there.
  [[nodiscard]] static constexpr UseTask<true> as_tuple() noexcept { return {}; }
};

/// A completion token for any Asio operation, to be awaited in a weir coroutine:
///
///     const std::size_t n = co_await socket.async_read_some(buffer, weir::use_task);
///     const auto [error, n] = co_await socket.async_read_some(buffer, weir::use_task.as_tuple());
///
/// The operation starts when it is awaited, on the coroutine's home; its inner steps, its completion and its
/// cancellation run there too, so that on a pool none of them overlaps with the task. It resumes on the home.
///
/// An `asio::error_code` that says failure is thrown as `asio::system_error`, a `std::exception_ptr` is rethrown; the
/// rest is given back: nothing, a value, or a `std::tuple`. When the scope is cancelled, so is the operation, which
/// then ends as it says (Asio's own with `asio::error::operation_aborted`); in a scope that was cancelled before,
/// it does not start, and `Error(Errc::cancelled)` is thrown. An operation that does not support cancellation goes on.
///
/// A handler that is called on a foreign thread, whatever its associated executor, is safe. One that is destroyed
/// without being called leaves the coroutine suspended until its own context goes.
///
/// Allocates nothing in the steady state: the memory of the operation comes from the home and goes back to it.
inline constexpr UseTask<false> use_task{};

}  // namespace weir

template <bool AsTuple, class R, class... Args>
class asio::async_result<weir::UseTask<AsTuple>, R(Args...)> {
 public:
  template <class Initiation, class... InitArgs>
  using Awaiter =
      weir::detail::OperationAwaiter<AsTuple, std::decay_t<Initiation>, std::tuple<std::decay_t<InitArgs>...>, Args...>;

  template <class Initiation, class... InitArgs>
  [[nodiscard]] static Awaiter<Initiation, InitArgs...> initiate(Initiation&& initiation, weir::UseTask<AsTuple>,
                                                                 InitArgs&&... args) {
    return Awaiter<Initiation, InitArgs...>(static_cast<Initiation&&>(initiation), static_cast<InitArgs&&>(args)...);
  }
};

template <bool AsTuple, class R, class... Args>
class asio::async_result<weir::UseTask<AsTuple>, R(Args...) noexcept>
    : public asio::async_result<weir::UseTask<AsTuple>, R(Args...)> {};
