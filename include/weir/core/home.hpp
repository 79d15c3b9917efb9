/// The home of a root task: the one place where its coroutines are resumed, one at a time.
///
/// Protocol of the inbox (`inbox_`), the only word that other threads write:
///  1. `idle`: nothing to run and nothing posted. `dead`: the context is gone. Otherwise the head of a stack of what
///  other
///     parties want to run (empty: null), and exactly one drain is posted or running.
///  2. Who moves it away from `idle` owes one `submit()`, which posts the drain. `enqueue` and `submit` are two steps,
///  so that
///     the first can happen under a party's lock and the post after it.
///  3. Only the drain moves it back to `idle`, when it found nothing more.
///  4. `posting_` is raised before the step away from `idle` and lowered after the post. Shutting down moves the inbox
///  to
///     `dead` and then waits for `posting_` to fall, so that no post meets a context that is gone.
///  5. A scheduled home (not `idle`) keeps itself alive by a reference.
///  6. What is woken by a home on the same thread (`resume_along`) needs neither the inbox nor a post: it is appended
///  to
///     the other's ready list, and the home to those that the running drain takes along. A home that is taken along
///     touches its ready list only; before that it may be drained by a post of its own, which takes it out of the list.
///  7. What is woken by a home of the same executor (`wake_along`) may be owed its drain by the running one instead of
///     by a post: then that one runs it, or posts it, when its own turn ends. Nothing is posted, and nobody else can
///     end the root meanwhile, so rules 4 and 5 have nothing to guard until it is. Only for those who have shown that
///     they suspend soon after they woke somebody: else the woken one would wait though another thread is free.
/// Broken rules are found by tests/core/home_test.cpp and, on two threads, by tests/core/home_threads_test.cpp.
#pragma once

#include <atomic>
#include <cassert>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <thread>

#include <weir/asio.hpp>
#include <weir/core/cancel_scope.hpp>
#include <weir/core/detail/memory_cache.hpp>

namespace weir {

/// Something that a home runs once: a suspended coroutine, or a callback. Intrusive: it lives in what waits, so that
/// waking allocates nothing. It is in at most one home's queue at a time.
struct Resumable {
  /// `run` is false when the home was destroyed first: then only free what the resumable owns.
  using Callback = void (*)(Resumable& self, bool run) noexcept;

  Resumable* next = nullptr;
  std::coroutine_handle<> coroutine;  ///< resumed when there is no callback
  Callback callback = nullptr;
};

class RootRegistry;
class TimeService;

/// The home of one root task and of all the tasks below it. Made by `spawn` and `sync_wait`; users meet it only when
/// they write an awaiter of their own. Everything marked "on the home" is called by what the home runs, and by nothing
/// else.
class Home {
 public:
  Home(const Home&) = delete;
  Home& operator=(const Home&) = delete;

  /// Runs `r` on the home, after what was handed over before. Any thread. Allocates nothing, never runs it inline.
  void resume_later(Resumable& r) noexcept {
    if (enqueue(r)) submit();
  }

  /// The first half of `resume_later`, which may be called under a lock: true if the caller now owes a `submit()`.
  [[nodiscard]] bool enqueue(Resumable& r) noexcept;
  /// The second half: posts the drain to the executor. Not under a lock.
  void submit() noexcept;

  /// On the home: runs `r` after everything that is ready now.
  void resume_here(Resumable& r) noexcept;
  /// On the home: runs `r` on `other`, whose turn comes when this home's ends, on the same thread and without a post.
  /// For parties that share a thread (false: they share no plain executor; nothing was done).
  [[nodiscard]] bool resume_along(Home& other, Resumable& r) noexcept;
  /// On the home: wakes `r` on `other` as `resume_later` does, but to be run right after this one. False, and nothing
  /// was done, if that is not for these two.
  [[nodiscard]] bool wake_along(Home& other, Resumable& r) noexcept;
  /// On the home: runs `r` as soon as the running coroutine suspends. This is the trampoline: instead of a jump from
  /// one coroutine into the next, which needs a guaranteed tail call, the next is left here and the drain's loop
  /// resumes it.
  void resume_next(Resumable& r) noexcept {
    assert(next_ == nullptr);
    next_ = &r;
  }
  /// On the home, or when it is dead: takes back what was handed over and has not run. O(length of the queue).
  bool forget(Resumable& r) noexcept;

  /// On the home: counts one operation that was done at once. False when the coroutine has had its turn and should let
  /// others run (`resume_here` and suspend).
  [[nodiscard]] bool spend() noexcept { return --budget_ > 0; }
  /// On the home, when `spend` said false: gives the budget again if the turn has not lasted long. For operations that
  /// nobody else could do instead; where others wait to do the same, it is their turn.
  [[nodiscard]] bool renew() noexcept;
  /// On the home, before `spend`: the same, if the next would be the last.
  void renew_if_due() noexcept {
    if (budget_ <= 1) [[unlikely]]
      static_cast<void>(renew());
  }
  /// On the home, before `spend`: the turn is over once it has lasted long. For operations that are few and long.
  void look_at_time() noexcept;
  /// How long an operation may wait for another thread on this one before it suspends, in pauses of the processor. 0
  /// where no other thread is to be expected.
  [[nodiscard]] std::uint32_t patience() const noexcept {
    // Who waits behind this one may be the one that is waited for.
    return running_ && (running_->first || running_->owed) ? 0 : patience_;
  }

  /// On the home: the time of its turn, by the context's clock, for reports. It is read when it is first asked for in a
  /// turn, and to the precision of the system's tick: a wait can be stamped for next to nothing. With
  /// `weir/core/time_service.hpp`.
  [[nodiscard]] std::chrono::steady_clock::time_point turn_time() noexcept;
  /// What the clock of `turn_time` says now. Any thread, for a turn time that it was given by a party that keeps the
  /// root from being destroyed, such as by a lock.
  [[nodiscard]] std::chrono::steady_clock::time_point report_time() const noexcept;

  /// On the home: a number below `n`, by a generator of the root's own that is the same in each run. For choices that
  /// are to be fair.
  [[nodiscard]] std::uint32_t pick(std::uint32_t n) noexcept {
    dice_ = dice_ * 1'664'525 + 1'013'904'223;
    return static_cast<std::uint32_t>((std::uint64_t{dice_} * n) >> 32);
  }

  /// The scope that is cancelled with the whole root. On the home.
  [[nodiscard]] CancelScope& scope() noexcept { return scope_; }
  /// Cancels the root: its scope, on the home. Any thread; allocates nothing; more than once is the same as once.
  void request_cancel() noexcept;

  /// The execution context that the root belongs to.
  [[nodiscard]] asio::execution_context& context() const noexcept { return context_; }
  /// The executor that the drain is posted to, which is not serial: for timers and the like. May allocate.
  [[nodiscard]] virtual asio::any_io_executor base_executor() const = 0;
  /// Whether the calling thread is one that could be running this home: blocking it may deadlock.
  [[nodiscard]] virtual bool runs_on_this_thread() const noexcept = 0;

  /// A name for reports: a literal, or what else outlives the root and is not changed. Any thread.
  void set_name(const char* name) noexcept { name_.store(name, std::memory_order_release); }
  [[nodiscard]] const char* name() const noexcept { return name_.load(std::memory_order_acquire); }
  /// The number of the root in its context, from 1 in the order of spawning. Any thread.
  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }

  /// Shared ownership of the block (not of the coroutine's frame).
  void retain() noexcept { refs_.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept {
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) destroy_block();
  }

  /// Memory that is kept for the next time, for what its operations need while they are under way. It holds the block
  /// of the home until it is given back. Any thread.
  [[nodiscard]] void* allocate(std::size_t size) {
    void* const memory = cache_.allocate(size);
    retain();
    return memory;
  }
  void deallocate(void* memory, std::size_t size) noexcept {
    cache_.deallocate(memory, size);
    release();
  }

  /// Called by the promise of the root at its end. On the home.
  void root_returned() noexcept { returned_ = true; }
  [[nodiscard]] bool finished() const noexcept { return finished_; }

 protected:
  struct Traits {
    int budget = 256;
    std::uint32_t patience = 0;
    /// Whether the executor is one of those for which `is_plain_executor` holds.
    bool plain = false;
    /// Whether it may run whom it woke itself (see `wake_along`).
    bool takes_along = true;
    /// Whether turns go by time as well (see `TurnOptions::by_time`).
    bool by_time = true;
  };
  Home(asio::execution_context& context, const Traits& traits) noexcept
      : plain_(traits.plain),
        // With turns of one step there is no time left for it; in the simulator it must not depend on the clock.
        takes_along_(traits.takes_along && traits.plain && traits.budget > 1),
        by_time_(traits.by_time && traits.budget > 1),
        limit_(traits.budget),
        patience_(traits.patience),
        context_(context) {}
  virtual ~Home() = default;

  /// Runs what is ready: what the posted function calls.
  void drain() noexcept;
  /// What the posted function calls when it is destroyed instead of run.
  void abandon() noexcept;

  /// Posts one call of `drain()`; at most one is under way at a time.
  virtual void post() noexcept = 0;
  /// The root returned: destroy its frame and hand on its result.
  virtual void finish() noexcept = 0;
  /// The context is going: destroy the frame.
  virtual void destroy_root() noexcept = 0;
  /// The context is going: what would have been called at the end is destroyed uncalled.
  virtual void forget_handler() noexcept = 0;
  /// The context is going: let go of the executor. The block may live on, and what is behind a strand would not.
  virtual void forget_executor() noexcept = 0;
  virtual void destroy_block() noexcept = 0;

 private:
  friend class WakeList;
  friend class RootRegistry;

  static Resumable* idle() noexcept { return reinterpret_cast<Resumable*>(std::uintptr_t{1}); }
  static Resumable* dead() noexcept { return reinterpret_cast<Resumable*>(std::uintptr_t{2}); }

  void append_reversed(Resumable* newest) noexcept;
  void take_inbox() noexcept;
  Resumable* pop() noexcept;
  void discard_all() noexcept;
  /// The queue would otherwise lead through the frames that are about to go.
  void drop_coroutines() noexcept;
  /// First step of the context's end: nothing is accepted any more, and the caller holds a reference. False: the block
  /// is being destroyed already. Once a home.
  [[nodiscard]] bool deafen() noexcept;
  /// Second step: waits for the posts that are under way. Under no lock: who posts may have to destroy another block.
  void await_posts() noexcept;
  /// Third step: the frame is destroyed, unless the root returned.
  void destroy_frame() noexcept;
  static void run_cancel(Resumable& self, bool run) noexcept;

  std::atomic<Resumable*> inbox_{idle()};
  std::atomic<std::uint32_t> refs_{1};
  std::atomic<std::uint32_t> posting_{0};
  /// The homes that a drain takes along, in the order in which they were woken: those of rule 6, and of rule 7.
  struct Along {
    Home* first = nullptr;
    Home** end = &first;
    Home* owed = nullptr;
    Home** owed_end = &owed;
    int budget = 0;
    /// In ticks; 0 where turns don't go by time.
    std::uint64_t began = 0;

    void push_owed(Home& home) noexcept {
      home.wake_next_ = nullptr;
      *owed_end = &home;
      owed_end = &home.wake_next_;
    }
    Home& pop_owed() noexcept {
      Home& home = *owed;
      owed = home.wake_next_;
      if (!owed) owed_end = &owed;
      return home;
    }
    std::chrono::steady_clock::time_point time = std::chrono::steady_clock::time_point::min();

    void push(Home& home) noexcept {
      home.along_next_ = nullptr;
      home.along_in_ = this;
      *end = &home;
      end = &home.along_next_;
    }
    void remove(Home& home) noexcept {
      Home** link = &first;
      while (*link != &home) link = &(*link)->along_next_;
      *link = home.along_next_;
      if (end == &home.along_next_) end = link;
      home.along_in_ = nullptr;
    }
  };

  /// Runs what is ready, and then those taken along, until the budget is spent.
  /// `held`: with the reference of rule 5.
  void drain_own(Along& along, bool held) noexcept;
  void drain_along(Along& along) noexcept;
  void drain_owed(Along& along) noexcept;
  /// Whether it is known when the turn began.
  [[nodiscard]] bool timed() const noexcept { return by_time_ && running_ && running_->began != 0; }
  /// At the end of a turn: how long it went on after it woke somebody.
  void note_turn() noexcept;
  /// Runs the next of the ready list; false: there is none.
  bool run_one() noexcept;
  /// Posts a drain for what is in the ready list, unless there is one.
  void schedule() noexcept;

  std::atomic<bool> cancel_requested_{false};
  const bool plain_;
  const bool takes_along_;
  const bool by_time_;
  bool returned_ = false;
  bool finished_ = false;
  int limit_;
  int budget_ = 0;
  std::uint32_t patience_;
  Resumable* next_ = nullptr;
  Resumable* ready_ = nullptr;
  Resumable** ready_end_ = &ready_;
  CancelScope scope_;
  struct CancelNode : Resumable {
    Home* home = nullptr;
  } cancel_node_;
  detail::MemoryCache cache_;
  asio::execution_context& context_;
  Home* wake_next_ = nullptr;
  Along* running_ = nullptr;
  Along* along_in_ = nullptr;
  std::uint64_t woke_at_ = 0;
  std::uint32_t quick_turns_ = 0;
  std::uint32_t quick_turns_wanted_ = 4;
  Home* along_next_ = nullptr;
  Home* registry_prev_ = nullptr;
  Home* registry_next_ = nullptr;
  Home* deaf_next_ = nullptr;
  Resumable* last_inbox_ = nullptr;
  std::atomic<const char*> name_{nullptr};
  /// Null as long as the context has no clock of its own.
  TimeService* clock_ = nullptr;
  bool clock_known_ = false;
  std::uint32_t dice_ = 0;
  std::uint64_t id_ = 0;
};

inline bool Home::enqueue(Resumable& r) noexcept {
  Resumable* head = inbox_.load(std::memory_order_relaxed);
  for (;;) {
    if (head == dead()) {
      if (r.callback) r.callback(r, false);
      return false;
    }
    const bool first = head == idle();
    if (first) posting_.fetch_add(1, std::memory_order_acq_rel);
    r.next = first ? nullptr : head;
    if (inbox_.compare_exchange_weak(head, &r, std::memory_order_acq_rel, std::memory_order_relaxed)) {
      if (first) retain();
      return first;
    }
    if (first) posting_.fetch_sub(1, std::memory_order_release);
  }
}

inline void Home::submit() noexcept {
  // The drain may finish and drop the last reference before the post returns here.
  retain();
  post();
  posting_.fetch_sub(1, std::memory_order_release);
  release();
}

inline void Home::resume_here(Resumable& r) noexcept {
  r.next = nullptr;
  *ready_end_ = &r;
  ready_end_ = &r.next;
}

inline void Home::append_reversed(Resumable* newest) noexcept {
  // The inbox is a stack with the newest on top: reversing it gives back the order of arrival.
  if (!newest) return;
  Resumable* oldest = nullptr;
  Resumable* const last = newest;
  while (newest) {
    Resumable* const below = newest->next;
    newest->next = oldest;
    oldest = newest;
    newest = below;
  }
  *ready_end_ = oldest;
  ready_end_ = &last->next;
}

inline void Home::take_inbox() noexcept {
  Resumable* const seen = inbox_.load(std::memory_order_relaxed);
  if (seen == nullptr || seen == dead() || seen == idle()) return;
  append_reversed(inbox_.exchange(nullptr, std::memory_order_acq_rel));
}

inline Resumable* Home::pop() noexcept {
  if (next_) {
    Resumable* const r = next_;
    next_ = nullptr;
    return r;
  }
  Resumable* const r = ready_;
  if (r) {
    ready_ = r->next;
    if (!ready_) ready_end_ = &ready_;
  }
  return r;
}

inline bool Home::forget(Resumable& r) noexcept {
  if (next_ == &r) {
    next_ = nullptr;
    return true;
  }
  take_inbox();
  for (Resumable** link = &ready_; *link; link = &(*link)->next) {
    if (*link != &r) continue;
    *link = r.next;
    if (ready_end_ == &r.next) ready_end_ = link;
    return true;
  }
  return false;
}

inline void Home::discard_all() noexcept {
  take_inbox();
  while (Resumable* const r = pop()) {
    if (r->callback) r->callback(*r, false);
  }
}

inline void Home::drop_coroutines() noexcept {
  if (next_ && !next_->callback) next_ = nullptr;
  Resumable** link = &ready_;
  while (*link) {
    if ((*link)->callback) {
      link = &(*link)->next;
    } else {
      *link = (*link)->next;
    }
  }
  ready_end_ = link;
}

inline void Home::abandon() noexcept {
  discard_all();
  release();
}

inline void Home::request_cancel() noexcept {
  if (cancel_requested_.exchange(true, std::memory_order_acq_rel)) return;
  cancel_node_.home = this;
  cancel_node_.callback = &run_cancel;
  resume_later(cancel_node_);
}

inline void Home::run_cancel(Resumable& self, bool run) noexcept {
  Home& home = *static_cast<CancelNode&>(self).home;
  // A root that has returned has nothing to cancel, and its token does not lie about how it ended.
  if (run && !home.finished_) home.scope_.cancel();
}

inline bool Home::deafen() noexcept {
  std::uint32_t refs = refs_.load(std::memory_order_relaxed);
  do {
    if (refs == 0) return false;
  } while (!refs_.compare_exchange_weak(refs, refs + 1, std::memory_order_acq_rel, std::memory_order_relaxed));
  last_inbox_ = inbox_.exchange(dead(), std::memory_order_acq_rel);
  return true;
}

inline void Home::await_posts() noexcept {
  while (posting_.load(std::memory_order_acquire) != 0) std::this_thread::yield();
  // What was handed over stays findable for `forget` until the frame is gone.
  if (last_inbox_ != idle()) append_reversed(last_inbox_);
}

inline void Home::destroy_frame() noexcept {
  if (!finished_) {
    finished_ = true;
    drop_coroutines();
    destroy_root();
    forget_handler();
    release();  // the root's own reference; who deafened it holds another
  }
  discard_all();
  forget_executor();
}

}  // namespace weir

#include <weir/core/detail/home_turn.hpp>
