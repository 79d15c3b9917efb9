#include <weir/bus/priority_event_bus.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "support/catch.hpp"

#include "bus/scenario.hpp"

namespace {

using weir::EventContext;
using weir::EventPriority;
using weir::Task;
using weir::sim::ensure;
using weir::sim::explore;
using weir::sim::explore_each_step;

constexpr std::size_t topics = 2;

struct Scene {
  weir::BusOptions options = {.workers = 1, .capacity = 2};
  bool mixed = false;      ///< of two priorities
  bool keyed = false;      ///< all of one key
  bool cancelled = false;  ///< some are
  bool leaving = false;    ///< a handler goes before the end
  enum class Saga { none, commits, fails } saga = Saga::none;
  enum class Act { nothing, cancel, abort, destroy_bus, destroy_context } act = Act::nothing;
};

/// Publishers of numbered values, one handler from the beginning, and others that come while events flow.
class World {
  struct Item {
    Item(int n, weir_test::Ledger& ledger) : id(n), guard(ledger) {}
    int id;
    weir_test::Guard guard;
  };
  using Log = std::array<std::vector<int>, topics>;
  struct Late {
    Log log;
    /// How many the first handler had seen when this one came.
    std::array<std::size_t, topics> before{};
    weir::Subscription subscription;
    bool left = false;
  };

 public:
  World(weir::sim::Simulator& sim, const Scene& scene, weir_test::Ledger& ledger)
      : sim_(sim), scene_(scene), ledger_(ledger) {
    bus_.emplace(sim, scene.options);
    bus_->keep_last_values("t.*");
    witness_ = bus_->subscribe(
        "t.*", weir::compensated([this](EventContext& event) { note(history_, event); }, [](const weir::Event&) {}),
        {.phase = -1});
    if (scene.saga != Scene::Saga::none) {
      failing_ = bus_->subscribe("t.*", weir::compensated(
                                            [this](EventContext& event) -> Task<> {
                                              co_await weir::yield();
                                              if (scene_.saga == Scene::Saga::fails && event.payload<Item>().id == 91) {
                                                throw std::runtime_error("fails");
                                              }
                                            },
                                            [](const weir::Event&) {}));
      roots_.start(publish_saga());
    }
    for (int p = 0; p < 2; ++p) roots_.start(publish(p));
    for (Late& late : late_) roots_.start(come(late));
    tasks_ = static_cast<int>(roots_.size());
  }

  void act() {
    switch (scene_.act) {
      case Scene::Act::nothing:
        break;
      case Scene::Act::cancel:
        roots_[0].cancel();
        acted_ = true;
        break;
      case Scene::Act::abort:
        bus_->abort();
        acted_ = true;
        break;
      case Scene::Act::destroy_bus:
        bus_.reset();
        acted_ = true;
        break;
      case Scene::Act::destroy_context:
        sim_.stop();
        break;
    }
  }
  void check() {
    if (ended_ == tasks_ && !std::exchange(draining_, true) && bus_) roots_.start(weir_test::wait_for(bus_->drain()));
    if (bus_) weir_test::ensure_sum(bus_->stats());
  }
  void check_end() {
    if (sim_.stopped()) return;
    roots_.check_end();
    for (const Late& late : late_) {
      for (std::size_t topic = 0; topic < topics; ++topic) check_log(late, topic);
    }
    if (bus_) ensure(bus_->stats().last_values.kept == 0, "the drain has left a value");
  }

 private:
  struct AtEnd {
    AtEnd(int& n, int step) : count(n), by(step) {}
    AtEnd(const AtEnd&) = delete;
    AtEnd& operator=(const AtEnd&) = delete;
    ~AtEnd() { count += by; }
    int& count;
    int by;
  };

  static void note(Log& log, EventContext& event) {
    log[event.topic() == "t.0" ? 0 : 1].push_back(event.payload<Item>().id);
  }
  [[nodiscard]] weir::Event event_of(int id) {
    weir::Event event(id % 2 == 0 ? "t.0" : "t.1", Item(id, ledger_));
    if (scene_.mixed && id % 3 == 0) event.priority(EventPriority::critical);
    if (scene_.keyed) event.key("k");
    return event;
  }
  Task<> publish(int p) {
    const AtEnd end(ended_, 1);
    for (int i = 0; i < 3 && bus_; ++i) {
      auto event = event_of(10 * (p + 1) + i);
      auto publishing = bus_->publish_cancellable(std::move(event));
      try {
        const auto ticket = co_await publishing;
        if (scene_.cancelled && i == 1) ticket.cancel();
      } catch (const weir::Error& error) {
        if (error.code() != weir::Errc::bus_closed) throw;
      }
    }
  }
  Task<> publish_saga() {
    const AtEnd end(ended_, 1);
    std::vector<weir::Event> events;
    for (const int id : {92, 91, 94}) events.push_back(event_of(id));
    auto batch = bus_->publish_batch(std::move(events), weir::BatchMode::saga);
    try {
      const auto report = co_await std::move(batch);
      committed_ = report.outcome == weir::BatchOutcome::committed;
    } catch (const weir::Error& error) {
      if (error.code() != weir::Errc::bus_closed) throw;
    }
  }
  Task<> come(Late& late) {
    const AtEnd end(ended_, 1);
    co_await weir::yield();
    if (!bus_) co_return;
    for (std::size_t topic = 0; topic < topics; ++topic) late.before[topic] = history_[topic].size();
    late.subscription =
        bus_->subscribe("t.*",
                        weir::compensated([this, &late](EventContext& event) { return handle(late, event); },
                                          [](const weir::Event&) {}),
                        {.last_value = true});
    if (!scene_.leaving || &late != &late_.front()) co_return;
    co_await weir::yield();
    late.left = true;
    co_await late.subscription.join();
  }
  Task<> handle(Late& late, EventContext& event) {
    ++running_;
    const AtEnd end(running_, -1);
    if (scene_.keyed) ensure(running_ == 1, "two events of one key overlap");
    note(late.log, event);
    co_await weir::yield();
  }

  void check_log(const Late& late, std::size_t topic) const {
    auto log = late.log[topic];
    auto history = history_[topic];
    auto sorted = log;
    std::sort(sorted.begin(), sorted.end());
    ensure(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end(), "a value was delivered twice");
    if (acted_ || scene_.cancelled) return;
    if (scene_.saga != Scene::Saga::none) {
      check_saga(log, history);
      return;
    }
    if (log.empty()) {
      ensure(late.left || history.empty(), "the last value was not delivered");
      return;
    }
    // Beside each other they may be seen in another order, but it is the same events.
    const bool ordered = scene_.options.workers == 1 || scene_.keyed;
    const auto from = ordered ? std::find(history.begin(), history.end(), log.front()) - history.begin()
                              : static_cast<std::ptrdiff_t>(history.size() - log.size());
    ensure(from < static_cast<std::ptrdiff_t>(history.size()), "a value was delivered that nobody else saw");
    const auto before = static_cast<std::ptrdiff_t>(late.before[topic]);
    ensure(from + 1 >= before, "a value was delivered that was not the last");
    ensure(from + 1 <= before + 1 + static_cast<std::ptrdiff_t>(scene_.options.workers), "there is a gap");
    if (!ordered && late.left) return;
    history.erase(history.begin(), history.begin() + from);
    ensure(log.size() == history.size() || (late.left && log.size() < history.size()), "there is a gap at the end");
    history.resize(log.size());
    if (!ordered) {
      std::sort(log.begin(), log.end());
      std::sort(history.begin(), history.end());
    }
    ensure(log == history, "there is a gap, or another order");
  }
  /// The events of a saga take effect together, for who comes while it runs.
  void check_saga(const std::vector<int>& log, const std::vector<int>& history) const {
    const auto has = [&log](int id) { return std::find(log.begin(), log.end(), id) != log.end(); };
    const bool first_topic = !history.empty() && history.front() % 2 == 0;
    if (committed_ && first_topic) {
      ensure(has(94) || (!log.empty() && log.back() < 90), "what a saga committed was not delivered");
    }
    for (const int id : log) ensure(id < 95, "a value that was never published");
    ensure(!log.empty() || history.empty() || !committed_, "the last value was not delivered");
  }

  weir::sim::Simulator& sim_;
  const Scene scene_;
  weir_test::Ledger& ledger_;
  weir_test::Roots roots_{sim_};
  Log history_;
  std::array<Late, 2> late_;
  int tasks_ = 0;
  int ended_ = 0;
  int running_ = 0;
  bool draining_ = false;
  bool acted_ = false;
  bool committed_ = false;
  std::optional<weir::PriorityEventBus> bus_;
  weir::Subscription witness_;
  weir::Subscription failing_;
};

const std::vector<Scene> every_scene = {
    {.mixed = true},
    {.options = {.workers = 2, .capacity = 4}},
    {.options = {.workers = 2, .capacity = 2}, .keyed = true},
    {.options = {.workers = 2, .capacity = 2}, .mixed = true, .keyed = true, .cancelled = true},
    {.options = {.workers = 1, .capacity = 2}, .leaving = true},
    {.options = {.workers = 1, .capacity = 4}, .saga = Scene::Saga::commits},
    {.options = {.workers = 2, .capacity = 4}, .saga = Scene::Saga::fails},
};

auto scenario_of(const Scene& scene) { return weir_test::scenario_in<World>(scene); }

}  // namespace

TEST_CASE("last value: a late handler misses nothing and gets nothing twice, under every schedule tried", "[explore]") {
  for (const auto& scene : every_scene) {
    CAPTURE(&scene - every_scene.data());
    REQUIRE_NOTHROW(explore(scenario_of(scene)));
  }
}

TEST_CASE("last value: a cancel, an abort or the end of the bus or its context at any step leaves nothing",
          "[explore]") {
  for (Scene scene : every_scene) {
    CAPTURE(scene.options.workers, scene.keyed, scene.leaving, static_cast<int>(scene.saga));
    for (const auto act :
         {Scene::Act::cancel, Scene::Act::abort, Scene::Act::destroy_bus, Scene::Act::destroy_context}) {
      scene.act = act;
      CAPTURE(static_cast<int>(act));
      REQUIRE_NOTHROW(explore_each_step(scenario_of(scene)));
    }
  }
}
