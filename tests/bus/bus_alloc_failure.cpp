#include <weir/bus/plugin_scope.hpp>
#include <weir/bus/priority_event_bus.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <weir/channel/channel.hpp>
#include <weir/core/spawn.hpp>
#include <weir/core/timer.hpp>

#include "support/alloc_failure.hpp"
#include "support/catch.hpp"

namespace {

using weir::Event;
using weir::EventContext;
using weir::EventPriority;
using weir::PriorityEventBus;
using weir::Task;
using weir_test::Failures;
using weir_test::require;
using weir_test::Stage;

void check(const Failures& failures, std::uint64_t at_least) {
  INFO(failures.trouble);
  CHECK(failures.trouble.empty());
  CHECK(failures.allocations >= at_least);
}

std::shared_ptr<int> made(int n) { return std::make_shared<int>(n); }

/// Does it, or finds that there is no memory for it.
template <class F>
void perhaps(F&& f) {
  try {
    f();
  } catch (const std::bad_alloc&) {
  }
}

/// Ends the bus: every event that was admitted has ended, once.
void to_the_end(Stage& stage, PriorityEventBus& bus) {
  stage.poll();
  bus.abort();
  stage.poll();
  const auto stats = bus.stats();
  require(stats.queued == 0 && stats.running == 0, "events are left");
  require(stats.admitted == stats.completed + stats.failed + stats.cancelled + stats.timed_out + stats.expired +
                                stats.dropped + stats.discarded,
          "the counts don't add up");
}

/// Publishes what the kinds of events need memory for, each in a task of its own.
void publish_each(Stage& stage, PriorityEventBus& bus) {
  const auto start = [&stage](auto task) {
    weir::spawn(stage.executor(), std::move(task), [](std::exception_ptr, auto...) {});
  };
  perhaps([&] { bus.try_publish("a.plain", made(1)); });
  perhaps([&] { start([](PriorityEventBus& to) -> Task<> { co_await to.publish("a.plain", made(2)); }(bus)); });
  for (int n = 3; n <= 5; ++n) {
    perhaps([&] {
      Event keyed("a.keyed", made(n));
      keyed.key("a key that is too long for the string's own buffer").metadata("from", "a test");
      bus.try_publish(std::move(keyed));
    });
  }
  perhaps([&] {
    start([](PriorityEventBus& to) -> Task<> {
      const auto ticket = co_await to.publish_cancellable("a.cancelled", made(6), EventPriority::low);
      co_await to.cancel_event(ticket);
      const auto kept = co_await to.publish_cancellable("a.kept", made(7), EventPriority::high);
      const auto outcome = co_await kept.outcome();
      require(outcome == weir::EventOutcome::completed || outcome == weir::EventOutcome::failed ||
                  outcome == weir::EventOutcome::discarded,
              "an outcome that it cannot have");
    }(bus));
  });
}

TEST_CASE("alloc failure: a bus with plain handlers, coroutines, keys, tickets and dead letters", "[alloc-failure]") {
  check(weir_test::fail_each([](Stage& stage) {
          PriorityEventBus bus(stage.executor(), {.workers = 2, .capacity = 4});
          auto [letters, dead] = weir::make_channel<weir::DeadEvent>(stage.executor(), {.capacity = 2});
          bus.set_dead_letters(std::move(letters));
          std::vector<weir::Subscription> subscriptions;
          subscriptions.push_back(bus.subscribe("a.*", [](EventContext& event) -> Task<> {
            const auto held = event.payload<std::shared_ptr<int>>();
            co_await weir::yield();
            if (*held == 2) throw std::runtime_error("refused");
          }));
          subscriptions.push_back(bus.subscribe(">", [](EventContext& event) { static_cast<void>(event.token()); }));
          publish_each(stage, bus);
          to_the_end(stage, bus);
        }),
        30);
}

TEST_CASE("alloc failure: a bus of one worker, which takes events along", "[alloc-failure]") {
  check(weir_test::fail_each([](Stage& stage) {
          PriorityEventBus bus(stage.executor(), {.workers = 1, .capacity = 64});
          int sum = 0;
          const auto handler =
              bus.subscribe("a.*", [&sum](EventContext& event) { sum += *event.payload<std::shared_ptr<int>>(); });
          for (int n = 0; n < 5; ++n) perhaps([&] { bus.try_publish("a.b", made(n)); });
          perhaps([&] { auto late = bus.subscribe("a.b", [](EventContext&) {}); });
          perhaps([&] { bus.try_publish("a.b", made(1), EventPriority::critical); });
          to_the_end(stage, bus);
        }),
        10);
}

TEST_CASE("alloc failure: batches of each mode", "[alloc-failure]") {
  for (const auto mode : {weir::BatchMode::independent, weir::BatchMode::atomic, weir::BatchMode::saga}) {
    check(weir_test::fail_each([mode](Stage& stage) {
            PriorityEventBus bus(stage.executor(), {.workers = 2, .capacity = 8});
            int done = 0;
            const auto handler = bus.subscribe("a.*", weir::compensated(
                                                          [&done](EventContext& event) -> Task<> {
                                                            const auto held = event.payload<std::shared_ptr<int>>();
                                                            co_await weir::yield();
                                                            if (*held == 3) throw std::runtime_error("refused");
                                                            ++done;
                                                            perhaps([&] { event.try_publish("b", made(9)); });
                                                          },
                                                          [&done](const Event&) { --done; }));
            int reports = 0;
            bool refused = false;
            perhaps([&] {
              std::vector<Event> events;
              for (int n = 1; n <= 3; ++n) events.emplace_back("a.b", made(n));
              weir::spawn(
                  stage.executor(),
                  [](PriorityEventBus& to, std::vector<Event> all, weir::BatchMode how) -> Task<weir::BatchOutcome> {
                    auto batch = to.publish_batch(std::move(all), how);
                    const auto report = co_await std::move(batch);
                    co_return report.outcome;
                  }(bus, std::move(events), mode),
                  [&](std::exception_ptr error, weir::BatchOutcome outcome) {
                    ++reports;
                    refused = error != nullptr;
                    if (!refused && outcome == weir::BatchOutcome::rolled_back) {
                      require(done == 0, "rolled back, but not undone");
                    }
                  });
            });
            to_the_end(stage, bus);
            require(reports <= 1, "a batch with two ends");
          }),
          15);
  }
}

TEST_CASE("alloc failure: last values, and handlers that come for them", "[alloc-failure]") {
  check(weir_test::fail_each([](Stage& stage) {
          PriorityEventBus bus(stage.executor(), {.workers = 1, .capacity = 8, .last_values = 2});
          perhaps([&] { bus.keep_last_values("a.*"); });
          const auto undone = [](EventContext&) -> Task<> { co_await weir::yield(); };
          const auto nothing = [](const Event&) {};
          auto first = bus.subscribe("a.*", weir::compensated(undone, nothing));
          publish_each(stage, bus);
          stage.poll();
          perhaps([&] {
            std::vector<Event> events;
            for (int n = 1; n <= 3; ++n) {
              events.emplace_back("a.b", made(n));
              events.back().key("another key that is too long for the string's own buffer");
            }
            auto batch = bus.publish_batch(std::move(events), weir::BatchMode::saga);
            weir::spawn(stage.executor(), std::move(batch), [](std::exception_ptr, auto&&...) {});
          });
          int calls = 0;
          const auto count = [&calls](EventContext& event) { calls += event.is_last_value() ? 1 : 0; };
          const auto admitted = bus.stats().admitted;
          try {
            auto late = bus.subscribe("a.*", count, {.last_value = true});
            stage.poll();
            auto later = bus.subscribe("a.*", count, {.last_value = true});
          } catch (const std::bad_alloc&) {
            require(bus.stats().admitted >= admitted && calls <= 5, "a handler that was not subscribed was called");
          }
          to_the_end(stage, bus);
        }),
        30);
}

TEST_CASE("alloc failure: a plugin comes, publishes, is asked to go, and leaves nothing", "[alloc-failure]") {
  check(weir_test::fail_each([](Stage& stage) {
          PriorityEventBus bus(stage.executor(), {.workers = 1, .capacity = 8});
          perhaps([&] {
            weir::PluginScope plugin(bus, "a plugin whose name is too long for the string's own buffer");
            perhaps([&] { auto kept = plugin.subscribe("a.*", [](EventContext&) {}); });
            perhaps([&] { plugin.try_publish("a.b", made(1)); });
            perhaps([&] {
              weir::spawn(stage.executor(), plugin.close(std::chrono::seconds(1)),
                          [](std::exception_ptr, auto&&...) {});
            });
            stage.poll();
          });
          to_the_end(stage, bus);
        }),
        10);
}

}  // namespace
