#include <weir/stream/strategy/batched.hpp>

#include "support/catch.hpp"

#include <chrono>
#include <numeric>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <weir/core/timer.hpp>
#include <weir/stream/emits.hpp>

#include "stream/run.hpp"

namespace {

using namespace std::chrono_literals;
using weir_test::final_of;

using Events = std::span<const weir::ReceiverEvent<int>>;

std::vector<int> data_of(Events events) {
  std::vector<int> data;
  for (const auto& event : events) data.push_back(event.data());
  return data;
}

std::vector<int> up_to(int n) {
  std::vector<int> numbers(static_cast<std::size_t>(n));
  std::iota(numbers.begin(), numbers.end(), 1);
  return numbers;
}

using Batches = std::vector<std::vector<int>>;

/// What it does not like is refused, after some of it was collected.
struct Picky {
  std::vector<int> bad;
  int* calls;
  void operator()(Events events, weir::Collector<int>& out) const {
    ++*calls;
    for (const auto& event : events) {
      out.collect(event.data());
      if (std::ranges::find(bad, event.data()) != bad.end()) {
        throw std::runtime_error("bad: " + std::to_string(event.data()));
      }
    }
  }
};

}  // namespace

TEST_CASE("batched: a batch goes when it is full, and the rest when the stream ends") {
  weir::sim::Simulator sim;
  auto stream = weir::emits<int>(sim).sender(up_to(10)).receiver(weir::batched(4), data_of).start();
  const auto final = final_of(sim, stream);
  REQUIRE(final);
  CHECK(final.collected() == Batches{{1, 2, 3, 4}, {5, 6, 7, 8}, {9, 10}});
  CHECK(final.stats().processed == 10);
  CHECK(sim.now() - final.stats().started == 0ms);
}

TEST_CASE("batched: a batch goes when its oldest event is max_delay old") {
  weir::sim::Simulator sim;
  const auto start = sim.now();
  std::vector<std::chrono::milliseconds> when;
  auto stream =
      weir::emits<int>(sim)
          .sender([](weir::Emitter<int>& out) -> weir::Task<> {
            for (int i = 1; i <= 5; ++i) {
              co_await weir::sleep_for(60ms);
              co_await out.emit(i);
            }
            co_await weir::sleep_for(30ms);
          })
          .receiver(weir::batched(64, 100ms),
                    [&](Events events) {
                      when.push_back(std::chrono::duration_cast<std::chrono::milliseconds>(sim.now() - start));
                      return data_of(events);
                    })
          .start();
  const auto final = final_of(sim, stream);
  REQUIRE(final);
  CHECK(final.collected() == Batches{{1, 2}, {3, 4}, {5}});
  CHECK(when == std::vector{160ms, 280ms, 330ms});
}

TEST_CASE("batched: with no delay a batch is what is there") {
  weir::sim::Simulator sim;
  auto stream = weir::emits<int>(sim)
                    .sender([](weir::Emitter<int>& out) -> weir::Task<> {
                      for (int i = 1; i <= 3; ++i) {
                        co_await out.emit(i);
                        co_await weir::sleep_for(1ms);
                      }
                    })
                    .receiver(weir::batched(64, 0ms), data_of)
                    .start();
  CHECK(final_of(sim, stream).collected() == Batches{{1}, {2}, {3}});
}

TEST_CASE("batched: a size of 0, a negative delay and no workers are refused") {
  const auto refused = [](auto make) {
    try {
      static_cast<void>(make());
    } catch (const weir::Error& error) {
      return error.code() == weir::Errc::invalid_argument;
    }
    return false;
  };
  CHECK(refused([] { return weir::batched(0); }));
  CHECK(refused([] { return weir::batched(1, -1ns); }));
  CHECK(refused([] { return weir::batched(1, std::chrono::duration<double>(-1e-12)); }));
  CHECK(refused([] { return weir::batched().parallel(0); }));
  CHECK_FALSE(refused([] { return weir::batched(1, std::chrono::hours::max()); }));
}

TEST_CASE("batched: all kinds of receivers") {
  const auto run = [](auto function) {
    weir::sim::Simulator sim;
    auto stream = weir::emits<int>(sim).sender(up_to(5)).receiver(weir::batched(2), function).start();
    return final_of(sim, stream).collected();
  };
  CHECK(run([](const auto& events) { return static_cast<int>(events.size()); }) == std::vector{2, 2, 1});
  CHECK(run([](auto& events) { return events.front().data(); }) == std::vector{1, 3, 5});
  CHECK(run([](std::span<weir::ReceiverEvent<int>> events) -> std::optional<int> {
          if (events.size() == 1) return std::nullopt;
          return events.back().data();
        }) == std::vector{2, 4});
  CHECK(run([](auto events) -> weir::Task<int> {
          co_await weir::sleep_for(1ms);
          co_return events.back().data();
        }) == std::vector{2, 4, 5});
  CHECK(run([](std::span<weir::ReceiverEvent<int>> events, weir::Collector<int>& out) -> weir::Task<> {
          for (auto& event : events) {
            out.collect(10 * event.data());
            co_await weir::yield();
          }
        }) == std::vector{10, 20, 30, 40, 50});
  CHECK(run([](Events) {}) == weir::Nothing());
}

TEST_CASE("batched: a receiver that returns nothing counts its batches, where the policy counts") {
  weir::sim::Simulator sim;
  auto stream = weir::emits<int>(sim)
                    .sender(up_to(5))
                    .receiver(weir::batched(2), [](Events) {})
                    .collect(weir::collect::count)
                    .start();
  const auto final = final_of(sim, stream);
  CHECK(final.collected() == 3);
  CHECK(final.stats().processed == 5);
}

TEST_CASE("batched: a batch fails as a unit, and collects nothing then") {
  weir::sim::Simulator sim;
  int calls = 0;
  auto stream = weir::emits<int>(sim)
                    .on_error(weir::continue_)
                    .sender(up_to(8))
                    .receiver(weir::batched(3), Picky{{5}, &calls})
                    .start();
  const auto final = final_of(sim, stream);
  CHECK(final.outcome() == weir::Outcome::completed);
  CHECK(final.collected() == std::vector{1, 2, 3, 7, 8});
  REQUIRE(final.errors().size() == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(final.errors()[i].event_id == 4 + i);
    CHECK(final.errors()[i].message == "bad: 5");
  }
  CHECK(final.stats().failed == 3);
  CHECK(final.stats().processed == 5);
  CHECK(calls == 3);
}

TEST_CASE("batched: the first batch that fails stops the stream, unless told otherwise") {
  weir::sim::Simulator sim;
  int calls = 0;
  auto stream = weir::emits<int>(sim).sender(up_to(8)).receiver(weir::batched(3), Picky{{5}, &calls}).start();
  const auto final = final_of(sim, stream);
  CHECK(final.outcome() == weir::Outcome::failed);
  CHECK(final.error().text() == "bad: 5");
  CHECK(final.stats().failed == 3);
  CHECK(final.stats().balanced());
}

TEST_CASE("batched: split_on_error finds the bad ones, and processes the others once") {
  weir::sim::Simulator sim;
  int calls = 0;
  auto stream = weir::emits<int>(sim)
                    .on_error(weir::continue_)
                    .sender(up_to(64))
                    .receiver(weir::batched(32).split_on_error(), Picky{{7, 41, 42}, &calls})
                    .start();
  const auto final = final_of(sim, stream);
  std::vector<int> expected = up_to(64);
  for (const int bad : {42, 41, 7}) expected.erase(std::ranges::find(expected, bad));
  CHECK(final.collected() == expected);
  CHECK(final.stats().failed == 3);
  REQUIRE(final.errors().size() == 3);
  CHECK(final.errors()[0].event_id == 7);
  CHECK(final.errors()[2].message == "bad: 42");
  // For one bad event of 2^n the whole and two for each level; the other two are neighbours down to the last level.
  CHECK(calls == (1 + 2 * 5) + (1 + 2 * 5));
}

TEST_CASE("batched: the first bad one that split_on_error finds stops the stream") {
  weir::sim::Simulator sim;
  int calls = 0;
  auto stream =
      weir::emits<int>(sim).sender(up_to(8)).receiver(weir::batched(4).split_on_error(), Picky{{2, 3}, &calls}).start();
  const auto final = final_of(sim, stream);
  CHECK(final.outcome() == weir::Outcome::failed);
  CHECK(final.collected() == std::vector{1});
  CHECK(final.stats().failed == 1);
  CHECK(final.stats().balanced());
}

TEST_CASE("batched: a batch is no larger than the capacity") {
  weir::sim::Simulator sim;
  auto stream = weir::emits<int>(sim).capacity(3).sender(up_to(7)).receiver(weir::batched(64), data_of).start();
  CHECK(final_of(sim, stream).collected() == Batches{{1, 2, 3}, {4, 5, 6}, {7}});
}

TEST_CASE("batched: several workers process full batches at once") {
  weir::sim::Simulator sim;
  int at_once = 0;
  int most = 0;
  auto stream = weir::emits<int>(sim)
                    .sender(up_to(40))
                    .receiver(weir::batched(10, 1s).parallel(3),
                              [&](auto& events) -> weir::Task<std::size_t> {
                                most = std::max(most, ++at_once);
                                co_await weir::sleep_for(10ms);
                                --at_once;
                                co_return events.size();
                              })
                    .start();
  const auto final = final_of(sim, stream);
  CHECK(final.collected() == std::vector<std::size_t>{10, 10, 10, 10});
  CHECK(most == 3);
  CHECK(final.stats().completed - final.stats().started == 20ms);
}

TEST_CASE("batched: it says what it is") {
  CHECK(weir::batched().describe() == "batched(64, 100000 us)");
  CHECK(weir::batched(8, 5us).parallel(3).split_on_error().describe() ==
        "batched(8, 5 us).parallel(3).split_on_error()");
}
