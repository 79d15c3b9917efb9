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
    if (!first_) return ::operator new(Size);
    --count_;
    void* const block = std::exchange(first_, first_->next);
#if defined(__GNUC__)
    // The next event's: a worker has written it last.
    if (first_) __builtin_prefetch(first_, 1);
#endif
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

  static constexpr std::size_t most = 1024;

  Block* first_ = nullptr;
  std::size_t count_ = 0;
};

}  // namespace weir::detail
