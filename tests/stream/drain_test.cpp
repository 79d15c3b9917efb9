#include <weir/stream/drain.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <chrono>
#include <ranges>
#include <stdexcept>
#include <vector>

#include <weir/core/timer.hpp>

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

/// Runs of three, each in one go.
struct InRuns {
  [[nodiscard]] std::size_t concurrency() const { return 1; }
  template <class D>
  weir::Task<> operator()(D& drain) const {
    for (;;) {
      const bool more = co_await drain.fetch(3);
      if (!more) break;
      co_await drain.process_run();
    }
  }
};

/// With a receiver that can't bear one of them.
auto run_of_twenty(weir::ErrorPolicy policy, int refused) {
  weir::sim::Simulator sim;
  // At the beginning of the simulator's time no run is planned.
  const auto numbers = [](weir::Emitter<int>& out) -> weir::Task<> {
    co_await weir::sleep_for(std::chrono::seconds(1));
    co_await out.emit_all(std::views::iota(0, 20));
  };
  auto stream = weir::emits<int>(sim)
                    .sender(numbers)
                    .receiver(InRuns(),
                              [refused](const auto& e) {
                                if (e.data() == refused) throw std::runtime_error("this one");
                                return e.data();
                              })
                    .on_error(policy)
                    .start();
  return weir_test::final_of(sim, stream);
}

}  // namespace

TEST_CASE("drain: one that fails amid a run fails alone, or ends the stream with what came before it") {
  // Wherever it is in its run, what is behind it there is not left.
  const auto others = run_of_twenty(weir::continue_, GENERATE(range(0, 20)));
  CHECK(others.outcome() == weir::Outcome::completed);
  CHECK(others.collected().size() == 19);
  CHECK(std::is_sorted(others.collected().begin(), others.collected().end()));
  CHECK(others.stats().processed == 19);
  CHECK(others.stats().failed == 1);
  CHECK(others.stats().balanced());

  const auto ended = run_of_twenty(weir::stop, 5);
  CHECK(ended.outcome() == weir::Outcome::failed);
  CHECK(ended.collected() == std::vector{0, 1, 2, 3, 4});
  CHECK(ended.stats().processed == 5);
  CHECK(ended.stats().failed == 1);
  CHECK(ended.stats().balanced());
}

TEST_CASE("drain: a run goes on behind one that is tried again") {
  weir::sim::Simulator sim;
  std::vector<int> called;
  auto stream = weir::emits<int>(sim)
                    .sender(std::vector{1, 2, 3, 4, 5, 6, 7})
                    .receiver(InRuns(),
                              [&called](const auto& e) {
                                called.push_back(e.data());
                                if (e.data() == 5 && std::count(called.begin(), called.end(), 5) == 1) {
                                  throw std::runtime_error("five");
                                }
                                return e.data();
                              })
                    .on_error(weir::retry(weir::RetryPolicy::fixed(std::chrono::seconds(1))))
                    .start();
  const auto final = weir_test::final_of(sim, stream);
  CHECK(called == std::vector{1, 2, 3, 4, 5, 5, 6, 7});
  CHECK(final.collected() == std::vector{1, 2, 3, 4, 5, 6, 7});
  CHECK(final.stats().processed == 7);
}

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
