#include <weir/channel/broadcast.hpp>

#include <exception>
#include <memory>
#include <utility>
#include <vector>

#include <weir/core/spawn.hpp>

#include "channel/alloc_failure_scene.hpp"
#include "support/alloc_failure.hpp"
#include "support/catch.hpp"

namespace {

using namespace alloc_failure;
using weir::SlowReceiver;
using weir::Task;
using weir_test::Reliable;
using weir_test::require;
using weir_test::Stage;

/// A value whose copy allocates, and whose move does not.
using Copied = std::vector<int>;
using Sender = weir::BroadcastSender<Copied>;
using Receiver = weir::BroadcastReceiver<Copied>;

/// What one receiver got, in order.
struct Heard {
  int last = -1;
  int count = 0;
  void got(const Copied& value) {
    ++count;
    require(value.size() == 1 && value[0] > last, "a value came twice, or not in order");
    last = value[0];
  }
};

/// Sends that find no memory are tried again when there is some.
Task<> sends(Sender tx, int count, int& sent) {
  for (int i = 0; i < count; ++i) {
    Copied value;
    {
      const Reliable now;
      value.push_back(i);
    }
    for (bool gone = false; !gone;) {
      try {
        co_await tx.send(std::move(value));
        gone = true;
      } catch (const std::bad_alloc&) {
      }
      if (gone) break;
      require(value.size() == 1 && value[0] == i, "a value that was not sent is not with the sender");
      const Reliable now;
      const auto tried = tx.try_send(std::move(value));
      gone = static_cast<bool>(tried);
      require(gone == value.empty(), "a value that was refused is not with the sender");
      // There was no memory to say so.
      if (tried.closed()) co_return;
    }
    ++sent;
  }
}
/// What a copy throws leaves the value for the next call.
Task<> receives(const Receiver& rx, Heard& heard) {
  for (std::uint64_t skipped = 0;;) {
    try {
      const auto value = co_await rx.receive(skipped);
      if (!value) break;
      heard.got(*value);
      continue;
    } catch (const std::bad_alloc&) {
    }
    const Reliable now;
    const auto value = rx.try_receive(skipped);
    if (value) heard.got(*value);
  }
}

TEST_CASE("alloc failure: a broadcast", "[alloc-failure]") {
  const auto slow = GENERATE(SlowReceiver::wait, SlowReceiver::skip);
  check(weir_test::fail_each([slow](Stage& stage) {
          Tally tally;
          int sent = 0;
          Heard heard[2];
          const auto tx = weir::make_broadcast<Copied>(stage.executor(), {.capacity = 2, .slow = slow});
          const Receiver places[2] = {tx.subscribe(), tx.subscribe()};
          start(stage, tally, [tx, &sent] { return sends(tx, 5, sent); });
          stage.poll();
          for (int i = 0; i < 2; ++i) {
            start(stage, tally, [&rx = places[i], &h = heard[i]] { return receives(rx, h); });
            stage.poll();
          }
          tx.close();
          stage.poll();
          const Reliable now;
          for (int i = 0; i < 2; ++i) {
            std::uint64_t skipped = 0;
            while (const auto value = places[i].try_receive(skipped)) heard[i].got(*value);
            const auto stats = places[i].stats();
            require(stats.pending == 0 && stats.dropped == 0, "a value is left");
            require(stats.received == static_cast<std::uint64_t>(heard[i].count), "values were lost");
            require(stats.received + stats.skipped == static_cast<std::uint64_t>(sent), "values are missing");
            require(slow != SlowReceiver::wait || stats.skipped == 0, "a value was skipped");
          }
          require(tally.started == tally.ended, "a root waits for ever");
        }),
        10);
}

TEST_CASE("alloc failure: a subscription that finds no memory leaves the broadcast as it was", "[alloc-failure]") {
  check(weir_test::fail_each([](Stage& stage) {
          const auto tx = weir::make_broadcast<Copied>(stage.executor(), {.capacity = 2});
          const auto first = tx.subscribe();
          try {
            const auto second = tx.subscribe();
            require(tx.subscribers() == 2, "a receiver that is not counted");
          } catch (const std::bad_alloc&) {
          }
          require(tx.subscribers() == 1, "a receiver that is counted and not there");
        }),
        3);
}

TEST_CASE("alloc failure: a broadcast by completion token", "[alloc-failure]") {
  check(weir_test::fail_each([](Stage& stage) {
          int calls = 0;
          int started = 0;
          int sent = 0;
          Heard heard;
          const auto tx = weir::make_broadcast<Copied>(stage.executor(), {.capacity = 1});
          const auto rx = tx.subscribe();
          const auto receive = [&] {
            try {
              rx.async_receive(
                  asio::bind_executor(stage.executor(), [&](std::error_code error, std::optional<Copied> value) {
                    ++calls;
                    if (value) heard.got(*value);
                    require(!value || !error, "a value with an error");
                  }));
              ++started;
            } catch (const std::bad_alloc&) {
            }
            stage.poll();
          };
          receive();
          for (int i = 0; i < 3; ++i) {
            try {
              Copied value(1, i);
              tx.async_send(std::move(value), asio::bind_executor(stage.executor(), [&](std::error_code error,
                                                                                        std::optional<Copied> back) {
                              ++calls;
                              require(static_cast<bool>(error) == back.has_value(), "a value is not returned");
                              if (!error) ++sent;
                            }));
              ++started;
            } catch (const std::bad_alloc&) {
            }
          }
          stage.poll();
          for (int i = 0; i < 3; ++i) receive();
          tx.close();
          stage.poll();
          require(calls == started, "a handler was not called once");
          const Reliable now;
          while (const auto value = rx.try_receive()) heard.got(*value);
          require(heard.count == sent, "values were lost");
        }),
        8);
}

}  // namespace
