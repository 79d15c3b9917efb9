#include <weir/stream/emits.hpp>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <weir/core/spawn.hpp>
#include <weir/core/timer.hpp>
#include <weir/stream/strategy/by_key.hpp>
#include <weir/stream/strategy/ordered.hpp>
#include <weir/stream/strategy/parallel.hpp>

#include "support/alloc_failure.hpp"
#include "support/catch.hpp"

namespace {

using weir::Task;
using weir_test::Failures;
using weir_test::require;
using weir_test::Stage;

using Value = std::unique_ptr<int>;
constexpr int events = 6;

void check(const Failures& failures, std::uint64_t at_least) {
  INFO(failures.trouble);
  CHECK(failures.trouble.empty());
  CHECK(failures.allocations >= at_least);
}

auto source() {
  return [](weir::Emitter<Value>& out) -> Task<> {
    for (int i = 1; i <= events; ++i) {
      auto value = std::make_unique<int>(i);
      try {
        co_await out.emit(std::move(value));
      } catch (...) {
        require(value && *value == i, "a refused value is not with the sender");
        throw;
      }
    }
  };
}

/// Ends the stream of `start()`, whatever becomes of it: its final event comes, once, and what was emitted adds up.
template <class Start, class Judge>
void to_the_end(Stage& stage, Start start, Judge judge) {
  // Throws when there is no memory for the stream: then there is none.
  auto stream = start();
  int finals = 0;
  try {
    weir::spawn(stage.executor(), stream.final_event(), [&](std::exception_ptr error, auto final) {
      ++finals;
      require(!error, "waiting for the final event failed");
      const auto stats = final.stats();
      require(stats.balanced() && stats.buffered == 0 && stats.in_progress == 0, "the counts don't add up");
      if (final) require(stats.processed == events, "it completed with events that were not processed");
      judge(final);
    });
  } catch (const std::bad_alloc&) {
    finals = 1;
  }
  stage.poll();
  require(stream.is_complete(), "the stream does not end");
  require(finals == 1, "the final event did not come");
}

template <class Start>
void to_the_end(Stage& stage, Start start) {
  to_the_end(stage, std::move(start), [](auto&) {});
}

TEST_CASE("alloc failure: a serial stream", "[alloc-failure]") {
  check(weir_test::fail_each([](Stage& stage) {
          to_the_end(
              stage,
              [&] {
                return weir::emits<Value>(stage.executor())
                    .capacity(2)
                    .sender(source())
                    .receiver([](const auto& event) { return *event.data(); })
                    .start();
              },
              [](auto& final) {
                if (final) require(final.collected().size() == events, "a result is missing");
              });
        }),
        10);
}

TEST_CASE("alloc failure: a parallel stream of coroutines", "[alloc-failure]") {
  check(weir_test::fail_each([](Stage& stage) {
          to_the_end(stage, [&] {
            return weir::emits<Value>(stage.executor())
                .capacity(3)
                .sender(source())
                .receiver(weir::parallel(3),
                          [](const auto& event) -> Task<Value> {
                            auto result = std::make_unique<int>(*event.data());
                            co_await weir::yield();
                            co_return result;
                          })
                .start();
          });
        }),
        20);
}

TEST_CASE("alloc failure: an ordered stream", "[alloc-failure]") {
  check(weir_test::fail_each([](Stage& stage) {
          to_the_end(
              stage,
              [&] {
                return weir::emits<Value>(stage.executor())
                    .capacity(4)
                    .sender(source())
                    .receiver(weir::parallel(2).ordered(),
                              [](const auto& event) -> Task<int> {
                                const int value = *event.data();
                                if (value % 2 == 1) co_await weir::yield();
                                co_return value;
                              })
                    .start();
              },
              [](auto& final) {
                int last = 0;
                for (const int value : final.collected()) {
                  require(value > last, "the results are out of order");
                  last = value;
                }
              });
        }),
        20);
}

TEST_CASE("alloc failure: a stream by key, collected by key", "[alloc-failure]") {
  check(
      weir_test::fail_each([](Stage& stage) {
        to_the_end(stage, [&] {
          return weir::emits<Value>(stage.executor())
              .named("a stream whose name is too long for the string's own buffer")
              .sender(source())
              .receiver(weir::parallel(2).by_key([](const Value& value) { return *value % 3; }),
                        [](const auto& event) { return *event.data(); })
              .collect(weir::collect::keyed([](int value) { return std::to_string(value % 2); }, weir::collect::count))
              .start();
        });
      }),
      20);
}

TEST_CASE("alloc failure: a stream that is folded, and one that goes on after errors", "[alloc-failure]") {
  check(weir_test::fail_each([](Stage& stage) {
          to_the_end(stage, [&] {
            return weir::emits<Value>(stage.executor())
                .sender(source())
                .receiver([](const auto& event) { return *event.data(); })
                .collect(weir::collect::fold(0, [](int& sum, int value) { sum += value; }))
                .start();
          });
        }),
        8);
  check(weir_test::fail_each([](Stage& stage) {
          auto stream = weir::emits<Value>(stage.executor())
                            .on_error(weir::continue_)
                            .sender(source())
                            .receiver(weir::parallel(2),
                                      [](const auto& event) {
                                        if (*event.data() % 2 == 0) throw std::runtime_error("an even number, refused");
                                        return *event.data();
                                      })
                            .start();
          stage.poll();
          require(stream.is_complete(), "the stream does not end");
          const auto stats = stream.stats();
          require(stats.balanced(), "the counts don't add up");
        }),
        8);
}

TEST_CASE("alloc failure: a stream that is cancelled", "[alloc-failure]") {
  const auto level = GENERATE(weir::CancellationLevel::graceful, weir::CancellationLevel::forceful,
                              weir::CancellationLevel::immediate);
  check(weir_test::fail_each([=](Stage& stage) {
          // Nobody opens it: only the cancel ends the stream.
          auto [gate, passes] = weir::make_channel<int>(stage.executor(), {.capacity = 1});
          auto stream = weir::emits<Value>(stage.executor())
                            .capacity(2)
                            .sender(source())
                            .receiver(weir::parallel(2),
                                      [rx = passes](const auto& event) -> Task<int> {
                                        const auto pass = co_await rx.receive();
                                        co_return pass ? *event.data() : 0;
                                      })
                            .start();
          stage.poll();
          stream.cancel(level);
          stage.poll();
          gate.close();
          stage.poll();
          require(stream.is_complete(), "a cancelled stream does not end");
          require(stream.stats().balanced(), "the counts don't add up");
        }),
        15);
}

TEST_CASE("alloc failure: a stream whose handle is dropped", "[alloc-failure]") {
  check(weir_test::fail_each([](Stage& stage) {
          {
            auto stream = weir::emits<Value>(stage.executor())
                              .capacity(1)
                              .sender(source())
                              .receiver([](const auto& event) -> Task<> {
                                co_await weir::yield();
                                require(event.data() != nullptr, "an event without its data");
                              })
                              .start();
            const auto progress = stream.progress();
            require(progress.settled == 0, "something ran inside start");
          }
          stage.poll();
        }),
        10);
}

}  // namespace
