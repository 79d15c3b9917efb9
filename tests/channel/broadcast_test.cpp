#include <weir/channel/broadcast.hpp>

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include <weir/sim/simulator.hpp>

#include "channel/support.hpp"
#include "support/catch.hpp"

namespace {

using namespace channel_test;
using weir::SlowReceiver;

static_assert(std::is_copy_constructible_v<weir::BroadcastSender<int>>);
static_assert(!std::is_copy_constructible_v<weir::BroadcastReceiver<int>>);
static_assert(std::is_nothrow_move_constructible_v<weir::BroadcastReceiver<int>>);

/// What a receiver sees up to the end.
Task<> reads(weir::BroadcastReceiver<int> rx, std::vector<int>& seen) {
  while (const auto value = co_await rx.receive()) seen.push_back(*value);
}

TEST_CASE("broadcast: every receiver gets every value in the order in which they were sent") {
  asio::io_context context;
  auto tx = weir::make_broadcast<int>(context, {.capacity = 3});
  std::vector<std::vector<int>> seen(3);
  std::vector<std::unique_ptr<Root>> roots;
  for (auto& each : seen) roots.push_back(std::make_unique<Root>(context, reads(tx.subscribe(), each)));
  Root sender(context, [&]() -> Task<> {
    for (int i = 0; i < 1000; ++i) co_await tx.send(i);
    tx.close();
  });
  poll(context);
  CHECK(sender.fine());
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(roots[i]->fine());
    REQUIRE(seen[i].size() == 1000);
    CHECK(std::is_sorted(seen[i].begin(), seen[i].end()));
  }
  const auto stats = tx.stats();
  CHECK(stats.sent == 1000);
  CHECK(stats.due == 3000);
  CHECK(stats.received == 3000);
  CHECK(stats.buffered == 0);
}

TEST_CASE("broadcast: a receiver gets what is sent after it subscribed, and nothing from before") {
  asio::io_context context;
  auto tx = weir::make_broadcast<int>(context);
  auto first = tx.subscribe();
  CHECK(tx.try_send(1));
  auto second = first.subscribe();
  CHECK(tx.try_send(2));
  CHECK(first.try_receive() == 1);
  CHECK(first.try_receive() == 2);
  CHECK(second.try_receive() == 2);
  CHECK_FALSE(second.try_receive());
  CHECK(second.stats().sent == 1);
  CHECK(tx.subscribers() == 2);
}

TEST_CASE("broadcast: with nobody subscribed a send succeeds, and leaves the value alone") {
  asio::io_context context;
  auto tx = weir::make_broadcast<std::string>(context, {.capacity = 1});
  std::string text = "unheard";
  CHECK(tx.try_send(std::move(text)));
  Root sender(context, [&]() -> Task<> {
    for (int i = 0; i < 5; ++i) co_await tx.send(std::move(text));
  });
  poll(context);
  CHECK(sender.fine());
  CHECK(text == "unheard");
  CHECK(tx.stats().sent == 6);
  CHECK(tx.stats().unheard == 6);
  CHECK(tx.stats().due == 0);
}

TEST_CASE("broadcast: a sender waits for the slowest receiver, until it reads or leaves") {
  asio::io_context context;
  auto tx = weir::make_broadcast<int>(context, {.capacity = 2});
  auto fast = tx.subscribe();
  auto slow = tx.subscribe();
  int sent = 0;
  Root sender(context, [&]() -> Task<> {
    for (int i = 0; i < 5; ++i) {
      co_await tx.send(i);
      ++sent;
    }
  });
  poll(context);
  CHECK(sent == 2);
  CHECK(fast.try_receive() == 0);
  CHECK(fast.try_receive() == 1);
  CHECK_FALSE(fast.try_receive());
  poll(context);
  CHECK(sent == 2);
  CHECK(tx.stats().waiting_senders == 1);
  CHECK(tx.stats().slowest == 2);
  CHECK(tx.try_send(9).full());
  CHECK(slow.try_receive() == 0);
  poll(context);
  CHECK(sent == 3);
  slow.reset();
  poll(context);
  CHECK(sent == 4);  // 2 and 3 are there for the fast one
  fast.reset();
  poll(context);
  CHECK(sender.fine());
  CHECK(tx.stats().unheard == 1);
  CHECK(tx.stats().buffered == 0);
}

TEST_CASE("broadcast: a receiver that was too slow is told once how many it missed, and goes on with the oldest") {
  asio::io_context context;
  auto tx = weir::make_broadcast<int>(context, {.capacity = 2, .slow = SlowReceiver::skip});
  auto rx = tx.subscribe();
  auto fast = tx.subscribe();
  for (int i = 0; i < 5; ++i) {
    CHECK(tx.try_send(i));
    CHECK(fast.try_receive() == i);
  }
  CHECK(rx.skipped() == 3);
  CHECK(rx.lag() == 2);
  std::uint64_t told = 0;
  std::vector<int> seen;
  Root receiver(context, [&]() -> Task<> {
    try {
      static_cast<void>(co_await rx.receive());
    } catch (const weir::Lagged& lagged) {
      told = lagged.skipped();
    }
    for (int i = 0; i < 2; ++i) seen.push_back(*co_await rx.receive());
  });
  poll(context);
  CHECK(receiver.fine());
  CHECK(told == 3);
  CHECK(seen == std::vector{3, 4});
  CHECK(fast.skipped() == 0);
  CHECK(tx.stats().skipped == 3);
}

TEST_CASE("broadcast: a receiver that counts what it misses is not interrupted") {
  asio::io_context context;
  auto tx = weir::make_broadcast<int>(context, {.capacity = 1, .slow = SlowReceiver::skip});
  auto rx = tx.subscribe();
  std::uint64_t skipped = 10;
  std::vector<int> seen;
  Root receiver(context, [&]() -> Task<> {
    while (const auto value = co_await rx.receive(skipped)) seen.push_back(*value);
  });
  for (int i = 0; i < 3; ++i) CHECK(tx.try_send(i));
  poll(context);
  // It was woken by 0, and missed it before it resumed.
  for (int i = 3; i < 5; ++i) CHECK(tx.try_send(i));
  tx.close();
  poll(context);
  CHECK(receiver.fine());
  CHECK(seen == std::vector{2, 4});
  CHECK(skipped == 13);
}

TEST_CASE("broadcast: a lag is told to receive_some and try_receive as well") {
  asio::io_context context;
  auto tx = weir::make_broadcast<int>(context, {.capacity = 1, .slow = SlowReceiver::skip});
  auto rx = tx.subscribe();
  std::uint64_t skipped = 0;
  for (int i = 0; i < 3; ++i) CHECK(tx.try_send(i));
  CHECK(rx.try_receive(skipped) == 2);
  CHECK(skipped == 2);
  for (int i = 0; i < 3; ++i) CHECK(tx.try_send(i));
  try {
    static_cast<void>(rx.try_receive());
    FAIL("it was not told");
  } catch (const weir::Lagged& lagged) {
    CHECK(lagged.skipped() == 2);
    CHECK(lagged.code() == Errc::lagged);
    CHECK(std::string(lagged.what()).find("2 values missed") == 0);
  }
  for (int i = 0; i < 3; ++i) CHECK(tx.try_send(i));
  Root receiver(context, [&]() -> Task<> {
    std::vector<int> out;
    static_cast<void>(co_await rx.receive_some(out, 2));
  });
  poll(context);
  CHECK(receiver.code() == Errc::lagged);
  CHECK(rx.skipped() == 7);
}

TEST_CASE("broadcast: a receiver that was too slow is disconnected, and the others go on") {
  asio::io_context context;
  auto tx = weir::make_broadcast<std::shared_ptr<int>>(context, {.capacity = 2, .slow = SlowReceiver::disconnect});
  auto slow = tx.subscribe();
  auto fast = tx.subscribe();
  const auto value = std::make_shared<int>(7);
  for (int i = 0; i < 2; ++i) CHECK(tx.try_send(value));
  CHECK(fast.try_receive());
  CHECK(fast.try_receive());
  CHECK(value.use_count() == 3);
  CHECK(tx.try_send(value));
  // What the slow one had not read is gone; the new value is there for the other.
  CHECK(value.use_count() == 2);
  CHECK(tx.subscribers() == 1);
  CHECK(tx.stats().disconnected == 1);
  CHECK(slow.stats().disconnected);
  CHECK(slow.stats().dropped == 2);
  for (int i = 0; i < 2; ++i) {
    Root receiver(context, [&]() -> Task<> { static_cast<void>(co_await slow.receive()); });
    poll(context);
    CHECK(receiver.code() == Errc::disconnected);
  }
  CHECK_THROWS_AS(slow.try_receive(), weir::Error);
  CHECK(fast.try_receive());
  CHECK(value.use_count() == 1);
  slow.reset();
  CHECK(tx.subscribers() == 1);
}

TEST_CASE("broadcast: a send that disconnects the last receiver is unheard") {
  asio::io_context context;
  auto tx = weir::make_broadcast<std::shared_ptr<int>>(context, {.capacity = 1, .slow = SlowReceiver::disconnect});
  auto rx = tx.subscribe();
  auto value = std::make_shared<int>(7);
  CHECK(tx.try_send(value));
  CHECK(tx.try_send(value));
  CHECK(value.use_count() == 1);
  CHECK(tx.stats().unheard == 1);
  CHECK(tx.stats().buffered == 0);
}

TEST_CASE("broadcast: after a close each receiver drains what is there, then meets the end") {
  asio::io_context context;
  auto tx = weir::make_broadcast<int>(context);
  auto one = tx.subscribe();
  auto two = tx.subscribe();
  CHECK(tx.try_send(1));
  CHECK(one.try_receive() == 1);
  tx.close();
  tx.close(std::make_exception_ptr(std::runtime_error("a second close is nothing")));
  CHECK(one.closed());
  CHECK(tx.try_send(2).closed());
  std::vector<int> seen;
  Root first(context, reads(std::move(one), seen));
  Root second(context, reads(std::move(two), seen));
  poll(context);
  CHECK(first.fine());
  CHECK(second.fine());
  CHECK(seen == std::vector{1});
  auto late = tx.subscribe();
  CHECK_FALSE(late.try_receive());
  CHECK(late.closed());
}

TEST_CASE("broadcast: the reason of a close is thrown to each receiver, also to those that wait") {
  asio::io_context context;
  auto tx = weir::make_broadcast<int>(context);
  std::vector<int> seen;
  Root waits(context, reads(tx.subscribe(), seen));
  poll(context);
  auto behind = tx.subscribe();
  CHECK(tx.try_send(1));
  tx.close(make_error_code(std::errc::network_down));
  Root drains(context, reads(std::move(behind), seen));
  poll(context);
  CHECK(waits.code() == std::errc::network_down);
  CHECK(drains.code() == std::errc::network_down);
  CHECK(seen == std::vector{1, 1});
}

TEST_CASE("broadcast: a close ends senders that wait, and they keep their values") {
  asio::io_context context;
  auto tx = weir::make_broadcast<std::string>(context, {.capacity = 1});
  const auto rx = tx.subscribe();
  CHECK(tx.try_send("first"));
  std::string text = "second";
  Root sender(context, [&]() -> Task<> { co_await tx.send(std::move(text)); });
  poll(context);
  CHECK_FALSE(sender.ended());
  tx.close();
  poll(context);
  CHECK(sender.code() == Errc::channel_closed);
  CHECK(text == "second");
  CHECK(rx.lag() == 1);
}

TEST_CASE("broadcast: the last sender's end closes it") {
  asio::io_context context;
  auto tx = weir::make_broadcast<int>(context);
  auto copy = tx;
  CHECK(copy == tx);
  std::vector<int> seen;
  Root receiver(context, reads(tx.subscribe(), seen));
  poll(context);
  tx.reset();
  poll(context);
  CHECK_FALSE(receiver.ended());
  CHECK(copy.try_send(1));
  copy = {};
  poll(context);
  CHECK(receiver.fine());
  CHECK(seen == std::vector{1});
}

TEST_CASE("broadcast: a cancelled send leaves the value, and a cancelled receive the next one") {
  asio::io_context context;
  auto tx = weir::make_broadcast<std::string>(context, {.capacity = 1});
  auto rx = tx.subscribe();
  Root receiver(context, [&]() -> Task<> { static_cast<void>(co_await rx.receive()); });
  poll(context);
  receiver.cancel();
  poll(context);
  CHECK(receiver.code() == Errc::cancelled);
  CHECK(tx.try_send("first"));
  std::string text = "second";
  Root sender(context, [&]() -> Task<> { co_await tx.send(std::move(text)); });
  poll(context);
  sender.cancel();
  poll(context);
  CHECK(sender.code() == Errc::cancelled);
  CHECK(text == "second");
  CHECK(tx.stats().waiting_senders == 0);
  CHECK(rx.try_receive() == "first");
  CHECK_FALSE(rx.try_receive());
}

TEST_CASE("broadcast: a value that woke a receiver beats its cancellation") {
  asio::io_context context;
  auto tx = weir::make_broadcast<int>(context);
  auto rx = tx.subscribe();
  std::optional<int> got;
  Root receiver(context, [&]() -> Task<> { got = co_await rx.receive(); });
  poll(context);
  CHECK(tx.try_send(1));
  receiver.cancel();
  poll(context);
  CHECK(receiver.fine());
  CHECK(got == 1);
}

TEST_CASE("broadcast: nothing begins in a scope that is cancelled already") {
  asio::io_context context;
  auto tx = weir::make_broadcast<int>(context);
  auto rx = tx.subscribe();
  CHECK(tx.try_send(1));
  Root receiver(context, [&]() -> Task<> {
    receiver.cancel();
    // A first wait lets the cancel arrive.
    auto other = tx.subscribe();
    try {
      static_cast<void>(co_await other.receive());
    } catch (const weir::Error&) {
    }
    static_cast<void>(co_await rx.receive());
  });
  poll(context);
  CHECK(receiver.code() == Errc::cancelled);
  CHECK(rx.lag() == 1);
}

TEST_CASE("broadcast: receive_some takes what is there, up to max") {
  asio::io_context context;
  auto tx = weir::make_broadcast<std::string>(context, {.capacity = 8});
  auto rx = tx.subscribe();
  const auto other = tx.subscribe();
  for (const char* text : {"a", "b", "c", "d", "e"}) CHECK(tx.try_send(text));
  std::vector<std::string> out;
  std::vector<std::size_t> counts;
  Root receiver(context, [&]() -> Task<> {
    for (;;) {
      counts.push_back(co_await rx.receive_some(out, 3));
      if (counts.back() == 0) break;
    }
  });
  poll(context);
  CHECK(counts == std::vector<std::size_t>{3, 2});
  CHECK(tx.try_send("f"));
  tx.close();
  poll(context);
  CHECK(receiver.fine());
  CHECK(counts == std::vector<std::size_t>{3, 2, 1, 0});
  CHECK(out == std::vector<std::string>{"a", "b", "c", "d", "e", "f"});
  CHECK(other.lag() == 6);
  CHECK_THROWS_AS(rx.receive_some(out, 0), weir::Error);
}

TEST_CASE("broadcast: a receiver that is dropped while it waits ends as if it were closed, alone") {
  asio::io_context context;
  auto tx = weir::make_broadcast<int>(context);
  auto dropped = tx.subscribe();
  std::vector<int> seen;
  std::optional<int> got = 1;
  Root one(context, [&]() -> Task<> { got = co_await dropped.receive(); });
  Root two(context, reads(tx.subscribe(), seen));
  poll(context);
  dropped.reset();
  poll(context);
  CHECK(one.fine());
  CHECK_FALSE(got);
  CHECK(tx.try_send(5));
  tx.close();
  poll(context);
  CHECK(two.fine());
  CHECK(seen == std::vector{5});
}

TEST_CASE("broadcast: a second receive at the same place is refused") {
  asio::io_context context;
  auto tx = weir::make_broadcast<int>(context);
  auto rx = tx.subscribe();
  std::optional<int> got;
  Root first(context, [&]() -> Task<> { got = co_await rx.receive(); });
  poll(context);
  Root second(context, [&]() -> Task<> { static_cast<void>(co_await rx.receive()); });
  poll(context);
  CHECK(second.code() == Errc::invalid_argument);
  CHECK_THROWS_AS(rx.try_receive(), weir::Error);
  CHECK(tx.try_send(1));
  // Woken, it has still to take its value.
  CHECK_THROWS_AS(rx.try_receive(), weir::Error);
  poll(context);
  CHECK(got == 1);
  CHECK_FALSE(rx.try_receive());
}

TEST_CASE("broadcast: empty handles and senseless options are refused") {
  asio::io_context context;
  CHECK_THROWS_AS(weir::make_broadcast<int>(context, {.capacity = 0}), weir::Error);
  auto tx = weir::make_broadcast<int>(context);
  auto rx = tx.subscribe();
  const auto moved = std::move(tx);
  const auto moved_rx = std::move(rx);
  CHECK_FALSE(tx);
  CHECK_FALSE(rx);
  CHECK(moved);
  CHECK(moved_rx);
  CHECK_THROWS_AS(tx.try_send(1), weir::Error);
  CHECK_THROWS_AS(tx.subscribe(), weir::Error);
  CHECK_THROWS_AS(rx.try_receive(), weir::Error);
  CHECK_THROWS_AS(rx.stats(), weir::Error);
  CHECK(moved.capacity() == 1024);
  CHECK(moved_rx.capacity() == 1024);
  tx.close();
  rx.reset();
  CHECK_FALSE(moved.closed());
}

TEST_CASE("broadcast: an operation is awaited once") {
  asio::io_context context;
  auto tx = weir::make_broadcast<int>(context);
  auto rx = tx.subscribe();
  Root root(context, [&]() -> Task<> {
    auto sending = tx.send_emplace(1);
    auto moved = std::move(sending);
    co_await moved;
    co_await moved;
  });
  poll(context);
  CHECK(root.code() == Errc::task_consumed);
  CHECK(rx.lag() == 1);
}

/// Counts copies, and calls back on each copy and end of a value.
class Probe {
 public:
  explicit Probe(std::function<void()> call) : call_(std::move(call)) {}
  Probe(const Probe& other) : call_(other.call_) { call_(); }
  Probe(Probe&& other) noexcept : call_(std::exchange(other.call_, nullptr)) {}
  Probe& operator=(Probe other) noexcept {
    call_.swap(other.call_);
    return *this;
  }
  ~Probe() {
    if (call_) call_();
  }
  void silence() { call_ = nullptr; }

 private:
  std::function<void()> call_;
};

TEST_CASE("broadcast: all but the last receiver copy, and the last one moves") {
  asio::io_context context;
  auto tx = weir::make_broadcast<Probe>(context);
  std::vector<weir::BroadcastReceiver<Probe>> receivers;
  for (int i = 0; i < 3; ++i) receivers.push_back(tx.subscribe());
  int calls = 0;
  Probe probe([&calls] { ++calls; });
  CHECK(tx.try_send(std::move(probe)));
  CHECK(calls == 0);
  for (int i = 0; i < 3; ++i) {
    auto value = receivers[static_cast<std::size_t>(i)].try_receive();
    REQUIRE(value);
    CHECK(calls == std::min(i + 1, 2));
    value->silence();
  }
  CHECK(calls == 2);
  CHECK(tx.stats().buffered == 0);
}

TEST_CASE("broadcast: values are copied and destroyed outside the lock, so that they may use the broadcast") {
  const auto slow = GENERATE(SlowReceiver::wait, SlowReceiver::skip, SlowReceiver::disconnect);
  asio::io_context context;
  auto tx = weir::make_broadcast<Probe>(context, {.capacity = 1, .slow = slow});
  auto one = tx.subscribe();
  auto two = tx.subscribe();
  int calls = 0;
  const auto call = [&] {
    ++calls;
    static_cast<void>(tx.stats());
    const auto another = tx.subscribe();
  };
  CHECK(tx.try_send(Probe(call)));
  CHECK(one.try_receive());  // a copy and its end
  CHECK(calls == 2);
  CHECK(tx.try_send(Probe(call)).full() == (slow == SlowReceiver::wait));
  two.reset();
  one.reset();
  CHECK(tx.stats().buffered == 0);
  CHECK(calls == 4);
}

/// A text that does something before it is copied.
struct Hooked {
  Hooked(std::string t, std::function<void()>& h) : text(std::move(t)), hook(&h) {}
  Hooked(const Hooked& other) : text((other.run(), other.text)), hook(other.hook) {}
  Hooked(Hooked&&) noexcept = default;
  Hooked& operator=(const Hooked&) = default;
  void run() const {
    if (*hook) std::exchange(*hook, nullptr)();
  }
  std::string text;
  std::function<void()>* hook;
};

struct HookedFixture {
  explicit HookedFixture(SlowReceiver slow)
      : tx(weir::make_broadcast<Hooked>(context, {.capacity = 1, .slow = slow})),
        one(tx.subscribe()),
        two(tx.subscribe()) {
    CHECK(send("old"));
  }
  weir::TrySendResult send(const char* text) { return tx.try_send(Hooked(text + std::string(40, '!'), hook)); }
  static std::string text_of(const std::optional<Hooked>& value) { return value ? value->text.substr(0, 3) : ""; }

  asio::io_context context;
  std::function<void()> hook;
  weir::BroadcastSender<Hooked> tx;
  weir::BroadcastReceiver<Hooked> one;
  weir::BroadcastReceiver<Hooked> two;
};

TEST_CASE("broadcast: what is being copied is not moved from by the last receiver, and takes its room until then") {
  HookedFixture f(SlowReceiver::wait);
  std::string seen;
  bool full = false;
  f.hook = [&] {
    seen = f.text_of(f.two.try_receive());
    full = f.send("new").full();
  };
  CHECK(f.text_of(f.one.try_receive()) == "old");
  CHECK(seen == "old");
  CHECK(full);
  CHECK(f.tx.stats().buffered == 0);
  CHECK(f.send("new"));
}

TEST_CASE("broadcast: what is being copied is neither skipped nor destroyed by a send") {
  HookedFixture f(SlowReceiver::skip);
  f.hook = [&] {
    for (int i = 0; i < 2; ++i) CHECK(f.send("new"));
  };
  CHECK(f.text_of(f.one.try_receive()) == "old");
  CHECK(f.one.skipped() == 1);
  CHECK(f.two.skipped() == 2);
  CHECK_THROWS_AS(f.one.try_receive(), weir::Lagged);
  CHECK(f.text_of(f.one.try_receive()) == "new");
  const auto stats = f.tx.stats();
  CHECK(stats.due == stats.received + stats.skipped + stats.dropped + stats.pending);
}

TEST_CASE("broadcast: who is copying the oldest value is not disconnected for it") {
  HookedFixture f(SlowReceiver::disconnect);
  f.hook = [&] { CHECK(f.send("new")); };
  CHECK(f.text_of(f.one.try_receive()) == "old");
  CHECK(f.text_of(f.one.try_receive()) == "new");
  CHECK(f.two.stats().disconnected);
  CHECK(f.tx.subscribers() == 1);
}

TEST_CASE("broadcast: a copy that throws after its value was taken away has skipped it") {
  HookedFixture f(SlowReceiver::skip);
  f.hook = [&] {
    CHECK(f.send("new"));
    throw std::runtime_error("thrown");
  };
  CHECK_THROWS_AS(f.one.try_receive(), std::runtime_error);
  CHECK(f.one.skipped() == 1);
  CHECK(f.one.lag() == 1);
  std::uint64_t skipped = 0;
  CHECK(f.text_of(f.one.try_receive(skipped)) == "new");
  CHECK(skipped == 1);
  const auto stats = f.tx.stats();
  CHECK(stats.skipped == 2);
  CHECK(stats.due == stats.received + stats.skipped + stats.dropped + stats.pending);
}

TEST_CASE("broadcast: a receive begun by the copy of its own value is refused") {
  HookedFixture f(SlowReceiver::wait);
  bool refused = false;
  f.hook = [&] {
    try {
      static_cast<void>(f.one.try_receive());
    } catch (const weir::Error& error) {
      refused = error.code() == Errc::invalid_argument;
    }
  };
  CHECK(f.text_of(f.one.try_receive()) == "old");
  CHECK(refused);
}

TEST_CASE("broadcast: the last handle can go with a value that is destroyed") {
  asio::io_context context;
  auto tx = weir::make_broadcast<std::shared_ptr<void>>(context);
  auto rx = std::make_shared<weir::BroadcastReceiver<std::shared_ptr<void>>>(tx.subscribe());
  const std::weak_ptr<void> watched = rx;
  // Each holds the other; the receiver that leaves drops the value that holds it.
  auto other = tx.subscribe();
  CHECK(tx.try_send(rx));
  CHECK(rx->try_receive());
  rx.reset();
  tx.reset();
  CHECK_FALSE(watched.expired());
  other.reset();
  CHECK(watched.expired());
}

TEST_CASE("broadcast: a stall is explained") {
  weir::sim::Simulator sim(1);
  auto tx = weir::make_broadcast<int>(sim, {.capacity = 2});
  auto slow = tx.subscribe();
  auto fast = tx.subscribe();
  sim.spawn(
      [](weir::BroadcastSender<int> mine) -> Task<> {
        for (int i = 0; i < 3; ++i) co_await mine.send(i);
      }(tx),
      "sender");
  sim.spawn(
      [](weir::BroadcastReceiver<int> mine) -> Task<> {
        while (co_await mine.receive()) {
        }
      }(std::move(fast)),
      "receiver");
  std::string report;
  try {
    sim.run();
  } catch (const weir::Error& error) {
    report = error.what();
  }
  CAPTURE(report);
  CHECK(report.find("'sender' waits in: send") != std::string::npos);
  CHECK(report.find("broadcast: capacity 2, 2 receivers, the slowest is 2 behind") != std::string::npos);
  CHECK(report.find("'receiver' waits in: receive") != std::string::npos);
  sim.shut_down();
}

}  // namespace
