#include <weir/channel/broadcast.hpp>

#include <asio/use_future.hpp>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>

#include "channel/support.hpp"
#include "support/catch.hpp"

namespace {

using namespace channel_test;
using weir::SlowReceiver;
using Code = std::error_code;
const auto aborted = asio::error::make_error_code(asio::error::operation_aborted);

/// What a handler was called with.
struct Outcome {
  int calls = 0;
  Code code;
  std::optional<std::string> value;

  auto handler() {
    return [this](Code error, std::optional<std::string> v) {
      ++calls;
      code = error;
      value = std::move(v);
    };
  }
};

TEST_CASE("broadcast async: callbacks get the values, and are never called inside the call", "[async]") {
  asio::io_context context;
  auto tx = weir::make_broadcast<std::string>(context, {.capacity = 1});
  auto one = tx.subscribe();
  auto two = tx.subscribe();
  Outcome waits;
  one.async_receive(waits.handler());
  Outcome sent;
  Outcome blocked;
  tx.async_send("first", sent.handler());
  tx.async_send("second", blocked.handler());
  CHECK(waits.calls + sent.calls + blocked.calls == 0);
  poll(context);
  CHECK(waits.value == "first");
  CHECK(sent.calls == 1);
  CHECK_FALSE(sent.code);
  CHECK_FALSE(sent.value);
  CHECK(blocked.calls == 0);
  Outcome ready;
  two.async_receive(ready.handler());
  CHECK(ready.calls == 0);
  poll(context);
  CHECK(ready.value == "first");
  CHECK(blocked.calls == 1);
  CHECK_FALSE(blocked.code);
  CHECK(one.try_receive() == "second");
  CHECK(two.lag() == 1);
}

TEST_CASE("broadcast async: a close ends those that wait, with the value back or the reason", "[async]") {
  asio::io_context context;
  auto tx = weir::make_broadcast<std::string>(context, {.capacity = 1});
  auto rx = tx.subscribe();
  auto slow = tx.subscribe();
  CHECK(tx.try_send("first"));
  CHECK(rx.try_receive() == "first");
  Outcome receives;
  Outcome sends;
  rx.async_receive(receives.handler());
  tx.async_send("second", sends.handler());
  tx.close(make_error_code(std::errc::network_down));
  poll(context);
  CHECK(receives.code == std::errc::network_down);
  CHECK_FALSE(receives.value);
  CHECK(sends.code == Errc::channel_closed);
  CHECK(sends.value == "second");
  Outcome last;
  slow.async_receive(last.handler());
  poll(context);
  CHECK(last.value == "first");
}

TEST_CASE("broadcast async: the end has no error and no value", "[async]") {
  asio::io_context context;
  auto tx = weir::make_broadcast<std::string>(context);
  auto rx = tx.subscribe();
  auto dropped = tx.subscribe();
  Outcome closed;
  Outcome left;
  rx.async_receive(closed.handler());
  dropped.async_receive(left.handler());
  dropped.reset();
  tx.reset();
  poll(context);
  CHECK(closed.calls == 1);
  CHECK_FALSE(closed.code);
  CHECK_FALSE(closed.value);
  CHECK(left.calls == 1);
  CHECK_FALSE(left.code);
}

TEST_CASE("broadcast async: a slow receiver is told by codes", "[async]") {
  asio::io_context context;
  const auto slow = GENERATE(SlowReceiver::skip, SlowReceiver::disconnect);
  auto tx = weir::make_broadcast<std::string>(context, {.capacity = 1, .slow = slow});
  auto rx = tx.subscribe();
  CHECK(tx.try_send("first"));
  CHECK(tx.try_send("second"));
  Outcome told;
  rx.async_receive(told.handler());
  poll(context);
  CHECK(told.code == (slow == SlowReceiver::skip ? Errc::lagged : Errc::disconnected));
  CHECK_FALSE(told.value);
  Outcome next;
  rx.async_receive(next.handler());
  poll(context);
  if (slow == SlowReceiver::skip) {
    CHECK(next.value == "second");
  } else {
    CHECK(next.code == Errc::disconnected);
  }
}

TEST_CASE("broadcast async: a cancel by the slot loses nothing, and does nothing to what is complete", "[async]") {
  asio::io_context context;
  auto tx = weir::make_broadcast<std::string>(context, {.capacity = 1});
  auto rx = tx.subscribe();
  asio::cancellation_signal signal;
  Outcome receives;
  rx.async_receive(asio::bind_cancellation_slot(signal.slot(), receives.handler()));
  signal.emit(asio::cancellation_type::all);
  poll(context);
  CHECK(receives.code == aborted);
  CHECK(tx.try_send("first"));
  Outcome sends;
  tx.async_send("second", asio::bind_cancellation_slot(signal.slot(), sends.handler()));
  signal.emit(asio::cancellation_type::all);
  poll(context);
  CHECK(sends.code == aborted);
  CHECK(sends.value == "second");
  CHECK(rx.try_receive() == "first");
  Outcome completed;
  rx.async_receive(asio::bind_cancellation_slot(signal.slot(), completed.handler()));
  CHECK(tx.try_send("third"));
  signal.emit(asio::cancellation_type::all);
  poll(context);
  CHECK(completed.value == "third");
}

TEST_CASE("broadcast async: a second receive at the same place is refused by a code", "[async]") {
  asio::io_context context;
  auto tx = weir::make_broadcast<std::string>(context);
  auto rx = tx.subscribe();
  Outcome first;
  Outcome second;
  rx.async_receive(first.handler());
  rx.async_receive(second.handler());
  poll(context);
  CHECK(second.code == Errc::invalid_argument);
  CHECK(first.calls == 0);
  CHECK(tx.try_send("value"));
  poll(context);
  CHECK(first.value == "value");
}

/// Throws when it is copied, if it was told to.
struct Throwing {
  explicit Throwing(bool& t) noexcept : throws(&t) {}
  Throwing(const Throwing& other) : throws(other.throws) {
    if (*throws) throw std::runtime_error("thrown");
  }
  Throwing& operator=(const Throwing&) = default;
  bool* throws;
};

TEST_CASE("broadcast async: what a copy throws is told by a code, and the value stays", "[async]") {
  asio::io_context context;
  auto tx = weir::make_broadcast<Throwing>(context);
  auto rx = tx.subscribe();
  bool throws = false;
  Code code;
  rx.async_receive([&](Code error, std::optional<Throwing>) { code = error; });
  CHECK(tx.try_send(Throwing(throws)));
  poll(context);
  CHECK_FALSE(code);
  CHECK(tx.try_send(Throwing(throws)));
  throws = true;
  rx.async_receive([&](Code error, std::optional<Throwing>) { code = error; });
  throws = false;
  poll(context);
  CHECK(code == std::errc::state_not_recoverable);
  CHECK(rx.lag() == 1);
  CHECK(rx.try_receive());
}

TEST_CASE("broadcast async: a context that goes destroys what waits, uncalled", "[async]") {
  auto held = std::make_shared<int>(0);
  asio::io_context other;
  auto tx = weir::make_broadcast<std::string>(other, {.capacity = 1});
  auto rx = tx.subscribe();
  auto waits = tx.subscribe();
  CHECK(tx.try_send("first"));
  CHECK(waits.try_receive() == "first");
  {
    asio::io_context context;
    const auto handler = [held](Code, std::optional<std::string>) { ++*held; };
    waits.async_receive(asio::bind_executor(context.get_executor(), handler));
    tx.async_send("second", asio::bind_executor(context.get_executor(), handler));
    CHECK(held.use_count() == 4);
  }
  CHECK(held.use_count() == 1);
  CHECK(*held == 0);
  const auto stats = tx.stats();
  CHECK(stats.waiting_receivers == 0);
  CHECK(stats.waiting_senders == 0);
  CHECK(rx.try_receive() == "first");
  CHECK(tx.try_send("third"));
  CHECK(waits.try_receive() == "third");
}

TEST_CASE("broadcast async: futures get the values from a thread", "[async]") {
  asio::thread_pool pool(1);
  auto tx = weir::make_broadcast<int>(pool, {.capacity = 1});
  auto rx = tx.subscribe();
  auto received = rx.async_receive(asio::use_future);
  auto sent = tx.async_send(5, asio::use_future);
  CHECK_FALSE(sent.get());
  CHECK(received.get() == 5);
  pool.join();
}

}  // namespace
