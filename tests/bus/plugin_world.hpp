// A plugin that publishes, handles, waits and runs on a bus that others use, too, and is closed while it does, with
// what must hold at each step and at the end, for the simulator.
#pragma once

#include <weir/bus/plugin_scope.hpp>

#include <memory>
#include <optional>
#include <stdexcept>
#include <vector>

#include <weir/bus/priority_event_bus.hpp>
#include <weir/core/timer.hpp>
#include <weir/sim/explore.hpp>

#include "support/explored_root.hpp"

#include "bus/scenario.hpp"

namespace weir_test {

struct PluginScene {
  weir::BusOptions options = {.workers = 1, .capacity = 2};
  std::size_t quota = 1;
  bool stubborn = false;                      ///< a handler that outlives the deadline, and heeds being cancelled
  bool timed = false;                         ///< a timer, and another close that comes at the same time
  bool leaving = false;                       ///< the plugin subscribes and unsubscribes all the while
  bool cancelling = false;                    ///< the host cancels the plugin's events by their tickets
  bool draining = false;                      ///< the bus is drained meanwhile
  bool from_handler = false;                  ///< it is closed by a handler of the same bus
  std::optional<weir::BatchMode> batch = {};  ///< how the plugin publishes
  bool failing = false;                       ///< a handler of the host throws for every other event
  bool kept = false;                          ///< last values are, and handlers of both get them
  enum class Act { nothing, cancel, abort, destroy_bus, destroy_scope, destroy_context } act = Act::nothing;
};

class PluginWorld {
  using Task = weir::Task<>;

  /// What the plugin must not leave behind.
  struct Item {
    explicit Item(Ledger& ledger) : guard(ledger) {}
    Guard guard;
  };

 public:
  PluginWorld(weir::sim::Simulator& sim, const PluginScene& scene, Ledger& ledger)
      : sim_(sim), scene_(scene), ledger_(ledger) {
    bus_.emplace(sim, scene.options);
    scope_.emplace(*bus_, "p", weir::PluginOptions{.quota = scene.quota});
    if (scene.kept) bus_->keep_last_values(">");
    host_handler_ =
        bus_->subscribe("p.*", weir::compensated([this](weir::EventContext& event) { return serve(event); },
                                                 [](const weir::Event&) -> Task { co_await weir::yield(); }));
    plugin_handler_ = scope_->subscribe(
        "*.a", weir::compensated([this, item = Item(ledger)](weir::EventContext& event) { return handle(event); },
                                 [this, item = Item(ledger)](const weir::Event&) { return undo(); }));
    scope_->spawn(publish_as_plugin(Item(ledger_)));
    if (scene.leaving) scope_->spawn(come_and_go());
    if (scene.timed) {
      scope_->every(std::chrono::milliseconds(1), [this, item = Item(ledger)] { check_open(); });
    }
    roots_.start(publish_as_host());
    if (scene.cancelling) roots_.start(cancel_each());
    if (scene.draining) roots_.start(wait_for(bus_->drain()));
    if (scene.from_handler) {
      closer_handler_ = bus_->subscribe("close", [this](weir::EventContext&) { return close(); });
    } else {
      roots_.start(close());
    }
    if (scene.timed) roots_.start(close());
  }

  void act() {
    switch (scene_.act) {
      case PluginScene::Act::nothing:
        break;
      case PluginScene::Act::cancel:
        roots_.cancel();
        ending_ = false;
        break;
      case PluginScene::Act::abort:
        bus_->abort();
        break;
      case PluginScene::Act::destroy_bus:
        bus_.reset();
        break;
      case PluginScene::Act::destroy_scope:
        scope_.reset();
        break;
      case PluginScene::Act::destroy_context:
        sim_.stop();
        break;
    }
  }

  void check() {
    if (bus_) ensure_sum(bus_->stats());
    if (scope_) weir::sim::ensure(scope_->stats().queued <= scene_.quota, "more is queued than the quota");
    if (closed_) weir::sim::ensure(ledger_.alive == 0, "something of the plugin lives after its end");
    if (!ending_ && roots_.done() && bus_) {
      ending_ = true;
      roots_.start(wait_for(bus_->drain()));
    }
  }

  void check_end() {
    if (sim_.stopped()) return;
    roots_.check_end();
    weir::sim::ensure(closed_ || scene_.act != PluginScene::Act::nothing, "the plugin was not closed");
    weir::sim::ensure(ledger_.alive == 0 || (scope_ && !scope_->closed()), "something of the plugin is left");
  }

 private:
  void check_open() const { weir::sim::ensure(!closed_, "code of the plugin runs after its end"); }
  struct Open {
    explicit Open(const PluginWorld& w) : world(w) { world.check_open(); }
    Open(const Open&) = delete;
    Open& operator=(const Open&) = delete;
    ~Open() { world.check_open(); }
    const PluginWorld& world;
  };

  Task serve(weir::EventContext& event) {
    const bool fails = scene_.failing && event.id() % 2 == 0;
    co_await weir::yield();
    if (fails) throw std::runtime_error("no");
  }
  Task undo() {
    const Open open(*this);
    const Item item(ledger_);
    co_await weir::yield();
  }
  Task handle(weir::EventContext& event) {
    const Open open(*this);
    const Item item(ledger_);
    if (scene_.stubborn) {
      co_await weir::sleep_for(std::chrono::milliseconds(10));
    } else {
      co_await weir::yield();
    }
    if (event.topic() == "h.a" && scope_) co_await scope_->publish("p.b", Item(ledger_));
  }
  Task publish_batch() {
    const Open open(*this);
    std::vector<weir::Event> events;
    for (int i = 0; i < 2; ++i) events.emplace_back("p.a", Item(ledger_));
    weir::BatchOptions options;
    options.attempts = 1;
    const auto report = co_await scope_->publish_batch(std::move(events), *scene_.batch, options);
    weir::sim::ensure(report.size() == 2, "a report is not whole");
    if (report.outcome == weir::BatchOutcome::rollback_incomplete) {
      weir::sim::ensure(!report.not_undone.empty(), "what was not undone is not reported");
      weir::sim::ensure(!scope_ || scope_->closed() || scene_.act != PluginScene::Act::nothing,
                        "a compensator was not called of a plugin that is there");
    }
  }
  Task publish_as_plugin(Item) {
    const Open open(*this);
    if (scene_.batch) {
      auto batch = publish_batch();
      co_await std::move(batch);
      co_return;
    }
    for (int i = 0; i < 2 && scope_; ++i) {
      if (!scene_.cancelling) {
        weir::Event event("p.a", Item(ledger_));
        event.key("k");
        co_await scope_->publish(std::move(event));
        continue;
      }
      auto ticket = co_await scope_->publish_cancellable("p.a", Item(ledger_));
      tickets_.push_back(ticket);
      co_await ticket.outcome();
    }
  }
  Task come_and_go() {
    const Open open(*this);
    for (int i = 0; i < 2 && scope_; ++i) {
      auto subscription =
          scope_->subscribe("h.*", [item = Item(ledger_)](weir::EventContext&) {}, {.last_value = scene_.kept});
      const auto of_host = bus_ && scene_.kept ? bus_->subscribe(">", [](weir::EventContext&) {}, {.last_value = true})
                                               : weir::Subscription();
      co_await weir::yield();
      co_await subscription.join();
    }
  }
  Task publish_as_host() {
    try {
      if (bus_) co_await bus_->publish("h.a");
      if (bus_ && scene_.from_handler) co_await bus_->publish("close");
      if (bus_) co_await bus_->publish("h.a");
    } catch (const weir::Error& error) {
      weir::sim::ensure(error.code() == weir::Errc::bus_closed || weir::is_cancellation(error.code()),
                        "a publisher failed with something else");
    }
  }
  Task cancel_each() {
    for (int i = 0; i < 3; ++i) {
      co_await weir::yield();
      for (const auto& ticket : tickets_) {
        const auto answer = ticket.cancel().answer;
        weir::sim::ensure(answer != weir::CancelAnswer::not_found, "an event of this bus was not found");
      }
    }
  }
  Task close() {
    co_await weir::yield();
    if (!scope_) co_return;
    auto closing = scope_->close(std::chrono::milliseconds(scene_.stubborn ? 5 : 100));
    const weir::PluginReport report = co_await std::move(closing);
    weir::sim::ensure(report.complete, "it was not taken back");
    weir::sim::ensure(report.handlers <= 2, "more handlers were taken out than there were");
    closed_ = true;
    weir::sim::ensure(ledger_.alive == 0, "something of the plugin lives after its end");
  }

  weir::sim::Simulator& sim_;
  const PluginScene scene_;
  Ledger& ledger_;
  Roots roots_{sim_};
  std::vector<weir::EventTicket> tickets_;
  bool closed_ = false;
  bool ending_ = false;
  std::optional<weir::PriorityEventBus> bus_;
  weir::Subscription host_handler_;
  weir::Subscription plugin_handler_;
  weir::Subscription closer_handler_;
  std::optional<weir::PluginScope> scope_;
};

inline auto scenario_of(const PluginScene& scene) { return weir_test::scenario_in<PluginWorld>(scene); }

}  // namespace weir_test
