#include <weir/stream/dead_letter.hpp>

#include "support/catch.hpp"

#include <stdexcept>
#include <string>
#include <vector>

#include "stream/error_scene.hpp"
#include "stream/run.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weir_test;
using Letter = weir::DeadLetter<int>;

/// A stream of 1 to 6 whose receiver throws for even numbers.
auto odd_only(weir::sim::Simulator& sim, auto policy) {
  auto stream = weir::emits<int>(sim)
                    .on_error(std::move(policy))
                    .sender(std::vector{1, 2, 3, 4, 5, 6})
                    .receiver([](const auto& event) {
                      if (event.data() % 2 == 0) throw std::runtime_error("even: " + std::to_string(event.data()));
                      return event.data();
                    })
                    .start();
  return final_of(sim, stream);
}

}  // namespace

TEST_CASE("dead_letter: what fails goes to the channel with its error, and the stream goes on") {
  weir::sim::Simulator sim;
  auto [tx, rx] = weir::make_channel<Letter>(sim, {.capacity = 8});
  const auto final = odd_only(sim, weir::dead_letter(std::move(tx)));
  CHECK(final.outcome() == weir::Outcome::completed);
  CHECK(final.collected() == std::vector{1, 3, 5});
  CHECK(final.stats().dead_lettered == 3);
  CHECK(final.stats().failed == 0);
  CHECK(final.errors().empty());
  for (const int expected : {2, 4, 6}) {
    const auto letter = rx.try_receive();
    REQUIRE(letter);
    CHECK(letter->data() == expected);
    CHECK(letter->event().id() == static_cast<std::uint64_t>(expected));
    CHECK(letter->message() == "even: " + std::to_string(expected));
    CHECK(letter->attempts() == 1);
  }
  // The stream's end of it has gone with the stream: else this would wait for ever.
  sim.spawn([](auto letters) -> weir::Task<> {
    auto end = co_await letters.receive();
    ensure(!end, "a letter too many");
  }(std::move(rx)));
  sim.run();
}

TEST_CASE("dead_letter: a full channel holds the stream up, unless it rejects, drops, or the stream is stopped") {
  SECTION("waits") {
    weir::sim::Simulator sim;
    auto [tx, rx] = weir::make_channel<Letter>(sim, {.capacity = 1});
    std::vector<int> read;
    sim.spawn([](auto letters, std::vector<int>& out) -> weir::Task<> {
      while (auto letter = co_await letters.receive()) {
        out.push_back(letter->data());
        co_await weir::sleep_for(1s);
      }
    }(std::move(rx), read));
    const auto final = odd_only(sim, weir::dead_letter(std::move(tx)));
    CHECK(read == std::vector{2, 4, 6});
    CHECK(final.stats().dead_lettered == 3);
  }
  SECTION("rejects") {
    weir::sim::Simulator sim;
    auto [tx, rx] = weir::make_channel<Letter>(sim, {.capacity = 1, .overflow = weir::Overflow::reject});
    const auto final = odd_only(sim, weir::dead_letter(std::move(tx)).otherwise(weir::continue_));
    CHECK(final.stats().dead_lettered == 1);
    CHECK(final.stats().failed == 2);
    CHECK(final.errors().size() == 2);
    CHECK(final.outcome() == weir::Outcome::completed);
  }
  SECTION("drops the oldest") {
    weir::sim::Simulator sim;
    auto [tx, rx] = weir::make_channel<Letter>(sim, {.capacity = 1, .overflow = weir::Overflow::drop_oldest});
    const auto final = odd_only(sim, weir::dead_letter(std::move(tx)));
    CHECK(final.stats().dead_lettered == 3);
    CHECK(rx.try_receive()->data() == 6);
  }
  SECTION("the stream is stopped") {
    for (const auto level : {weir::CancellationLevel::forceful, weir::CancellationLevel::immediate}) {
      weir::sim::Simulator sim;
      auto [tx, rx] = weir::make_channel<Letter>(sim, {.capacity = 1});
      auto stream = weir::emits<int>(sim)
                        .on_error(weir::dead_letter(std::move(tx)))
                        .sender(std::vector{1, 2, 3, 4})
                        .receiver([](const auto&) { throw std::runtime_error("no"); })
                        .start();
      sim.spawn([](auto& running, auto l) -> weir::Task<> {
        co_await weir::sleep_for(1s);
        running.cancel(l);
      }(stream, level));
      const auto final = final_of(sim, stream);
      CHECK(final.stats().dead_lettered == 1);
      CHECK(final.stats().failed == 1);
      CHECK(final.stats().discarded == 2);
      CHECK(final.outcome() == weir::Outcome::cancelled);
    }
  }
}

TEST_CASE("dead_letter: when nobody receives them the next policy decides, and the stream stops without one") {
  for (const bool on : {false, true}) {
    weir::sim::Simulator sim;
    auto channel = std::make_unique<std::pair<weir::ChannelSender<Letter>, weir::ChannelReceiver<Letter>>>(
        weir::make_channel<Letter>(sim, {.capacity = 8}));
    auto tx = channel->first;
    channel.reset();
    const auto final = on ? odd_only(sim, weir::dead_letter(std::move(tx)).otherwise(weir::continue_))
                          : odd_only(sim, weir::dead_letter(std::move(tx)));
    CHECK(final.outcome() == (on ? weir::Outcome::completed : weir::Outcome::failed));
    CHECK(final.error().text() == "even: 2");
    CHECK(final.stats().failed == (on ? 3u : 1u));
    CHECK(final.stats().dead_lettered == 0);
  }
}

TEST_CASE("dead_letter: two channels, the second for what the first refuses, with whole events") {
  weir::sim::Simulator sim;
  auto [first, reads_first] = weir::make_channel<Letter>(sim, {.capacity = 1, .overflow = weir::Overflow::reject});
  auto [second, reads_second] = weir::make_channel<Letter>(sim, {.capacity = 8});
  const auto final = odd_only(sim, weir::dead_letter(std::move(first)).otherwise(weir::dead_letter(std::move(second))));
  CHECK(final.stats().dead_lettered == 3);
  CHECK(reads_first.try_receive()->data() == 2);
  CHECK(reads_second.try_receive()->data() == 4);
  CHECK(reads_second.try_receive()->message() == "even: 6");
}

TEST_CASE("dead_letter: events that have no key are put aside, too") {
  weir::sim::Simulator sim;
  auto [tx, rx] = weir::make_channel<Letter>(sim, {.capacity = 8});
  const auto policy = weir::retry(weir::RetryPolicy::fixed(1s)).otherwise(weir::dead_letter(std::move(tx)));
  auto stream = weir::emits<int>(sim)
                    .on_error(policy)
                    .sender(std::vector{1, 2, 3})
                    .receiver(weir::parallel(2).by_key([](int i) {
                      if (i == 2) throw std::runtime_error("no key");
                      return i;
                    }),
                              [](const auto& e) { return e.data(); })
                    .start();
  const auto final = final_of(sim, stream);
  CHECK(final.stats().dead_lettered == 1);
  CHECK(final.stats().processed == 2);
  CHECK(rx.try_receive()->message() == "no key");
  CHECK(sim.elapsed() == 0s);
}

TEST_CASE("dead_letter: with retries before, whatever is done at whatever step, each event ends in one place") {
  PlanOptions options;
  options.events = 3;
  options.failures = {{1, 1}, {2, 9}, {3, 9}};
  REQUIRE_NOTHROW(explore_plan(
      options,
      [](auto& builder, Letters tx) {
        const auto retry = weir::retry(weir::RetryPolicy::fixed(2ms).max_attempts(2));
        builder.on_error(retry.otherwise(weir::dead_letter(std::move(tx))));
      },
      [](Plan& plan, const SceneFinal& final, weir::sim::Simulator& sim) {
        if (sim.acted()) return;
        ensure(final.outcome() == weir::Outcome::completed, "it completes");
        ensure(final.stats().processed == 1 && final.stats().dead_lettered == 2, "one in three succeeds");
        ensure(plan.calls == std::map<int, int>{{1, 2}, {2, 2}, {3, 2}}, "each was tried twice");
      }));
}
