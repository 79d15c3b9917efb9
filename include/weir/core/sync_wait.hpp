/// `sync_wait`: blocks the calling thread until an awaitable is done. The door from plain functions, such as `main`.
#pragma once

#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

#include <weir/asio.hpp>
#include <weir/core/spawn.hpp>

namespace weir {

/// Optional member of an awaitable that knows which executor its end depends on: `blocks_this_thread()` is true when
/// the calling thread is one of that executor's, so that waiting here for it may wait for oneself.
template <class A>
concept KnowsWhatItBlocks = requires(const std::remove_cvref_t<A>& awaitable) {
  { awaitable.blocks_this_thread() } noexcept -> std::convertible_to<bool>;
};

namespace detail {

template <class A>
void refuse_to_wait_for_oneself(const A& awaitable) {
  if constexpr (KnowsWhatItBlocks<A>) {
    if (awaitable.blocks_this_thread())
      throw Error(Errc::would_deadlock,
                  "sync_wait was called on a thread that the awaited work needs; co_await it there instead");
  }
}

template <class T>
struct ArrivingValue {
  using type = spawned_value_t<T>;
};
template <>
struct ArrivingValue<void> {
  using type = std::monostate;
};
template <class T>
struct ArrivingValue<T&> {
  using type = T*;
};

/// Where the result arrives, on the stack of the one that waits for it. The handler that goes uncalled says so too.
template <class T>
class Arrival {
 public:
  class Handler {
   public:
    explicit Handler(Arrival& arrival) noexcept : arrival_(&arrival) {}
    Handler(Handler&& other) noexcept : arrival_(std::exchange(other.arrival_, nullptr)) {}
    Handler& operator=(Handler&&) = delete;
    ~Handler() {
      if (arrival_) arrival_->arrive([](Arrival&) {});
    }

    void operator()(std::exception_ptr error) {
      std::exchange(arrival_, nullptr)->arrive([&](Arrival& a) { a.accept(std::move(error)); });
    }
    template <class V>
    void operator()(std::exception_ptr error, V&& value) {
      std::exchange(arrival_, nullptr)->arrive([&](Arrival& a) {
        a.accept(std::move(error));
        if (!a.error_) a.value_.emplace(static_cast<V&&>(value));
      });
    }

   private:
    Arrival* arrival_;
  };

  void block() {
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [this] { return done_; });
  }

  T get() {
    if (!called_) throw Error(Errc::cancelled, "the execution context ended before what sync_wait waits for");
    if (error_) std::rethrow_exception(std::move(error_));
    if constexpr (std::is_reference_v<T>) {
      return **value_;
    } else if constexpr (std::is_void_v<T>) {
      return;
    } else if constexpr (std::is_default_constructible_v<T>) {
      return std::move(*value_);
    } else {
      return std::move(**value_);
    }
  }

 private:
  using Value = typename ArrivingValue<T>::type;

  template <class Fill>
  void arrive(Fill fill) {
    // Notified under the lock: the waiting thread may destroy all this as soon as it can have the lock.
    const std::lock_guard lock(mutex_);
    fill(*this);
    done_ = true;
    arrived_.notify_one();
  }
  void accept(std::exception_ptr error) noexcept {
    called_ = true;
    error_ = std::move(error);
  }

  std::mutex mutex_;
  std::condition_variable arrived_;
  bool done_ = false;
  bool called_ = false;
  std::exception_ptr error_;
  std::optional<Value> value_;
};

}  // namespace detail

/// Runs `awaitable` in a loop of its own on the calling thread, which it blocks, and gives back what it gives, or
/// throws what it throws. What the awaitable waits for may run anywhere else.
///
/// Throws `Error(Errc::would_deadlock)` before it starts anything when the awaitable has a `blocks_this_thread()` and
/// says so (see `KnowsWhatItBlocks`). An awaitable without one, that waits for work on the very thread that calls this,
/// waits for ever. If what it waits for goes without an answer, because its context was destroyed, it waits for ever as
/// well: end a stream before its context. Allocates: a loop, and the block of the root. Any thread that may block.
template <Awaitable A>
  requires(!std::is_lvalue_reference_v<A> && !ExecutorSource<A>)
await_result_t<A> sync_wait(A&& awaitable) {
  detail::refuse_to_wait_for_oneself(awaitable);
  detail::Arrival<await_result_t<A>> arrival;
  {
    asio::io_context loop(1);
    spawn(loop, static_cast<A&&>(awaitable), typename decltype(arrival)::Handler(arrival));
    loop.run();
  }
  return arrival.get();
}

/// Runs `awaitable` on `executor`, an executor or an execution context that other threads run, and blocks the caller
/// until it is done. Gives back what it gives, or throws what it throws.
///
/// Throws `Error(Errc::would_deadlock)` before it starts anything when the calling thread is one that runs this
/// executor (what cannot be seen of an executor of one's own without a `running_in_this_thread()`), or when the
/// awaitable says that it blocks this thread; `Error(Errc::cancelled)` when the context is destroyed meanwhile, and
/// with it the frame. Nobody runs the context: it waits for ever.
template <ExecutorSource E, Awaitable A>
  requires(!std::is_lvalue_reference_v<A>)
await_result_t<A> sync_wait(E&& executor, A&& awaitable) {
  auto where = executor_of(static_cast<E&&>(executor));
  if (runs_on_this_thread(where))
    throw Error(Errc::would_deadlock,
                "sync_wait was called on a thread of the executor that it waits for; co_await the task there instead");
  detail::refuse_to_wait_for_oneself(awaitable);
  detail::Arrival<await_result_t<A>> arrival;
  spawn(std::move(where), static_cast<A&&>(awaitable), typename decltype(arrival)::Handler(arrival));
  arrival.block();
  return arrival.get();
}

}  // namespace weir
