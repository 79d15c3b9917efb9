#include <weir/core/spin_mutex.hpp>

#include "support/catch.hpp"

#include <mutex>
#include <thread>
#include <vector>

TEST_CASE("spin_mutex: one at a time, and who comes after sees what was written before") {
  weir::SpinMutex mutex;
  int inside = 0;
  int count = 0;
  bool alone = true;
  const auto add = [&] {
    for (int i = 0; i < 20000; ++i) {
      const std::lock_guard lock(mutex);
      alone = alone && ++inside == 1;
      ++count;
      --inside;
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) threads.emplace_back(add);
  }
  CHECK(alone);
  CHECK(count == 80000);
}
