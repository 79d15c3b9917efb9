/// The values of a broadcast that some receiver has still to read, under the lock of its core, which has the protocol.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

namespace weir::detail {

template <class T>
struct BroadcastNode {
  BroadcastNode() noexcept {}
  BroadcastNode(const BroadcastNode&) = delete;
  BroadcastNode& operator=(const BroadcastNode&) = delete;
  ~BroadcastNode() {}

  void destroy_value() noexcept {
    std::destroy_at(&value);
    filled = false;
  }

  union {
    T value;
  };
  /// The value that was sent after it; or, out of the ring and not pinned, the next of a list.
  BroadcastNode* next = nullptr;
  std::uint32_t unread = 0;
  std::uint32_t pins = 0;
  bool last = false;
  bool filled = false;
};

/// Nodes that are in no ring, in the order in which they came.
template <class T>
class BroadcastNodeList {
 public:
  using Node = BroadcastNode<T>;

  BroadcastNodeList() noexcept = default;
  BroadcastNodeList(const BroadcastNodeList&) = delete;
  BroadcastNodeList& operator=(const BroadcastNodeList&) = delete;

  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
  void add(Node& node) noexcept {
    node.next = nullptr;
    *end_ = &node;
    end_ = &node.next;
  }
  Node& pop() noexcept {
    Node& node = *first_;
    first_ = node.next;
    if (!first_) end_ = &first_;
    return node;
  }
  void destroy_values() noexcept {
    for (Node* node = first_; node; node = node->next) node->destroy_value();
  }

 private:
  Node* first_ = nullptr;
  Node** end_ = &first_;
};

/// Nodes in the order of their values, and those that are free. The pointers are allocated with the first value, a node
/// when none is free; both are kept.
template <class T>
class BroadcastRing {
 public:
  using Node = BroadcastNode<T>;

  explicit BroadcastRing(std::size_t capacity) noexcept : capacity_(capacity) {}
  BroadcastRing(const BroadcastRing&) = delete;
  BroadcastRing& operator=(const BroadcastRing&) = delete;
  ~BroadcastRing() {
    assert(empty() && limbo_ == 0);
    while (Node* const node = free_) {
      free_ = node->next;
      delete node;
    }
  }

  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::uint64_t head() const noexcept { return head_; }
  [[nodiscard]] std::uint64_t tail() const noexcept { return tail_; }
  [[nodiscard]] bool empty() const noexcept { return head_ == tail_; }
  [[nodiscard]] bool full() const noexcept { return tail_ - head_ == capacity_; }
  /// Room for one more, counting the values that have still to be destroyed.
  [[nodiscard]] bool room() const noexcept { return tail_ - head_ + limbo_ < capacity_; }
  [[nodiscard]] Node& at(std::uint64_t position) const noexcept { return *ring_[position % capacity_]; }

  /// A node out of the ring with a value. When the construction throws, nothing has changed.
  template <class Construct>
  [[nodiscard]] Node& fill(Construct& construct) {
    if (!ring_) ring_ = std::make_unique_for_overwrite<Node*[]>(capacity_);
    if (!free_) free_ = new Node;
    Node& node = *free_;
    construct(static_cast<void*>(std::addressof(node.value)));
    free_ = node.next;
    node.filled = true;
    return node;
  }
  /// Not when it is full.
  void push(Node& node, std::size_t unread) noexcept {
    node.next = nullptr;
    node.unread = static_cast<std::uint32_t>(unread);
    node.last = false;
    if (!empty()) at(tail_ - 1).next = &node;
    ring_[tail_++ % capacity_] = &node;
  }
  Node& pop() noexcept { return at(head_++); }

  /// A node that is out of the ring and not pinned is free again; or, when true is returned, in limbo until
  /// `destroyed`.
  [[nodiscard]] bool discard(Node& node) noexcept {
    if (node.filled && !std::is_trivially_destructible_v<T>) {
      ++limbo_;
      return true;
    }
    free(node);
    return false;
  }
  void destroyed(Node& node) noexcept {
    --limbo_;
    free(node);
  }

 private:
  void free(Node& node) noexcept {
    node.filled = false;
    node.next = free_;
    free_ = &node;
  }

  std::size_t capacity_;
  std::unique_ptr<Node*[]> ring_;
  Node* free_ = nullptr;
  std::uint64_t head_ = 0;
  std::uint64_t tail_ = 0;
  std::size_t limbo_ = 0;
};

}  // namespace weir::detail
