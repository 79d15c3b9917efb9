#include <weir/channel/channel.hpp>

#include <numeric>
#include <string>
#include <vector>

#include "channel/support.hpp"
#include "support/catch.hpp"

namespace {

using namespace channel_test;

TEMPLATE_TEST_CASE("channel: send_all sends more than the capacity, past a receiver", "[channel]", Shared, Local) {
  Channel<TestType> f({.capacity = 4});
  std::vector<int> values(101);
  std::iota(values.begin(), values.end(), 0);
  std::size_t sent = 0;
  Root sender(f.context, [&]() -> Task<> {
    sent = co_await f.tx.send_all(values);
    f.tx.close();
  });
  std::vector<int> seen;
  Root receiver(f.context, [&]() -> Task<> {
    while (auto value = co_await f.rx.receive()) seen.push_back(*value);
  });
  poll(f.context);
  CHECK(sent == 101);
  CHECK(sender.fine());
  CHECK(receiver.fine());
  CHECK(seen == values);
}

TEMPLATE_TEST_CASE("channel: send_all moves out of a container given away, and copies else", "[channel]", Shared,
                   Local) {
  Channel<TestType, std::string> f({.capacity = 8});
  std::vector<std::string> values{std::string(40, 'a'), std::string(40, 'b')};
  const auto copy = values;
  Root sender(f.context, [&]() -> Task<> {
    co_await f.tx.send_all(values);
    co_await f.tx.send_all(std::move(values));
  });
  poll(f.context);
  CHECK(sender.fine());
  REQUIRE(values.size() == 2);
  CHECK(values[0].empty());
  CHECK(values[1].empty());
  for (int i = 0; i < 2; ++i) {
    CHECK(f.rx.try_receive() == copy[0]);
    CHECK(f.rx.try_receive() == copy[1]);
  }
}

TEMPLATE_TEST_CASE("channel: send_all of nothing is done at once", "[channel]", Shared, Local) {
  Channel<TestType> f({.capacity = 1});
  std::size_t sent = 1;
  Root sender(f.context, [&]() -> Task<> {
    const std::vector<int> nothing;
    sent = co_await f.tx.send_all(nothing);
  });
  poll(f.context);
  CHECK(sender.fine());
  CHECK(sent == 0);
  CHECK(f.tx.stats().admitted == 0);
}

TEMPLATE_TEST_CASE("channel: receive_some takes what is there, up to max", "[channel]", Shared, Local) {
  Channel<TestType> f({.capacity = 8});
  for (int i = 0; i < 5; ++i) CHECK(f.tx.try_send(i));
  std::vector<int> out;
  std::vector<std::size_t> counts;
  Root receiver(f.context, [&]() -> Task<> {
    for (;;) {
      const std::size_t n = co_await f.rx.receive_some(out, 3);
      counts.push_back(n);
      if (n == 0) break;
    }
  });
  poll(f.context);
  CHECK(counts == std::vector<std::size_t>{3, 2});
  CHECK(out == std::vector<int>{0, 1, 2, 3, 4});
  CHECK(f.tx.try_send(5));
  CHECK(f.tx.try_send(6));
  poll(f.context);
  // The first of the two woke it; it took the other along.
  CHECK(counts == std::vector<std::size_t>{3, 2, 2});
  f.tx.close();
  poll(f.context);
  CHECK(counts == std::vector<std::size_t>{3, 2, 2, 0});
  CHECK(receiver.fine());
  CHECK(out.size() == 7);
}

TEMPLATE_TEST_CASE("channel: receive_some lets waiting senders in as it goes", "[channel]", Shared, Local) {
  Channel<TestType> f({.capacity = 2});
  Root sender(f.context, [&]() -> Task<> {
    for (int i = 0; i < 10; ++i) co_await f.tx.send(i);
  });
  std::vector<int> all(10);
  std::iota(all.begin(), all.end(), 10);
  std::size_t sent = 0;
  poll(f.context);
  CHECK(f.tx.stats().waiting_senders == 1);
  int out[3] = {-1, -1, -1};
  std::size_t n = 0;
  Root receiver(f.context, [&]() -> Task<> { n = co_await f.rx.receive_some(static_cast<int*>(out), 3); });
  poll(f.context);
  CHECK(n == 3);
  CHECK(out[0] == 0);
  CHECK(out[1] == 1);
  CHECK(out[2] == 2);
  CHECK(adds_up(f.tx.stats()));
  CHECK(f.tx.stats().buffered == 2);
  CHECK(sent == 0);
}

TEMPLATE_TEST_CASE("channel: one receive_some takes a whole send_all that waits", "[channel]", Shared, Local) {
  Channel<TestType> f({.capacity = 2});
  std::vector<int> values(9);
  std::iota(values.begin(), values.end(), 0);
  Root sender(f.context, [&]() -> Task<> { co_await f.tx.send_all(values); });
  poll(f.context);
  CHECK_FALSE(sender.ended());
  std::vector<int> out;
  std::size_t n = 0;
  Root receiver(f.context, [&]() -> Task<> { n = co_await f.rx.receive_some(out, 100); });
  poll(f.context);
  CHECK(n == 9);
  CHECK(out == values);
  CHECK(sender.fine());
}

TEMPLATE_TEST_CASE("channel: receive_some of at most nothing is refused", "[channel]", Shared, Local) {
  Channel<TestType> f;
  std::vector<int> out;
  std::error_code code;
  Root receiver(f.context, [&]() -> Task<> { code = co_await code_of([&] { return f.rx.receive_some(out, 0); }); });
  poll(f.context);
  CHECK(code == Errc::invalid_argument);
}

TEMPLATE_TEST_CASE("channel: discard drops what is buffered, counts it, and lets senders in", "[channel]", Shared,
                   Local) {
  Channel<TestType> f({.capacity = 2});
  Root sender(f.context, [&]() -> Task<> {
    for (int i = 0; i < 3; ++i) co_await f.tx.send(i);
  });
  poll(f.context);
  CHECK_FALSE(sender.ended());
  CHECK(f.rx.discard() == 2);
  poll(f.context);
  CHECK(sender.fine());
  CHECK(f.rx.stats().dropped == 2);
  CHECK(f.rx.stats().buffered == 1);
  CHECK(adds_up(f.rx.stats()));
  CHECK(f.rx.try_receive() == 2);
  CHECK(f.rx.discard() == 0);
  f.tx.close();
  CHECK(f.rx.discard() == 0);
}

}  // namespace
