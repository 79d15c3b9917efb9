#include <weir/bus/event_bus.hpp>
// The same tests run on both buses.
#include <weir/bus/priority_event_bus.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "support/catch.hpp"

#include "bus/scene.hpp"

using namespace std::chrono_literals;
using weir::Task;
using weir_test::note;
using weir_test::play;

namespace {

weir::Errc code_of(const weir::Error& error) { return static_cast<weir::Errc>(error.code().value()); }

struct Disk {
  Disk(std::string p, double f) : path(std::move(p)), full(f) {}
  std::string path;
  double full;
};

}  // namespace

TEMPLATE_TEST_CASE("event_bus: events reach the handlers of their topic in order", "", weir::EventBus,
                   weir::PriorityEventBus) {
  weir::sim::Simulator sim;
  TestType bus(sim);
  std::string exact;
  std::string level;
  std::string rest;
  const auto a = bus.subscribe("disk.full", note(exact));
  const auto b = bus.subscribe("disk.*", note(level));
  const auto c = bus.subscribe("disk.>", note(rest));
  play(sim, [](TestType& to) -> Task<> {
    const weir::EventId first = co_await to.publish("disk.full", std::string("1"));
    CHECK(first == 1);
    const weir::EventId second = co_await to.publish("disk.gone", std::string("2"));
    CHECK(second == 2);
    co_await to.publish("disk.sda.gone", std::string("3"));
    co_await to.publish("disk", std::string("4"));
    weir::Event event("disk.full", std::string("5"));
    co_await to.publish(std::move(event));
    CHECK(to.try_publish("disk.full", std::string("6")));
    const auto report = co_await to.drain();
    CHECK(report.complete);
  }(bus));
  CHECK(exact == "1 5 6 ");
  CHECK(level == "1 2 5 6 ");
  CHECK(rest == "1 2 3 5 6 ");
  CHECK(bus.stats().admitted == 6);
  CHECK(bus.stats().completed == 6);
}

TEMPLATE_TEST_CASE("event_bus: handlers run by phase, then by subscription, and one may stop the rest", "",
                   weir::EventBus, weir::PriorityEventBus) {
  weir::sim::Simulator sim;
  TestType bus(sim);
  std::string log;
  const auto late = bus.subscribe("t", [&](weir::EventContext&) { log += "late "; }, {.phase = 2});
  const auto first = bus.subscribe("t", [&](weir::EventContext&) -> Task<> {
    log += "first ";
    co_await weir::sleep_for(1ms);
    log += "first-end ";
  });
  const auto second = bus.subscribe("*", [&](weir::EventContext& event) {
    log += "second ";
    if (event.payload<int>() == 2) event.stop_propagation();
  });
  const auto early = bus.subscribe("t", [&](weir::EventContext&) { log += "early "; }, {.phase = -1});
  play(sim, [](TestType& to) -> Task<> {
    co_await to.publish("t", 1);
    co_await to.publish("t", 2);
    co_await to.drain();
  }(bus));
  CHECK(log == "early first first-end second late early first first-end second ");
}

TEMPLATE_TEST_CASE("event_bus: predicates, once and typed topics choose", "", weir::EventBus, weir::PriorityEventBus) {
  weir::sim::Simulator sim;
  TestType bus(sim, {.workers = 3});
  constexpr weir::Topic<Disk> disk{"disk.full"};
  std::string log;
  const auto big =
      bus.subscribe_if(disk, [](const Disk& d) { return d.full > 0.9; }, [&](const Disk& d) { log += d.path + " "; });
  int once = 0;
  const auto single = bus.subscribe("disk.full",
                                    [&](weir::EventContext&) -> Task<> {
                                      ++once;
                                      co_await weir::sleep_for(1ms);
                                    },
                                    {.once = true});
  int system = 0;
  const auto from_system = bus.subscribe_if(
      ">", [](const weir::Event& event) { return event.origin() == weir::EventOrigin::system; },
      [&](weir::EventContext&) { ++system; });
  play(sim, [](TestType& to, const weir::Topic<Disk>& topic) -> Task<> {
    Disk root("/", 0.95);
    co_await to.publish(topic, std::move(root));
    co_await to.template publish_as<Disk>("disk.full", "/home", 0.5);
    weir::Event event(topic, Disk("/var", 0.99));
    event.source(weir::EventOrigin::system).metadata("host", "a1");
    co_await to.publish(std::move(event));
    co_await to.drain();
  }(bus, disk));
  CHECK(log == "/ /var ");
  CHECK(once == 1);
  CHECK(system == 1);
}

TEMPLATE_TEST_CASE("event_bus: a handler that throws harms no other and is dead-lettered", "", weir::EventBus,
                   weir::PriorityEventBus) {
  weir::sim::Simulator sim;
  TestType bus(sim);
  auto [tx, rx] = weir::make_channel<weir::DeadEvent>(sim, {.capacity = 1});
  bus.set_dead_letters(std::move(tx));
  int others = 0;
  const auto bad = bus.subscribe("t", [](weir::EventContext& event) {
    if (event.payload<int>() > 1) throw std::runtime_error("no");
  });
  const auto worse = bus.subscribe("t", [](weir::EventContext& event) -> Task<> {
    co_await weir::sleep_for(1ms);
    if (event.payload<int>() == 3) throw 42;
  });
  const auto good = bus.subscribe("t", [&](weir::EventContext&) { ++others; });
  play(sim, [](TestType& to) -> Task<> {
    for (int i = 1; i <= 3; ++i) co_await to.publish("t", i);
    co_await to.publish("t", std::string("no number"));
    co_await to.drain();
  }(bus));
  CHECK(others == 4);
  CHECK(bus.stats().completed == 1);
  CHECK(bus.stats().failed == 3);
  const auto dead = rx.try_receive();
  REQUIRE(dead);
  CHECK(dead->event().id() == 2);
  CHECK(dead->event().type() == "t");
  CHECK(dead->event().payload().template get<int>() == 2);
  CHECK_THROWS_AS(std::rethrow_exception(dead->error()), std::runtime_error);
  CHECK(bus.lost_dead_letters() == 2);
}

TEMPLATE_TEST_CASE("event_bus: a dead letter of a key lets the next of its key go on", "", weir::EventBus,
                   weir::PriorityEventBus) {
  weir::sim::Simulator sim;
  TestType bus(sim);
  auto [tx, rx] = weir::make_channel<weir::DeadEvent>(sim, {.capacity = 4});
  bus.set_dead_letters(std::move(tx));
  const auto bad = bus.subscribe("t", [](weir::EventContext&) -> Task<> {
    co_await weir::sleep_for(1ms);
    throw std::runtime_error("no");
  });
  play(sim, [](TestType& to) -> Task<> {
    for (int i = 1; i <= 3; ++i) {
      weir::Event event("t", i);
      event.key("k");
      co_await to.publish(std::move(event));
    }
    co_await to.drain();
  }(bus));
  CHECK(bus.stats().failed == 3);
  for (int i = 1; i <= 3; ++i) {
    const auto dead = rx.try_receive();
    REQUIRE(dead);
    CHECK(dead->event().payload().template get<int>() == i);
    CHECK(dead->event().key() == "k");
  }
}

TEMPLATE_TEST_CASE("event_bus: publishing into a full queue waits, and is cancelled without a trace", "",
                   weir::EventBus, weir::PriorityEventBus) {
  weir::sim::Simulator sim;
  TestType bus(sim, {.workers = 1, .capacity = 2});
  std::string log;
  const auto slow = bus.subscribe("t", [&](weir::EventContext& event) -> Task<> {
    co_await weir::sleep_for(10ms);
    log += event.payload<std::string>() + " ";
  });
  play(sim, [](weir::sim::Simulator& on, TestType& to) -> Task<> {
    co_await to.publish("t", std::string("1"));
    co_await weir::sleep_for(1ms);
    co_await to.publish("t", std::string("2"));
    co_await to.publish("t", std::string("3"));
    CHECK_FALSE(to.try_publish("t", std::string("refused")));
    CHECK(to.try_publish("t", std::string("refused")).error == weir::Errc::queue_full);
    weir::Event event("t", std::string("cancelled"));
    bool timed_out = false;
    try {
      co_await weir::with_timeout(2ms, to.publish(std::move(event)));
    } catch (const weir::Error& error) {
      timed_out = code_of(error) == weir::Errc::timed_out;
    }
    CHECK(timed_out);
    CHECK(event.payload().template get<std::string>() == "cancelled");
    CHECK(on.elapsed() == 3ms);
    co_await to.publish("t", std::string("4"));
    CHECK(on.elapsed() == 10ms);
    co_await to.drain();
  }(sim, bus));
  CHECK(log == "1 2 3 4 ");
}

TEMPLATE_TEST_CASE("event_bus: overflow policies drop, count and never more than they must", "", weir::EventBus,
                   weir::PriorityEventBus) {
  const auto [overflow, expected, dropped] = GENERATE(table<weir::Overflow, std::string, unsigned>({
      {weir::Overflow::reject, "1 2 3 ", 0U},
      {weir::Overflow::drop_newest, "1 2 3 ", 3U},
      {weir::Overflow::drop_oldest, "1 5 6 ", 3U},
      {weir::Overflow::latest, "1 6 ", 4U},
  }));
  weir::sim::Simulator sim;
  TestType bus(sim, {.workers = 1, .capacity = 2, .overflow = overflow});
  std::string log;
  const auto slow = bus.subscribe("t", [&](weir::EventContext& event) -> Task<> {
    log += event.payload<std::string>() + " ";
    co_await weir::sleep_for(10ms);
  });
  int refused = 0;
  play(sim, [](TestType& to, int& no) -> Task<> {
    co_await to.publish("t", std::string("1"));
    co_await weir::sleep_for(1ms);
    for (int i = 2; i <= 6; ++i) {
      auto text = std::to_string(i);
      try {
        co_await to.publish("t", std::move(text));
      } catch (const weir::Error& error) {
        if (code_of(error) == weir::Errc::queue_full) ++no;
      }
    }
    co_await to.drain();
  }(bus, refused));
  CHECK(log == expected);
  CHECK(bus.stats().dropped == dropped);
  CHECK(refused == (overflow == weir::Overflow::reject ? 3 : 0));
  const auto stats = bus.stats();
  CHECK(stats.admitted == stats.completed + stats.dropped);
}

TEMPLATE_TEST_CASE("event_bus: handlers publish to their own bus although it is full", "", weir::EventBus,
                   weir::PriorityEventBus) {
  weir::sim::Simulator sim;
  TestType bus(sim, {.workers = 1, .capacity = 2});
  int seen = 0;
  int at_once = 0;
  int most = 0;
  const auto spread = bus.subscribe("t", [&](weir::EventContext& event) -> Task<> {
    const int left = event.payload<int>();
    for (int i = 0; i < left; ++i) co_await bus.publish("t", left - 1);
    most = std::max(most, ++at_once);
    co_await weir::sleep_for(1ms);
    --at_once;
    ++seen;
  });
  play(sim, [](TestType& to) -> Task<> {
    co_await to.publish("t", 4);
    co_await to.drain();
  }(bus));
  CHECK(seen == 1 + 4 + 4 * 3 + 4 * 3 * 2 + 4 * 3 * 2);
  // One place, whoever waits: the part after the waits is never done by two.
  CHECK(most == 1);
}

TEMPLATE_TEST_CASE("event_bus: a handler waits for the end of another although there is one worker", "", weir::EventBus,
                   weir::PriorityEventBus) {
  weir::sim::Simulator sim;
  TestType bus(sim, {.workers = 1, .capacity = 1});
  std::string log;
  auto other = bus.subscribe("other", [&](weir::EventContext&) -> Task<> {
    log += "other ";
    // Gives its worker away, and needs one to come back.
    for (int i = 0; i < 3; ++i) co_await bus.publish("fill");
    log += "other-end ";
  });
  const auto fill = bus.subscribe("fill", [&](weir::EventContext&) { log += "fill "; });
  const auto joins = bus.subscribe("join", [&](weir::EventContext&) -> Task<> {
    co_await other.join();
    log += "joined ";
  });
  play(sim, [](TestType& to) -> Task<> {
    co_await to.publish("other");
    co_await to.publish("join");
    co_await to.drain();
  }(bus));
  CHECK(log.find("joined ") != std::string::npos);
  CHECK(log.find("other-end ") < log.find("joined "));
}

TEMPLATE_TEST_CASE("event_bus: too many handlers that wait for their bus are told so", "", weir::EventBus,
                   weir::PriorityEventBus) {
  weir::sim::Simulator sim;
  TestType bus(sim, {.workers = 1, .capacity = 1, .nested = 3});
  int refused = 0;
  const auto endless = bus.subscribe("t", [&](weir::EventContext& event) -> Task<> {
    try {
      const int depth = event.payload<int>();
      if (depth == 0) co_return;
      co_await bus.publish("t", depth - 1);
      co_await bus.publish("t", depth - 1);
    } catch (const weir::Error& error) {
      if (code_of(error) == weir::Errc::would_deadlock) ++refused;
    }
  });
  play(sim, [](TestType& to) -> Task<> {
    co_await to.publish("t", 6);
    co_await to.drain();
  }(bus));
  CHECK(refused > 0);
  CHECK(bus.stats().completed == bus.stats().admitted);
}

TEMPLATE_TEST_CASE("event_bus: a subscription ends at once, and join waits for its calls", "", weir::EventBus,
                   weir::PriorityEventBus) {
  weir::sim::Simulator sim;
  TestType bus(sim, {.workers = 2});
  int started = 0;
  int ended = 0;
  auto owned = std::make_shared<int>(0);
  const std::weak_ptr<int> watched = owned;
  auto slow = bus.subscribe("t", [&, kept = std::move(owned)](weir::EventContext&) -> Task<> {
    ++started;
    co_await weir::sleep_for(5ms);
    ++ended;
  });
  std::optional<weir::Subscription> suicidal;
  weir::Errc refused{};
  suicidal.emplace(bus.subscribe("own", [&](weir::EventContext&) -> Task<> {
    try {
      co_await suicidal->join();
    } catch (const weir::Error& error) {
      refused = code_of(error);
    }
  }));
  play(sim,
       [](weir::sim::Simulator& on, TestType& to, weir::Subscription& s, const int& starts, const int& ends) -> Task<> {
         co_await to.publish("t");
         co_await to.publish("own");
         co_await weir::sleep_for(1ms);
         CHECK(starts == 1);
         co_await s.join();
         CHECK(ends == 1);
         CHECK(on.elapsed() == 5ms);
         co_await to.publish("t");
         co_await to.drain();
       }(sim, bus, slow, started, ended));
  CHECK(started == 1);
  CHECK(refused == weir::Errc::would_deadlock);
  slow.reset();
  CHECK(watched.expired());
}

TEMPLATE_TEST_CASE("event_bus: a handler that is taken out by one before it is not called any more", "", weir::EventBus,
                   weir::PriorityEventBus) {
  const bool coroutine = GENERATE(false, true);
  weir::sim::Simulator sim;
  TestType bus(sim);
  int calls = 0;
  auto later = bus.subscribe("t", [&](weir::EventContext&) { ++calls; }, {.phase = 1});
  const auto leave = [&later](weir::EventContext&) -> Task<> {
    co_await weir::sleep_for(1ms);
    later.unsubscribe();
  };
  const auto first = coroutine ? bus.subscribe("t", leave)
                               : bus.subscribe("t", [&later](weir::EventContext&) { later.unsubscribe(); });
  play(sim, [](TestType& to) -> Task<> {
    co_await to.publish("t");
    co_await to.publish("t");
    co_await to.drain();
  }(bus));
  CHECK(calls == 0);
  CHECK(bus.stats().completed == 2);
}

TEMPLATE_TEST_CASE("event_bus: events of one key never overlap, and hold up nobody else", "", weir::EventBus,
                   weir::PriorityEventBus) {
  weir::sim::Simulator sim;
  // With priorities, one is left for the urgent.
  TestType bus(sim, {.workers = std::is_same_v<TestType, weir::EventBus> ? 2U : 3U});
  std::string log;
  const auto handler = bus.subscribe("t", [&](weir::EventContext& event) -> Task<> {
    log += "+" + event.payload<std::string>();
    co_await weir::sleep_for(event.event().key() == "slow" ? 10ms : 1ms);
    log += "-" + event.payload<std::string>();
  });
  play(sim, [](TestType& to) -> Task<> {
    for (const auto* const text : {"a", "b", "c"}) {
      weir::Event event("t", std::string(text));
      event.key("slow");
      co_await to.publish(std::move(event));
    }
    co_await to.publish("t", std::string("x"));
    co_await to.publish("t", std::string("y"));
    co_await to.drain();
  }(bus));
  CHECK(log == "+a+x-x+y-y-a+b-b+c-c");
}

TEMPLATE_TEST_CASE("event_bus: what has expired is not delivered, and what takes too long is cancelled", "",
                   weir::EventBus, weir::PriorityEventBus) {
  weir::sim::Simulator sim;
  TestType bus(sim);
  std::string log;
  const auto handler = bus.subscribe("t", [&](weir::EventContext& event) -> Task<> {
    log += event.payload<std::string>() + " ";
    const auto token = event.token();
    try {
      co_await weir::sleep_for(10ms);
    } catch (const weir::Error&) {
      log += token.reason() == weir::Errc::timed_out ? "timed-out " : "? ";
      throw;
    }
  });
  const auto after = bus.subscribe("t", [&](weir::EventContext&) { log += "after "; });
  play(sim, [](weir::sim::Simulator& on, TestType& to) -> Task<> {
    co_await to.publish("t", std::string("1"));
    weir::Event stale("t", std::string("stale"));
    stale.time_to_live(5ms);
    co_await to.publish(std::move(stale));
    weir::Event hangs("t", std::string("hangs"));
    hangs.run_timeout(2ms);
    co_await to.publish(std::move(hangs));
    co_await to.drain();
    CHECK(on.elapsed() == 12ms);
  }(sim, bus));
  CHECK(log == "1 after hangs timed-out ");
  CHECK(bus.stats().expired == 1);
  CHECK(bus.stats().timed_out == 1);
}

TEMPLATE_TEST_CASE("event_bus: a drain refuses what comes, ends what is there, and has a deadline", "", weir::EventBus,
                   weir::PriorityEventBus) {
  weir::sim::Simulator sim;
  TestType bus(sim, {.workers = 1, .capacity = 2});
  int cancelled = 0;
  const auto handler = bus.subscribe("t", [&](weir::EventContext&) -> Task<> {
    try {
      co_await weir::sleep_for(1h);
    } catch (const weir::Error&) {
      ++cancelled;
      throw;
    }
  });
  weir::Errc nested{};
  const auto drains = bus.subscribe("d", [&](weir::EventContext&) -> Task<> {
    try {
      co_await bus.drain();
    } catch (const weir::Error& error) {
      nested = code_of(error);
    }
  });
  play(sim, [](weir::sim::Simulator& on, TestType& to) -> Task<> {
    co_await to.publish("d");
    for (int i = 0; i < 3; ++i) co_await to.publish("t");
    const auto report = co_await to.drain(10ms);
    CHECK_FALSE(report.complete);
    CHECK(report.discarded == 2);
    CHECK(report.running == 1);
    CHECK(on.elapsed() == 10ms);
    weir::Errc refused{};
    try {
      co_await to.publish("t");
    } catch (const weir::Error& error) {
      refused = code_of(error);
    }
    CHECK(refused == weir::Errc::bus_closed);
    CHECK(to.try_publish("t", 1).error == weir::Errc::bus_closed);
  }(sim, bus));
  CHECK(nested == weir::Errc::would_deadlock);
  CHECK(cancelled == 1);
  CHECK(bus.stats().cancelled == 1);
  CHECK(bus.stats().discarded == 2);
}

TEMPLATE_TEST_CASE("event_bus: bad input is refused where it is given", "", weir::EventBus, weir::PriorityEventBus) {
  weir::sim::Simulator sim;
  CHECK_THROWS_AS(TestType(sim, {.workers = 0}), weir::Error);
  CHECK_THROWS_AS(TestType(sim, {.capacity = 0}), weir::Error);
  TestType bus(sim);
  const auto nothing = [](weir::EventContext&) {};
  for (const auto* const pattern : {"", "a..b", ".a", "a.", "a.>.b", "a*", "a b"}) {
    INFO(pattern);
    CHECK_THROWS_AS(bus.subscribe(pattern, nothing), weir::Error);
  }
  for (const auto* const topic : {"", "a..b", "a.*", ">", "a b"}) {
    INFO(topic);
    CHECK_THROWS_AS(bus.try_publish(topic, 1), weir::Error);
    CHECK_THROWS_AS(weir::Event(topic), weir::Error);
  }
  CHECK_THROWS_WITH(bus.try_publish("a..b", 1), Catch::Matchers::Contains("\"a..b\": it has an empty level"));
}

TEMPLATE_TEST_CASE("event_bus: destroyed before its events have ended it lets go of them", "", weir::EventBus,
                   weir::PriorityEventBus) {
  weir::sim::Simulator sim;
  auto payload = std::make_shared<int>(1);
  const std::weak_ptr<int> watched = payload;
  int cancelled = 0;
  weir::Subscription left;
  {
    TestType bus(sim);
    left = bus.subscribe("t", [&](weir::EventContext& event) -> Task<> {
      const auto kept = event.payload<std::shared_ptr<int>>();
      try {
        co_await weir::sleep_for(1h);
      } catch (const weir::Error&) {
        ++cancelled;
      }
    });
    play(sim, [](weir::sim::Simulator&, TestType& to, std::shared_ptr<int> p) -> Task<> {
      co_await to.publish("t", p);
      co_await to.publish("t", std::move(p));
      co_await weir::sleep_for(1ms);
      to.abort();
    }(sim, bus, std::move(payload)));
  }
  CHECK(cancelled == 1);
  CHECK(watched.expired());
}
