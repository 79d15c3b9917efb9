/// What sources, tokens and registrations of one cancellation share.
///
/// Protocol (tests/core/cancellation_test.cpp and cancellation_threads_test.cpp break when one of these is broken):
///  1. `cancelled_` goes from false to true once, under the mutex, after the reason was written; reading it needs no
///     lock, and who reads true may read the reason.
///  2. A node is linked, or it has been fired (unlinked and told, both under the mutex of the state), or was never
///     added or was removed. `remove` takes the mutex, so its answer is final: true means that it never fires; false
///     means that it was told.
///  3. Under the mutex a node may only add to the `Firing`. Homes are posted, callbacks are posted and child states are
///     cancelled after it. No two states are ever locked at once; a deadline's timeline may be locked below a state.
///  4. A child owns its parents, never the reverse. A parent that cancels pins the child under the parent's mutex,
///     which the child's end takes too (2): either the pin is in time, or the child is ending and is left alone.
///  5. Long chains are walked by loops, not by recursion: on cancel and on release.
///  6. The deadline's block is freed only by the state's end, or when it was taken back unfired: whoever was told to
///     fire it has pinned the state (4, with the timeline's mutex in place of the parent's).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <system_error>
#include <utility>

#include <weir/core/home.hpp>
#include <weir/core/time_service.hpp>
#include <weir/core/wake_list.hpp>

namespace weir::detail {

struct CancellationLink;

/// What the nodes of a state leave behind while it is locked.
struct CancellationFiring {
  WakeList wakes;
  CancellationLink* links = nullptr;
};

/// Something to be told of a cancellation, once. Intrusive; its owner removes it before it goes.
struct CancellationNode {
  /// Called under the lock of the state: it may only add to `firing`.
  using Fire = void (*)(CancellationNode& self, CancellationFiring& firing) noexcept;

  explicit CancellationNode(Fire f) noexcept : fire(f) {}
  CancellationNode(const CancellationNode&) = delete;
  CancellationNode& operator=(const CancellationNode&) = delete;

  Fire fire;
  CancellationNode* prev = nullptr;
  CancellationNode* next = nullptr;
};

class CancellationState;

/// Tells a child of its parent.
struct CancellationLink : CancellationNode {
  CancellationLink() noexcept : CancellationNode(&fire_child) {}
  static void fire_child(CancellationNode& self, CancellationFiring& firing) noexcept;

  CancellationState* parent = nullptr;
  CancellationState* child = nullptr;
  CancellationLink* next_fired = nullptr;
};

class CancellationState {
 public:
  CancellationState() noexcept : nodes_(nullptr) { nodes_.next = nodes_.prev = &nodes_; }
  CancellationState(const CancellationState&) = delete;
  CancellationState& operator=(const CancellationState&) = delete;

  void retain() noexcept { refs_.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept;

  [[nodiscard]] bool cancelled() const noexcept { return cancelled_.load(std::memory_order_acquire); }
  [[nodiscard]] std::error_code reason() const noexcept { return cancelled() ? reason_ : std::error_code(); }

  /// False: cancelled already, and the node will not be told.
  [[nodiscard]] bool add(CancellationNode& node) noexcept {
    const std::lock_guard lock(mutex_);
    if (cancelled_.load(std::memory_order_relaxed)) return false;
    node.prev = nodes_.prev;
    node.next = &nodes_;
    nodes_.prev->next = &node;
    nodes_.prev = &node;
    return true;
  }

  /// True: it was not told and will not be.
  bool remove(CancellationNode& node) noexcept {
    const std::lock_guard lock(mutex_);
    if (!node.next) return false;
    unlink(node);
    return true;
  }

  /// True for the one call that did it. The caller owns a reference.
  bool cancel(std::error_code reason) noexcept;

  /// Becomes the child of each of `parents`, null ones left out. Once, by the one who made it.
  void link_to(std::span<CancellationState* const> parents);

  /// Cancels at `when`, instead of at the time given before.
  template <class E>
  void cancel_at(const E& executor, TimeService::TimePoint when, std::error_code reason);

 private:
  friend struct CancellationLink;

  struct Deadline : TimeService::Deadline, WakeList::Deferred {
    CancellationState* state = nullptr;
    std::shared_ptr<TimeService::Timeline> timeline;
    std::error_code reason;
  };

  ~CancellationState() = default;

  [[nodiscard]] bool try_retain() noexcept {
    std::uint32_t refs = refs_.load(std::memory_order_relaxed);
    while (refs != 0) {
      if (refs_.compare_exchange_weak(refs, refs + 1, std::memory_order_acq_rel, std::memory_order_relaxed))
        return true;
    }
    return false;
  }

  static void unlink(CancellationNode& node) noexcept {
    node.prev->next = node.next;
    node.next->prev = node.prev;
    node.prev = node.next = nullptr;
  }

  bool cancel_one(std::error_code reason, CancellationFiring& firing) noexcept;

  std::atomic<std::uint32_t> refs_{1};
  std::atomic<bool> cancelled_{false};
  std::mutex mutex_;
  std::error_code reason_;
  CancellationNode nodes_;
  std::unique_ptr<Deadline> deadline_;
  std::unique_ptr<CancellationLink[]> links_;
  std::size_t link_count_ = 0;
  CancellationState* next_dead_ = nullptr;
};

inline void CancellationLink::fire_child(CancellationNode& self, CancellationFiring& firing) noexcept {
  auto& link = static_cast<CancellationLink&>(self);
  if (!link.child->try_retain()) return;
  link.next_fired = firing.links;
  firing.links = &link;
}

inline bool CancellationState::cancel_one(std::error_code reason, CancellationFiring& firing) noexcept {
  const std::lock_guard lock(mutex_);
  if (cancelled_.load(std::memory_order_relaxed)) return false;
  reason_ = reason;
  cancelled_.store(true, std::memory_order_release);
  // Nothing is left to time, and a deadline is work that `run()` would wait for.
  if (deadline_) deadline_->timeline->remove(*deadline_);
  while (nodes_.next != &nodes_) {
    CancellationNode& node = *nodes_.next;
    unlink(node);
    node.fire(node, firing);
  }
  return true;
}

inline bool CancellationState::cancel(std::error_code reason) noexcept {
  CancellationLink* links = nullptr;
  const auto cancel_state = [&](CancellationState& state) noexcept {
    CancellationFiring firing;
    firing.links = links;
    const bool first = state.cancel_one(reason, firing);
    links = firing.links;
    return first;
  };
  if (!cancel_state(*this)) return false;
  while (links) {
    CancellationState& child = *links->child;
    links = links->next_fired;
    cancel_state(child);
    child.release();
  }
  return true;
}

inline void CancellationState::release() noexcept {
  if (refs_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  CancellationState* dead = this;
  while (dead) {
    CancellationState* const state = dead;
    dead = state->next_dead_;
    if (state->deadline_) state->deadline_->timeline->remove(*state->deadline_);
    for (std::size_t i = 0; i < state->link_count_; ++i) {
      CancellationLink& link = state->links_[i];
      if (!link.parent) continue;
      link.parent->remove(link);
      if (link.parent->refs_.fetch_sub(1, std::memory_order_acq_rel) != 1) continue;
      link.parent->next_dead_ = dead;
      dead = link.parent;
    }
    delete state;
  }
}

inline void CancellationState::link_to(std::span<CancellationState* const> parents) {
  links_ = std::make_unique<CancellationLink[]>(parents.size());
  link_count_ = parents.size();
  for (std::size_t i = 0; i < parents.size(); ++i) {
    if (!parents[i]) continue;
    links_[i].child = this;
    links_[i].parent = parents[i];
    parents[i]->retain();
    if (parents[i]->add(links_[i])) continue;
    cancel(parents[i]->reason());
    return;
  }
}

template <class E>
void CancellationState::cancel_at(const E& executor, TimeService::TimePoint when, std::error_code reason) {
  auto& service = asio::use_service<TimeService>(context_of(executor));
  auto deadline = std::make_unique<Deadline>();
  deadline->state = this;
  deadline->timeline = service.timeline();
  deadline->reason = reason;
  deadline->when = when;
  deadline->due = [](TimeService::Deadline& self, WakeList& wakes) noexcept {
    auto& due = static_cast<Deadline&>(self);
    if (due.state->try_retain()) wakes.add(due);
  };
  deadline->fire = [](WakeList::Deferred& self) noexcept {
    auto& due = static_cast<Deadline&>(self);
    CancellationState& state = *due.state;
    state.cancel(due.reason);
    state.release();
  };
  const std::lock_guard lock(mutex_);
  if (cancelled_.load(std::memory_order_relaxed)) return;
  // One that cannot be taken back has fired: the state is about to be cancelled by it.
  if (deadline_ && !deadline_->timeline->remove(*deadline_)) return;
  deadline_ = std::move(deadline);
  try {
    service.add(*deadline_, executor);
  } catch (...) {
    deadline_.reset();
    throw;
  }
}

}  // namespace weir::detail
