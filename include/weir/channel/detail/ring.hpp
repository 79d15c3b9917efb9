#pragma once

#include <cassert>
#include <cstddef>
#include <memory>
#include <new>
#include <utility>

namespace weir::detail {

/// A bounded FIFO of values in place. Its memory comes with the first value: capacity times sizeof(T), once.
template <class T>
class Ring {
 public:
  explicit Ring(std::size_t capacity) noexcept : capacity_(capacity) {}
  Ring(Ring&& other) noexcept
      : slots_(std::exchange(other.slots_, nullptr)),
        capacity_(other.capacity_),
        first_(std::exchange(other.first_, 0)),
        size_(std::exchange(other.size_, 0)) {}
  Ring& operator=(Ring&&) = delete;
  ~Ring() {
    while (size_ != 0) pop();
    if (slots_) std::allocator<T>().deallocate(slots_, capacity_);
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }

  /// `construct(void*)` builds the value in its slot; when it throws, nothing was pushed.
  template <class Construct>
  bool push_with(Construct&& construct) {
    assert(size_ < capacity_);
    if (!slots_) [[unlikely]] {
      slots_ = std::allocator<T>().allocate(capacity_);
    }
    std::size_t at = first_ + size_;
    if (at >= capacity_) at -= capacity_;
    const bool result = construct(static_cast<void*>(slots_ + at));
    ++size_;
    return result;
  }

  /// Puts back what was just popped.
  void push_front(T&& value) {
    assert(size_ < capacity_ && slots_);
    const std::size_t at = (first_ == 0 ? capacity_ : first_) - 1;
    ::new (static_cast<void*>(slots_ + at)) T(std::move(value));
    first_ = at;
    ++size_;
  }

  [[nodiscard]] T& front() noexcept {
    assert(size_ != 0);
    return slots_[first_];
  }

  void pop() noexcept {
    assert(size_ != 0);
    std::destroy_at(slots_ + first_);
    if (++first_ == capacity_) first_ = 0;
    --size_;
  }

 private:
  T* slots_ = nullptr;
  std::size_t capacity_;
  std::size_t first_ = 0;
  std::size_t size_ = 0;
};

}  // namespace weir::detail
