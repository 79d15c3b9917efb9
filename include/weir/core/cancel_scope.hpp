/// The tree of what can be cancelled inside one root task. Everything here happens on the root's home, so there is no
/// lock: a cancel that comes from elsewhere is handed to the home first (`Home::request_cancel`, `CancellationToken`).
#pragma once

#include <cassert>
#include <concepts>
#include <string>

#include <weir/core/error.hpp>

namespace weir {

/// A suspended operation, or a scope below: linked into the scope that cancels it. Intrusive, so that suspending
/// allocates nothing and links in O(1). Its destructor unlinks it.
class Cancellable {
 public:
  struct Kind {
    /// Called once, already unlinked, on the home. It makes the operation end soon; it does not resume anything inline.
    void (*cancel)(Cancellable& self) noexcept;
    /// Called when the scope ends before: only for what the scope owns.
    void (*destroy)(Cancellable& self) noexcept;
    /// What it waits for, for reports: "receive", "sleep".
    const char* what;
    /// Appends what else a report should say of this one wait: on what, since when, who is before it. On the home, or
    /// while it does not run; it may throw `std::bad_alloc`.
    void (*describe)(const Cancellable& self, std::string& text) = nullptr;
  };

  explicit Cancellable(const Kind& kind) noexcept : kind_(&kind) {}
  Cancellable(const Cancellable&) = delete;
  Cancellable& operator=(const Cancellable&) = delete;
  ~Cancellable() { unlink(); }

  void unlink() noexcept {
    if (!next_) return;
    next_->prev_ = prev_;
    prev_->next_ = next_;
    next_ = prev_ = nullptr;
  }
  [[nodiscard]] bool linked() const noexcept { return next_ != nullptr; }
  [[nodiscard]] const Kind& kind() const noexcept { return *kind_; }
  /// One wait in a report, appended to `text`: `what`, and what its kind describes, if it does. Allocates.
  void describe(std::string& text) const {
    text += kind_->what;
    if (!kind_->describe) return;
    text += " — ";
    kind_->describe(*this, text);
  }

 private:
  friend class CancelScope;

  const Kind* kind_;
  Cancellable* prev_ = nullptr;
  Cancellable* next_ = nullptr;
};

/// What is cancelled together: a root, a `with_scope`, the branches of a `when_any`.
class CancelScope : public Cancellable {
 public:
  CancelScope() noexcept : Cancellable(scope_kind()), members_(member_kind()) {
    members_.next_ = members_.prev_ = &members_;
  }
  /// A scope below `parent`, cancelled with it, and at once if it already was.
  explicit CancelScope(CancelScope& parent) noexcept : CancelScope() {
    if (parent.cancelled()) {
      cancelled_ = true;
      reason_ = parent.reason_;
    } else {
      parent.link(*this);
    }
  }
  ~CancelScope() {
    while (members_.next_ != &members_) {
      Cancellable& member = *members_.next_;
      member.unlink();
      if (member.kind_->destroy) member.kind_->destroy(member);
    }
    members_.next_ = members_.prev_ = nullptr;
  }

  [[nodiscard]] bool cancelled() const noexcept { return cancelled_; }
  /// Why: `Errc::cancelled`, or `Errc::timed_out` when a deadline did it.
  [[nodiscard]] Errc reason() const noexcept { return reason_; }

  /// Adds a member, which must not be linked anywhere. O(1). Not for a scope that was cancelled: it would never hear of
  /// it.
  void link(Cancellable& member) noexcept {
    assert(!cancelled_ && !member.linked());
    member.prev_ = members_.prev_;
    member.next_ = &members_;
    members_.prev_->next_ = &member;
    members_.prev_ = &member;
  }

  /// Cancels every member and every scope below, in the order in which they were linked. Again is the same as once.
  void cancel(Errc reason = Errc::cancelled) noexcept {
    if (cancelled_) return;
    cancelled_ = true;
    reason_ = reason;
    while (members_.next_ != &members_) {
      Cancellable& member = *members_.next_;
      member.unlink();
      if (member.kind_ == &scope_kind()) {
        static_cast<CancelScope&>(member).cancel(reason);
      } else if (member.kind_->cancel) {
        // What the scope owns may end itself here.
        member.kind_->cancel(member);
      }
    }
  }

  /// The first member of the given kind, or null. O(members).
  [[nodiscard]] Cancellable* find(const Kind& kind) noexcept {
    for (Cancellable* m = members_.next_; m != &members_; m = m->next_) {
      if (m->kind_ == &kind) return m;
    }
    return nullptr;
  }

  /// Calls `visit(cancellable)`, or `visit(what)` for a visitor that takes the name only, for each operation that waits
  /// in this scope or below it.
  template <class Visit>
  void for_each_wait(Visit&& visit) const {
    for (const Cancellable* m = members_.next_; m != &members_; m = m->next_) {
      if (m->kind_ == &scope_kind()) {
        static_cast<const CancelScope*>(m)->for_each_wait(visit);
      } else if (m->kind_->what) {
        if constexpr (std::invocable<Visit&, const Cancellable&>) {
          visit(*m);
        } else {
          visit(m->kind_->what);
        }
      }
    }
  }

 private:
  static const Kind& scope_kind() noexcept {
    static constexpr Kind kind{nullptr, nullptr, nullptr};
    return kind;
  }
  static const Kind& member_kind() noexcept {
    static constexpr Kind kind{nullptr, nullptr, nullptr};
    return kind;
  }

  Cancellable members_;
  bool cancelled_ = false;
  Errc reason_ = Errc::cancelled;
};

}  // namespace weir
