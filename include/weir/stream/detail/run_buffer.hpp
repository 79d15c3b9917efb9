#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <memory>
#include <new>
#include <utility>

namespace weir::detail {

/// Elements that were taken from the channel and not begun; constructed in place, as they need not be
/// default-constructible.
template <class Element, std::size_t N>
class RunBuffer {
 public:
  static constexpr std::size_t room = N;

  RunBuffer() = default;
  RunBuffer(const RunBuffer&) = delete;
  RunBuffer& operator=(const RunBuffer&) = delete;
  ~RunBuffer() { clear(); }

  [[nodiscard]] std::size_t size() const noexcept { return end_ - begin_; }
  void push(Element&& element) {
    ::new (place(end_)) Element(std::move(element));
    ++end_;
  }
  [[nodiscard]] Element& front() noexcept { return *std::launder(static_cast<Element*>(place(begin_))); }
  void pop() noexcept {
    std::destroy_at(&front());
    if (++begin_ == end_) begin_ = end_ = 0;
  }
  void clear() noexcept {
    while (size() != 0) pop();
  }

 private:
  void* place(std::size_t i) noexcept { return storage_ + i * sizeof(Element); }

  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  alignas(Element) std::byte storage_[N * sizeof(Element)];
};

template <class Buffer, class Element>
class RunInserter {
 public:
  using iterator_category = std::output_iterator_tag;
  using difference_type = std::ptrdiff_t;

  RunInserter() = default;
  explicit RunInserter(Buffer& buffer) noexcept : buffer_(&buffer) {}
  RunInserter& operator*() noexcept { return *this; }
  RunInserter& operator++() noexcept { return *this; }
  RunInserter& operator++(int) noexcept { return *this; }
  RunInserter& operator=(Element&& element) {
    buffer_->push(std::move(element));
    return *this;
  }

 private:
  Buffer* buffer_ = nullptr;
};

template <class Element>
inline constexpr std::size_t longest_run = std::clamp<std::size_t>(2048 / sizeof(Element), 1, 32);

}  // namespace weir::detail
