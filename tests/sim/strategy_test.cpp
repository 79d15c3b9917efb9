#include <weir/sim/strategy.hpp>

#include <array>
#include <vector>

#include "support/catch.hpp"

namespace {

using Record = std::vector<weir::sim::PrescribedStrategy::Choice>;
using weir::sim::PrescribedStrategy;
using weir::sim::RandomStrategy;
using weir::sim::Ready;

TEST_CASE("strategy: random is uniform and repeatable") {
  const std::array<Ready, 3> ready{Ready{1}, Ready{2}, Ready{3}};
  std::array<int, 3> counts{};
  RandomStrategy first(42);
  RandomStrategy second(42);
  for (int i = 0; i < 30000; ++i) {
    const std::size_t index = first.choose(ready);
    REQUIRE(index < 3);
    REQUIRE(index == second.choose(ready));
    ++counts[index];
  }
  for (const int count : counts) CHECK(count > 9500);
}

TEST_CASE("strategy: prescribed goes through every sequence once") {
  // Two choices among two and three: the second is not offered after the first took the second of its two.
  const std::array<Ready, 3> ready{Ready{1}, Ready{2}, Ready{3}};
  const std::span<const Ready> all(ready);
  Record record;
  std::vector<std::vector<std::size_t>> seen;
  do {
    PrescribedStrategy strategy(record);
    std::vector<std::size_t> sequence{strategy.choose(all.first(2))};
    if (sequence[0] == 0) sequence.push_back(strategy.choose(all));
    seen.push_back(sequence);
  } while (PrescribedStrategy::next_sequence(record));
  CHECK(seen == std::vector<std::vector<std::size_t>>{{0, 0}, {0, 1}, {0, 2}, {1}});
}

TEST_CASE("strategy: choices that don't fit are refused") {
  const std::array<Ready, 3> ready{Ready{1}, Ready{2}, Ready{3}};
  Record record{{0, 2}};
  PrescribedStrategy strategy(record);
  REQUIRE_THROWS_AS(strategy.choose(ready), weir::Error);
  Record beyond{{3, 0}};
  PrescribedStrategy other(beyond);
  REQUIRE_THROWS_AS(other.choose(ready), weir::Error);
}

}  // namespace
