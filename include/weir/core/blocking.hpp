/// Functions that block, run beside the executor's threads: `run_blocking`, `BlockingCalls`, and the service whose
/// threads they run on.
///
/// Protocol (tests/core/blocking_test.cpp breaks when one of these is broken):
///  1. The queue, the threads, `idle_` and `stopping_` are guarded by the service's mutex. No job runs under it.
///  2. A job is with its owner, in the queue, or with a thread. Who takes it out of the queue under the mutex has it:
///     a thread, which runs it, or its owner, by `withdraw`.
///  3. The block of a `BlockingCalls` is counted by references: the owner's, and that of the call under way, which goes
///     with the job to a thread and from there, with the result, to the home. If the home is dead, it is dropped.
///  4. The function and its result belong to the thread from when it has the job until it hands the block to the home,
///     else to the owner. `state_` and `waiting_` are read and written on the home only, or by a frame's destructor on
///     a dead home.
///  5. Shutting down lets each thread finish the call that it is at, and joins it; jobs in the queue are dropped
///  uncalled.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <cassert>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <weir/asio.hpp>
#include <weir/core/home.hpp>
#include <weir/core/promise.hpp>
#include <weir/core/task.hpp>
#include <weir/core/this_task.hpp>

namespace weir {

/// A few threads of an execution context for what blocks for a moment: reads of files and the like. They are started
/// when they are first needed, wait for more until the context ends, and then are joined; signals are blocked on them.
/// Thread-safe.
class BlockingService final : public asio::execution_context::service {
 public:
  /// The key under which Asio keeps the service: its type, so that a shared object with a copy of this finds it.
  static inline asio::detail::service_id<BlockingService> id;

  /// One function to be run. Intrusive: it lives in what waits for it.
  struct Job {
    Job* next_job = nullptr;
    /// Called once, on one of the threads; with `call` false if the context ended before: then only let go of it.
    void (*run)(Job& self, bool call) noexcept = nullptr;
  };

  explicit BlockingService(asio::execution_context& context) : asio::execution_context::service(context) {}

  /// From now on `BlockingCalls` call their functions at once on the thread that starts them: for contexts that have
  /// one thread by design, such as the simulator. Before the first job.
  void set_inline(bool runs_inline) noexcept { inline_ = runs_inline; }
  [[nodiscard]] bool runs_inline() const noexcept { return inline_; }
  /// How many threads there may be: 4 unless said. More jobs wait for their turn.
  void set_limit(std::size_t threads) noexcept {
    const std::lock_guard lock(mutex_);
    limit_ = threads == 0 ? 1 : threads;
  }
  /// How many have been started.
  [[nodiscard]] std::size_t threads() const noexcept {
    const std::lock_guard lock(mutex_);
    return threads_.size();
  }

  /// Runs the job when a thread is free, first come, first served. O(1); allocates only to start a thread. Throws
  /// `std::system_error` if there is no thread and none can be started.
  void submit(Job& job) {
    {
      const std::lock_guard lock(mutex_);
      if (!stopping_) {
        if (idle_ <= queued_ && threads_.size() < limit_) add_thread();
        job.next_job = nullptr;
        *last_ = &job;
        last_ = &job.next_job;
        ++queued_;
        wake_.notify_one();
        return;
      }
    }
    job.run(job, false);
  }

  /// Takes a job back. True: it was in the queue, and will not be run. O(length of the queue).
  [[nodiscard]] bool withdraw(Job& job) noexcept {
    const std::lock_guard lock(mutex_);
    for (Job** link = &first_; *link; link = &(*link)->next_job) {
      if (*link != &job) continue;
      *link = job.next_job;
      if (!*link) last_ = link;
      --queued_;
      return true;
    }
    return false;
  }

 private:
  void add_thread() {
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      threads_.emplace_back([this] { work(); });
    } catch (...) {
      pthread_sigmask(SIG_SETMASK, &before, nullptr);
      if (threads_.empty()) throw;
      return;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      ++idle_;
      wake_.wait(lock, [this] { return first_ || stopping_; });
      --idle_;
      if (stopping_) return;
      Job* const job = first_;
      first_ = job->next_job;
      if (!first_) last_ = &first_;
      --queued_;
      lock.unlock();
      job->run(*job, true);
      lock.lock();
    }
  }

  void shutdown() noexcept override {
    Job* dropped = nullptr;
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      dropped = std::exchange(first_, nullptr);
      last_ = &first_;
      queued_ = 0;
    }
    wake_.notify_all();
    // Before the wait: a call that runs may be waiting for the end of one that never will.
    while (Job* const job = dropped) {
      dropped = job->next_job;
      job->run(*job, false);
    }
    for (std::thread& thread : threads_) thread.join();
  }

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> threads_;
  Job* first_ = nullptr;
  Job** last_ = &first_;
  std::size_t queued_ = 0;
  std::size_t idle_ = 0;
  std::size_t limit_ = 4;
  bool stopping_ = false;
  bool inline_ = false;
};

/// Calls of one function that blocks, one after another, on a thread of the context's `BlockingService`, while the
/// coroutine does something else:
///
///     weir::BlockingCalls reads(co_await weir::this_task::home(), read_block);
///     reads.start();
///     …
///     const std::size_t size = co_await reads.result();
///
/// Used on the home only. Its destructor does not wait: a call under way goes on, and the function is destroyed when
/// it has ended. So the function owns what it needs, and ends by itself soon: the end of the context waits for it.
/// Allocates one block, and nothing for a call.
template <class F>
  requires std::is_invocable_v<F&>
class BlockingCalls {
  class Block;

 public:
  using result_type = std::invoke_result_t<F&>;
  class [[nodiscard]] ResultAwaiter;

  BlockingCalls(Home& home, F function) : block_(new Block(home, std::move(function))) {}
  BlockingCalls(const BlockingCalls&) = delete;
  BlockingCalls& operator=(const BlockingCalls&) = delete;
  ~BlockingCalls() { block_->leave(); }

  /// The function, to be looked at and changed while no call is under way.
  [[nodiscard]] F& function() noexcept { return block_->function; }

  /// Starts a call. The result of the last one must have been taken. Throws what `BlockingService::submit` throws.
  void start() { block_->start(); }

  /// Waits for the call's end and gives what it returned, or throws what it threw. Resumes on the home. When the
  /// scope is cancelled first it throws `Error(Errc::cancelled)` at once; the call goes on, and its result is dropped
  /// with this object, or given to the next that waits for it.
  [[nodiscard]] ResultAwaiter result() noexcept { return ResultAwaiter(*block_); }

 private:
  Block* block_;
};

template <class F>
  requires std::is_invocable_v<F&>
class BlockingCalls<F>::Block final : public BlockingService::Job, public Resumable {
 public:
  Block(Home& home, F&& f)
      : function(std::move(f)), home_(home), service_(asio::use_service<BlockingService>(home.context())) {
    home_.retain();
    run = &on_thread;
    callback = &on_home;
  }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  void start() {
    assert(state_ == State::idle);
    result_.emplace();
    if (service_.runs_inline()) {
      call();
      state_ = State::done;
      return;
    }
    refs_.fetch_add(1, std::memory_order_relaxed);
    try {
      service_.submit(*this);
    } catch (...) {
      release();
      throw;
    }
    state_ = State::under_way;
  }

  void leave() noexcept {
    if (state_ == State::under_way && service_.withdraw(*this)) release();
    release();
  }

  [[nodiscard]] bool done() const noexcept { return state_ == State::done; }
  void wait(Promise& promise) noexcept {
    assert(state_ != State::idle && !waiting_);
    waiting_ = &promise;
  }
  /// False: it was woken before, or does not wait.
  bool stop_waiting() noexcept { return std::exchange(waiting_, nullptr) != nullptr; }
  result_type take() {
    state_ = State::idle;
    return result_->get();
  }

  F function;

 private:
  enum class State : std::uint8_t { idle, under_way, done };

  ~Block() { home_.release(); }
  void release() noexcept {
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  void call() noexcept {
    try {
      if constexpr (std::is_void_v<result_type>) {
        function();
      } else {
        result_->set(function());
      }
    } catch (...) {
      result_->fail(std::current_exception());
    }
  }

  static void on_thread(BlockingService::Job& self, bool call) noexcept {
    auto& block = static_cast<Block&>(self);
    if (!call) {
      block.release();
      return;
    }
    block.call();
    block.home_.resume_later(block);
  }

  static void on_home(Resumable& self, bool run) noexcept {
    auto& block = static_cast<Block&>(self);
    if (run) {
      block.state_ = State::done;
      if (Promise* const waiting = std::exchange(block.waiting_, nullptr)) {
        block.home_.resume_next(waiting->resumable());
      }
    }
    block.release();
  }

  Home& home_;
  BlockingService& service_;
  std::atomic<int> refs_{1};
  State state_ = State::idle;
  Promise* waiting_ = nullptr;
  std::optional<detail::Result<result_type>> result_;
};

template <class F>
  requires std::is_invocable_v<F&>
class BlockingCalls<F>::ResultAwaiter final : private Cancellable {
 public:
  explicit ResultAwaiter(Block& block) noexcept : Cancellable(own_kind()), block_(block) {}
  ~ResultAwaiter() {
    if (suspended_) block_.stop_waiting();
  }

  void attach(Promise& promise) {
    if (promise.scope().cancelled()) throw Error(Errc::cancelled);
    promise_ = &promise;
  }
  [[nodiscard]] bool await_ready() noexcept {
    has_turn_ = promise_->home().spend();
    return has_turn_ && block_.done();
  }
  void await_suspend(std::coroutine_handle<>) noexcept {
    if (block_.done()) {
      promise_->home().resume_here(promise_->resumable());
      return;
    }
    suspended_ = true;
    block_.wait(*promise_);
    promise_->scope().link(*this);
  }
  result_type await_resume() {
    unlink();
    suspended_ = false;
    if (cancelled_) throw Error(Errc::cancelled);
    return block_.take();
  }

 private:
  static const Kind& own_kind() noexcept {
    static constexpr Kind kind{[](Cancellable& self) noexcept {
                                 auto& me = static_cast<ResultAwaiter&>(self);
                                 if (!me.block_.stop_waiting()) return;
                                 me.cancelled_ = true;
                                 me.promise_->home().resume_here(me.promise_->resumable());
                               },
                               nullptr, "blocking call"};
    return kind;
  }

  Block& block_;
  Promise* promise_ = nullptr;
  bool has_turn_ = false;
  bool suspended_ = false;
  bool cancelled_ = false;
};

/// Calls `function` on a thread of the context's `BlockingService`, and gives what it returns or throws. The coroutine
/// resumes on its home. When its scope is cancelled first, it throws `Error(Errc::cancelled)` at once, and the call
/// goes on by itself: see `BlockingCalls`. In the simulator the function is called at once, on its thread. Allocates a
/// frame and a block.
template <class F>
  requires std::is_invocable_v<std::decay_t<F>&>
[[nodiscard]] Task<std::invoke_result_t<std::decay_t<F>&>> run_blocking(F&& function) {
  return [](std::decay_t<F> owned) -> Task<std::invoke_result_t<std::decay_t<F>&>> {
    Home& home = co_await this_task::home();
    BlockingCalls<std::decay_t<F>> calls(home, std::move(owned));
    calls.start();
    co_return co_await calls.result();
  }(static_cast<F&&>(function));
}

}  // namespace weir
