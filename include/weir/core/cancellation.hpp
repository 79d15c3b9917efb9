/// Cancellation between tasks, threads and libraries: a source cancels, tokens observe.
///
/// Inside one root, scopes do it without locks (`CancelScope`); a token is for everything that crosses roots and
/// threads. The protocol is in core/detail/cancellation_state.hpp.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <span>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <weir/asio.hpp>
#include <weir/core/detail/cancellation_state.hpp>
#include <weir/core/spawn.hpp>
#include <weir/core/timer.hpp>
#include <weir/core/wake_list.hpp>

namespace weir {

class CancellationSource;

/// Observes a cancellation. A default-constructed one is never cancelled. Copies are cheap, and see the same; distinct
/// copies may be used by any thread.
class CancellationToken {
 public:
  CancellationToken() noexcept = default;
  CancellationToken(const CancellationToken& other) noexcept : state_(other.state_) {
    if (state_) state_->retain();
  }
  CancellationToken(CancellationToken&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  CancellationToken& operator=(CancellationToken other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~CancellationToken() {
    if (state_) state_->release();
  }

  /// One atomic load.
  [[nodiscard]] bool cancelled() const noexcept { return state_ && state_->cancelled(); }
  /// What `cancel` was given; empty while it is not cancelled.
  [[nodiscard]] std::error_code reason() const noexcept { return state_ ? state_->reason() : std::error_code(); }
  /// Throws `Error`: with `Errc::timed_out` if that is the reason, otherwise with `Errc::cancelled`, so that it is seen
  /// as a cancellation whatever the reason, which the message then gives.
  void throw_if_cancelled() const {
    if (!cancelled()) return;
    const std::error_code why = reason();
    if (why == Errc::timed_out) throw Error(Errc::timed_out);
    if (why == Errc::cancelled) throw Error(Errc::cancelled);
    throw Error(Errc::cancelled, why.message());
  }
  /// False for one that never will be, as it has no source.
  [[nodiscard]] bool connected() const noexcept { return state_ != nullptr; }

  /// Whether both observe the same source.
  [[nodiscard]] friend bool operator==(const CancellationToken&, const CancellationToken&) noexcept = default;

  /// For awaiters that register nodes of their own; null for a token that is never cancelled.
  [[nodiscard]] detail::CancellationState* state() const noexcept { return state_; }

 private:
  friend class CancellationSource;
  explicit CancellationToken(detail::CancellationState* owned) noexcept : state_(owned) {}

  detail::CancellationState* state_ = nullptr;
};

/// Cancels. Copies share one state, which is freed with the last source, token or registration. What the last source
/// leaves uncancelled stays so, unless it is linked or has a deadline. Distinct copies may be used by any thread.
class CancellationSource {
 public:
  /// Allocates the state.
  CancellationSource() : token_(new detail::CancellationState) {}

  /// A source that is also cancelled, with the same reason, when any of `parents` is. It keeps them alive, and leaves
  /// them when it goes. Allocates the state and one block for the links.
  [[nodiscard]] static CancellationSource linked_to(std::span<const CancellationToken> parents) {
    CancellationSource source;
    std::vector<detail::CancellationState*> states(parents.size());
    for (std::size_t i = 0; i < parents.size(); ++i) states[i] = parents[i].state();
    source.token_.state()->link_to(states);
    return source;
  }
  template <class... Tokens>
    requires(std::same_as<Tokens, CancellationToken> && ...)
  [[nodiscard]] static CancellationSource linked_to(const CancellationToken& first, const Tokens&... others) {
    const std::array<detail::CancellationState*, sizeof...(others) + 1> states{first.state(), others.state()...};
    CancellationSource source;
    source.token_.state()->link_to(states);
    return source;
  }

  /// True for the one call that did it; the reason is that call's. On return every token, also those of linked sources,
  /// says so; everything registered has been handed to its home or posted to its executor, and nothing of it ran
  /// inline. Allocates nothing. O(registrations). Any thread; nothing for a moved-from source.
  bool cancel(std::error_code reason = Errc::cancelled) noexcept {
    // A copy, because something that is woken may destroy the last source at once.
    const CancellationToken held = token_;
    return held.state() && held.state()->cancel(reason);
  }

  /// Cancels when the time has come, by the clock of the execution context behind `executor`; a later call replaces an
  /// earlier one. No work is left behind when it is cancelled, or freed, before. Allocates the deadline.
  template <ExecutorSource E>
  void cancel_at(E&& executor, TimeService::TimePoint when, std::error_code reason = Errc::timed_out) {
    if (token_.state()) token_.state()->cancel_at(executor_of(static_cast<E&&>(executor)), when, reason);
  }
  template <ExecutorSource E, class Rep, class Period>
  void cancel_after(E&& executor, std::chrono::duration<Rep, Period> duration,
                    std::error_code reason = Errc::timed_out) {
    const auto target = executor_of(static_cast<E&&>(executor));
    const auto& service = asio::use_service<TimeService>(context_of(target));
    cancel_at(target, service.after(detail::clock_duration(duration)), reason);
  }

  [[nodiscard]] bool cancelled() const noexcept { return token_.cancelled(); }
  [[nodiscard]] const CancellationToken& token() const noexcept { return token_; }

 private:
  CancellationToken token_;
};

namespace detail {

/// Protocol of a callback, which its registration, the canceller and the executor share:
///  1. `turn_` decides between start and drop: whoever exchanges it away from `waiting` first has decided.
///  2. The canceller raises `posting_`, then looks at `turn_`; the registration's end drops, then looks at `posting_`
///     (both sequentially consistent). So after that end nobody touches the executor, which may be gone by then.
///  3. One reference for the registration, one for the canceller from the firing, under the state's lock, until it has
///     posted, one for the posted function.
class CancellationCallbackBlock : public CancellationNode, public WakeList::Deferred {
 public:
  explicit CancellationCallbackBlock(const CancellationToken& token) noexcept
      : CancellationNode([](CancellationNode& self, CancellationFiring& firing) noexcept {
          auto& block = static_cast<CancellationCallbackBlock&>(self);
          block.retain();
          firing.wakes.add(block);
        }),
        token_(token) {
    Deferred::fire = [](Deferred& self) noexcept { static_cast<CancellationCallbackBlock&>(self).post_and_release(); };
  }

  void start() {
    if (token_.state()->add(*this)) return;
    retain();
    post_and_release();
  }

  void drop() noexcept {
    token_.state()->remove(*this);
    turn_.store(dropped, std::memory_order_seq_cst);
    while (posting_.load(std::memory_order_seq_cst)) std::this_thread::yield();
    release();
  }

  void retain() noexcept { refs_.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept {
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

 protected:
  enum Turn : int { waiting, dropped, started };

  virtual ~CancellationCallbackBlock() = default;
  virtual void post() = 0;

  [[nodiscard]] bool take_turn() noexcept {
    int expected = waiting;
    return turn_.compare_exchange_strong(expected, started, std::memory_order_acq_rel);
  }

 private:
  void post_and_release() noexcept {
    posting_.store(true, std::memory_order_seq_cst);
    if (turn_.load(std::memory_order_seq_cst) == waiting) post();
    posting_.store(false, std::memory_order_seq_cst);
    release();
  }

  CancellationToken token_;
  std::atomic<std::uint32_t> refs_{1};
  std::atomic<int> turn_{waiting};
  std::atomic<bool> posting_{false};
};

template <class E, class F>
class CancellationCallbackOf final : public CancellationCallbackBlock {
 public:
  template <class G>
  CancellationCallbackOf(const CancellationToken& token, const E& executor, G&& function)
      : CancellationCallbackBlock(token), executor_(executor), function_(static_cast<G&&>(function)) {}

 private:
  class Call {
   public:
    using allocator_type = PostAllocator<void>;

    explicit Call(CancellationCallbackOf& block) noexcept : block_(&block), memory_(&block.memory_) { block.retain(); }
    Call(Call&& other) noexcept : block_(std::exchange(other.block_, nullptr)), memory_(other.memory_) {}
    Call& operator=(Call&&) = delete;
    ~Call() {
      if (block_) block_->release();
    }
    void operator()() {
      if (block_->take_turn()) block_->function_();
    }
    [[nodiscard]] allocator_type get_allocator() const noexcept { return allocator_type(*memory_); }

   private:
    CancellationCallbackOf* block_;
    PostMemory* memory_;
  };

  void post() override { asio::post(executor_, Call(*this)); }

  E executor_;
  F function_;
  PostMemory memory_;
};

}  // namespace detail

/// Calls a function once when a token is cancelled, on an executor that is named for it: it is posted, never called
/// inline by the one who cancels, and never under a lock. If the token is cancelled already, it is posted at once.
///
/// The destructor takes the function back without waiting for it. Once it has returned, on whatever thread:
///  - the function does not start any more, also where it was posted before; nothing refers to the executor any more;
///  - a call that had started may still run, if the destructor runs on another thread than the call, or inside it. On
///    the thread of a serial executor (a strand, a home, an `io_context` with one thread) neither is possible outside
///    the call itself.
/// The function is destroyed with the registration or after its last post was run or dropped, whichever is later. While
/// it is registered it is no outstanding work; the executor's context must outlive the registration.
///
/// Allocates one block, which has the memory of the post in it: cancelling allocates nothing, unless the executor
/// ignores the function's allocator (`asio::any_io_executor`) or needs a second one (a strand). An executor whose post
/// throws ends the program. What the function throws is thrown to the one who runs the executor.
class [[nodiscard("the callback is taken back when the registration is destroyed")]] CancellationCallback {
 public:
  /// Registers nothing.
  CancellationCallback() noexcept = default;
  template <ExecutorSource E, class F>
    requires std::invocable<std::decay_t<F>&>
  CancellationCallback(const CancellationToken& token, E&& executor, F&& function) {
    if (!token.connected()) return;
    auto target = executor_of(static_cast<E&&>(executor));
    block_ = new detail::CancellationCallbackOf<decltype(target), std::decay_t<F>>(token, target,
                                                                                   static_cast<F&&>(function));
    block_->start();
  }
  CancellationCallback(CancellationCallback&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  CancellationCallback& operator=(CancellationCallback&& other) noexcept {
    CancellationCallback old(std::move(other));
    std::swap(block_, old.block_);
    return *this;
  }
  ~CancellationCallback() {
    if (block_) block_->drop();
  }

  /// What the destructor does.
  void reset() noexcept {
    if (auto* const block = std::exchange(block_, nullptr)) block->drop();
  }

 private:
  detail::CancellationCallbackBlock* block_ = nullptr;
};

}  // namespace weir
