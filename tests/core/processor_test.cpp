#include <weir/core/processor.hpp>

#include "support/catch.hpp"

TEST_CASE("processor: hints take any address, also one that is nobody's, and write nothing") {
  int value = 7;
  weir::detail::processor_pause();
  for (const void* where : {static_cast<const void*>(&value), static_cast<const void*>(nullptr)}) {
    weir::detail::prefetch_to_read(where);
    weir::detail::prefetch_to_write(where);
  }
  CHECK(value == 7);
}
