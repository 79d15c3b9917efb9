#include <weir/stream/drain.hpp>

#include "support/catch.hpp"

#include <vector>

#include "stream/run.hpp"

namespace {

/// Keeps what it fetched, and settles it backwards.
struct Backwards {
  [[nodiscard]] std::size_t concurrency() const { return 1; }
  template <class D>
  weir::Task<> operator()(D& drain) const {
    std::vector<typename D::outcome_type> outcomes;
    while (co_await drain.fetch()) {
      while (auto* const event = drain.next()) {
        auto outcome = co_await drain.call(*event);
        outcomes.push_back(std::move(outcome));
      }
    }
    for (; !outcomes.empty(); outcomes.pop_back()) drain.settle(std::move(outcomes.back()));
  }
};

/// Never gives an event back.
struct Holding {
  std::size_t* held;
  [[nodiscard]] std::size_t concurrency() const { return 1; }
  template <class D>
  weir::Task<> operator()(D& drain) const {
    co_await drain.fetch(1);
    *held = drain.fetched();
  }
};

}  // namespace

TEST_CASE("drain: events are settled when the strategy says, with what their receivers collected") {
  weir::sim::Simulator sim;
  auto stream = weir::emits<int>(sim)
                    .sender(std::vector{1, 2, 3})
                    .receiver(Backwards(),
                              [](const auto& e, auto& out) {
                                out.collect(10 * e.data());
                                return e.data();
                              })
                    .collecting<int>()
                    .start();
  CHECK(weir_test::final_of(sim, stream).collected() == std::vector{30, 3, 20, 2, 10, 1});
}

TEST_CASE("drain: what a strategy leaves behind is discarded, and counted") {
  weir::sim::Simulator sim;
  std::size_t held = 0;
  auto stream = weir::emits<int>(sim)
                    .capacity(2)
                    .sender(std::vector{1, 2, 3, 4, 5})
                    .receiver(Holding{&held}, [](auto&) {})
                    .start();
  const auto final = weir_test::final_of(sim, stream);
  CHECK(held == 1);
  CHECK(final.outcome() == weir::Outcome::cancelled);
  CHECK(final.stats().processed == 0);
  CHECK(final.stats().balanced());
  CHECK(final.stats().discarded == final.stats().emitted);
}
