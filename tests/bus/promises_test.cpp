// What is promised to users, against the plain bus under the same load, in virtual time.
#include <weir/bus/priority_event_bus.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <optional>

#include <weir/core/timer.hpp>

#include "bus/scene.hpp"
#include "support/catch.hpp"

using namespace std::chrono_literals;
using weir::EventPriority;
using weir::Task;

namespace {

using Duration = std::chrono::steady_clock::duration;

struct Load {
  std::size_t events = 0;
  std::size_t at_once = 1;  ///< they arrive in crowds
  Duration every{};         ///< a crowd
  std::size_t urgent = 0;   ///< one of so many is critical, the others are low
  std::size_t hangs = 0;    ///< one of so many waits for what never comes
  Duration deadline{};      ///< from the publication to the end
  bool helped = false;      ///< by what the plain bus has not, or does not use: times to live, run timeouts
  Duration watched = 10s;
};

struct Answer {
  std::array<Duration, 2> response{};  ///< all that the urgent took, from publication to end, and all that others did
  std::size_t in_time = 0;
  std::size_t stuck = 0;
};

struct Item {
  Item(Duration when, bool is_urgent, bool hanging) : published(when), urgent(is_urgent), hangs(hanging) {}
  Duration published;
  bool urgent;
  bool hangs;
};

/// One worker, and a millisecond of work for each event.
template <class Bus>
class Office {
 public:
  explicit Office(const Load& load) : load_(load), bus_(sim_, {.workers = 1, .capacity = load.events}) {
    handler_ = bus_.subscribe("work", [this](weir::EventContext& event) { return handle(event.payload<Item>()); });
  }

  [[nodiscard]] Answer run() {
    weir_test::play(sim_, script(*this));
    return answer_;
  }

 private:
  Task<> handle(const Item& item) {
    co_await weir::sleep_for(item.hangs ? Duration(1h) : Duration(1ms));
    const Duration took = sim_.elapsed() - item.published;
    answer_.response[item.urgent ? 0 : 1] += took;
    if (took <= load_.deadline) ++answer_.in_time;
  }
  [[nodiscard]] static bool each(std::size_t nth, std::size_t i) { return nth != 0 && i % nth == nth - 1; }
  [[nodiscard]] weir::Event event_of(std::size_t i) {
    const bool urgent = each(load_.urgent, i);
    weir::Event event("work", Item(sim_.elapsed(), urgent, each(load_.hangs, i)),
                      urgent ? EventPriority::critical : EventPriority::low);
    if (load_.helped) {
      event.run_timeout(10ms);
      if (load_.deadline > 1ms) event.time_to_live(load_.deadline - 1ms);
    }
    return event;
  }
  static Task<> script(Office& office) {
    const Load& load = office.load_;
    for (std::size_t i = 0; i < load.events; ++i) {
      if (i != 0 && i % load.at_once == 0) co_await weir::sleep_for(load.every);
      auto event = office.event_of(i);
      co_await office.bus_.publish(std::move(event));
    }
    co_await weir::sleep_for(load.watched);
    const auto stats = office.bus_.stats();
    office.answer_.stuck = stats.queued + stats.running;
    office.bus_.abort();
  }

  const Load load_;
  Answer answer_;
  weir::sim::Simulator sim_;
  Bus bus_;
  weir::Subscription handler_;
};

using Plain = Office<weir::EventBus>;
using Urgent = Office<weir::PriorityEventBus>;

}  // namespace

TEST_CASE("promises: urgent events are answered in less than a fifth of the time, and others pay no more than that") {
  const Load load = {.events = 1000, .at_once = 20, .every = 21ms, .urgent = 10};
  const Answer plain = Plain(load).run();
  const Answer weir = Urgent(load).run();
  REQUIRE(plain.response[0] > 0ms);
  CHECK(weir.response[0] * 5 < plain.response[0]);
  CHECK(weir.response[0] + weir.response[1] == plain.response[0] + plain.response[1]);
  CHECK(plain.stuck + weir.stuck == 0);
}

TEST_CASE("promises: where handlers hang, run timeouts leave nothing stuck of what the plain bus never gets to") {
  Load load = {.events = 1000, .every = 2ms, .hangs = 50};
  const Answer plain = Plain(load).run();
  load.helped = true;
  const Answer weir = Urgent(load).run();
  CHECK(plain.stuck == 1000 - 49);
  CHECK(weir.stuck == 0);
}

TEST_CASE("promises: under overload, times to live get more done within the deadline than first in, first out") {
  Load load = {.events = 1500, .at_once = 3, .every = 2ms, .urgent = 10, .deadline = 20ms};
  const Answer plain = Plain(load).run();
  load.helped = true;
  const Answer weir = Urgent(load).run();
  REQUIRE(plain.in_time > 0);
  CHECK(weir.in_time * 10 >= plain.in_time * 13);
  CHECK(weir.in_time > 900);
  CHECK(plain.in_time < 100);
}
