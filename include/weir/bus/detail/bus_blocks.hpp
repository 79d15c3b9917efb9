/// The memory of a bus's events, which is kept for the next.
#pragma once

#include <cstddef>
#include <new>
#include <utility>

namespace weir::detail {

/// Blocks of one size. Not thread-safe: it is used under the lock of the bus.
template <std::size_t Size>
class BusBlocks {
 public:
  BusBlocks() = default;
  BusBlocks(const BusBlocks&) = delete;
  BusBlocks& operator=(const BusBlocks&) = delete;
  ~BusBlocks() {
    while (first_) ::operator delete(std::exchange(first_, first_->next));
  }

  [[nodiscard]] void* take() {
    void* const kept = take_kept();
    return kept ? kept : ::operator new(Size);
  }
  /// Null: there is no memory.
  [[nodiscard]] void* try_take() noexcept {
    void* const kept = take_kept();
    return kept ? kept : ::operator new(Size, std::nothrow);
  }
  /// Null: none is kept.
  [[nodiscard]] void* take_kept() noexcept {
    if (!first_) return nullptr;
    --count_;
    void* const block = std::exchange(first_, first_->next);
    return block;
  }
  /// Keeps it, or frees it if there are enough.
  void give(void* block) noexcept {
    if (count_ >= most) {
      ::operator delete(block);
      return;
    }
    first_ = ::new (block) Block{first_};
    ++count_;
  }

 private:
  struct Block {
    Block* next;
  };
  static_assert(Size >= sizeof(Block));

  static constexpr std::size_t most = 768;

  Block* first_ = nullptr;
  std::size_t count_ = 0;
};

}  // namespace weir::detail
