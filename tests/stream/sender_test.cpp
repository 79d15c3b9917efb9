#include <weir/stream/sender.hpp>

#include "support/catch.hpp"

#include <list>
#include <memory>
#include <ranges>
#include <string>

#include "stream/run.hpp"

namespace {

template <class S>
auto emitted_by(S&& sender, std::size_t capacity = 4) {
  weir::sim::Simulator sim;
  auto stream = weir::emits<int>(sim)
                    .capacity(capacity)
                    .sender(std::forward<S>(sender))
                    .receiver([](const auto& e) { return e.data(); })
                    .start();
  const auto final = weir_test::final_of(sim, stream);
  CHECK(final.outcome() == weir::Outcome::completed);
  CHECK(final.stats().emitted == final.collected().size());
  return final.collected();
}

weir::Generator<int> counting(int n) {
  for (int i = 1; i <= n; ++i) co_yield i;
}

}  // namespace

TEST_CASE("sender: a coroutine, a plain function, a function that gives optionals") {
  const std::vector<int> expected{1, 2, 3};
  CHECK(emitted_by([](weir::Emitter<int>& out) -> weir::Task<> {
          for (int i = 1; i <= 3; ++i) co_await out.emit(i);
        }) == expected);
  CHECK(emitted_by([](weir::Emitter<int>& out) {
          for (int i = 1; i <= 3; ++i) CHECK(out.try_emit(i));
        }) == expected);
  CHECK(emitted_by([i = 0]() mutable -> std::optional<int> {
          if (i == 3) return std::nullopt;
          return ++i;
        }) == expected);
}

TEST_CASE("sender: a plain function finds no room when the stream is full") {
  int refused = 0;
  const auto emitted = emitted_by(
      [&refused](weir::Emitter<int>& out) {
        for (int i = 1; i <= 10; ++i) refused += out.try_emit(i) ? 0 : 1;
      },
      1);
  CHECK(emitted == std::vector{1});
  CHECK(refused == 9);
}

TEST_CASE("sender: ranges, views, generators, and functions that give them") {
  const std::vector<int> expected{1, 2, 3};
  CHECK(emitted_by(std::vector{1, 2, 3}) == expected);
  const std::list<int> named{1, 2, 3};
  CHECK(emitted_by(named) == expected);
  CHECK(emitted_by(std::views::iota(1, 4)) == expected);
  CHECK(emitted_by(counting(3)) == expected);
  CHECK(emitted_by([] { return counting(3); }) == expected);
  CHECK(emitted_by(std::vector<int>()).empty());
  CHECK(emitted_by(std::views::iota(0, 5000)).size() == 5000);
}

TEST_CASE("sender: moves out of a container that the stream owns") {
  weir::sim::Simulator sim;
  std::vector<std::unique_ptr<int>> items;
  items.push_back(std::make_unique<int>(1));
  items.push_back(std::make_unique<int>(2));
  auto stream = weir::emits<std::unique_ptr<int>>(sim)
                    .sender([&items](weir::Emitter<std::unique_ptr<int>>& out) -> weir::Task<> {
                      co_await out.emit_all(std::move(items));
                    })
                    .receiver([](auto& e) { return *e.data(); })
                    .start();
  CHECK(weir_test::final_of(sim, stream).collected() == std::vector{1, 2});
}

TEST_CASE("sender: one that throws, at once or midway, ends the stream as failed after what it emitted was processed") {
  for (const int before : {0, 1, 50}) {
    weir::sim::Simulator sim(static_cast<std::uint64_t>(before));
    auto stream = weir::emits<int>(sim)
                      .sender([before](weir::Emitter<int>& out) -> weir::Task<> {
                        for (int i = 0; i < before; ++i) co_await out.emit(i);
                        throw std::runtime_error("the source broke");
                      })
                      .receiver([](const auto& e) { return e.data(); })
                      .start();
    const auto final = weir_test::final_of(sim, stream);
    CHECK(final.outcome() == weir::Outcome::failed);
    CHECK(final.error().text() == "the source broke");
    CHECK_THROWS_AS(final.error().rethrow(), std::runtime_error);
    CHECK(final.collected().size() == static_cast<std::size_t>(before));
    CHECK(final.stats().balanced());
    CHECK(final.type() == weir::EventType::error);
  }
}
