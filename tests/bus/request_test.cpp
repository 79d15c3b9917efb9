#include <weir/bus/request.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include <weir/bus/priority_event_bus.hpp>

#include "support/catch.hpp"

#include "bus/scene.hpp"

using namespace std::chrono_literals;
using weir::Errc;
using weir::Task;
using weir_test::play;
using Bus = weir::PriorityEventBus;

namespace {

template <class T>
Task<std::string> text_of(Task<T> asking) {
  std::string text;
  try {
    const T got = co_await std::move(asking);
    text = std::to_string(got);
  } catch (const weir::Error& error) {
    text = "error " + std::to_string(error.code().value());
  } catch (const std::exception& error) {
    text = error.what();
  }
  co_return text;
}
std::string error_of(Errc code) { return "error " + std::to_string(static_cast<int>(code)); }

struct Ask {
  explicit Ask(int v) : n(v) {}
  int n;
};
constexpr weir::Topic<Ask> square{"math.square"};

}  // namespace

TEMPLATE_TEST_CASE("request: what a handler returns or replies reaches the requester", "", weir::EventBus,
                   weir::PriorityEventBus) {
  weir::sim::Simulator sim;
  TestType bus(sim);
  const auto plain = bus.subscribe(square, [](const Ask& ask) { return ask.n * ask.n; });
  const auto later = bus.subscribe("math.later", [](weir::EventContext& event) -> Task<int> {
    co_await weir::sleep_for(1ms);
    co_return event.payload<int>() + 1;
  });
  bool after_reply = false;
  const auto early = bus.subscribe("math.early", [&after_reply](weir::EventContext& event) -> Task<> {
    CHECK(event.is_request());
    CHECK(event.reply(7));
    CHECK_FALSE(event.reply(8));
    co_await weir::sleep_for(1h);
    after_reply = true;
  });
  const auto second = bus.subscribe("math.early", [](weir::EventContext&) { return 9; }, {.phase = 1});
  play(sim, [](TestType& to, bool& went_on) -> Task<> {
    const int squared = co_await to.template request<int>("math.square", Ask(5));
    CHECK(squared == 25);
    const int more = co_await to.template request<int>("math.later", 1, 1s);
    CHECK(more == 2);
    weir::Event event("math.early", 1);
    const auto start = co_await weir::this_task::now();
    const int first = co_await to.template request<int>(std::move(event), 1s);
    const auto end = co_await weir::this_task::now();
    CHECK(first == 7);
    CHECK(end == start);
    // An event that is no request: the reply goes nowhere.
    co_await to.publish("math.later", 1);
    co_await to.drain();
    CHECK(went_on);
  }(bus, after_reply));
  CHECK(bus.stats().completed == 4);
}

TEST_CASE("request: without a reply it says why") {
  weir::sim::Simulator sim;
  Bus bus(sim, {.workers = 2});
  const auto thing = std::make_shared<int>(0);
  const auto throws = bus.subscribe("throws", [](weir::EventContext&) -> int { throw std::runtime_error("mine"); });
  const auto silent = bus.subscribe("silent", [](weir::EventContext&) {});
  const auto other = bus.subscribe("other", [](weir::EventContext&) { return std::string("5"); });
  const auto hangs = bus.subscribe("hangs", [thing](weir::EventContext&) -> Task<int> {
    const auto held = thing;
    co_await weir::sleep_for(1h);
    co_return 1;
  });
  const auto picky =
      bus.subscribe_if("picky", [](const weir::Event&) { return false; }, [](weir::EventContext&) { return 1; });
  play(sim, [](Bus& to, std::shared_ptr<int> held) -> Task<> {
    auto said = co_await text_of(to.request<int>("nobody", 1));
    CHECK(said == error_of(Errc::no_handler));
    said = co_await text_of(to.request<int>("picky", 1));
    CHECK(said == error_of(Errc::no_handler));
    said = co_await text_of(to.request<int>("silent", 1));
    CHECK(said == error_of(Errc::no_reply));
    said = co_await text_of(to.request<int>("throws", 1));
    CHECK(said == "mine");
    said = co_await text_of(to.request<int>("other", 1));
    CHECK(said == error_of(Errc::wrong_payload));
    said = co_await text_of(to.request<int>("hangs", 1, 10ms));
    CHECK(said == error_of(Errc::timed_out));
    co_await weir::sleep_for(1ms);
    // The handler was cancelled with it.
    CHECK(held.use_count() == 3);
    CHECK(to.stats().cancelled == 1);
    weir::Event event("hangs", 1);
    event.run_timeout(5ms);
    said = co_await text_of(to.request<int>(std::move(event)));
    CHECK(said == error_of(Errc::timed_out));
    co_await to.drain();
    said = co_await text_of(to.request<int>("other", 1));
    CHECK(said == error_of(Errc::bus_closed));
  }(bus, thing));
}

TEST_CASE("request: a queued one that times out never runs, and one of an aborted bus is told") {
  weir::sim::Simulator sim;
  Bus bus(sim);
  int calls = 0;
  const auto slow = bus.subscribe("slow", [](weir::EventContext&) -> Task<> { co_await weir::sleep_for(1h); });
  const auto answers = bus.subscribe("t", [&calls](weir::EventContext&) { return ++calls; });
  play(sim, [](Bus& to) -> Task<> {
    co_await to.publish("slow", 1);
    const auto late = co_await text_of(to.request<int>("t", 1, 1s));
    CHECK(late == error_of(Errc::timed_out));
    CHECK(to.stats().queued == 0);
    weir::spawn(co_await weir::this_task::executor(), [](Bus& bus_of) -> Task<> {
      co_await weir::sleep_for(1ms);
      bus_of.abort();
    }(to));
    const auto closed = co_await text_of(to.request<int>("t", 2));
    CHECK(closed == error_of(Errc::bus_closed));
  }(bus));
  CHECK(calls == 0);
}

TEST_CASE("request: handlers that ask their own bus do not deadlock with one worker and a queue of two") {
  weir::sim::Simulator sim;
  Bus bus(sim, {.workers = 1, .capacity = 2});
  // Fibonacci's numbers, each asked of the bus.
  const auto fib = bus.subscribe("fib", [&bus](weir::EventContext& event) -> Task<int> {
    const int n = event.payload<int>();
    if (n < 2) co_return n;
    const int a = co_await bus.request<int>("fib", n - 1);
    const int b = co_await bus.request<int>("fib", n - 2);
    co_return a + b;
  });
  int sum = 0;
  play(sim, [](Bus& to, int& out) -> Task<> {
    out = co_await to.request<int>("fib", 8);
    co_await to.drain();
  }(bus, sum));
  CHECK(sum == 21);
  CHECK(bus.stats().completed == 67);
}

TEST_CASE("request: by completion token") {
  weir::sim::Simulator sim;
  Bus bus(sim);
  const auto answers = bus.subscribe("t", [](weir::EventContext& event) { return event.payload<int>() + 1; });
  int got = 0;
  bus.async_request<int>(weir::Event("t", 1), 1s, [&](std::exception_ptr error, int reply) {
    CHECK_FALSE(error);
    got = reply;
    bus.abort();
  });
  sim.run();
  CHECK(got == 2);
}

TEST_CASE("request: a reply that comes before its requester has heard of the admission is not waited for") {
  asio::io_context there;
  asio::io_context here;
  weir::PriorityEventBus bus(there, {.workers = 1, .capacity = 1});
  const auto handler = bus.subscribe("asked", [](weir::EventContext& event) -> Task<> {
    event.reply(7);
    co_await weir::sleep_for(1h);
  });
  bus.try_publish("first", 0);
  int reply = 0;
  weir::spawn(here, bus.request<int>("asked", 0), [&reply](const std::exception_ptr&, int value) { reply = value; });
  // It waits for room, gets it, and is replied to, all before it runs again.
  here.poll();
  there.poll();
  CHECK(reply == 0);
  here.restart();
  here.poll();
  CHECK(reply == 7);
  bus.abort();
  there.poll();
}
