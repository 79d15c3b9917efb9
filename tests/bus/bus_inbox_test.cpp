// Plain events, which publishers leave beside the lock of the bus. Nothing here takes that lock on the way, as a look
// at the statistics would.
#include <weir/bus/priority_event_bus.hpp>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <weir/core/spawn.hpp>
#include <weir/core/this_task.hpp>
#include <weir/sim/explore.hpp>

#include "support/catch.hpp"
#include "support/explored_root.hpp"

#include "bus/scenario.hpp"

namespace {

using Priority = weir::EventPriority;
using weir::sim::ensure;
using weir_test::Guard;
using weir_test::Ledger;
using weir_test::Publishing;
using weir_test::Root;

struct InboxScene {
  weir::BusOptions options = {.workers = 1, .capacity = 2, .quota = 0};
  std::vector<Priority> publishers = {Priority::normal, Priority::normal};
  bool plain = false;     ///< a function handles them; else a coroutine, which takes some turns
  bool nested = false;    ///< and publishes one event more for each
  bool meddling = false;  ///< a task that publishes what is not plain, subscribes and looks at the statistics
  enum class Act { nothing, cancel, abort, destroy_bus, destroy_context } act = Act::nothing;
};

/// Knows of each event when it was admitted and when it started, and so what may start.
class InboxWorld {
  using Task = weir::Task<>;

  struct Item {
    Item(int n, Ledger& ledger) : number(n), guard(ledger) {}
    int number;
    Guard guard;
  };

 public:
  InboxWorld(weir::sim::Simulator& sim, const InboxScene& scene, Ledger& ledger)
      : sim_(sim), scene_(scene), ledger_(ledger) {
    bus_.emplace(sim, scene.options);
    if (scene.plain) {
      handler_ = bus_->subscribe("t", [this](weir::EventContext& event) {
        see(event);
        if (scene_.nested && event.payload<Item>().number < nested_from) {
          publish_now(event, event.payload<Item>().number + nested_from);
        }
        leave();
      });
    } else {
      handler_ = bus_->subscribe("t", [this](weir::EventContext& event) { return handle(event); });
    }
    for (const auto priority : scene.publishers) start(publish(priority));
    if (scene.meddling) start(meddle());
  }

  void act() {
    switch (scene_.act) {
      case InboxScene::Act::nothing:
        break;
      case InboxScene::Act::cancel:
        roots_.front()->cancel();
        break;
      case InboxScene::Act::abort:
        cut_ = true;
        bus_->abort();
        break;
      case InboxScene::Act::destroy_bus:
        cut_ = true;
        bus_.reset();
        break;
      case InboxScene::Act::destroy_context:
        sim_.stop();
        break;
    }
  }
  void check() {
    ensure(!broken_, broken_);
    if (publishing_ == 0 && !draining_) {
      draining_ = true;
      if (bus_) start(drain());
    }
  }
  void check_end() {
    if (sim_.stopped()) return;
    for (const auto& root : roots_) ensure(root->done(), "a root has not ended");
    if (cut_) return;
    ensure(waiting_.empty(), "an event that was admitted has not started");
    const auto stats = bus_->stats();
    ensure(stats.queued + stats.running == 0, "the drain has left something");
    ensure(stats.completed == seen_ + others_ && stats.admitted == stats.completed, "the counters do not add up");
  }

 private:
  static constexpr int events = 3;
  static constexpr int nested_from = 1000;

  void start(weir::Task<> task) {
    roots_.push_back(std::make_unique<Root<>>());
    roots_.back()->start(sim_, std::move(task));
  }

  void admitted(weir::EventId id, Priority priority) {
    // It may have waited for room, and have started before its publisher heard of that.
    if (early_.erase(id) != 0) return;
    waiting_.emplace(id, priority);
    const auto same = [priority](const auto& item) { return item.second == priority; };
    const auto queued = static_cast<std::size_t>(std::count_if(waiting_.begin(), waiting_.end(), same));
    // A worker may have one that it does not run yet.
    if (queued > scene_.options.capacity + scene_.options.workers) broken_ = "more is queued than there is room";
  }
  /// An event starts.
  void see(weir::EventContext& context) {
    const weir::EventId id = context.event().id();
    const Priority priority = context.event().priority();
    ++seen_;
    if (!started_.insert(id).second) broken_ = "an event starts twice";
    if (waiting_.erase(id) == 0) early_.emplace(id, priority);
    // Several may call their handlers in another order than they have taken the events.
    if (scene_.options.workers != 1) return;
    if (id <= std::exchange(last_[priority], id)) broken_ = "events of one priority start out of order";
    for (const auto& [other, urgency] : waited_) {
      if (urgency < priority && waiting_.contains(other)) {
        broken_ = "a more urgent one, admitted before the end of the one before, is passed over";
      }
    }
  }
  /// The handler of an event ends: the worker takes the next.
  void leave() { waited_ = waiting_; }

  Task publish(Priority priority) {
    const Publishing publishing(publishing_);
    for (int i = 0; i < events && bus_; ++i) {
      auto publishing_it = bus_->publish("t", Item(i, ledger_), priority);
      try {
        const weir::EventId id = co_await publishing_it;
        admitted(id, priority);
      } catch (const weir::Error& error) {
        if (weir::is_cancellation(error.code())) throw;
        ensure(cut_, "it was refused");
      }
    }
  }
  void publish_now(weir::EventContext& event, int number) {
    const auto result = event.try_publish("t", Item(number, ledger_), Priority::high);
    if (result) admitted(result.id, Priority::high);
  }
  Task handle(weir::EventContext& event) {
    see(event);
    const int number = event.payload<Item>().number;
    for (int turn = 0; turn <= number % 3; ++turn) co_await weir::yield();
    if (scene_.nested && number < nested_from && bus_) {
      auto publishing_it = event.publish("t", Item(number + nested_from, ledger_), Priority::high);
      const weir::EventId id = co_await std::move(publishing_it);
      admitted(id, Priority::high);
    }
    leave();
  }
  Task meddle() {
    const Publishing publishing(publishing_);
    co_await weir::yield();
    if (!bus_) co_return;
    const auto extra = bus_->subscribe("other", [this](weir::EventContext&) { ++others_; });
    weir::Event event("other", 1, Priority::critical);
    event.key("k");
    auto publishing_it = bus_->publish_cancellable(std::move(event));
    auto ticket = co_await publishing_it;
    auto end = ticket.outcome();
    co_await std::move(end);
    co_await weir::yield();
    if (bus_) ensure(bus_->stats().admitted >= 1, "it was not counted");
  }
  Task drain() {
    auto draining = bus_->drain();
    co_await std::move(draining);
  }

  weir::sim::Simulator& sim_;
  const InboxScene scene_;
  Ledger& ledger_;
  std::vector<std::unique_ptr<Root<>>> roots_;
  std::map<weir::EventId, Priority> waiting_;
  /// Those that were waiting at the end of the last handler.
  std::map<weir::EventId, Priority> waited_;
  std::map<weir::EventId, Priority> early_;
  std::map<Priority, weir::EventId> last_;
  std::set<weir::EventId> started_;
  std::uint64_t seen_ = 0;
  std::uint64_t others_ = 0;
  /// What a handler found, which could only throw it into the bus.
  const char* broken_ = nullptr;
  int publishing_ = 0;
  bool draining_ = false;
  bool cut_ = false;
  std::optional<weir::PriorityEventBus> bus_;
  weir::Subscription handler_;
};

auto scenario_of(const InboxScene& scene) { return weir_test::scenario_in<InboxWorld>(scene); }

const std::vector<InboxScene> every_scene = {
    {},
    {.publishers = {Priority::normal, Priority::critical}, .plain = true},
    {.options = {.workers = 1, .capacity = 1, .quota = 0}, .publishers = {Priority::low, Priority::high}},
    {.options = {.workers = 1, .capacity = 4, .quota = 0}, .plain = true, .nested = true},
    {.options = {.workers = 1, .capacity = 4, .quota = 0}, .nested = true, .meddling = true},
    {.options = {.workers = 2, .capacity = 4, .quota = 0}, .publishers = {Priority::normal, Priority::low}},
    {.options = {.workers = 3, .capacity = 2, .quota = 0},
     .publishers = {Priority::normal, Priority::normal, Priority::critical},
     .meddling = true},
};

}  // namespace

TEST_CASE("bus inbox: plain events start once, in order, the most urgent first, under every schedule tried",
          "[explore]") {
  for (const auto& scene : every_scene) {
    CAPTURE(&scene - every_scene.data());
    REQUIRE_NOTHROW(weir::sim::explore(scenario_of(scene)));
  }
}

TEST_CASE("bus inbox: a cancel, an abort or the end of the bus or its context at any step loses nothing", "[explore]") {
  for (InboxScene scene : every_scene) {
    for (const auto act : {InboxScene::Act::cancel, InboxScene::Act::abort, InboxScene::Act::destroy_bus,
                           InboxScene::Act::destroy_context}) {
      scene.act = act;
      CAPTURE(scene.options.workers, scene.plain, scene.nested, scene.meddling, static_cast<int>(act));
      REQUIRE_NOTHROW(weir::sim::explore_each_step(scenario_of(scene)));
    }
  }
}

namespace {

/// A bus with one worker that counts what it delivers of the topics x.0, x.1, …
struct NumberedTopics {
  void publish(int n) { REQUIRE(bus.try_publish(fmt::format("x.{}", n), n)); }

  asio::io_context context{1};
  weir::PriorityEventBus bus{context, {.workers = 1, .capacity = 4096}};
  int delivered = 0;
  const weir::Subscription counter = bus.subscribe("x.*", [this](weir::EventContext& event) {
    if (event.event().type() == fmt::format("x.{}", event.payload<int>())) ++delivered;
  });
};

}  // namespace

TEST_CASE("bus inbox: a topic that the bus has forgotten meanwhile is made again") {
  NumberedTopics topics;
  // So many that the last, which comes when nothing else is there, has the others forgotten.
  for (int n = 0; n < 1024; ++n) {
    topics.publish(n);
    topics.context.poll();
  }
  const auto last = topics.bus.subscribe("last", [&](weir::EventContext&) {
    for (int n = 1000; n < 1024; ++n) topics.publish(n);
  });
  REQUIRE(topics.bus.try_publish("last", 0));
  topics.context.poll();
  CHECK(topics.delivered == 1024 + 24);
}

TEST_CASE("bus inbox: a topic is not forgotten while an event of it is there") {
  NumberedTopics topics;
  // Known, and nothing of it is queued.
  topics.publish(1);
  topics.context.poll();
  const auto go = topics.bus.subscribe("go", [&](weir::EventContext&) {
    topics.publish(1);
    for (int n = 2000; n < 3200; ++n) topics.publish(n);
  });
  REQUIRE(topics.bus.try_publish("go", 0));
  topics.context.poll();
  CHECK(topics.delivered == 2 + 1200);
}

TEST_CASE("bus inbox: what drops or refuses goes by how many are queued, to the one, while a worker is busy") {
  asio::io_context context(1);
  weir::EventBus bus(context, {.workers = 1, .capacity = 2, .overflow = weir::Overflow::latest});
  std::vector<int> seen;
  const auto handler = bus.subscribe("n", [&](weir::EventContext& event) {
    seen.push_back(event.payload<int>());
    if (seen.size() != 1) return;
    for (int n = 2; n <= 5; ++n) REQUIRE(bus.try_publish("n", n));
  });
  REQUIRE(bus.try_publish("n", 1));
  context.poll();
  CHECK(seen == std::vector<int>{1, 5});

  weir::EventBus strict(context, {.workers = 1, .capacity = 2, .overflow = weir::Overflow::reject});
  int admitted = 0;
  const auto other = strict.subscribe("n", [&](weir::EventContext&) {
    if (admitted == 0) {
      while (strict.try_publish("n", 0)) ++admitted;
    }
  });
  REQUIRE(strict.try_publish("n", 1));
  context.poll();
  CHECK(admitted == 2);
}

namespace {

/// A bus whose only worker is busy with event 1 until it may go on.
struct Busy {
  asio::io_context context{1};
  weir::PriorityEventBus bus{context, {.workers = 1, .capacity = 2}};
  bool go = false;
  weir::Subscription handler = bus.subscribe("n", [this](weir::EventContext&) -> weir::Task<> {
    while (!go) co_await weir::yield();
  });

  Busy() {
    REQUIRE(bus.try_publish("n", 1));
    some_turns();
  }
  void some_turns() {
    for (int turn = 0; turn < 10; ++turn) context.run_one();
  }
  void finish() {
    go = true;
    context.poll();
  }
};

}  // namespace

TEST_CASE("bus inbox: it is closed by a drain and by an abort while a worker is busy") {
  Busy busy;
  weir::PriorityEventBus& bus = busy.bus;
  REQUIRE(bus.try_publish("n", 2));
  auto draining = bus.drain();
  weir::spawn(busy.context, std::move(draining), asio::detached);
  busy.some_turns();
  CHECK(bus.try_publish("n", 3).error == weir::Errc::bus_closed);
  bus.abort();
  CHECK(bus.try_publish("n", 4).error == weir::Errc::bus_closed);
  CHECK(bus.stats().discarded == 1);
  busy.finish();
  CHECK(bus.stats().admitted == 2);
}

TEST_CASE("bus inbox: nobody takes the room that a batch waits for") {
  Busy busy;
  REQUIRE(busy.bus.try_publish("n", 2));
  std::vector<weir::Event> events;
  for (int n = 3; n <= 4; ++n) events.emplace_back("n", n);
  auto publishing = busy.bus.publish_batch(std::move(events), weir::BatchMode::atomic);
  weir::spawn(busy.context, std::move(publishing), [](std::exception_ptr, std::optional<weir::BatchReport>) {});
  busy.some_turns();
  CHECK(busy.bus.try_publish("n", 5).error == weir::Errc::queue_full);
  busy.finish();
  CHECK(busy.bus.stats().completed == 4);
}
