/// `spawn`: starts a task as a root of its own.
#pragma once

#include <array>
#include <cstddef>
#include <exception>
#include <optional>
#include <utility>

#include <weir/asio.hpp>
#include <weir/core/home.hpp>
#include <weir/core/root_registry.hpp>
#include <weir/core/task.hpp>

namespace weir {
namespace detail {

/// How a result is handed to a completion handler: as itself where a handler can be given a default, else as an
/// optional.
template <class T>
using spawned_value_t = std::conditional_t<std::is_default_constructible_v<T>, T, std::optional<T>>;

template <class T>
struct SpawnSignature {
  using type = void(std::exception_ptr, spawned_value_t<T>);
};
template <>
struct SpawnSignature<void> {
  using type = void(std::exception_ptr);
};
template <class T>
struct SpawnSignature<T&> {
  using type = void(std::exception_ptr, T*);
};

/// Memory for the one post that a home has under way, inside its block; a larger request, or a second at a time (a
/// strand may need one), goes to the heap.
class PostMemory {
 public:
  void* allocate(std::size_t size) {
    if (size <= sizeof(buffer_) && !used_.exchange(true, std::memory_order_acquire)) return &buffer_;
    return ::operator new(size);
  }
  void deallocate(void* memory) noexcept {
    if (memory == &buffer_) {
      used_.store(false, std::memory_order_release);
    } else {
      ::operator delete(memory);
    }
  }

 private:
  alignas(std::max_align_t) std::array<std::byte, 96> buffer_;
  std::atomic<bool> used_{false};
};

template <class T>
struct PostAllocator {
  using value_type = T;

  explicit PostAllocator(PostMemory& m) noexcept : memory(&m) {}
  template <class U>
  PostAllocator(const PostAllocator<U>& other) noexcept : memory(other.memory) {}

  T* allocate(std::size_t n) { return static_cast<T*>(memory->allocate(n * sizeof(T))); }
  void deallocate(T* p, std::size_t) noexcept { memory->deallocate(p); }
  template <class U>
  friend bool operator==(const PostAllocator& a, const PostAllocator<U>& b) noexcept {
    return a.memory == b.memory;
  }

  PostMemory* memory;
};

/// An executor that wants to know whose turn it is given: the simulator's, whose strategies tell roots apart.
template <class E>
concept TakesTurns =
    requires(const E& executor, const Home& home, void (*drain)()) { executor.execute_turn(home, drain); };

/// The block of a root: its home, its executor and the handler of its end.
template <class Executor, class T, class Handler>
class Root final : public Home {
 public:
  static void start(const Executor& executor, Task<T>&& task, Handler&& handler) {
    auto& registry = asio::use_service<RootRegistry>(context_of(executor));
    Root* const root = new Root(executor, registry, std::move(handler));
    root->frame_ = task.release();
    Promise& promise = root->frame_.promise();
    promise.place(*root, root->scope(), nullptr);
    root->connect_cancellation();
    root->resume_later(promise.resumable());
  }

  [[nodiscard]] asio::any_io_executor base_executor() const override { return *executor_; }

  [[nodiscard]] bool runs_on_this_thread() const noexcept override { return weir::runs_on_this_thread(*executor_); }

 private:
  using Handle = typename Task<T>::Handle;
  using WorkExecutor =
      std::decay_t<decltype(asio::prefer(std::declval<const Executor&>(), asio::execution::outstanding_work.tracked))>;

  /// As each of Asio's operations does, this holds up both contexts: its own, and the one that the handler runs on.
  static auto handler_work(const Handler& handler, const Executor& executor) {
    return asio::prefer(asio::get_associated_executor(handler, executor), asio::execution::outstanding_work.tracked);
  }
  using HandlerWork =
      std::decay_t<decltype(handler_work(std::declval<const Handler&>(), std::declval<const Executor&>()))>;

  /// Move-only: whoever holds it last either runs the drain or gives it up.
  class Drain {
   public:
    using allocator_type = PostAllocator<void>;

    explicit Drain(Root& root) noexcept : root_(&root) {}
    Drain(Drain&& other) noexcept : root_(std::exchange(other.root_, nullptr)), memory_(other.memory_) {}
    Drain& operator=(Drain&&) = delete;
    ~Drain() {
      if (root_) root_->abandon();
    }
    void operator()() { std::exchange(root_, nullptr)->drain(); }
    [[nodiscard]] allocator_type get_allocator() const noexcept { return allocator_type(*memory_); }

   private:
    Root* root_;
    PostMemory* memory_ = &root_->memory_;
  };

  /// The handler and its arguments, to be posted.
  template <class... Args>
  struct Completion {
    using allocator_type = asio::associated_allocator_t<Handler>;
    [[nodiscard]] allocator_type get_allocator() const noexcept { return asio::get_associated_allocator(handler); }
    void operator()() {
      std::apply([this](Args&... values) { std::move(handler)(std::move(values)...); }, args);
    }
    Handler handler;
    std::tuple<Args...> args;
  };

  Root(const Executor& executor, RootRegistry& registry, Handler&& handler)
      : Home(context_of(executor), {registry.budget(), registry.patience(threads_of(executor)), is_plain(executor),
                                    registry.runs_woken(), registry.turns_by_time()}),
        executor_(executor),
        work_(asio::prefer(executor, asio::execution::outstanding_work.tracked)),
        handler_(std::move(handler)),
        handler_work_(handler_work(*handler_, executor)),
        roots_(registry.roots()) {
    roots_->add(*this);
  }
  ~Root() override {
    // While it is in the list the context waits for it: after that, what an executor refers to may be gone.
    executor_.reset();
    roots_->remove(*this);
  }

  void connect_cancellation() {
    auto slot = asio::get_associated_cancellation_slot(*handler_);
    if (!slot.is_connected()) return;
    slot.assign([held = Held(*this)](asio::cancellation_type) { held.home->request_cancel(); });
  }

  struct Held {
    explicit Held(Home& h) noexcept : home(&h) { home->retain(); }
    Held(const Held& other) noexcept : Held(*other.home) {}
    Held& operator=(const Held&) = delete;
    ~Held() { home->release(); }
    Home* home;
  };

  void post() noexcept override {
    if constexpr (TakesTurns<Executor>) {
      executor_->execute_turn(*this, Drain(*this));
    } else {
      asio::post(*executor_, Drain(*this));
    }
  }

  void finish() noexcept override {
    auto& result = frame_.promise().result();
    std::exception_ptr error = result.error();
    if constexpr (std::is_void_v<T>) {
      destroy_root();
      complete(std::move(error));
    } else if constexpr (std::is_reference_v<T>) {
      auto* const value = error ? nullptr : std::addressof(result.get());
      destroy_root();
      complete(std::move(error), value);
    } else {
      auto value = [&]() noexcept -> spawned_value_t<T> {
        if (error) return spawned_value_t<T>();
        return spawned_value_t<T>(result.get());
      }();
      destroy_root();
      complete(std::move(error), std::move(value));
    }
  }

  template <class... Args>
  void complete(Args... args) noexcept {
    Completion<Args...> completion{std::move(*handler_), {std::move(args)...}};
    handler_.reset();
    asio::post(*handler_work_, std::move(completion));
    handler_work_.reset();
    work_.reset();
  }

  void destroy_root() noexcept override { std::exchange(frame_, {}).destroy(); }
  void forget_handler() noexcept override {
    handler_.reset();
    handler_work_.reset();
    work_.reset();
  }
  void forget_executor() noexcept override { executor_.reset(); }
  void destroy_block() noexcept override { delete this; }

  std::optional<Executor> executor_;
  std::optional<WorkExecutor> work_;
  std::optional<Handler> handler_;
  std::optional<HandlerWork> handler_work_;
  std::shared_ptr<RootRegistry::Roots> roots_;
  Handle frame_;
  PostMemory memory_;
};

struct InitiateSpawn {
  template <class Handler, class Executor, class T>
  void operator()(Handler&& handler, const Executor& executor, Task<T>&& task) const {
    Root<Executor, T, std::decay_t<Handler>>::start(executor, std::move(task),
                                                    std::decay_t<Handler>(static_cast<Handler&&>(handler)));
  }
};

template <class F>
concept AwaitableFunction = std::invocable<std::decay_t<F>&> && Awaitable<std::invoke_result_t<std::decay_t<F>&>>;

template <class F>
auto task_of_function(F function) -> Task<await_result_t<std::invoke_result_t<F&>>> {
  auto&& awaitable = function();
  co_return co_await std::move(awaitable);
}

}  // namespace detail

/// Starts `task` (or anything awaitable) as a root on `executor`, an executor or an execution context, and gives its
/// result to `token`: any completion token. The signature is `void(std::exception_ptr)` for a task of void,
/// `void(std::exception_ptr, T)` where a `T` can be default-constructed, `void(std::exception_ptr, T*)` for a `T&`,
/// else `void(std::exception_ptr, std::optional<T>)`. With `asio::detached`, which is the default, an exception is
/// dropped.
///
/// It never runs inline. The task and all below it run on `executor`, one at a time, on whichever of its threads; while
/// it is unfinished it counts as outstanding work, there and on the handler's own executor. The handler is posted to
/// its own associated executor, after the frame is destroyed. A cancellation slot of the token cancels the task. When
/// the execution context is destroyed first, the frame is destroyed where it waits, and the handler is destroyed
/// without being called.
///
/// Allocates one block for the root; waking it allocates nothing. The post of the handler may allocate, with the
/// handler's allocator: when that finds no memory, the program ends (there is nobody left to tell). Throws
/// `Error(Errc::task_consumed)` for an empty task. Any thread.
template <ExecutorSource E, Awaitable A, class Token = asio::detached_t>
  requires(!std::is_lvalue_reference_v<A>)
auto spawn(E&& executor, A&& awaitable, Token&& token = Token()) {
  auto task = into_task(std::move(awaitable));
  if (!task) throw Error(Errc::task_consumed);
  using T = typename decltype(task)::value_type;
  return asio::async_initiate<Token, typename detail::SpawnSignature<T>::type>(detail::InitiateSpawn(), token,
                                                                               executor_of(executor), std::move(task));
}

/// The same for a function that returns something awaitable, such as a coroutine lambda: the function, and so its
/// captures, live as long as the task.
template <ExecutorSource E, class F, class Token = asio::detached_t>
  requires(!Awaitable<F> && detail::AwaitableFunction<F>)
auto spawn(E&& executor, F&& function, Token&& token = Token()) {
  return spawn(static_cast<E&&>(executor), detail::task_of_function<std::decay_t<F>>(static_cast<F&&>(function)),
               static_cast<Token&&>(token));
}

}  // namespace weir
