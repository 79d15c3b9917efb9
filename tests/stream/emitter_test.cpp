#include <weir/stream/emitter.hpp>

#include "support/catch.hpp"

#include <memory>
#include <string>

#include <weir/core/timer.hpp>
#include <weir/core/when_all.hpp>

#include <weir/sim/explore.hpp>

#include "stream/run.hpp"

using namespace std::chrono_literals;

namespace {

/// A receiver that holds up everything behind it.
weir::Task<int> slowly(const weir::ReceiverEvent<std::unique_ptr<int>>& e) {
  co_await weir::sleep_for(1h);
  co_return *e.data();
}

}  // namespace

TEST_CASE("emitter: a refused value is back where it was, also of a type that can't be copied") {
  weir::sim::Simulator sim;
  std::unique_ptr<int> waiting = std::make_unique<int>(2);
  std::unique_ptr<int> tried = std::make_unique<int>(3);
  std::unique_ptr<int> after = std::make_unique<int>(4);
  bool cancelled = false;
  auto stream = weir::emits<std::unique_ptr<int>>(sim)
                    .capacity(1)
                    .sender([&](weir::Emitter<std::unique_ptr<int>>& out) -> weir::Task<> {
                      co_await out.emit_emplace(new int(0));
                      co_await weir::sleep_for(1ms);
                      co_await out.emit_emplace(new int(1));
                      CHECK_FALSE(out.try_emit(std::move(tried)));
                      CHECK_FALSE(out.stopping());
                      CHECK_FALSE(out.token().cancelled());
                      try {
                        co_await out.emit(std::move(waiting));
                      } catch (const weir::Error& error) {
                        cancelled = weir::is_cancellation(error.code());
                      }
                      CHECK(out.stopping());
                      CHECK(out.token().cancelled());
                      CHECK_FALSE(out.try_emit(std::move(after)));
                      CHECK_THROWS_AS(co_await out.emit(std::move(after)), weir::Error);
                    })
                    .receiver(&slowly)
                    .start();
  sim.spawn([&]() -> weir::Task<> {
    co_await weir::sleep_for(10ms);
    stream.cancel();
  });
  const auto final = weir_test::final_of(sim, stream);
  CHECK(cancelled);
  REQUIRE(waiting);
  CHECK(*waiting == 2);
  REQUIRE(tried);
  CHECK(*tried == 3);
  REQUIRE(after);
  CHECK(*after == 4);
  CHECK(final.collected() == std::vector{0, 1});
  CHECK(final.stats().emitted == 2);
}

TEST_CASE("emitter: emits copies, ranges and events with a time of their own") {
  weir::sim::Simulator sim;
  const std::vector<std::string> kept{"a", "b", "c"};
  std::vector<std::uint64_t> ids;
  weir::EventTime created{};
  auto stream = weir::emits<std::string>(sim)
                    .capacity(2)
                    .sender([&](weir::Emitter<std::string>& out) -> weir::Task<> {
                      const std::size_t sent = co_await out.emit_all(kept);
                      CHECK(sent == 3);
                      const std::string named = "d";
                      co_await out.emit(named);
                      CHECK(named == "d");
                      auto event = weir::SenderEvent<std::string>::with("e").created(weir::EventTime(7s)).build();
                      co_await out.emit(std::move(event));
                    })
                    .receiver([&](auto& e) {
                      ids.push_back(e.id());
                      created = e.created();
                      return e.data();
                    })
                    .start();
  CHECK(weir_test::final_of(sim, stream).collected() == std::vector<std::string>{"a", "b", "c", "d", "e"});
  CHECK(kept[0] == "a");
  CHECK(ids == std::vector<std::uint64_t>{1, 2, 3, 4, 5});
  CHECK(created == weir::EventTime(7s));
}

TEST_CASE("emitter: a range that is given away lives until it has been emitted") {
  weir::sim::Simulator sim;
  auto stream = weir::emits<std::unique_ptr<std::string>>(sim)
                    .capacity(2)
                    .sender([](weir::Emitter<std::unique_ptr<std::string>>& out) -> weir::Task<> {
                      const auto three = [] {
                        std::vector<std::unique_ptr<std::string>> made;
                        for (const char* const text : {"a", "b", "c"})
                          made.push_back(std::make_unique<std::string>(text));
                        return made;
                      };
                      auto emitting = out.emit_all(three());
                      co_await weir::yield();
                      const std::size_t sent = co_await std::move(emitting);
                      CHECK(sent == 3);
                    })
                    .receiver([](const auto& e) { return *e.data(); })
                    .start();
  CHECK(weir_test::final_of(sim, stream).collected() == std::vector<std::string>{"a", "b", "c"});
}

TEST_CASE("emitter: two branches of a sender emit at once") {
  REQUIRE_NOTHROW(weir::sim::explore([](weir::sim::Simulator& sim) {
    int sum = 0;
    auto stream = weir::emits<int>(sim)
                      .capacity(1)
                      .sender([](weir::Emitter<int>& out) -> weir::Task<> {
                        const auto branch = [](weir::Emitter<int>& o, int from) -> weir::Task<> {
                          for (int i = from; i < from + 3; ++i) co_await o.emit(i);
                        };
                        auto both = weir::when_all(branch(out, 0), branch(out, 10));
                        co_await std::move(both);
                      })
                      .receiver([&sum](const auto& e) { sum += e.data(); })
                      .start();
    const auto final = weir_test::final_of(sim, stream);
    weir::sim::ensure(final.stats().processed == 6 && sum == 36, "everything of both branches");
  }));
}
