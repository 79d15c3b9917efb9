#pragma once

#include <atomic>
#include <utility>

namespace weir_test {

/// How many values were made and destroyed; each value moved from counts no more.
struct Count {
  std::atomic<int> made{0};
  std::atomic<int> destroyed{0};
  [[nodiscard]] int alive() const { return made - destroyed; }
};

/// A value that is neither default-constructible nor copyable, and is counted: once made, once destroyed.
class Counted {
 public:
  explicit Counted(Count& count, int v = 0) : value(v), count_(&count) { ++count.made; }
  Counted(Counted&& other) noexcept : value(other.value), count_(std::exchange(other.count_, nullptr)) {}
  Counted& operator=(Counted&& other) noexcept {
    std::swap(value, other.value);
    std::swap(count_, other.count_);
    return *this;
  }
  ~Counted() {
    if (count_) ++count_->destroyed;
  }

  int value;

 private:
  Count* count_;
};

}  // namespace weir_test
