#include <weir/channel/channel.hpp>

#include <iterator>
#include <memory>
#include <stdexcept>
#include <vector>

#include "channel/support.hpp"
#include "support/catch.hpp"

namespace {

using namespace channel_test;

struct Thrown : std::runtime_error {
  Thrown() : std::runtime_error("a constructor threw") {}
};

/// Throws when its fuse says so, at a move, a copy or a construction. Counts what lives.
class Fragile {
 public:
  struct Fuse {
    int steps = -1;  ///< how many more go well; below 0: all
    int live = 0;
    void burn() {
      if (steps >= 0 && steps-- == 0) throw Thrown();
    }
  };

  Fragile(Fuse& fuse, int value) : fuse_(&fuse), value_(value) {
    fuse_->burn();
    ++fuse_->live;
  }
  Fragile(const Fragile& other) : Fragile(*other.fuse_, other.value_) {}
  Fragile(Fragile&& other) noexcept(false) : Fragile(*other.fuse_, other.value_) { other.value_ = -1; }
  Fragile& operator=(Fragile&& other) {
    fuse_->burn();
    value_ = std::exchange(other.value_, -1);
    return *this;
  }
  ~Fragile() { --fuse_->live; }

  [[nodiscard]] int value() const noexcept { return value_; }

 private:
  Fuse* fuse_;
  int value_;
};

/// Copies throw, moves don't: what most types do.
class ThrowingCopy {
 public:
  ThrowingCopy(Fragile::Fuse& fuse, int value) : fuse_(&fuse), value_(value) { fuse_->burn(); }
  ThrowingCopy(const ThrowingCopy& other) : ThrowingCopy(*other.fuse_, other.value_) {}
  ThrowingCopy(ThrowingCopy&&) noexcept = default;
  [[nodiscard]] int value() const noexcept { return value_; }

 private:
  Fragile::Fuse* fuse_;
  int value_;
};

/// The error that a task ended with is `Thrown`.
bool threw(const Root& root) {
  if (!root.error()) return false;
  try {
    std::rethrow_exception(root.error());
  } catch (const Thrown&) {
    return true;
  } catch (...) {
  }
  return false;
}

struct Fixture {
  explicit Fixture(weir::ChannelOptions options = {.capacity = 2}) {
    auto [sender, receiver] = weir::make_channel<Fragile>(context, options);
    tx = std::move(sender);
    rx = std::move(receiver);
  }
  ~Fixture() { fuse.steps = -1; }
  void fill(int values) {
    for (int i = 0; i < values; ++i) CHECK(tx.try_send(Fragile(fuse, i)));
  }
  Fragile::Fuse fuse;
  asio::io_context context;
  weir::ChannelSender<Fragile> tx;
  weir::ChannelReceiver<Fragile> rx;
};

TEST_CASE("channel: a send whose value's constructor throws sends nothing", "[throw]") {
  Fixture f;
  Fragile value(f.fuse, 7);
  f.fuse.steps = 0;
  Root move(f.context, [&]() -> Task<> { co_await f.tx.send(std::move(value)); });
  poll(f.context);
  CHECK(threw(move));
  CHECK(value.value() == 7);
  f.fuse.steps = 0;
  Root copy(f.context, [&]() -> Task<> { co_await f.tx.send(static_cast<const Fragile&>(value)); });
  poll(f.context);
  CHECK(threw(copy));
  f.fuse.steps = 0;
  Root build(f.context, [&]() -> Task<> { co_await f.tx.send_emplace(std::ref(f.fuse), 8); });
  poll(f.context);
  CHECK(threw(build));
  f.fuse.steps = 0;
  REQUIRE_THROWS_AS(f.tx.try_send(std::move(value)), Thrown);
  CHECK(value.value() == 7);
  CHECK(f.tx.stats().admitted == 0);
  CHECK(f.tx.try_send(std::move(value)));
  CHECK(f.rx.try_receive()->value() == 7);
}

TEST_CASE("channel: a constructor that throws while a receiver waits leaves it waiting", "[throw]") {
  Fixture f;
  std::optional<Fragile> got;
  Root receiver(f.context, [&]() -> Task<> {
    auto value = co_await f.rx.receive();
    got.emplace(std::move(*value));
  });
  poll(f.context);
  Fragile value(f.fuse, 7);
  f.fuse.steps = 0;
  REQUIRE_THROWS_AS(f.tx.try_send(std::move(value)), Thrown);
  CHECK(f.rx.stats().waiting_receivers == 1);
  CHECK(adds_up(f.rx.stats()));
  CHECK(f.tx.try_send(std::move(value)));
  poll(f.context);
  CHECK(receiver.fine());
  CHECK(got->value() == 7);
}

TEST_CASE("channel: a waiting sender whose value throws is told, and the next comes in", "[throw]") {
  Fixture f({.capacity = 1});
  f.fill(1);
  Fragile first(f.fuse, 1);
  Fragile second(f.fuse, 2);
  Root one(f.context, [&]() -> Task<> { co_await f.tx.send(std::move(first)); });
  Root two(f.context, [&]() -> Task<> { co_await f.tx.send(std::move(second)); });
  poll(f.context);
  f.fuse.steps = 1;  // the receiver's move goes well, that of the first sender not
  CHECK(f.rx.try_receive()->value() == 0);
  poll(f.context);
  CHECK(threw(one));
  CHECK(first.value() == 1);
  CHECK(two.fine());
  CHECK(f.rx.try_receive()->value() == 2);
  CHECK(adds_up(f.rx.stats()));
}

TEST_CASE("channel: a receive whose move throws leaves the value in the channel", "[throw]") {
  Fixture f({.capacity = 1});
  f.fill(1);
  Root sender(f.context, [&]() -> Task<> { co_await f.tx.send_emplace(std::ref(f.fuse), 1); });
  poll(f.context);
  f.fuse.steps = 0;
  REQUIRE_THROWS_AS(f.rx.try_receive(), Thrown);
  f.fuse.steps = 0;
  Root receiver(f.context, [&]() -> Task<> { co_await f.rx.receive(); });
  poll(f.context);
  CHECK(threw(receiver));
  CHECK(f.rx.stats().received == 0);
  CHECK(f.rx.stats().waiting_senders == 1);
  CHECK(f.rx.try_receive()->value() == 0);
  poll(f.context);
  CHECK(sender.fine());
  CHECK(f.rx.try_receive()->value() == 1);
}

TEST_CASE("channel: a value whose move out of the receiver's hands throws is counted as dropped", "[throw]") {
  Fixture f;
  const bool some = GENERATE(false, true);
  std::vector<Fragile> out;
  Root receiver(f.context, [&]() -> Task<> {
    if (some) {
      co_await f.rx.receive_some(out, 2);
    } else {
      co_await f.rx.receive();
    }
  });
  poll(f.context);
  f.fill(1);
  f.fuse.steps = 0;
  poll(f.context);
  CHECK(threw(receiver));
  CHECK(f.rx.stats().received == 0);
  CHECK(f.rx.stats().dropped == 1);
  CHECK(adds_up(f.rx.stats()));
}

TEST_CASE("channel: receive_some that throws on the way gives what it has, and lets senders in", "[throw]") {
  Fixture f({.capacity = 2});
  f.fill(2);
  Root sender(f.context, [&]() -> Task<> { co_await f.tx.send_emplace(std::ref(f.fuse), 2); });
  poll(f.context);
  CHECK_FALSE(sender.ended());
  std::vector<Fragile> out;
  out.reserve(8);
  std::size_t n = 0;
  Root receiver(f.context, [&]() -> Task<> { n = co_await f.rx.receive_some(out, 8); });
  f.fuse.steps = 1;
  f.context.poll_one();
  f.fuse.steps = -1;
  poll(f.context);
  CHECK(receiver.fine());
  CHECK(n == 1);
  CHECK(out.size() == 1);
  CHECK(sender.fine());
  CHECK(f.rx.stats().buffered == 2);
  CHECK(f.rx.stats().received == 1);
  CHECK(f.rx.try_receive()->value() == 1);
  CHECK(f.rx.try_receive()->value() == 2);
}

TEST_CASE("channel: a send_all that throws on the way has sent what came before", "[throw]") {
  Fixture f({.capacity = 4});
  std::vector<Fragile> values;
  values.reserve(4);
  for (int i = 0; i < 4; ++i) values.emplace_back(f.fuse, i);
  Root sender(f.context, [&]() -> Task<> { co_await f.tx.send_all(std::move(values)); });
  f.fuse.steps = 2;
  poll(f.context);
  CHECK(threw(sender));
  CHECK(f.tx.stats().buffered == 2);
  CHECK(values[2].value() == 2);
  CHECK(values[3].value() == 3);
}

TEST_CASE("channel: a permit whose value throws is still held", "[throw]") {
  Fixture f({.capacity = 1});
  Root root(f.context, [&]() -> Task<> {
    auto permit = co_await f.tx.reserve();
    f.fuse.steps = 0;
    CHECK_THROWS_AS(permit.emplace(f.fuse, 1), Thrown);
    CHECK(permit);
    CHECK(f.tx.stats().reserved == 1);
    permit.emplace(f.fuse, 2);
    CHECK_FALSE(permit);
  });
  poll(f.context);
  CHECK(root.fine());
  CHECK(f.rx.try_receive()->value() == 2);
}

TEST_CASE("channel: what was dropped to make room comes back when the new value's copy throws", "[throw]") {
  const auto policy = GENERATE(Overflow::drop_oldest, Overflow::latest);
  Fragile::Fuse fuse;
  asio::io_context context;
  auto [tx, rx] = weir::make_channel<ThrowingCopy>(context, {.capacity = 1, .overflow = policy});
  CHECK(tx.try_send(ThrowingCopy(fuse, 1)));
  const ThrowingCopy next(fuse, 2);
  fuse.steps = 0;
  REQUIRE_THROWS_AS(tx.try_send(next), Thrown);
  CHECK(tx.stats().dropped == 0);
  CHECK(tx.stats().admitted == 1);
  CHECK(tx.stats().buffered == 1);
  CHECK(adds_up(tx.stats()));
  CHECK(rx.try_receive()->value() == 1);
  CHECK(tx.try_send(next));
  CHECK(tx.try_send(next));
  CHECK(tx.stats().dropped == 1);
}

TEST_CASE("channel: wherever a constructor throws, nothing leaks and the counters add up", "[throw]") {
  const auto policy =
      GENERATE(Overflow::wait, Overflow::reject, Overflow::drop_newest, Overflow::drop_oldest, Overflow::latest);
  for (int at = 0; at < 60; ++at) {
    Fragile::Fuse fuse;
    {
      asio::io_context context;
      auto [tx, rx] = weir::make_channel<Fragile>(context, {.capacity = 2, .overflow = policy});
      const auto sends = [](weir::ChannelSender<Fragile> to, Fragile::Fuse& items, int first) -> Task<> {
        for (int i = 0; i < 4; ++i) {
          try {
            co_await to.send_emplace(std::ref(items), first + i);
          } catch (const Thrown&) {
          } catch (const weir::Error&) {
          }
          try {
            auto permit = co_await to.reserve();
            permit.emplace(items, first + 50 + i);
          } catch (const Thrown&) {
          } catch (const weir::Error&) {
          }
        }
      };
      const auto receives = [](weir::ChannelReceiver<Fragile> from) -> Task<> {
        std::vector<Fragile> out;
        out.reserve(64);
        for (int round = 0;; ++round) {
          try {
            if (round % 2 == 0) {
              if (!co_await from.receive()) break;
            } else {
              if (co_await from.receive_some(out, 2) == 0) break;
            }
          } catch (const Thrown&) {
          }
        }
      };
      Root one(context, sends(tx, fuse, 0));
      Root two(context, sends(std::move(tx), fuse, 100));
      Root three(context, receives(rx));
      Root four(context, receives(rx));
      fuse.steps = at;
      poll(context);
      CHECK(one.fine());
      CHECK(two.fine());
      CHECK(three.fine());
      CHECK(four.fine());
      CHECK(adds_up(rx.stats()));
      CHECK(rx.stats().buffered == 0);
      CHECK(rx.stats().reserved == 0);
    }
    CHECK(fuse.live == 0);
  }
}

TEST_CASE("channel: the async operations survive a constructor that throws at any step", "[throw]") {
  for (int at = 0; at < 40; ++at) {
    Fragile::Fuse fuse;
    int calls = 0;
    int begun = 0;
    {
      asio::io_context context;
      auto [tx, rx] = weir::make_channel<Fragile>(context, {.capacity = 1});
      const auto handler = [&calls](std::error_code, std::optional<Fragile>) { ++calls; };
      const auto poll_all = [&] {
        for (;;) {
          try {
            poll(context);
            return;
          } catch (const Thrown&) {
            // On the way into the handler: what a handler throws goes out of run().
            ++calls;
          }
        }
      };
      fuse.steps = at;
      for (int i = 0; i < 3; ++i) {
        try {
          tx.async_send(Fragile(fuse, i), handler);
          ++begun;
        } catch (const Thrown&) {
        }
      }
      for (int i = 0; i < 4; ++i) {
        rx.async_receive(handler);
        ++begun;
        poll_all();
      }
      CHECK(adds_up(rx.stats()));
      tx.close();
      poll_all();
      CHECK(adds_up(rx.stats()));
    }
    CHECK(calls == begun);
    CHECK(fuse.live == 0);
  }
}

}  // namespace
