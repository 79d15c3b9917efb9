#include <weir/stream/receiver.hpp>

#include "support/catch.hpp"

#include <memory>
#include <optional>
#include <string>

#include <weir/core/timer.hpp>

#include "stream/run.hpp"

namespace {

using weir_test::final_of;

template <class Stream, class C, class Collection>
inline constexpr bool gives = std::same_as<Stream, weir::EmittingTask<int, C, Collection>>;

std::vector<int> three() { return {1, 2, 3}; }

}  // namespace

TEST_CASE("receiver: what is collected is deduced from what it returns, or optionally returns") {
  weir::sim::Simulator sim;
  auto values = weir::emits<int>(sim).sender(three()).receiver([](const auto& e) { return 2 * e.data(); }).start();
  static_assert(gives<decltype(values), int, std::vector<int>>);
  CHECK(final_of(sim, values).collected() == std::vector{2, 4, 6});

  auto odd = weir::emits<int>(sim)
                 .sender(three())
                 .receiver([](const weir::ReceiverEvent<int>& e) -> std::optional<std::string> {
                   if (e.data() % 2 == 0) return std::nullopt;
                   return std::to_string(e.data());
                 })
                 .start();
  static_assert(gives<decltype(odd), std::string, std::vector<std::string>>);
  CHECK(final_of(sim, odd).collected() == std::vector<std::string>{"1", "3"});
  CHECK(final_of(sim, odd).stats().processed == 3);
}

TEST_CASE("receiver: one that returns nothing collects nothing, but can be counted") {
  weir::sim::Simulator sim;
  int sum = 0;
  auto nothing = weir::emits<int>(sim).sender(three()).receiver([&](auto& e) { sum += e.data(); }).start();
  static_assert(std::same_as<decltype(nothing), weir::EmittingTask<int>>);
  CHECK(final_of(sim, nothing).outcome() == weir::Outcome::completed);
  CHECK(sum == 6);
  auto counted = weir::emits<int>(sim).sender(three()).receiver([](auto&) {}).collect(weir::collect::count).start();
  static_assert(gives<decltype(counted), void, std::uint64_t>);
  CHECK(final_of(sim, counted).collected() == 3);
}

TEST_CASE("receiver: a coroutine, with a value, an optional and nothing") {
  weir::sim::Simulator sim;
  auto values = weir::emits<int>(sim)
                    .sender(three())
                    .receiver([](const auto& e) -> weir::Task<int> {
                      co_await weir::sleep_for(std::chrono::milliseconds(1));
                      co_return e.data();
                    })
                    .start();
  static_assert(gives<decltype(values), int, std::vector<int>>);
  CHECK(final_of(sim, values).collected() == std::vector{1, 2, 3});
  auto optional = weir::emits<int>(sim)
                      .sender(three())
                      .receiver([](const auto& e) -> weir::Task<std::optional<int>> {
                        if (e.data() == 2) co_return std::optional<int>();
                        co_return std::optional<int>(e.data());
                      })
                      .start();
  static_assert(gives<decltype(optional), int, std::vector<int>>);
  CHECK(final_of(sim, optional).collected() == std::vector{1, 3});
  int sum = 0;
  auto nothing = weir::emits<int>(sim)
                     .sender(three())
                     .receiver([&sum](const auto& e) -> weir::Task<> {
                       sum += e.data();
                       co_return;
                     })
                     .start();
  CHECK(static_cast<bool>(final_of(sim, nothing)));
  CHECK(sum == 6);
}

TEST_CASE("receiver: with the collector as a second parameter, said or named") {
  weir::sim::Simulator sim;
  auto twice = weir::emits<int>(sim)
                   .sender(three())
                   .receiver([](const auto& e, auto& out) {
                     out.collect(e.data());
                     out.collect(-e.data());
                   })
                   .collecting<int>()
                   .start();
  static_assert(gives<decltype(twice), int, std::vector<int>>);
  CHECK(final_of(sim, twice).collected() == std::vector{1, -1, 2, -2, 3, -3});

  auto named = weir::emits<int>(sim)
                   .sender(three())
                   .receiver([](weir::ReceiverEvent<int>& e, weir::Collector<int>& out) -> weir::Task<> {
                     out.collect(e.data());
                     co_return;
                   })
                   .start();
  static_assert(gives<decltype(named), int, std::vector<int>>);
  CHECK(final_of(sim, named).collected() == std::vector{1, 2, 3});

  auto keyed = weir::emits<int>(sim)
                   .sender(three())
                   .receiver([](const auto& e, auto& out) {
                     out.collect(e.data() % 2 ? "odd" : "even", e.data());
                     if (e.data() == 3)
                       out.collect_error(e.id(), std::make_exception_ptr(std::runtime_error("odd one")));
                   })
                   .collecting<int>()
                   .collect(weir::collect::keyed<std::string>())
                   .start();
  const auto final = final_of(sim, keyed);
  CHECK(final.collected() == std::map<std::string, std::vector<int>>{{"even", {2}}, {"odd", {1, 3}}});
  REQUIRE(final.errors().size() == 1);
  CHECK(final.errors()[0].event_id == 3);
  CHECK(final.stats().failed == 0);
}

TEST_CASE("receiver: the data of the event may be moved out, of a type that is only movable") {
  weir::sim::Simulator sim;
  int next = 0;
  auto stream = weir::emits<std::unique_ptr<int>>(sim)
                    .sender([&next]() -> std::optional<std::unique_ptr<int>> {
                      if (next == 3) return std::nullopt;
                      return std::make_unique<int>(++next);
                    })
                    .receiver([](auto& e) { return std::move(e.data()); })
                    .start();
  int sum = 0;
  for (const auto& item : final_of(sim, stream).collected()) sum += *item;
  CHECK(sum == 6);
}
