#include <weir/core/processor_pause.hpp>

#include <atomic>
#include <thread>

#include "support/catch.hpp"

TEST_CASE("processor_pause: a loop of them sees what another thread writes") {
  std::atomic<bool> begun{false};
  std::atomic<bool> seen{false};
  std::atomic<bool> written{false};
  std::thread other([&] {
    begun = true;
    while (!written) weir::processor_pause();
    seen = true;
  });
  while (!begun) weir::processor_pause();
  CHECK_FALSE(seen);
  written = true;
  other.join();
  CHECK(seen);
}
