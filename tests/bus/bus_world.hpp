// Publishers, cancellers, subscribers and handlers of all kinds on one bus, with what must hold at each step and at the
// end, for the simulator.
#pragma once

#include <weir/bus/priority_event_bus.hpp>

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <weir/core/timer.hpp>
#include <weir/sim/explore.hpp>

#include "support/explored_root.hpp"

#include "bus/scenario.hpp"

namespace weir_test {

struct BusScene {
  weir::BusOptions options = {.workers = 2, .capacity = 2};
  int publishers = 2;
  int events = 2;           ///< of each publisher
  bool keyed = false;       ///< all of one key
  bool nested = false;      ///< handlers publish one event more for each
  bool asking = false;      ///< and wait for its outcome, instead of its admission only
  bool cancelling = false;  ///< a task that cancels each event by its ticket
  bool leaving = false;     ///< a second handler that unsubscribes and joins while events flow
  bool timed = false;       ///< a time to live and a run timeout, in the way of the handlers
  enum class Act { nothing, cancel, abort, destroy_bus, destroy_context } act = Act::nothing;
  int victim = 0;
};

class BusWorld {
  using Task = weir::Task<>;
  using Priority = weir::EventPriority;

  struct Item {
    Item(int n, Ledger& ledger) : id(n), guard(ledger) {}
    int id;
    Guard guard;
  };
  struct Seen {
    weir::EventTicket ticket;
    int calls = 0;
    int ends = 0;
    std::optional<weir::CancelAnswer> first_answer;
    std::optional<weir::EventOutcome> outcome;
  };

 public:
  BusWorld(weir::sim::Simulator& sim, const BusScene& scene, Ledger& ledger)
      : sim_(sim), scene_(scene), ledger_(ledger) {
    bus_.emplace(sim, scene.options);
    handler_ = bus_->subscribe("t.*", [this](weir::EventContext& event) { return handle(event); });
    if (scene.leaving) {
      leaver_ = bus_->subscribe("t.>", [this](weir::EventContext&) { return handle_leaving(); }, {.phase = 1});
      roots_.start(leave());
    }
    for (int p = 0; p < scene.publishers; ++p) roots_.start(publish(p));
    if (scene.cancelling) roots_.start(cancel_each());
  }

  void act() {
    switch (scene_.act) {
      case BusScene::Act::nothing:
        break;
      case BusScene::Act::cancel:
        roots_[static_cast<std::size_t>(scene_.victim)].cancel();
        break;
      case BusScene::Act::abort:
        bus_->abort();
        aborted_ = true;
        break;
      case BusScene::Act::destroy_bus:
        destroy();
        break;
      case BusScene::Act::destroy_context:
        sim_.stop();
        break;
    }
  }

  void check() {
    if (publishing_ == 0 && !draining_) {
      draining_ = true;
      if (bus_) roots_.start(wait_for(bus_->drain()));
    }
    if (!bus_) return;
    const auto stats = bus_->stats();
    ensure_sum(stats);
    weir::sim::ensure(in_step_ <= static_cast<int>(scene_.options.workers), "more handlers run than there are workers");
    for (const auto priority : {Priority::critical, Priority::normal, Priority::low}) {
      weir::sim::ensure(bus_->stats(priority).queued <= scene_.options.capacity, "more is queued than there is room");
    }
  }

  void check_end() {
    if (sim_.stopped()) return;
    roots_.check_end();
    for (const auto& [id, seen] : seen_) {
      weir::sim::ensure(seen.calls <= 1, "an event was delivered twice");
      weir::sim::ensure(seen.calls == seen.ends, "a handler has not ended");
      if (!seen.outcome) continue;
      const auto outcome = *seen.outcome;
      if (outcome == weir::EventOutcome::completed) {
        weir::sim::ensure(seen.calls == 1 || handler_gone_, "an event completed that nobody saw");
      }
      if (outcome == weir::EventOutcome::expired || outcome == weir::EventOutcome::discarded) {
        weir::sim::ensure(seen.calls == 0, "an event ran that is said not to have");
      }
      if (seen.first_answer == weir::CancelAnswer::cancelled) {
        weir::sim::ensure(seen.calls == 0, "an event ran that was cancelled before");
        weir::sim::ensure(outcome == weir::EventOutcome::cancelled, "a cancelled event has another outcome");
      }
    }
    if (!bus_) return;
    const auto stats = bus_->stats();
    weir::sim::ensure(stats.queued == 0 && stats.running == 0, "the drain has left something");
    weir::sim::ensure(stats.admitted == static_cast<std::uint64_t>(admitted_) || aborted_, "admissions were not told");
  }

 private:
  void destroy() {
    handler_gone_ = true;
    bus_.reset();
  }

  [[nodiscard]] weir::Event event_of(int id, Priority priority) {
    weir::Event event("t.a", Item(id, ledger_), priority);
    if (scene_.keyed) event.key("k");
    if (scene_.timed) event.time_to_live(std::chrono::milliseconds(2)).run_timeout(std::chrono::milliseconds(1));
    return event;
  }

  Task publish(int p) {
    const Publishing publishing(publishing_);
    const Priority priority = p % 2 == 0 ? Priority::normal : Priority::critical;
    for (int i = 0; i < scene_.events && bus_; ++i) {
      const int id = 100 * (p + 1) + i;
      auto event = event_of(id, priority);
      // The bus may go while this waits: what waits holds what it needs.
      auto publishing_it = bus_->publish_cancellable(std::move(event));
      try {
        auto ticket = co_await publishing_it;
        admit(id, std::move(ticket));
      } catch (const weir::Error& error) {
        weir::sim::ensure(event.payload().has_value(), "a refused event was taken");
        if (weir::is_cancellation(error.code())) throw;
      }
    }
  }
  void admit(int id, weir::EventTicket ticket) {
    ++admitted_;
    Seen& seen = seen_[id];
    seen.ticket = std::move(ticket);
    order_.push_back(id);
    roots_.start(watch(id));
  }
  Task watch(int id) {
    const auto outcome = co_await seen_[id].ticket.outcome();
    weir::sim::ensure(!seen_[id].outcome, "an outcome was delivered twice");
    seen_[id].outcome = outcome;
  }
  Task cancel_each() {
    const Publishing publishing(publishing_);
    for (int i = 0; i < scene_.publishers * scene_.events; ++i) {
      for (const int id : order_) {
        Seen& seen = seen_[id];
        const auto result = seen.ticket.cancel();
        if (!seen.first_answer) seen.first_answer = result.answer;
        weir::sim::ensure(result.answer != weir::CancelAnswer::not_found, "an event of this bus was not found");
      }
      co_await weir::yield();
    }
  }
  Task leave() {
    const Publishing publishing(publishing_);
    co_await weir::yield();
    co_await leaver_.join();
    left_ = true;
    weir::sim::ensure(leaving_calls_ == 0, "a call ran on after the join");
  }
  Task handle_leaving() {
    weir::sim::ensure(!left_, "a call began after the join");
    struct Count {
      explicit Count(int& c) : n(c) { ++n; }
      Count(const Count&) = delete;
      Count& operator=(const Count&) = delete;
      ~Count() { --n; }
      int& n;
    } const count(leaving_calls_);
    co_await weir::yield();
  }

  Task handle(weir::EventContext& context) {
    struct Call {
      Call(BusWorld& w, int i) : world(w), id(i) {
        ++world.seen_[id].calls;
        ++world.running_;
      }
      Call(const Call&) = delete;
      Call& operator=(const Call&) = delete;
      ~Call() {
        ++world.seen_[id].ends;
        --world.running_;
      }
      BusWorld& world;
      int id;
    } const call(*this, context.payload<Item>().id);
    if (scene_.keyed) weir::sim::ensure(running_ == 1, "two events of one key overlap");
    const Step step(in_step_);
    if (scene_.timed) {
      co_await weir::sleep_for(std::chrono::milliseconds(call.id % 2 == 0 ? 1 : 3));
    } else {
      co_await weir::yield();
    }
    if (!scene_.nested || call.id >= 1000 || !bus_) co_return;
    auto event = event_of(call.id * 10, Priority::normal);
    const NoStep without(in_step_);
    if (scene_.asking) {
      auto more = bus_->publish_cancellable(std::move(event));
      const auto ticket = co_await more;
      ++admitted_;
      co_await ticket.outcome();
    } else {
      auto more = bus_->publish(std::move(event));
      co_await more;
      ++admitted_;
    }
    co_await weir::yield();
  }
  /// The part in which it may have given it away.
  struct NoStep {
    explicit NoStep(int& n) : count(n) { --count; }
    NoStep(const NoStep&) = delete;
    NoStep& operator=(const NoStep&) = delete;
    ~NoStep() { ++count; }
    int& count;
  };
  /// The part of a handler in which it needs its place.
  struct Step {
    explicit Step(int& n) : count(n) { ++count; }
    Step(const Step&) = delete;
    Step& operator=(const Step&) = delete;
    ~Step() { --count; }
    int& count;
  };

  weir::sim::Simulator& sim_;
  const BusScene scene_;
  Ledger& ledger_;
  Roots roots_{sim_};
  std::map<int, Seen> seen_;
  std::vector<int> order_;
  int publishing_ = 0;
  int admitted_ = 0;
  int running_ = 0;
  int in_step_ = 0;
  int leaving_calls_ = 0;
  bool left_ = false;
  bool draining_ = false;
  bool aborted_ = false;
  bool handler_gone_ = false;
  std::optional<weir::PriorityEventBus> bus_;
  weir::Subscription handler_;
  weir::Subscription leaver_;
};

inline auto scenario_of(const BusScene& scene) { return weir_test::scenario_in<BusWorld>(scene); }

}  // namespace weir_test
