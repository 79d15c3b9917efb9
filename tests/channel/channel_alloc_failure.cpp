#include <weir/channel/channel.hpp>

#include <exception>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "channel/alloc_failure_scene.hpp"
#include "support/alloc_failure.hpp"
#include "support/catch.hpp"

namespace {

using namespace alloc_failure;
using weir::Errc;
using weir::Overflow;
using weir::Task;
using weir_test::require;
using weir_test::Stage;

TEST_CASE("alloc failure: a channel that can't be made throws, and leaves nothing", "[alloc-failure]") {
  check(weir_test::fail_each([](Stage& stage) {
          auto [tx, rx] = weir::make_channel<Value>(stage.executor(), {.capacity = 4});
          const auto copy = tx;
          const auto other = rx;
          require(tx.stats().capacity == 4 && copy == tx && other == rx, "a channel with handles");
        }),
        1);
}

TEST_CASE("alloc failure: a first value that finds no memory stays with its sender", "[alloc-failure]") {
  check(weir_test::fail_each([](Stage& stage) {
          auto [tx, rx] = weir::make_channel<Value>(stage.executor(), {.capacity = 4});
          auto value = std::make_unique<int>(1);
          try {
            require(static_cast<bool>(tx.try_send(std::move(value))), "an open channel with room refuses a value");
          } catch (const std::bad_alloc&) {
            require(value && *value == 1, "a refused value was moved from");
            require(rx.stats().admitted == 0 && !rx.try_receive(), "a refused value is counted");
            // When memory is back, it works.
            const weir_test::Reliable now;
            require(static_cast<bool>(tx.try_send(std::move(value))), "the second try fails");
          }
          const auto got = rx.try_receive();
          require(got && **got == 1, "the value was lost");
        }),
        3);
}

TEST_CASE("alloc failure: senders and receivers that wait", "[alloc-failure]") {
  const auto capacity = GENERATE(std::size_t{1}, std::size_t{3});
  const bool receiver_first = GENERATE(false, true);
  check(weir_test::fail_each([=](Stage& stage) {
          Tally tally;
          {
            auto [tx, rx] = weir::make_channel<Value>(stage.executor(), {.capacity = capacity});
            if (receiver_first) start(stage, tally, [rx, &tally] { return receive_each(rx, tally); });
            stage.poll();
            for (int i = 0; i < 2; ++i) {
              start(stage, tally, [tx, i, &tally] { return send_each(tx, 10 * i, 5, tally); });
            }
            stage.poll();
            if (!receiver_first) start(stage, tally, [rx, &tally] { return receive_each(rx, tally); });
            stage.poll();
            tx.close();
            drain(stage, rx, tally);
          }
          stage.poll();
          tally.check();
        }),
        12);
}

TEST_CASE("alloc failure: runs of values, by send_all and receive_some", "[alloc-failure]") {
  check(weir_test::fail_each([](Stage& stage) {
          Tally tally;
          {
            auto [tx, rx] = weir::make_channel<Value>(stage.executor(), {.capacity = 3});
            start(stage, tally, [tx, &tally]() -> Task<> {
              std::vector<Value> values;
              for (int i = 0; i < 8; ++i) values.push_back(std::make_unique<int>(i));
              std::size_t sent = 0;
              try {
                sent = co_await tx.send_all(std::move(values));
              } catch (const weir::PartialSend& error) {
                sent = error.sent();
              } catch (const std::bad_alloc&) {
                // Of a send that began there is no telling but by what is left.
                while (sent < values.size() && !values[sent]) ++sent;
              }
              for (std::size_t i = 0; i < values.size(); ++i) {
                require((values[i] == nullptr) == (i < sent), "another number of values went than was told");
                if (i < sent) tally.gave(static_cast<int>(i));
              }
            });
            stage.poll();
            start(stage, tally, [rx, &tally]() -> Task<> {
              std::vector<Value> out;
              for (;;) {
                std::size_t n = 0;
                try {
                  n = co_await rx.receive_some(out, 3);
                } catch (const std::bad_alloc&) {
                  // Its vector could not grow: the value stays in the channel.
                  const weir_test::Reliable now;
                  out.reserve(8);
                  continue;
                }
                require(n == out.size(), "another number of values came than was told");
                if (n == 0) break;
                for (const auto& value : out) tally.got(value);
                out.clear();
              }
            });
            stage.poll();
            tx.close();
            drain(stage, rx, tally);
          }
          stage.poll();
          tally.check();
        }),
        12);
}

TEST_CASE("alloc failure: permits", "[alloc-failure]") {
  check(weir_test::fail_each([](Stage& stage) {
          Tally tally;
          {
            auto [tx, rx] = weir::make_channel<Value>(stage.executor(), {.capacity = 2});
            start(stage, tally, [tx, &tally]() -> Task<> {
              for (int i = 0; i < 5; ++i) {
                auto permit = co_await tx.reserve();
                auto value = std::make_unique<int>(i);
                try {
                  permit.send(std::move(value));
                } catch (const std::bad_alloc&) {
                  require(value != nullptr && static_cast<bool>(permit), "a permit that failed is used up");
                  throw;
                }
                tally.gave(i);
              }
            });
            stage.poll();
            start(stage, tally, [rx, &tally] { return receive_each(rx, tally); });
            stage.poll();
            require(rx.stats().reserved == 0, "a permit was not given back");
            tx.close();
            drain(stage, rx, tally);
          }
          stage.poll();
          tally.check();
        }),
        9);
}

TEST_CASE("alloc failure: a close with a reason, and a cancel of those that wait", "[alloc-failure]") {
  check(weir_test::fail_each([](Stage& stage) {
          Tally tally;
          asio::cancellation_signal cancel;
          bool cancelled = false;
          bool ended = false;
          {
            auto [tx, rx] = weir::make_channel<Value>(stage.executor(), {.capacity = 1});
            for (int i = 0; i < 2; ++i) {
              start(stage, tally, [rx, &tally]() -> Task<> {
                try {
                  co_await receive_each(rx, tally);
                } catch (const std::system_error& error) {
                  const bool told = error.code() == std::errc::network_down;
                  require(told, "another reason than the one that was given");
                }
              });
            }
            try {
              weir::spawn(
                  stage.executor(),
                  [tx, &tally, &cancelled]() -> Task<> {
                    try {
                      co_await send_each(tx, 0, 9, tally);
                    } catch (const weir::Error& error) {
                      cancelled = error.code() == Errc::cancelled;
                      throw;
                    }
                  },
                  asio::bind_cancellation_slot(cancel.slot(), [&ended](std::exception_ptr) { ended = true; }));
            } catch (const std::bad_alloc&) {
              ended = true;
            }
            stage.poll();
            cancel.emit(asio::cancellation_type::all);
            try {
              tx.close(make_error_code(std::errc::network_down));
            } catch (const std::bad_alloc&) {
              require(!tx.closed(), "a close that failed closed");
              tx.close();
            }
            drain(stage, rx, tally);
          }
          stage.poll();
          require(ended, "a cancelled root waits for ever");
          tally.check();
        }),
        9);
}

TEST_CASE("alloc failure: a sender that waits is cancelled, whatever memory there is", "[alloc-failure]") {
  check(weir_test::fail_each([](Stage& stage) {
          asio::cancellation_signal cancel;
          bool ended = false;
          auto [tx, rx] = weir::make_channel<Value>(stage.executor(), {.capacity = 1});
          Tally tally;
          weir::spawn(
              stage.executor(), [tx, &tally] { return send_each(tx, 0, 3, tally); },
              asio::bind_cancellation_slot(cancel.slot(), [&ended](std::exception_ptr) { ended = true; }));
          stage.poll();
          cancel.emit(asio::cancellation_type::all);
          stage.poll();
          require(ended, "a cancelled root waits for ever");
          require(rx.stats().waiting_senders == 0, "a cancelled sender is still in the queue");
          drain(stage, rx, tally);
          require(tally.sent == tally.received, "what was received is not what was sent");
        }),
        6);
}

TEST_CASE("alloc failure: policies that drop", "[alloc-failure]") {
  const auto overflow = GENERATE(Overflow::drop_newest, Overflow::drop_oldest, Overflow::latest, Overflow::reject);
  check(weir_test::fail_each([=](Stage& stage) {
          auto [tx, rx] = weir::make_channel<Value>(stage.executor(), {.capacity = 2, .overflow = overflow});
          for (int i = 0; i < 6; ++i) {
            try {
              auto value = std::make_unique<int>(i);
              static_cast<void>(tx.try_send(std::move(value)));
            } catch (const std::bad_alloc&) {
            }
          }
          rx.discard();
          const auto stats = rx.stats();
          require(stats.admitted == stats.received + stats.buffered + stats.dropped, "the counters don't add up");
          require(stats.buffered == 0, "discard left something");
          try {
            require(static_cast<bool>(tx.try_send(std::make_unique<int>(7))), "a channel with room refuses a value");
            const auto got = rx.try_receive();
            require(got && **got == 7, "the value was lost");
          } catch (const std::bad_alloc&) {
          }
        }),
        8);
}

/// Sends and receives by token that wait, with handlers made by `bind`; whatever was started is called back once.
template <class Bind>
void by_token(Stage& stage, Bind bind) {
  int calls = 0;
  int started = 0;
  Tally tally;
  {
    auto [tx, rx] = weir::make_channel<Value>(stage.executor(), {.capacity = 1});
    for (int i = 0; i < 3; ++i) {
      try {
        auto value = std::make_unique<int>(i);
        tx.async_send(std::move(value), bind([&, i](std::error_code error, std::optional<Value> returned) {
                        ++calls;
                        require(static_cast<bool>(error) == returned.has_value(), "a value is not returned");
                        if (!error) tally.gave(i);
                      }));
        ++started;
      } catch (const std::bad_alloc&) {
      }
    }
    stage.poll();
    for (int i = 0; i < 4; ++i) {
      try {
        rx.async_receive(bind([&](std::error_code, std::optional<Value> value) {
          ++calls;
          if (value) tally.got(*value);
        }));
        ++started;
      } catch (const std::bad_alloc&) {
      }
    }
    stage.poll();
    tx.close();
    drain(stage, rx, tally);
  }
  stage.poll();
  require(calls == started, "a handler was not called once");
  tally.check();
}

// The handlers name their executor: a post to the channel's own, which is type-erased, allocates, and ends the program.

TEST_CASE("alloc failure: operations by completion token", "[alloc-failure]") {
  check(weir_test::fail_each([](Stage& stage) {
          by_token(stage, [&stage](auto handler) { return asio::bind_executor(stage.executor(), std::move(handler)); });
        }),
        12);
}

TEST_CASE("alloc failure: operations by completion token that can be cancelled", "[alloc-failure]") {
  check(weir_test::fail_each([](Stage& stage) {
          std::vector<std::unique_ptr<asio::cancellation_signal>> signals;
          by_token(stage, [&](auto handler) {
            signals.push_back(std::make_unique<asio::cancellation_signal>());
            return asio::bind_cancellation_slot(signals.back()->slot(),
                                                asio::bind_executor(stage.executor(), std::move(handler)));
          });
        }),
        20);
}

}  // namespace
