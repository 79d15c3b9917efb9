#include <weir/core/always_inline.hpp>

#include "support/catch.hpp"

namespace {

struct Counter {
  [[nodiscard]] WEIR_ALWAYS_INLINE int next() noexcept { return ++value; }
  template <class T>
  WEIR_ALWAYS_INLINE static T twice(T x) {
    return x + x;
  }
  int value = 0;
};

}  // namespace

TEST_CASE("always_inline: stands before members and templates, after attributes") {
  Counter counter;
  CHECK(counter.next() == 1);
  CHECK(counter.next() == 2);
  CHECK(Counter::twice(21) == 42);
}
