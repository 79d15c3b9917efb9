#include <weir/channel/broadcast.hpp>

#include <stdexcept>
#include <utility>
#include <vector>

#include "channel/support.hpp"
#include "support/catch.hpp"

namespace {

using namespace channel_test;
using weir::SlowReceiver;

/// Throws when it is copied, or moved, as often as it was told to.
struct Fuse {
  int copies = 0;
  int moves = 0;
  int live = 0;
};
struct Thrown : std::runtime_error {
  Thrown() : std::runtime_error("thrown") {}
};

template <bool NothrowMove>
class Throwing {
 public:
  Throwing(Fuse& fuse, int id) : fuse_(&fuse), id_(id) { ++fuse_->live; }
  Throwing(const Throwing& other) : fuse_(other.fuse_), id_(other.id_) {
    burn(fuse_->copies);
    ++fuse_->live;
  }
  Throwing(Throwing&& other) noexcept(NothrowMove) : fuse_(other.fuse_), id_(other.id_) {
    if constexpr (!NothrowMove) burn(fuse_->moves);
    other.id_ = -1;
    ++fuse_->live;
  }
  Throwing& operator=(const Throwing& other) {
    burn(fuse_->copies);
    id_ = other.id_;
    return *this;
  }
  Throwing& operator=(Throwing&& other) noexcept(NothrowMove) {
    id_ = std::exchange(other.id_, -1);
    return *this;
  }
  ~Throwing() { --fuse_->live; }
  [[nodiscard]] int id() const noexcept { return id_; }

 private:
  static void burn(int& left) {
    if (left > 0 && --left == 0) throw Thrown();
  }
  Fuse* fuse_;
  int id_;
};
using Copied = Throwing<true>;
using Moved = Throwing<false>;

[[nodiscard]] bool adds_up(const weir::BroadcastStats& s) {
  return s.due == s.received + s.skipped + s.dropped + s.pending;
}
template <class T>
[[nodiscard]] bool adds_up(const weir::BroadcastReceiver<T>& rx) {
  const auto s = rx.stats();
  return s.sent == s.received + s.skipped + s.dropped + s.pending;
}

TEST_CASE("broadcast throw: a copy that throws is thrown, and the value stays for the next receive") {
  Fuse fuse;
  {
    asio::io_context context;
    auto tx = weir::make_broadcast<Copied>(context, {.capacity = 2});
    auto one = tx.subscribe();
    auto two = tx.subscribe();
    CHECK(tx.try_send(Copied(fuse, 1)));
    CHECK(tx.try_send(Copied(fuse, 2)));
    fuse.copies = 1;
    bool thrown = false;
    std::vector<int> seen;
    Root receiver(context, [&]() -> Task<> {
      try {
        static_cast<void>(co_await one.receive());
      } catch (const Thrown&) {
        thrown = true;
      }
      for (int i = 0; i < 2; ++i) {
        const auto value = co_await one.receive();
        seen.push_back(value->id());
      }
    });
    poll(context);
    CHECK(receiver.fine());
    CHECK(thrown);
    CHECK(seen == std::vector{1, 2});
    CHECK(one.stats().received == 2);
    CHECK(two.lag() == 2);
    CHECK(adds_up(one));
    CHECK(adds_up(tx.stats()));
    CHECK(two.try_receive()->id() == 1);
    CHECK(tx.stats().buffered == 1);
  }
  CHECK(fuse.live == 0);
}

TEST_CASE("broadcast throw: a value whose copy threw can be skipped by the next send") {
  Fuse fuse;
  asio::io_context context;
  auto tx = weir::make_broadcast<Copied>(context, {.capacity = 1, .slow = SlowReceiver::skip});
  auto one = tx.subscribe();
  auto two = tx.subscribe();
  CHECK(tx.try_send(Copied(fuse, 1)));
  fuse.copies = 1;
  CHECK_THROWS_AS(one.try_receive(), Thrown);
  CHECK(tx.try_send(Copied(fuse, 2)));
  CHECK(one.skipped() == 1);
  CHECK_THROWS_AS(one.try_receive(), weir::Lagged);
  CHECK(one.try_receive()->id() == 2);
  CHECK(adds_up(one));
  CHECK(adds_up(two));
  CHECK(adds_up(tx.stats()));
}

TEST_CASE("broadcast throw: what is thrown amid receive_some ends it, and nothing is lost") {
  Fuse fuse;
  asio::io_context context;
  auto tx = weir::make_broadcast<Copied>(context, {.capacity = 4});
  auto one = tx.subscribe();
  const auto two = tx.subscribe();
  for (int i = 0; i < 4; ++i) CHECK(tx.try_send(Copied(fuse, i)));
  std::vector<std::size_t> counts;
  std::vector<int> seen;
  bool thrown = false;
  Root receiver(context, [&]() -> Task<> {
    std::vector<Copied> out;
    out.reserve(8);
    fuse.copies = 3;
    counts.push_back(co_await one.receive_some(out, 4));
    fuse.copies = 1;
    try {
      counts.push_back(co_await one.receive_some(out, 4));
    } catch (const Thrown&) {
      thrown = true;
    }
    counts.push_back(co_await one.receive_some(out, 4));
    for (const auto& value : out) seen.push_back(value.id());
  });
  poll(context);
  CHECK(receiver.fine());
  CHECK(thrown);
  CHECK(counts == std::vector<std::size_t>{2, 2});
  CHECK(seen == std::vector{0, 1, 2, 3});
  CHECK(two.lag() == 4);
  CHECK(adds_up(tx.stats()));
}

TEST_CASE("broadcast throw: the last receiver copies what may throw when it is moved") {
  Fuse fuse;
  asio::io_context context;
  auto tx = weir::make_broadcast<Moved>(context, {.capacity = 2});
  auto rx = tx.subscribe();
  CHECK(tx.try_send(Moved(fuse, 1)));
  CHECK(tx.try_send(Moved(fuse, 2)));
  fuse.copies = 1;
  CHECK_THROWS_AS(rx.try_receive(), Thrown);
  CHECK(rx.try_receive()->id() == 1);
  CHECK(rx.try_receive()->id() == 2);
  CHECK(tx.stats().buffered == 0);
}

TEST_CASE("broadcast throw: a move that throws leaves the broadcast as it was, and the value with the sender") {
  const auto slow = GENERATE(SlowReceiver::wait, SlowReceiver::skip, SlowReceiver::disconnect);
  Fuse fuse;
  {
    asio::io_context context;
    auto tx = weir::make_broadcast<Moved>(context, {.capacity = 2, .slow = slow});
    auto rx = tx.subscribe();
    CHECK(tx.try_send(Moved(fuse, 1)));
    if (slow != SlowReceiver::wait) CHECK(tx.try_send(Moved(fuse, 2)));
    const auto before = tx.stats();
    Moved value(fuse, 3);
    fuse.moves = 1;
    CHECK_THROWS_AS(tx.try_send(std::move(value)), Thrown);
    CHECK(value.id() == 3);
    const auto after = tx.stats();
    CHECK(after.sent == before.sent);
    CHECK(after.pending == before.pending);
    CHECK(after.skipped == 0);
    CHECK(after.disconnected == 0);
    CHECK(rx.try_receive()->id() == 1);
  }
  CHECK(fuse.live == 0);
}

TEST_CASE("broadcast throw: a sender that waits is thrown what its move throws, and wakes nobody") {
  Fuse fuse;
  asio::io_context context;
  auto tx = weir::make_broadcast<Moved>(context, {.capacity = 1});
  auto slow = tx.subscribe();
  auto fast = tx.subscribe();
  CHECK(tx.try_send(Moved(fuse, 1)));
  CHECK(fast.try_receive()->id() == 1);
  int got = 0;
  Root receiver(context, [&]() -> Task<> {
    const auto value = co_await fast.receive();
    got = value ? value->id() : -1;
  });
  Moved value(fuse, 2);
  Root failing(context, [&]() -> Task<> { co_await tx.send(std::move(value)); });
  poll(context);
  CHECK(tx.stats().waiting_senders == 1);
  Moved next(fuse, 3);
  Root sender(context, [&]() -> Task<> { co_await tx.send(std::move(next)); });
  poll(context);
  CHECK(tx.stats().waiting_senders == 2);

  fuse.moves = 1;
  SECTION("the next sender gets the room") {
    CHECK(slow.try_receive()->id() == 1);
    poll(context);
    CHECK(sender.fine());
    CHECK(got == 3);
  }
  SECTION("without one, the receiver goes on waiting") {
    sender.cancel();
    poll(context);
    CHECK(sender.code() == Errc::cancelled);
    CHECK(slow.try_receive()->id() == 1);
    poll(context);
    CHECK_FALSE(receiver.ended());
    CHECK(tx.stats().waiting_receivers == 1);
    CHECK(tx.try_send(std::move(next)));
    poll(context);
    CHECK(got == 3);
  }
  REQUIRE(failing.ended());
  CHECK_THROWS_AS(std::rethrow_exception(failing.error()), Thrown);
  CHECK(value.id() == 2);
}

}  // namespace
