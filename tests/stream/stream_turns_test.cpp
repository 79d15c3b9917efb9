// Streams beside others on the same thread.
#include <weir/stream/strategy/batched.hpp>
#include <weir/stream/strategy/parallel.hpp>
#include <weir/stream/strategy/serial.hpp>

#include "support/catch.hpp"

#include <cstdint>
#include <ranges>
#include <span>
#include <vector>

#include <weir/core/spawn.hpp>
#include <weir/core/timer.hpp>
#include <weir/core/turns.hpp>
#include <weir/stream/collect.hpp>
#include <weir/stream/emits.hpp>

#include "support/long_turn.hpp"

namespace {

using weir::Task;

struct Bystander {
  std::uint64_t turns = 0;
  /// Of it at each call of the receiver.
  std::vector<std::uint64_t> seen;

  [[nodiscard]] int calls_without_a_turn_before() const {
    int calls = 0;
    for (std::size_t i = 1; i < seen.size(); ++i) calls += seen[i] == seen[i - 1];
    return calls;
  }
};

/// A stream whose receiver computes for longer than a turn, and somebody who wants the same thread.
template <class Strategy, class Receiver>
Bystander beside(Strategy strategy, Receiver receiver, bool by_time) {
  asio::io_context context;
  weir::set_turns(context, {.by_time = by_time});
  Bystander bystander;
  bool ended = false;
  auto stream = weir::emits<int>(context)
                    .sender(std::views::iota(0, 24))
                    .receiver(strategy, [&](const auto& what) { receiver(what, bystander); })
                    .start();
  weir::spawn(context, stream.final_event(), [&](std::exception_ptr, const auto& final) {
    CHECK(final.stats().processed == 24);
    ended = true;
  });
  weir::spawn(context, [&]() -> Task<> {
    while (!ended) {
      ++bystander.turns;
      // Its turn is over, so that the others' turns end only by what they do themselves.
      weir_test::outlast_a_turn();
      co_await weir::yield();
    }
  });
  context.run();
  CHECK(ended);
  return bystander;
}

const auto computes = [](const auto&, Bystander& bystander) {
  bystander.seen.push_back(bystander.turns);
  weir_test::outlast_a_turn();
};

}  // namespace

TEST_CASE("stream turns: a worker whose events take long gives way after each") {
  if (!weir_test::turns_have_time()) return;
  CHECK(beside(weir::serial(), computes, true).calls_without_a_turn_before() == 0);
  CHECK(beside(weir::parallel(3), computes, true).calls_without_a_turn_before() <= 2 * 24 / 3);
  const auto batches = [](std::span<const weir::ReceiverEvent<int>> events, Bystander& bystander) {
    computes(events, bystander);
  };
  CHECK(beside(weir::batched(4), batches, true).calls_without_a_turn_before() == 0);
  CHECK(beside(weir::batched(4).parallel(2), batches, true).calls_without_a_turn_before() <= 3);
}

TEST_CASE("stream turns: without time a worker goes on") {
  CHECK(beside(weir::serial(), computes, false).calls_without_a_turn_before() > 12);
}

TEST_CASE("stream turns: a sender that emits one by one goes on while the turn is short") {
  if (!weir_test::turns_have_time()) return;
  constexpr int events = 6;
  int others = events;
  // The machine may take the processor away for as long as a turn, and a sanitizer makes few operations long.
  for (int tries = 0; tries < 1000 && others > 1; ++tries) {
    asio::io_context context;
    weir::set_turns(context, {.budget = 4});
    bool emitted = false;
    others = 0;
    auto stream = weir::emits<int>(context)
                      .sender([&](weir::Emitter<int>& out) -> Task<> {
                        for (int i = 0; i < events; ++i) co_await out.emit(i);
                        emitted = true;
                      })
                      .receiver([&](const auto&) { others += !emitted; })
                      .start();
    context.run();
    CHECK(stream.stats().processed == events);
  }
  CHECK(others <= 1);
}
