#include <weir/stream/batch.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <cstddef>
#include <vector>

#include <weir/stream/emits.hpp>

#include "stream/run.hpp"

namespace {

/// The example of the header.
struct InFives {
  static constexpr bool in_batches = true, takes_ahead = true;
  [[nodiscard]] std::size_t concurrency() const { return 1; }
  [[nodiscard]] std::size_t kept(std::size_t capacity) const { return std::min<std::size_t>(5, capacity) - 1; }
  template <class D>
  weir::Task<> operator()(D& drain) const {
    weir::EventBatch batch(drain, drain.kept() + 1);
    while (co_await batch.gather()) {
      if (batch.full()) co_await batch.process();
    }
    co_await batch.process();
  }
};
static_assert(weir::Strategy<InFives>);

/// Never has processed what it gathered.
struct Gathering {
  static constexpr bool in_batches = true, takes_ahead = true;
  [[nodiscard]] std::size_t concurrency() const { return 1; }
  [[nodiscard]] std::size_t kept(std::size_t) const { return 2; }
  template <class D>
  weir::Task<> operator()(D& drain) const {
    weir::EventBatch batch(drain, 3);
    while (!batch.full()) co_await batch.gather();
  }
};

}  // namespace

TEST_CASE("batch: a strategy of a user's own that gathers") {
  weir::sim::Simulator sim;
  auto stream = weir::emits<int>(sim)
                    .sender(std::vector{1, 2, 3, 4, 5, 6, 7})
                    .receiver(InFives(), [](const auto& events) { return events.size(); })
                    .start();
  CHECK(weir_test::final_of(sim, stream).collected() == std::vector<std::size_t>{5, 2});
}

TEST_CASE("batch: what was gathered and not processed is discarded, and counted") {
  weir::sim::Simulator sim;
  auto stream = weir::emits<int>(sim)
                    .capacity(4)
                    .sender(std::vector{1, 2, 3, 4, 5, 6, 7})
                    .receiver(Gathering(), [](auto&) {})
                    .start();
  const auto stats = weir_test::final_of(sim, stream).stats();
  CHECK(stats.processed == 0);
  CHECK(stats.emitted >= 3);
  CHECK(stats.discarded == stats.emitted);
}
