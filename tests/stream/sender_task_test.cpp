#include <weir/stream/sender_task.hpp>

#include "support/catch.hpp"

#include <chrono>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include <weir/core/timer.hpp>

#include "stream/run.hpp"

using namespace std::chrono_literals;

namespace {

weir::Task<> numbers(weir::Emitter<int>& out) {
  for (int i = 1; i <= 5; ++i) co_await out.emit(i);
}

/// What is in the channel, to its end.
std::vector<int> drained(weir::sim::Simulator& sim, weir::ChannelReceiver<int> rx) {
  std::vector<int> seen;
  sim.spawn([](weir::ChannelReceiver<int> own, std::vector<int>& values) -> weir::Task<> {
    while (auto value = co_await own.receive()) values.push_back(*value);
  }(std::move(rx), seen));
  sim.run();
  return seen;
}

}  // namespace

TEST_CASE("sender task: emits into a channel of the user's, and closes it with its handle at the end") {
  weir::sim::Simulator sim;
  auto [tx, rx] = weir::make_channel<int>(sim, {.capacity = 2});
  weir::SenderTask<int> half = weir::emits<int>(sim).named("numbers").sender(&numbers).start_into(std::move(tx));
  CHECK(half.name() == "numbers");
  CHECK(half.status() == weir::StreamStatus::running);
  CHECK(drained(sim, std::move(rx)) == std::vector{1, 2, 3, 4, 5});
  CHECK(half.is_complete());
  const auto final = weir_test::final_of(sim, half);
  CHECK(final.outcome() == weir::Outcome::completed);
  CHECK(final.stats().emitted == 5);
  CHECK(final.stats().processed == 5);
  CHECK(final.stats().balanced());
}

TEST_CASE("sender task: a channel with other senders stays open, and a strategy of the sender works") {
  weir::sim::Simulator sim;
  auto [tx, rx] = weir::make_channel<int>(sim, {.capacity = 9});
  auto half = weir::emits<int>(sim).sender(weir::batched(3, 1h), &numbers).start_into(tx);
  const auto final = weir_test::final_of(sim, half);
  CHECK(final.stats().processed == 5);
  CHECK_FALSE(tx.closed());
  auto parts =
      weir::emits<int>(sim)
          .sender(weir::parallel(2), [](auto& out, weir::Partition part) { CHECK(out.try_emit(10 + int(part.index))); })
          .start_into(tx);
  CHECK(weir_test::final_of(sim, parts).stats().emitted == 2);
  CHECK(rx.stats().buffered == 7);
  CHECK(half.describe().find("5 emitted") != std::string::npos);
}

TEST_CASE("sender task: stopped, dropped, timed out or failed, it says what it emitted and leaves the channel alone") {
  enum class End { graceful, forceful, dropped, timeout, throws, nobody };
  for (const bool gathers : {false, true}) {
    for (const End end : {End::graceful, End::forceful, End::dropped, End::timeout, End::throws, End::nobody}) {
      weir::sim::Simulator sim;
      auto [tx, rx] = weir::make_channel<int>(sim, {.capacity = 3});
      bool refused = false;
      const auto sender = [end, &refused](weir::Emitter<int>& out) -> weir::Task<> {
        for (int i = 0; i < 10; ++i) {
          if (i == 4 && end == End::throws) throw std::runtime_error("broken");
          if (i == 2) co_await weir::sleep_for(5ms);
          try {
            co_await out.emit(i);
          } catch (...) {
            refused = true;
            throw;
          }
        }
      };
      auto builder = weir::emits<int>(sim);
      if (end == End::timeout) builder.timeout(10ms);
      auto half = std::move(builder).sender(weir::batched(gathers ? 2 : 1, 1h), sender).start_into(std::move(tx));
      sim.spawn([](weir::SenderTask<int>& of, weir::ChannelReceiver<int>& from, End how) -> weir::Task<> {
        if (how == End::throws) co_await from.receive();
        co_await weir::sleep_for(10ms);
        if (how == End::graceful) of.cancel();
        if (how == End::forceful) of.cancel(weir::CancellationLevel::forceful);
        if (how == End::nobody) from.reset();
        co_await weir::sleep_for(10ms);
        // A graceful cancel waits for room for what was gathered.
        if (how == End::graceful) {
          while (from.try_receive()) {
          }
        }
      }(half, rx, end));
      auto waiting = half.final_event();
      if (end == End::dropped) half = {};
      weir::SenderTask<int>::final_event_type final;
      weir::spawn(sim, std::move(waiting), [&final](std::exception_ptr, auto event) { final = std::move(event); });
      sim.run();
      REQUIRE(final.valid());
      const weir::StreamStats stats = final.stats();
      CHECK(stats.balanced());
      CHECK(stats.buffered == 0);
      if (end != End::nobody) CHECK(stats.processed == rx.stats().admitted);
      switch (end) {
        case End::graceful:
          CHECK(final.outcome() == weir::Outcome::cancelled);
          CHECK(stats.discarded == 0);
          CHECK(stats.emitted == (gathers ? 4 : 3));
          break;
        case End::forceful:
        case End::timeout:
          CHECK(final.outcome() == (end == End::timeout ? weir::Outcome::timed_out : weir::Outcome::cancelled));
          CHECK(stats.processed == 3);
          CHECK(stats.discarded == (gathers ? 1 : 0));
          break;
        case End::dropped:
          CHECK(final.outcome() == weir::Outcome::cancelled);
          CHECK(stats.emitted <= 2);
          break;
        case End::throws:
          CHECK(final.outcome() == weir::Outcome::failed);
          CHECK(final.error().text() == "broken");
          CHECK(stats.emitted == 4);
          CHECK(stats.processed == 4);
          break;
        case End::nobody:
          CHECK(final.outcome() == weir::Outcome::failed);
          CHECK(refused);
          CHECK(stats.processed == 3);
          break;
      }
    }
  }
}

TEST_CASE("sender task: an empty handle is refused at once") {
  weir::sim::Simulator sim;
  auto builder = weir::emits<int>(sim).sender(&numbers);
  CHECK_THROWS_AS(std::move(builder).start_into(weir::ChannelSender<int>()), weir::Error);
  const weir::SenderTask<int> none;
  CHECK_FALSE(none);
  CHECK_THROWS_AS(none.stats(), weir::Error);
}

TEST_CASE("sender task: one that gathers is told by its next emit that nobody receives any more") {
  weir::sim::Simulator sim;
  auto [tx, rx] = weir::make_channel<int>(sim, {.capacity = 9});
  rx.reset();
  std::vector<weir::Errc> told;
  auto half = weir::emits<int>(sim)
                  .sender(weir::batched(2, 1h),
                          [&told](weir::Emitter<int>& out) -> weir::Task<> {
                            for (int i = 0; i < 5; ++i) {
                              try {
                                co_await out.emit_emplace(i);
                                told.push_back(weir::Errc{});
                              } catch (const weir::Error& error) {
                                told.push_back(static_cast<weir::Errc>(error.code().value()));
                              }
                            }
                          })
                  .start_into(std::move(tx));
  const auto final = weir_test::final_of(sim, half);
  const auto closed = weir::Errc::channel_closed;
  // The second one goes with the first, and is emitted by then.
  CHECK(told == std::vector{weir::Errc{}, weir::Errc{}, closed, closed, closed});
  CHECK(final.outcome() == weir::Outcome::failed);
  CHECK(final.stats().emitted == 2);
  CHECK(final.stats().discarded == 2);
  CHECK(final.stats().balanced());
}
