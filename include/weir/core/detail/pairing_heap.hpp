/// A priority queue whose links live in what is queued.
#pragma once

#include <cassert>
#include <utility>

namespace weir::detail {

/// The base of what a `PairingHeap` holds. Not copied while it is linked.
template <class T>
struct PairingNode {
  [[nodiscard]] bool linked() const noexcept { return linked_; }

 private:
  template <class, class>
  friend class PairingHeap;

  T* child_ = nullptr;
  T* next_ = nullptr;
  T* prev_ = nullptr;  // the sibling before it, or the parent of the first child
  bool linked_ = false;
};

/// A pairing heap: `push` O(1), `pop` and `remove` O(log n) amortised; allocates nothing and does not recurse.
/// `Less` is a strict order; among equals the order of leaving is not specified. Not thread-safe.
template <class T, class Less>
class PairingHeap {
 public:
  PairingHeap() = default;
  PairingHeap(const PairingHeap&) = delete;
  PairingHeap& operator=(const PairingHeap&) = delete;

  /// The least, or null.
  [[nodiscard]] T* top() const noexcept { return root_; }

  void push(T& node) noexcept {
    assert(!node.linked_);
    node.linked_ = true;
    node.child_ = node.next_ = node.prev_ = nullptr;
    root_ = root_ ? meld(root_, &node) : &node;
  }

  void pop() noexcept { remove(*root_); }

  void remove(T& node) noexcept {
    assert(node.linked_);
    node.linked_ = false;
    T* const below = combine(std::exchange(node.child_, nullptr));
    if (&node == root_) {
      root_ = below;
      return;
    }
    if (node.prev_->child_ == &node) {
      node.prev_->child_ = node.next_;
    } else {
      node.prev_->next_ = node.next_;
    }
    if (node.next_) node.next_->prev_ = node.prev_;
    node.next_ = node.prev_ = nullptr;
    if (below) root_ = meld(root_, below);
  }

 private:
  /// Both are roots. The earlier of the two stays on top where neither is less.
  static T* meld(T* a, T* b) noexcept {
    if (Less()(*b, *a)) std::swap(a, b);
    b->prev_ = a;
    b->next_ = a->child_;
    if (a->child_) a->child_->prev_ = b;
    a->child_ = b;
    return a;
  }

  /// Makes one tree of a list of siblings: in pairs from the left, then the pairs from the right.
  static T* combine(T* first) noexcept {
    T* pairs = nullptr;
    while (first) {
      T* const a = first;
      T* const b = a->next_;
      first = b ? b->next_ : nullptr;
      a->next_ = a->prev_ = nullptr;
      if (b) b->next_ = b->prev_ = nullptr;
      T* const pair = b ? meld(a, b) : a;
      pair->next_ = pairs;
      pairs = pair;
    }
    T* root = nullptr;
    while (pairs) {
      T* const pair = pairs;
      pairs = pair->next_;
      pair->next_ = nullptr;
      root = root ? meld(root, pair) : pair;
    }
    return root;
  }

  T* root_ = nullptr;
};

}  // namespace weir::detail
