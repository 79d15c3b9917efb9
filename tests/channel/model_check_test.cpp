#include <weir/channel/detail/core.hpp>

// The checker's fibers are none that the sanitizers know of, and races are what it looks for itself.
#ifndef WEIR_SANITIZED

#  include <algorithm>
#  include <array>
#  include <deque>
#  include <memory>
#  include <optional>
#  include <string>
#  include <vector>

#  include "support/catch.hpp"
#  include "support/model/channel_world.hpp"
#  include "support/model/checker.hpp"
#  include "support/model/explore.hpp"
#  include "support/model/sync.hpp"

namespace model = weir_test::model;
using model::Bounds;
using model::Checker;
using model::Event;
using model::explore;
using model::Report;
using model::require;
using model::Scenario;
using model::Value;
using weir::detail::WaitState;

namespace {

// The checker's own tests.

/// Store buffering: each stores its own, and looks at the other's.
struct StoreBuffering : Scenario {
  enum class How { release, sequential, exchange, heavy };
  explicit StoreBuffering(How how) {
    threads.push_back([this, how] {
      put(x, how, false);
      seen[0] = y.load(std::memory_order_acquire);
    });
    threads.push_back([this, how] {
      put(y, how, true);
      seen[1] = x.load(std::memory_order_acquire);
    });
  }
  static void put(model::Atomic<std::uint32_t>& to, How how, bool second) {
    switch (how) {
      case How::release:
        return to.store(1, std::memory_order_release);
      case How::sequential:
        return to.store(1, std::memory_order_seq_cst);
      case How::exchange:
        static_cast<void>(to.exchange(1, std::memory_order_seq_cst));
        return;
      case How::heavy:
        to.store(1, second ? std::memory_order_seq_cst : std::memory_order_relaxed);
        if (second) model::checker().heavy_fence();
        return;
    }
  }
  void check() override {
    if (seen[0] == 0 && seen[1] == 0) throw model::Failure("both saw nothing");
  }
  model::Atomic<std::uint32_t> x{0};
  model::Atomic<std::uint32_t> y{0};
  std::array<std::uint32_t, 2> seen{};
};

Report store_buffering(StoreBuffering::How how) {
  return explore("litmus: store buffering", {}, [how] { return std::make_unique<StoreBuffering>(how); });
}

/// A message behind a flag.
struct Message : Scenario {
  explicit Message(std::memory_order order) {
    threads.push_back([this, order] {
      text.emplace(17);
      ready.store(true, order);
    });
    threads.push_back([this] {
      while (!ready.load(std::memory_order_acquire)) model::Sync<true>::pause();
      require(text->get() == 17, "another message");
    });
  }
  std::optional<Value> text;
  model::Atomic<bool> ready{false};
};

/// Dekker's mutual exclusion, for the first look: who sees the other's flag goes away.
struct Dekker : Scenario {
  explicit Dekker(std::memory_order order) {
    for (std::size_t i = 0; i < 2; ++i) {
      threads.push_back([this, i, order] {
        flags[i].store(true, order);
        if (flags[1 - i].load(std::memory_order_acquire)) return;
        require(inside.exchange(true, std::memory_order_relaxed) == false, "both are inside");
        model::checker().data_write(&shared);
        inside.store(false, std::memory_order_relaxed);
      });
    }
  }
  std::array<model::Atomic<bool>, 2> flags{{{false}, {false}}};
  model::Atomic<bool> inside{false};
  int shared = 0;
};

/// Looks at a flag, then waits: between the two the flag may be set, and nobody signalled.
struct LostWake : Scenario {
  explicit LostWake(bool looks_under_lock) {
    threads.push_back([this, looks_under_lock] {
      if (!looks_under_lock && ready.load(std::memory_order_acquire)) return;
      mutex.lock();
      const bool waits = !looks_under_lock || !ready.load(std::memory_order_acquire);
      waiting = waits;
      mutex.unlock();
      if (waits) event.wait();
    });
    threads.push_back([this] {
      mutex.lock();
      ready.store(true, std::memory_order_release);
      const bool wakes = waiting;
      mutex.unlock();
      if (wakes) event.signal();
    });
  }
  model::Mutex mutex;
  model::Atomic<bool> ready{false};
  Event event;
  bool waiting = false;
};

/// Two increments of two steps each.
struct Increments : Scenario {
  Increments() {
    for (int i = 0; i < 2; ++i) {
      threads.push_back([this] {
        const std::uint32_t n = count.load(std::memory_order_relaxed);
        count.store(n + 1, std::memory_order_relaxed);
      });
    }
  }
  void check() override {
    if (count.load(std::memory_order_relaxed) != 2) throw model::Failure("an increment was lost");
  }
  model::Atomic<std::uint32_t> count{0};
};

}  // namespace

TEST_CASE("model checker: store buffering is found with buffered stores, and not with fenced ones") {
  CHECK(store_buffering(StoreBuffering::How::release).found());
  const auto fenced =
      GENERATE(StoreBuffering::How::sequential, StoreBuffering::How::exchange, StoreBuffering::How::heavy);
  const Report report = store_buffering(fenced);
  INFO(report.text());
  CHECK_FALSE(report.found());
  CHECK(report.complete);
}

TEST_CASE("model checker: a message behind a release store arrives, behind a relaxed one it races") {
  const Report fine =
      explore("litmus: message", {}, [] { return std::make_unique<Message>(std::memory_order_release); });
  INFO(fine.text());
  CHECK_FALSE(fine.found());
  CHECK(fine.complete);
  CHECK(fine.executions > 1);
  CHECK(explore("litmus: message, relaxed", {}, [] {
          return std::make_unique<Message>(std::memory_order_relaxed);
        }).failure.find("data race") != std::string::npos);
}

TEST_CASE("model checker: Dekker's exclusion holds with seq_cst stores alone") {
  const Report broken =
      explore("litmus: Dekker, broken", {}, [] { return std::make_unique<Dekker>(std::memory_order_release); });
  CHECK(broken.found());
  CHECK(broken.log.find("looks past a store") != std::string::npos);
  const Report fine = explore("litmus: Dekker", {}, [] { return std::make_unique<Dekker>(std::memory_order_seq_cst); });
  INFO(fine.text());
  CHECK_FALSE(fine.found());
  CHECK(fine.complete);
}

TEST_CASE("model checker: a lost wake-up is a deadlock") {
  const Report broken = explore("litmus: lost wake-up", {}, [] { return std::make_unique<LostWake>(false); });
  CHECK(broken.failure.find("deadlock") != std::string::npos);
  const Report fine = explore("litmus: wake-up", {}, [] { return std::make_unique<LostWake>(true); });
  INFO(fine.text());
  CHECK_FALSE(fine.found());
  CHECK(fine.complete);
}

TEST_CASE("model checker: what it found is repeated from its choices, and needs its preemption") {
  const auto make = [] { return std::make_unique<Increments>(); };
  Bounds bounds;
  bounds.delays = 0;
  bounds.preemptions = 0;
  Report without = explore("litmus: increments, one after the other", bounds, make);
  CHECK_FALSE(without.found());
  bounds.preemptions = 1;
  const Report found = explore("litmus: increments", bounds, make);
  REQUIRE(found.found());
  Checker checker(bounds);
  CHECK(checker.repeat(make, found.choices).failure == found.failure);
}

namespace {

/// A channel with `capacity`, of which `buffered` is used.
struct Start {
  std::size_t capacity = 2;
  std::size_t buffered = 0;
  /// Full must be full also where the capacity is large.
  bool full = false;
  bool cold = false;
  /// The handles that are there.
  int senders = 1;
  int receivers = 1;
};

template <bool HeavyFence, class Build>
void check_shape(const std::string& name, Bounds bounds, Start start, const Build& build) {
  const Report report = explore(name.c_str(), bounds, [start, &build] {
    auto world = std::make_unique<model::ChannelWorld<HeavyFence>>(start.capacity, start.buffered, start.cold);
    for (int i = 0; i < start.senders; ++i) world->add_sender();
    for (int i = 0; i < start.receivers; ++i) world->add_receiver();
    build(*world);
    return world;
  });
  INFO(name << ": " << report.text());
  CHECK_FALSE(report.found());
  CHECK(report.complete);
  CHECK(report.executions >= 10);
}

/// In the two ways of holding a side: each hold fenced, and the only handle's holds left to the heavy fence.
template <class Build>
void check_both(const std::string& name, Bounds bounds, Start start, const Build& build) {
  check_shape<true>(name + ", symmetric", bounds, start, build);
  if (start.full) start.buffered += 65 - start.capacity;
  start.capacity = 65;
  check_shape<true>(name + ", asymmetric", bounds, start, build);
}

constexpr Bounds deep{.preemptions = 3};
constexpr Bounds usual{};

}  // namespace

TEST_CASE("channel model: a send and a receive at once pass values in order") {
  check_both("send at once, receive at once", deep, {.capacity = 2}, [](auto& w) {
    w.threads.push_back([&w] {
      w.try_send(0);
      w.try_send(0);
    });
    w.threads.push_back([&w] {
      w.try_receive(1);
      w.try_receive(1);
    });
  });
}

TEST_CASE("channel model: many at once and one at once share the lanes") {
  check_both("some at once", usual, {.capacity = 2}, [](auto& w) {
    w.threads.push_back([&w] {
      w.send_some_at_once(0, 2);
      w.try_send(0);
    });
    w.threads.push_back([&w] {
      w.receive_some_at_once(1, 2);
      w.try_receive(1);
    });
  });
}

TEST_CASE("channel model: a receiver that waits is not missed by sends at once") {
  check_both("receive, send at once", deep, {.capacity = 2}, [](auto& w) {
    w.threads.push_back([&w] {
      require(w.try_send(0), "there was room");
      require(w.try_send(0), "there was room");
    });
    w.threads.push_back([&w] {
      require(w.receive(1), "it was not closed");
      require(w.receive(1), "it was not closed");
    });
  });
}

TEST_CASE("channel model: a receiver that waits for the first value of all gets it") {
  check_both("receive, first send", deep, {.capacity = 1, .cold = true}, [](auto& w) {
    w.threads.push_back([&w] { require(w.try_send(0), "there was room"); });
    w.threads.push_back([&w] { require(w.receive(1), "it was not closed"); });
  });
}

TEST_CASE("channel model: a sender that waits is not missed by receives at once") {
  check_both("send, receive at once", deep, {.capacity = 1, .buffered = 1, .full = true}, [](auto& w) {
    w.threads.push_back([&w] {
      require(w.send(0) == WaitState::done, "it was not closed");
      require(w.send(0) == WaitState::done, "it was not closed");
    });
    w.threads.push_back([&w] {
      require(w.try_receive(1), "there was a value");
      w.receive(1);
    });
  });
}

TEST_CASE("channel model: a sender and a receiver that both wait serve each other") {
  check_both("send, receive", deep, {.capacity = 1}, [](auto& w) {
    w.threads.push_back([&w] {
      for (int i = 0; i < 2; ++i) require(w.send(0) == WaitState::done, "it was not closed");
    });
    w.threads.push_back([&w] {
      for (int i = 0; i < 2; ++i) require(w.receive(1), "it was not closed");
    });
  });
}

TEST_CASE("channel model: nothing is admitted after a receiver saw the end") {
  check_both("close, send at once", usual, {.capacity = 2}, [](auto& w) {
    w.threads.push_back([&w] {
      w.try_send(0);
      w.try_send(0);
    });
    w.threads.push_back([&w] {
      w.core.close(nullptr);
      while (w.receive(1)) {
      }
    });
    w.also = [&w](const weir::ChannelStats& stats) { w.expect(stats.buffered == 0, "a value came after the end"); };
  });
  check_both("close by another, send at once, receive", usual, {.capacity = 2}, [](auto& w) {
    w.threads.push_back([&w] { w.try_send(0); });
    w.threads.push_back([&w] {
      while (w.receive(1)) {
      }
    });
    w.threads.push_back([&w] { w.core.close(nullptr); });
    w.also = [&w](const weir::ChannelStats& stats) { w.expect(stats.buffered == 0, "a value came after the end"); };
  });
}

TEST_CASE("channel model: the last sender's end wakes the receiver that waits, after its values") {
  check_both("the last sender's end, receive", deep, {.capacity = 2}, [](auto& w) {
    w.threads.push_back([&w] {
      w.try_send(0);
      w.drop_sender();
    });
    w.threads.push_back([&w] {
      require(w.receive(1), "its value came first");
      require(!w.receive(1), "nothing more was to come");
    });
  });
}

TEST_CASE("channel model: what is discarded is not received too") {
  check_both("discard, receive at once, send at once", usual, {.capacity = 2, .buffered = 2}, [](auto& w) {
    w.threads.push_back([&w] { w.try_send(0); });
    w.threads.push_back([&w] {
      w.try_receive(1);
      w.try_receive(1);
    });
    w.threads.push_back([&w] { w.core.discard(); });
  });
  check_both("discard, send", usual, {.capacity = 1, .buffered = 1, .full = true}, [](auto& w) {
    w.threads.push_back([&w] { w.send(0); });
    w.threads.push_back([&w] { w.core.discard(); });
  });
}

TEST_CASE("channel model: the last receiver's end lets no sender wait for ever") {
  check_both("the last receiver's end, send", usual, {.capacity = 1, .buffered = 1, .full = true}, [](auto& w) {
    w.threads.push_back([&w] {
      w.send(0);
      w.send(0);
    });
    w.threads.push_back([&w] {
      w.try_receive(1);
      w.drop_receiver();
    });
    w.also = [&w](const weir::ChannelStats& stats) { w.expect(stats.buffered == 0, "a value came after the end"); };
  });
}

TEST_CASE("channel model: the only sender's handle is copied to another thread while the channel is in use") {
  check_both("copy of the only sender", usual, {.capacity = 3}, [](auto& w) {
    auto given = std::make_shared<Event>();
    w.threads.push_back([&w, given] {
      w.try_send(0);
      w.add_sender();
      given->signal();
      w.try_send(0);
    });
    w.threads.push_back([&w, given] {
      given->wait();
      require(w.try_send(1), "there was room");
    });
    w.threads.push_back([&w] {
      require(w.receive(2), "it was not closed");
      require(w.receive(2), "it was not closed");
    });
  });
}

TEST_CASE("channel model: the second sender's handle ends while the first is in use") {
  check_both("end of the second sender", usual, {.capacity = 3, .senders = 2}, [](auto& w) {
    w.threads.push_back([&w] {
      w.try_send(0);
      w.try_send(0);
    });
    w.threads.push_back([&w] {
      w.try_send(1);
      w.drop_sender();
    });
    w.threads.push_back([&w] {
      require(w.receive(2), "it was not closed");
      require(w.receive(2), "it was not closed");
    });
  });
}

TEST_CASE("channel model: two senders wait, and the second ends") {
  check_both("two senders wait", usual, {.capacity = 1, .buffered = 1, .full = true, .senders = 2}, [](auto& w) {
    w.threads.push_back([&w] { w.send(0); });
    w.threads.push_back([&w] {
      w.send(1);
      w.drop_sender();
    });
    w.threads.push_back([&w] {
      w.receive(2);
      w.receive(2);
    });
  });
}

TEST_CASE("channel model: the only receiver's handle is copied to another thread, and ends there") {
  check_both("copy of the only receiver", usual, {.capacity = 3, .buffered = 1}, [](auto& w) {
    auto given = std::make_shared<Event>();
    w.threads.push_back([&w, given] {
      w.try_receive(0);
      w.add_receiver();
      given->signal();
      w.try_receive(0);
    });
    w.threads.push_back([&w, given] {
      given->wait();
      w.try_receive(1);
      w.drop_receiver();
    });
    w.threads.push_back([&w] {
      require(w.try_send(2), "there was room");
      require(w.try_send(2), "there was room");
    });
  });
  check_both("two receivers wait", usual, {.capacity = 2, .receivers = 2}, [](auto& w) {
    w.threads.push_back([&w] { w.receive(0); });
    w.threads.push_back([&w] {
      w.receive(1);
      w.drop_receiver();
    });
    w.threads.push_back([&w] {
      w.try_send(2);
      w.try_send(2);
    });
  });
}

TEST_CASE("channel model: room that is reserved is nobody else's") {
  check_both("reserve, send at once, receive", usual, {.capacity = 1, .senders = 2}, [](auto& w) {
    w.threads.push_back([&w] {
      if (w.reserve()) require(w.send_reserved(0), "there is a receiver");
    });
    w.threads.push_back([&w] { w.try_send(1); });
    w.threads.push_back([&w] { require(w.receive(2), "it was not closed"); });
  });
  check_both("reserve and release, send", usual, {.capacity = 1, .senders = 2}, [](auto& w) {
    w.threads.push_back([&w] {
      if (w.reserve()) w.core.release_permit();
    });
    w.threads.push_back([&w] { require(w.send(1) == WaitState::done, "it was not closed"); });
    w.threads.push_back([&w] { require(w.receive(2), "it was not closed"); });
  });
  check_both("reserve by the only sender, close", usual, {.capacity = 1}, [](auto& w) {
    w.threads.push_back([&w] {
      if (w.reserve()) w.send_reserved(0);
      w.try_send(0);
    });
    w.threads.push_back([&w] {
      while (w.receive(1)) {
      }
    });
    w.threads.push_back([&w] { w.core.close(nullptr); });
    w.also = [&w](const weir::ChannelStats& stats) { w.expect(stats.buffered == 0, "a value came after the end"); };
  });
}

TEST_CASE("channel model: the counters add up at any moment") {
  check_both("stats", usual, {.capacity = 2, .buffered = 1}, [](auto& w) {
    w.threads.push_back([&w] {
      w.try_send(0);
      w.try_send(0);
    });
    w.threads.push_back([&w] {
      w.try_receive(1);
      w.try_receive(1);
    });
    w.threads.push_back([&w] {
      weir::ChannelStats before;
      for (int i = 0; i < 2; ++i) {
        const weir::ChannelStats stats = w.core.stats();
        require(stats.admitted == stats.received + stats.buffered + stats.dropped, "the counters do not add up");
        require(stats.buffered <= stats.capacity, "more buffered than there is room for");
        require(stats.admitted >= before.admitted && stats.received >= before.received, "a counter went back");
        before = stats;
      }
    });
  });
}

TEST_CASE("channel model: a cancelled receive got a value or left it") {
  check_both("receive and cancel, send at once", deep, {.capacity = 1}, [](auto& w) {
    w.threads.push_back([&w] { require(w.try_send(0), "there was room"); });
    w.threads.push_back([&w] {
      w.receive_and_cancel(1);
      w.try_receive(1);
    });
    w.also = [&w](const weir::ChannelStats& stats) {
      w.expect(stats.received + stats.buffered == 2, "the value is gone");
    };
  });
}

TEST_CASE("channel model: who lingers before it waits is not missed") {
  check_both("linger, send at once", usual, {.capacity = 1}, [](auto& w) {
    w.threads.push_back([&w] { require(w.try_send(0), "there was room"); });
    w.threads.push_back([&w] {
      static_cast<void>(w.core.linger_for_value(3));
      require(w.receive(1), "it was not closed");
    });
  });
}

TEST_CASE("channel model: without a heavy fence a large capacity is held by fenced holds") {
  check_shape<false>("receive, send at once, no heavy fence", deep, {.capacity = 65}, [](auto& w) {
    w.threads.push_back([&w] {
      require(w.try_send(0), "there was room");
      require(w.try_send(0), "there was room");
    });
    w.threads.push_back([&w] {
      require(w.receive(1), "it was not closed");
      require(w.receive(1), "it was not closed");
    });
  });
}

#endif
