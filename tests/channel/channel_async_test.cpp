#include <weir/channel/channel.hpp>

#include <asio/use_future.hpp>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include <weir/core/awaitable.hpp>

#include "channel/support.hpp"
#include "support/catch.hpp"

namespace {

using namespace channel_test;
using Code = std::error_code;
const auto aborted = asio::error::make_error_code(asio::error::operation_aborted);

/// What a handler was called with.
template <class T>
struct Outcome {
  int calls = 0;
  Code code;
  std::optional<T> value;

  auto handler() {
    return [this](Code error, std::optional<T> v) {
      ++calls;
      code = error;
      value.reset();
      if (v) value.emplace(std::move(*v));
    };
  }
};

struct Fixture {
  explicit Fixture(weir::ChannelOptions options = {.capacity = 1}) {
    auto [sender, receiver] = weir::make_channel<std::string>(context, options);
    tx = std::move(sender);
    rx = std::move(receiver);
  }
  asio::io_context context;
  weir::ChannelSender<std::string> tx;
  weir::ChannelReceiver<std::string> rx;
};

TEST_CASE("channel async: callbacks get the values, and are never called inside the call", "[async]") {
  Fixture f;
  Outcome<std::string> sent;
  Outcome<std::string> waited;
  f.tx.async_send("one", sent.handler());
  f.tx.async_send("two", waited.handler());
  CHECK(sent.calls == 0);
  poll(f.context);
  CHECK(sent.calls == 1);
  CHECK_FALSE(sent.code);
  CHECK_FALSE(sent.value);
  CHECK(waited.calls == 0);
  Outcome<std::string> got[3];
  for (auto& outcome : got) f.rx.async_receive(outcome.handler());
  CHECK(got[0].calls == 0);
  poll(f.context);
  CHECK(waited.calls == 1);
  CHECK_FALSE(waited.code);
  CHECK(got[0].value == "one");
  CHECK(got[1].value == "two");
  CHECK(got[2].calls == 0);
  CHECK(f.tx.try_send(std::string("three")));
  CHECK(got[2].calls == 0);
  poll(f.context);
  CHECK(got[2].value == "three");
  CHECK(adds_up(f.tx.stats()));
}

TEST_CASE("channel async: the order of the calls is the order of the values", "[async]") {
  asio::io_context context;
  auto [tx, rx] = weir::make_channel<int>(context, {.capacity = 2});
  std::vector<int> sent;
  for (int i = 0; i < 10; ++i) {
    tx.async_send(i, [&sent, i](Code code, std::optional<int>) {
      if (!code) sent.push_back(i);
    });
  }
  std::vector<int> got;
  for (int i = 0; i < 10; ++i) {
    rx.async_receive([&got](Code, std::optional<int> value) { got.push_back(*value); });
  }
  context.poll();
  const std::vector<int> expected{0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  CHECK(got == expected);
  CHECK(sent == expected);
}

TEST_CASE("channel async: what is not sent comes back", "[async]") {
  const auto policy = GENERATE(Overflow::wait, Overflow::reject);
  Fixture f({.capacity = 1, .overflow = policy});
  CHECK(f.tx.try_send(std::string("first")));
  Outcome<std::string> outcome;
  f.tx.async_send("second", outcome.handler());
  poll(f.context);
  if (policy == Overflow::wait) {
    CHECK(outcome.calls == 0);
    f.rx.close();
    poll(f.context);
    CHECK(outcome.code == Errc::channel_closed);
  } else {
    CHECK(outcome.code == Errc::channel_full);
  }
  CHECK(outcome.value == "second");
  f.rx.close();
  f.tx.async_send("third", outcome.handler());
  poll(f.context);
  CHECK(outcome.calls == 2);
  CHECK(outcome.code == Errc::channel_closed);
  CHECK(outcome.value == "third");
}

TEST_CASE("channel async: a value that the policy drops counts as sent", "[async]") {
  Fixture f({.capacity = 1, .overflow = Overflow::drop_newest});
  CHECK(f.tx.try_send(std::string("first")));
  Outcome<std::string> outcome;
  f.tx.async_send("second", outcome.handler());
  poll(f.context);
  CHECK(outcome.calls == 1);
  CHECK_FALSE(outcome.code);
  CHECK_FALSE(outcome.value);
  CHECK(f.tx.stats().dropped == 1);
}

TEST_CASE("channel async: a close is told to receivers, with its reason's code", "[async]") {
  Fixture f;
  const int kind = GENERATE(0, 1, 2);
  const bool waits = GENERATE(false, true);
  const auto close = [&] {
    if (kind == 0) f.tx.close();
    if (kind == 1) f.tx.close(make_error_code(std::errc::host_unreachable));
    if (kind == 2) f.tx.close(std::make_exception_ptr(7));
  };
  Outcome<std::string> outcome;
  if (!waits) close();
  f.rx.async_receive(outcome.handler());
  if (waits) close();
  poll(f.context);
  CHECK(outcome.calls == 1);
  CHECK_FALSE(outcome.value);
  if (kind == 0) CHECK_FALSE(outcome.code);
  if (kind == 1) CHECK(outcome.code == std::errc::host_unreachable);
  if (kind == 2) CHECK(outcome.code == Errc::channel_closed);
}

TEST_CASE("channel async: a cancelled operation gives the value back, and leaves the channel as it was", "[async]") {
  Fixture f;
  CHECK(f.tx.try_send(std::string("first")));
  asio::cancellation_signal signal;
  Outcome<std::string> send;
  Outcome<std::string> receive;
  f.tx.async_send("second", asio::bind_cancellation_slot(signal.slot(), send.handler()));
  const auto type =
      GENERATE(asio::cancellation_type::terminal, asio::cancellation_type::partial, asio::cancellation_type::total);
  signal.emit(asio::cancellation_type::none);
  poll(f.context);
  CHECK(send.calls == 0);
  signal.emit(type);
  CHECK(send.calls == 0);
  CHECK(f.tx.stats().waiting_senders == 0);
  poll(f.context);
  CHECK(send.calls == 1);
  CHECK(send.code == aborted);
  CHECK(weir::is_cancellation(send.code));
  CHECK(send.value == "second");
  CHECK(f.rx.try_receive() == "first");
  f.rx.async_receive(asio::bind_cancellation_slot(signal.slot(), receive.handler()));
  signal.emit(type);
  signal.emit(type);
  poll(f.context);
  CHECK(receive.calls == 1);
  CHECK(receive.code == aborted);
  CHECK(f.tx.try_send(std::string("third")));
  CHECK(f.rx.try_receive() == "third");
}

TEST_CASE("channel async: a cancel after the completion is nothing, also for the next operation of the slot",
          "[async]") {
  Fixture f;
  asio::cancellation_signal signal;
  Outcome<std::string> first;
  Outcome<std::string> second;
  f.rx.async_receive(asio::bind_cancellation_slot(signal.slot(), first.handler()));
  CHECK(f.tx.try_send(std::string("one")));
  signal.emit(asio::cancellation_type::all);  // completed, not yet delivered: completed beats cancelled
  poll(f.context);
  CHECK(first.calls == 1);
  CHECK(first.value == "one");
  signal.emit(asio::cancellation_type::all);
  f.rx.async_receive(asio::bind_cancellation_slot(signal.slot(), second.handler()));
  poll(f.context);
  CHECK(second.calls == 0);
  signal.emit(asio::cancellation_type::all);
  poll(f.context);
  CHECK(second.calls == 1);
  CHECK(second.code == aborted);
}

TEST_CASE("channel async: a slot that was given to another operation cancels that one alone", "[async]") {
  Fixture f;
  asio::cancellation_signal signal;
  Outcome<std::string> first;
  Outcome<std::string> second;
  f.rx.async_receive(asio::bind_cancellation_slot(signal.slot(), first.handler()));
  f.rx.async_receive(asio::bind_cancellation_slot(signal.slot(), second.handler()));
  signal.emit(asio::cancellation_type::all);
  poll(f.context);
  CHECK(first.calls == 0);
  CHECK(second.code == aborted);
  CHECK(f.tx.try_send(std::string("one")));
  poll(f.context);
  CHECK(first.value == "one");
}

TEST_CASE("channel async: the handler runs on its associated executor", "[async]") {
  Fixture f;
  asio::io_context other;
  int here = 0;
  int there = 0;
  const auto on_other = [&](auto handler) { return asio::bind_executor(other.get_executor(), std::move(handler)); };
  f.tx.async_send("one", on_other([&](Code, std::optional<std::string>) { ++there; }));
  f.rx.async_receive([&](Code, std::optional<std::string>) { ++here; });
  f.rx.async_receive(on_other([&](Code, std::optional<std::string>) { ++there; }));
  f.context.poll();
  CHECK(here == 1);
  CHECK(there == 0);
  f.tx.close();
  poll(f.context);
  CHECK(there == 0);
  other.poll();
  CHECK(there == 2);
}

TEST_CASE("channel async: an operation that waits keeps its context's run() going", "[async]") {
  Fixture f;
  bool called = false;
  f.rx.async_receive([&](Code, std::optional<std::string>) { called = true; });
  f.context.poll();
  CHECK_FALSE(f.context.stopped());
  CHECK(f.tx.try_send(std::string("one")));
  f.context.run();
  CHECK(called);
  CHECK(f.context.stopped());
}

TEST_CASE("channel async: a coroutine of Asio's sends and receives", "[async]") {
  Fixture f;
  std::vector<std::string> got;
  std::exception_ptr failure;
  asio::co_spawn(
      f.context,
      [&]() -> asio::awaitable<void> {
        for (int i = 0; i < 20; ++i) {
          auto returned = co_await f.tx.async_send(std::to_string(i), asio::use_awaitable);
          if (returned) throw std::runtime_error("it came back");
        }
        f.tx.close();
      },
      [&](std::exception_ptr e) { failure = e; });
  asio::co_spawn(
      f.context,
      [&]() -> asio::awaitable<void> {
        while (auto value = co_await f.rx.async_receive(asio::use_awaitable)) got.push_back(*value);
      },
      asio::detached);
  f.context.run();
  CHECK_FALSE(failure);
  CHECK(got.size() == 20);
  CHECK(got.back() == "19");
}

TEST_CASE("channel async: weir's operations are awaited in a coroutine of Asio's", "[async]") {
  Fixture f;
  std::vector<std::string> got;
  asio::co_spawn(
      f.context,
      [&]() -> asio::awaitable<void> {
        for (int i = 0; i < 5; ++i) {
          std::string text = std::to_string(i);
          co_await weir::as_awaitable(f.tx.send(std::move(text)));
        }
        f.tx.close();
      },
      asio::detached);
  asio::co_spawn(
      f.context,
      [&]() -> asio::awaitable<void> {
        while (auto value = co_await weir::as_awaitable(f.rx.receive())) got.push_back(*value);
      },
      asio::detached);
  f.context.run();
  CHECK(got == std::vector<std::string>{"0", "1", "2", "3", "4"});
}

TEST_CASE("channel async: a coroutine of Asio's is cancelled where it waits", "[async]") {
  Fixture f;
  asio::cancellation_signal signal;
  Code code;
  asio::co_spawn(
      f.context, [&]() -> asio::awaitable<void> { co_await f.rx.async_receive(asio::use_awaitable); },
      asio::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr e) {
        try {
          if (e) std::rethrow_exception(e);
        } catch (const std::system_error& error) {
          code = error.code();
        }
      }));
  f.context.poll();
  CHECK(f.rx.stats().waiting_receivers == 1);
  signal.emit(asio::cancellation_type::terminal);
  f.context.run();
  CHECK(code == aborted);
  CHECK(f.rx.stats().waiting_receivers == 0);
}

TEST_CASE("channel async: futures", "[async]") {
  Fixture f;
  auto sent = f.tx.async_send("one", asio::use_future);
  auto waits = f.tx.async_send("two", asio::use_future);
  auto got = f.rx.async_receive(asio::use_future);
  f.context.run();
  CHECK_FALSE(sent.get());
  CHECK_FALSE(waits.get());
  CHECK(got.get() == "one");
  f.rx.close(make_error_code(std::errc::host_unreachable));
  CHECK(f.rx.try_receive() == "two");
  f.context.restart();
  auto end = f.rx.async_receive(asio::use_future);
  f.context.run();
  REQUIRE_THROWS_AS(end.get(), std::system_error);
}

TEST_CASE("channel async: a value that is neither default-constructible nor copyable goes through", "[async]") {
  Ledger ledger;
  {
    asio::io_context context;
    auto [tx, rx] = weir::make_channel<Item>(context, {.capacity = 1});
    Outcome<Item> outcomes[4];
    for (int i = 0; i < 3; ++i) tx.async_send(Item(ledger, i), outcomes[i].handler());
    rx.async_receive(outcomes[3].handler());
    context.poll();
    CHECK(outcomes[3].value->id() == 0);
    tx.close();
    context.poll();
    CHECK_FALSE(outcomes[0].value);
    CHECK_FALSE(outcomes[1].value);
    CHECK(outcomes[2].value->id() == 2);
    CHECK(outcomes[2].code == Errc::channel_closed);
    CHECK(adds_up(rx.stats()));
  }
  CHECK(ledger.live == 0);
  CHECK(ledger.each_ended_once(0, 3));
}

TEST_CASE("channel async: a context that goes takes what waits with it, and calls nobody", "[async]") {
  Ledger ledger;
  {
    // Handles that outlive the context, in which the handlers own what must be destroyed.
    weir::ChannelSender<Item> tx;
    weir::ChannelReceiver<Item> rx;
    weir::ChannelSender<Item> full;
    weir::ChannelReceiver<Item> unread;
    int calls = 0;
    {
      asio::io_context context;
      std::tie(tx, rx) = weir::make_channel<Item>(context, {.capacity = 1});
      std::tie(full, unread) = weir::make_channel<Item>(context, {.capacity = 1});
      for (int i = 0; i < 3; ++i) {
        rx.async_receive([&calls, mine = Item(ledger, 100 + i)](Code, std::optional<Item>) { ++calls; });
        full.async_send(Item(ledger, i),
                        [&calls, mine = Item(ledger, 200 + i)](Code, std::optional<Item>) { ++calls; });
      }
      context.poll();
      CHECK(calls == 1);
      CHECK(full.stats().waiting_senders == 2);
      // One that was completed, and whose handler waits to run.
      CHECK(tx.try_send(Item(ledger, 300)));
    }
    CHECK(calls == 1);
    CHECK(full.stats().waiting_senders == 0);
    CHECK(rx.stats().waiting_receivers == 0);
    CHECK(ledger.each_ended_once(100, 3));
    CHECK(ledger.each_ended_once(200, 3));
    CHECK(ledger.each_ended_once(300, 1));
    CHECK(unread.try_receive()->id() == 0);
    CHECK_FALSE(unread.try_receive());
    CHECK(tx.try_send(Item(ledger, 301)));
  }
  CHECK(ledger.live == 0);
}

TEST_CASE("channel async: coroutines that own the ends of what they wait in are destroyed with their context",
          "[async]") {
  Ledger ledger;
  {
    asio::io_context context;
    auto [tx, rx] = weir::make_channel<Item>(context, {.capacity = 1});
    asio::co_spawn(
        context,
        [](weir::ChannelSender<Item> mine, Ledger& items) -> asio::awaitable<void> {
          for (int i = 0;; ++i) {
            const Item guard(items, 100 + i);
            Item item(items, i);
            co_await mine.async_send(std::move(item), asio::use_awaitable);
          }
        }(std::move(tx), ledger),
        asio::detached);
    asio::co_spawn(
        context,
        [](weir::ChannelReceiver<Item> mine, Ledger& items) -> asio::awaitable<void> {
          const Item guard(items, 99);
          for (int i = 0; i < 3; ++i) co_await mine.async_receive(asio::use_awaitable);
          auto other = weir::make_channel<Item>(co_await asio::this_coro::executor);
          co_await other.second.async_receive(asio::use_awaitable);
        }(std::move(rx), ledger),
        asio::detached);
    context.poll();
    CHECK(ledger.live > 0);
  }
  CHECK(ledger.live == 0);
  CHECK(ledger.each_ended_once(99, 1));
  CHECK(ledger.each_ended_once(0, 4));
}

TEST_CASE("channel async: handles that go end what waits on them", "[async]") {
  Fixture f;
  Outcome<std::string> receive;
  f.rx.async_receive(receive.handler());
  f.rx.reset();
  poll(f.context);
  CHECK(receive.calls == 1);
  CHECK_FALSE(receive.code);
  CHECK_FALSE(receive.value);
  Fixture g;
  Outcome<std::string> send;
  CHECK(g.tx.try_send(std::string("one")));
  g.tx.async_send("two", send.handler());
  g.tx.reset();
  poll(g.context);
  CHECK(send.code == Errc::channel_closed);
  CHECK(send.value == "two");
  CHECK(g.rx.try_receive() == "one");
}

struct Books {
  int live = 0;
  int made = 0;
};

template <class T>
struct Counting {
  using value_type = T;

  explicit Counting(Books& b) noexcept : books(&b) {}
  template <class U>
  Counting(const Counting<U>& other) noexcept : books(other.books) {}

  T* allocate(std::size_t n) {
    ++books->live;
    ++books->made;
    return std::allocator<T>().allocate(n);
  }
  void deallocate(T* p, std::size_t n) noexcept {
    --books->live;
    std::allocator<T>().deallocate(p, n);
  }
  template <class U>
  friend bool operator==(const Counting& a, const Counting<U>& b) noexcept {
    return a.books == b.books;
  }

  Books* books;
};

struct CountedHandler {
  using allocator_type = Counting<std::byte>;
  [[nodiscard]] allocator_type get_allocator() const noexcept { return allocator_type(*books); }
  void operator()(Code, std::optional<std::string>) const { *live_inside = books->live; }
  Books* books;
  int* live_inside;
};

TEST_CASE("channel async: the memory comes from the handler's allocator, and goes back to it", "[async]") {
  Books books;
  int inside = -1;
  {
    Fixture f;
    f.rx.async_receive(asio::bind_executor(f.context.get_executor(), CountedHandler{&books, &inside}));
    CHECK(books.live == 1);
    CHECK(f.tx.try_send(std::string("one")));
    poll(f.context);
    CHECK(inside == 0);
    CHECK(books.made == 2);
    f.rx.async_receive(asio::bind_executor(f.context.get_executor(), CountedHandler{&books, &inside}));
    CHECK(books.live == 1);
    CHECK(f.tx.try_send(std::string("one")));
    CHECK(books.live == 1);
  }
  CHECK(books.live == 0);
}

}  // namespace
