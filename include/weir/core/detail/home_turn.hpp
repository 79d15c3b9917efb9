/// The turns of a home: how it runs what is ready, and takes others along (rules 6 and 7 of home.hpp).
#pragma once

#include <atomic>
#include <cstdint>

#include <weir/core/home.hpp>

#if defined(__x86_64__) || defined(__i386__)
#  include <x86intrin.h>
#endif

namespace weir {
namespace detail {

/// How time goes by, for guesses only; always 0 where it cannot be told in a few nanoseconds. Then nobody ever shows
/// that it suspends soon, and all who are woken are posted; and turns go by their budget alone.
[[nodiscard]] inline std::uint64_t ticks() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  return __rdtsc();
#else
  return 0;
#endif
}
/// Some five to ten microseconds: about what it takes until a sleeping thread that was woken for somebody runs it.
inline constexpr std::uint64_t ticks_worth_a_post = 20000;
/// Some 25 to 50 microseconds: until then a budget is given again. So long that posting the next turn is little beside
/// it, and so short that nobody minds to wait for a few of them.
inline constexpr std::uint64_t ticks_of_a_turn = 100000;
/// Some 200 to 400 microseconds: then who looks at the time gives way, though its budget is not spent. Longer, because
/// a post wakes a thread that has nothing to do, and the root goes on there with cold caches.
inline constexpr std::uint64_t ticks_of_a_long_turn = 8 * ticks_of_a_turn;

}  // namespace detail

inline bool Home::run_one() noexcept {
  Resumable* const r = pop();
  if (!r) return false;
  --budget_;
  if (r->callback) {
    r->callback(*r, true);
  } else {
    r->coroutine.resume();
  }
  return true;
}

inline void Home::drain() noexcept {
  Along along;
  along.budget = limit_;
  if (by_time_) along.began = detail::ticks();
  drain_own(along, true);  // this home may be gone after that
  while (along.first || along.owed) {
    if (along.first) {
      Home& next = *along.first;
      along.remove(next);
      next.drain_along(along);
    } else {
      along.pop_owed().drain_owed(along);
    }
  }
}

inline void Home::drain_own(Along& along, bool held) noexcept {
  if (along_in_) along_in_->remove(*this);
  running_ = &along;
  budget_ = along.budget;
  for (;;) {
    take_inbox();
    while (run_one()) {
      if (returned_ && !finished_) {
        finished_ = true;
        finish();
        // The root's own reference goes, or takes the place of the scheduled one.
        if (held) release();
        held = true;
      }
      if (budget_ <= 0 && (next_ || ready_ || inbox_.load(std::memory_order_relaxed))) {
        running_ = nullptr;
        along.budget = 0;
        note_turn();
        if (!held) retain();
        post();
        return;
      }
    }
    Resumable* empty = nullptr;
    running_ = nullptr;
    along.budget = budget_;
    note_turn();
    if (inbox_.compare_exchange_strong(empty, idle(), std::memory_order_acq_rel)) break;
    running_ = &along;
  }
  if (held) release();
}

inline void Home::drain_owed(Along& along) noexcept {
  if (along.budget > 0) return drain_own(along, false);
  retain();
  posting_.fetch_add(1, std::memory_order_acq_rel);
  submit();
}

[[gnu::noinline]] inline bool Home::renew() noexcept {
  if (!timed() || detail::ticks() - running_->began > detail::ticks_of_a_turn) return false;
  budget_ = limit_;
  return true;
}

inline void Home::look_at_time() noexcept {
  if (timed() && detail::ticks() - running_->began > detail::ticks_of_a_long_turn) budget_ = 0;
}

inline void Home::note_turn() noexcept {
  if (woke_at_ == 0) return;
  const bool quick = detail::ticks() - woke_at_ < detail::ticks_worth_a_post;
  woke_at_ = 0;
  if (quick) {
    quick_turns_ += quick_turns_ < quick_turns_wanted_;
  } else {
    quick_turns_ = 0;
    if (quick_turns_wanted_ < 64) quick_turns_wanted_ *= 2;
  }
}

inline bool Home::wake_along(Home& other, Resumable& r) noexcept {
  if (!takes_along_ || !running_ || !other.plain_ || &context_ != &other.context_ || &other == this) return false;
  if (woke_at_ == 0) woke_at_ = detail::ticks();
  if (quick_turns_ < quick_turns_wanted_) return false;
  Resumable* head = other.inbox_.load(std::memory_order_relaxed);
  do {
    if (head == dead()) return false;
    r.next = head == idle() ? nullptr : head;
  } while (!other.inbox_.compare_exchange_weak(head, &r, std::memory_order_acq_rel, std::memory_order_relaxed));
  if (head == idle()) running_->push_owed(other);
  return true;
}

inline void Home::drain_along(Along& along) noexcept {
  // A drain that runs it already, further up the stack, goes on with what was added.
  if (running_) return;
  if (along.budget <= 0) return schedule();
  running_ = &along;
  budget_ = along.budget;
  while (budget_ > 0 && run_one()) {
    if (!returned_ || finished_) continue;
    running_ = nullptr;
    along.budget = budget_;
    finished_ = true;
    if (next_ || ready_) schedule();
    finish();
    release();  // the last one, unless it is scheduled
    return;
  }
  running_ = nullptr;
  along.budget = budget_;
  if (next_ || ready_) schedule();
}

inline void Home::schedule() noexcept {
  posting_.fetch_add(1, std::memory_order_acq_rel);
  Resumable* expected = idle();
  if (inbox_.compare_exchange_strong(expected, nullptr, std::memory_order_acq_rel)) {
    retain();
    submit();
  } else {
    posting_.fetch_sub(1, std::memory_order_release);
  }
}

inline bool Home::resume_along(Home& other, Resumable& r) noexcept {
  if (&other == this) {
    resume_here(r);
    return true;
  }
  if (!running_ || !plain_ || !other.plain_ || &context_ != &other.context_) return false;
  // One that is going has its own way of being told.
  if (other.inbox_.load(std::memory_order_relaxed) == dead()) return false;
  other.resume_here(r);
  if (!other.along_in_ && !other.running_) running_->push(other);
  return true;
}

}  // namespace weir
