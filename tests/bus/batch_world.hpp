// Batches of all modes on one bus, with cancels, failing handlers and compensators, others that publish beside them,
// and what must hold at each step and at the end, for the simulator.
#pragma once

#include <weir/bus/priority_event_bus.hpp>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include <weir/core/shielded.hpp>
#include <weir/core/timer.hpp>
#include <weir/sim/explore.hpp>

#include "support/explored_root.hpp"

#include "bus/scenario.hpp"

namespace weir_test {

struct BatchScene {
  weir::BusOptions options = {.workers = 1, .capacity = 3};
  weir::BatchMode mode = weir::BatchMode::saga;
  int batches = 1;
  int events = 3;         ///< of each batch
  int failing = -1;       ///< the event whose last handler throws
  int stubborn = -1;      ///< the event whose compensators always throw
  int hesitant = -1;      ///< the event whose compensators throw the first time
  bool two = false;       ///< handlers for each event, of different phases
  bool keyed = false;     ///< all of one key
  bool urgent = false;    ///< every other event is critical
  bool nested = false;    ///< a handler of the bus publishes the batch
  bool holding = false;   ///< handlers publish by their context
  int cancelled = -1;     ///< the event that is cancelled by its ticket
  int crowd = 0;          ///< events that somebody else publishes
  bool leaving = false;   ///< a handler is joined
  bool draining = false;  ///< from the start
  int hanging = -1;       ///< the event whose compensators take longer than their limit
  bool deaf = false;      ///< and than the time that they have after it: they do not heed being cancelled
  bool kept = false;      ///< the last value is kept, and a handler comes for it
  enum class Act { nothing, cancel, abort, destroy_bus, destroy_context } act = Act::nothing;
};

/// A bus with priorities of its own, which are those of the events.
class RankedBus : public weir::BasicPriorityEventBus<int> {
  using Base = weir::BasicPriorityEventBus<int>;

 public:
  using Base::Base;
  using Base::stats;
  auto publish_batch(std::vector<weir::Event>&& events, weir::BatchMode mode, const weir::BatchOptions& options) {
    std::vector<int> ranks;
    for (const auto& event : events) ranks.push_back(static_cast<int>(event.priority()));
    return Base::publish_batch(std::move(events), std::move(ranks), mode, options);
  }
  auto publish(weir::Event&& event) { return Base::publish(std::move(event), 2); }
  auto publish_cancellable(weir::Event&& event) { return Base::publish_cancellable(std::move(event), 2); }
  [[nodiscard]] weir::BusStats stats(weir::EventPriority) const { return Base::stats(); }
};

template <class Bus = weir::PriorityEventBus>
class BatchWorld {
  using Task = weir::Task<>;

  struct Item {
    Item(int n, Ledger& ledger) : id(n), guard(ledger) {}
    int id;
    Guard guard;
  };
  /// A call of a handler that returned.
  struct Call {
    int event;
    int handler;
    int began;
    int ended;
  };
  struct Undo {
    int event;
    int handler;
    friend bool operator==(const Undo&, const Undo&) = default;
  };
  struct Run {
    weir::BatchTicket ticket;
    std::vector<Call> done;
    std::vector<Undo> undone;
    std::vector<Undo> failed_undos;
    std::map<int, weir::EventOutcome> outcomes;
    std::vector<bool> watched;
    std::optional<weir::CancelAnswer> first_answer;
    std::optional<weir::BatchReport> report;
    std::error_code refused;
    int published = 0;
    int held = 0;
    int received = 0;
    int calls = 0;
    int running = 0;
    int undoing = 0;
    int deaf = 0;
    int hung = 0;
    std::vector<Undo> hung_undos;
    bool stopped = false;
  };

 public:
  BatchWorld(weir::sim::Simulator& sim, const BatchScene& scene, Ledger& ledger)
      : sim_(sim), scene_(scene), ledger_(ledger), runs_(static_cast<std::size_t>(scene.batches)) {
    bus_.emplace(sim, scene.options);
    for (int h = 0; h < (scene.two ? 2 : 1); ++h) {
      handlers_[h] =
          bus_->subscribe("t",
                          weir::compensated([this, h](weir::EventContext& context) { return handle(context, h); },
                                            [this, h](const weir::Event& event) { return undo(event, h); }),
                          {.phase = h});
    }
    held_ = bus_->subscribe("held", [this](weir::EventContext& context) { receive(context.payload<Item>().id); });
    crowd_ = bus_->subscribe("crowd", [](weir::EventContext&) -> Task { co_await weir::yield(); });
    go_ = bus_->subscribe("go", [this](weir::EventContext& context) { return publish(context.payload<int>()); });
    for (int b = 0; b < scene.batches; ++b) roots_.start(scene.nested ? let_publish(b) : publish(b));
    if (scene.kept) {
      bus_->keep_last_values("t");
      roots_.start(come_late());
    }
    if (scene.crowd != 0) roots_.start(publish_beside());
    if (scene.cancelled >= 0) roots_.start(cancel_one());
    if (scene.leaving) roots_.start(leave());
    if (scene.draining) start_drain();
  }

  void act() {
    switch (scene_.act) {
      case BatchScene::Act::nothing:
        break;
      case BatchScene::Act::cancel:
        roots_[0].cancel();
        go_ticket_.cancel();
        break;
      case BatchScene::Act::abort:
        if (bus_) bus_->abort();
        aborted_ = true;
        break;
      case BatchScene::Act::destroy_bus:
        aborted_ = true;
        bus_.reset();
        break;
      case BatchScene::Act::destroy_context:
        sim_.stop();
        break;
    }
  }

  void check() {
    if (busy_ == 0) start_drain();
    for (auto& run : runs_) watch_admitted(run);
    if (!bus_) return;
    ensure_sum(bus_->stats());
    for (const auto priority : {weir::EventPriority::critical, weir::EventPriority::normal}) {
      weir::sim::ensure(bus_->stats(priority).queued <= scene_.options.capacity, "more is queued than there is room");
    }
  }

  /// When everything that ran has gone, at the end or in the middle.
  void check_shut_down() {
    if (!bus_) return;
    bus_->abort();
    const auto stats = bus_->stats();
    weir::sim::ensure(stats.queued == 0 && stats.running == 0, "the end has left an event");
    weir::sim::ensure(stats.batches.running == 0, "the end has left a batch");
  }

  void check_end() {
    if (sim_.stopped()) return;
    roots_.check_end();
    for (const auto& run : runs_) check_run(run);
    if (!bus_) return;
    const auto stats = bus_->stats();
    weir::sim::ensure(stats.queued == 0 && stats.running == 0, "the drain has left an event");
    weir::sim::ensure(stats.batches.running == 0, "a batch has not ended");
    weir::sim::ensure(stats.batches.hung == 0 || aborted_, "the drain did not wait for a compensator");
    // Those that were refused come on top.
    std::uint64_t reports = 0;
    for (const auto& run : runs_) reports += run.report ? 1U : 0U;
    const auto& b = stats.batches;
    weir::sim::ensure(b.committed + b.rolled_back + b.incomplete >= reports, "a batch was not counted");
  }

 private:
  void start_drain() {
    if (std::exchange(draining_, true) || !bus_) return;
    roots_.start(wait_for(bus_->drain()));
  }

  struct Count {
    explicit Count(int& n) : count(n) { ++count; }
    Count(const Count&) = delete;
    Count& operator=(const Count&) = delete;
    ~Count() { --count; }
    int& count;
  };
  /// What a compensator needs is there as long as it runs.
  struct AtEnd {
    AtEnd(const BatchWorld&, const weir::Event& e, const bool& l, int n) : event(e), left(l), handler(n) {}
    AtEnd(const AtEnd&) = delete;
    AtEnd& operator=(const AtEnd&) = delete;
    ~AtEnd() {
      if (!event.payload().has_value() || (left && handler == 0)) std::terminate();
    }
    const weir::Event& event;
    const bool& left;
    int handler;
  };
  [[nodiscard]] Run& run_of(int id) { return runs_[static_cast<std::size_t>(id / 100 - 1)]; }

  Task let_publish(int b) {
    const Count busy(busy_);
    weir::Event event("go", b);
    auto publishing = bus_->publish_cancellable(std::move(event));
    try {
      go_ticket_ = co_await publishing;
    } catch (const weir::Error& error) {
      if (weir::is_cancellation(error.code())) throw;
    }
  }
  Task publish(int b) {
    const Count busy(busy_);
    if (!bus_) co_return;
    Run& run = runs_[static_cast<std::size_t>(b)];
    std::vector<weir::Event> events;
    for (int i = 0; i < scene_.events; ++i) {
      events.emplace_back("t", Item(100 * (b + 1) + i, ledger_));
      if (scene_.keyed) events.back().key("k");
      if (scene_.urgent && i % 2 == 1) events.back().priority(weir::EventPriority::critical);
    }
    weir::BatchOptions options;
    options.attempts = 2;
    options.delay = std::chrono::milliseconds(1);
    if (scene_.hanging >= 0) options.undo_timeout = std::chrono::milliseconds(2);
    auto batch = bus_->publish_batch(std::move(events), scene_.mode, options);
    run.ticket = batch.ticket();
    run.watched.resize(static_cast<std::size_t>(scene_.events));
    ++run.published;
    try {
      auto report = co_await std::move(batch);
      weir::sim::ensure(!run.report, "a batch has ended twice");
      run.report = std::move(report);
    } catch (const weir::Error& error) {
      run.refused = error.code();
      if (weir::is_cancellation(error.code())) throw;
    }
  }
  Task publish_beside() {
    const Count busy(busy_);
    for (int i = 0; i < scene_.crowd && bus_; ++i) {
      weir::Event event("crowd", Item(i, ledger_));
      auto publishing = bus_->publish(std::move(event));
      try {
        co_await publishing;
      } catch (const weir::Error&) {
      }
    }
  }
  Task cancel_one() {
    const Count busy(busy_);
    for (int round = 0; round < 8; ++round) {
      co_await weir::yield();
      Run& run = runs_.front();
      if (!run.ticket) continue;
      const auto ticket = run.ticket.event(static_cast<std::size_t>(scene_.cancelled));
      const bool had_failed = run.stopped;
      const auto answer = ticket.cancel().answer;
      if (!ticket) continue;
      if (had_failed) {
        weir::sim::ensure(answer == weir::CancelAnswer::refused || answer == weir::CancelAnswer::too_late,
                          "an event of a saga was cancelled that had failed");
      }
      weir::sim::ensure(answer != weir::CancelAnswer::not_found, "an event of this bus was not found");
      if (answer == weir::CancelAnswer::refused) run.stopped = true;
      if (!run.first_answer) run.first_answer = answer;
      if (answer == weir::CancelAnswer::cancelled && scene_.mode == weir::BatchMode::saga) run.stopped = true;
    }
  }
  Task come_late() {
    co_await weir::yield();
    if (!bus_) co_return;
    late_ = bus_->subscribe("t",
                            weir::compensated(
                                [this](weir::EventContext& context) {
                                  const int id = context.payload<Item>().id;
                                  if (!context.is_last_value()) return;
                                  const Run& run = run_of(id);
                                  weir::sim::ensure(run.undone.empty() && run.failed_undos.empty() && run.undoing == 0,
                                                    "a value was delivered of a saga that was rolled back");
                                  weir::sim::ensure(++values_[id] == 1, "a value was delivered twice");
                                },
                                [](const weir::Event&) {}),
                            {.last_value = true});
  }
  Task leave() {
    co_await weir::yield();
    co_await handlers_[0].join();
    left_ = true;
  }
  void watch_admitted(Run& run) {
    for (std::size_t i = 0; i < run.watched.size(); ++i) {
      if (run.watched[i]) continue;
      const auto ticket = run.ticket.event(i);
      if (!ticket) continue;
      run.watched[i] = true;
      roots_.start(watch(run, static_cast<int>(i), ticket, scene_.mode == weir::BatchMode::saga));
    }
  }
  static Task watch(Run& run, int i, weir::EventTicket ticket, bool saga) {
    const auto outcome = co_await ticket.outcome();
    if (saga && outcome != weir::EventOutcome::completed) run.stopped = true;
    weir::sim::ensure(run.outcomes.emplace(i, outcome).second, "an outcome was delivered twice");
  }

  Task handle(weir::EventContext& context, int h) {
    const int id = context.payload<Item>().id;
    Run& run = run_of(id);
    weir::sim::ensure(!(left_ && h == 0), "a call began after the join");
    if (h == 0) weir::sim::ensure(!run.stopped, "an event of a saga started that had failed");
    weir::sim::ensure(run.undoing == 0 && run.undone.empty(), "an event of a saga runs that is being undone");
    const Count running(run.running);
    ++run.calls;
    Call call{id % 100, h, ++clock_, 0};
    co_await weir::yield();
    if (scene_.holding) {
      weir::Event held("held", Item(id, ledger_));
      ++run.held;
      co_await context.publish(std::move(held));
    }
    if (call.event == scene_.failing && h == (scene_.two ? 1 : 0)) throw std::runtime_error("no");
    call.ended = ++clock_;
    run.done.push_back(call);
  }
  void receive(int id) {
    Run& run = run_of(id);
    ++run.received;
    if (scene_.mode != weir::BatchMode::saga) return;
    weir::sim::ensure(run.running == 0 && run.undoing == 0 && run.undone.empty(), "what was held back got out early");
  }
  Task undo(const weir::Event& event, int h) {
    const Item& item = *event.payload().get_if<Item>();
    const Undo undo{item.id % 100, h};
    Run& run = run_of(item.id);
    weir::sim::ensure(!(left_ && h == 0), "a compensator was called after the join");
    const Guard frame(ledger_);
    const bool hangs = undo.event == scene_.hanging;
    const Count undoing(hangs && scene_.deaf ? run.deaf : run.undoing);
    weir::sim::ensure(run.undoing <= 1 && run.deaf <= (scene_.two ? 2 : 1), "two compensators of a saga run at once");
    const AtEnd still_there(*this, event, left_, h);
    weir::sim::ensure(run.running == 0, "a saga is undone that runs");
    co_await weir::yield();
    if (hangs) {
      const bool again = std::count(run.hung_undos.begin(), run.hung_undos.end(), undo) != 0;
      weir::sim::ensure(!scene_.deaf || !again, "a compensator was called again that still runs");
      run.hung_undos.push_back(undo);
      ++run.hung;
      auto sleeping = weir::sleep_for(std::chrono::milliseconds(20));
      if (!scene_.deaf) co_await std::move(sleeping);
      if (scene_.deaf) co_await weir::shielded(std::move(sleeping));
      co_return;
    }
    const auto failures = std::count(run.failed_undos.begin(), run.failed_undos.end(), undo);
    if (undo.event == scene_.stubborn || (undo.event == scene_.hesitant && failures == 0)) {
      run.failed_undos.push_back(undo);
      throw 42;
    }
    run.undone.push_back(undo);
  }

  void check_run(const Run& run) const {
    using weir::sim::ensure;
    ensure(run.published <= 1, "a batch was published twice");
    if (run.published == 1) ensure(run.report || run.refused, "a batch has no end");
    ensure(run.running == 0 && run.undoing == 0, "something of a batch has not ended");
    const bool whole = scene_.mode != weir::BatchMode::independent;
    if (run.refused) {
      const bool saga = scene_.mode == weir::BatchMode::saga;
      if (saga || (whole && run.refused != weir::Errc::cancelled)) {
        ensure(run.calls == 0 && run.outcomes.empty(), "events of a batch ran that was refused");
      }
      return;
    }
    if (!run.report) return;
    const auto& report = *run.report;
    std::size_t completed = 0;
    for (std::size_t i = 0; i < report.results.size(); ++i) {
      const auto& result = report.results[i];
      completed += result.completed() ? 1U : 0U;
      ensure(result.completed() == !result.error(), "an error without a failure, or the reverse");
      const auto seen = run.outcomes.find(static_cast<int>(i));
      ensure((seen != run.outcomes.end()) == result.outcome().has_value(), "an outcome was not delivered");
      if (seen != run.outcomes.end()) ensure(seen->second == result.outcome(), "two outcomes of one event");
      if (whole) ensure(result.id() == report.results[0].id() + i, "the numbers are not consecutive");
    }
    ensure(report.completed == completed, "the report does not add up");
    if (run.first_answer == weir::CancelAnswer::cancelled) {
      ensure(report.results[static_cast<std::size_t>(scene_.cancelled)].outcome() == weir::EventOutcome::cancelled,
             "a cancelled event has another outcome");
    }
    if (scene_.mode == weir::BatchMode::saga) {
      check_saga(run, report);
    } else {
      ensure(run.undone.empty() && run.failed_undos.empty(), "something was undone that is no saga");
      ensure(report.outcome == weir::BatchOutcome::committed, "a batch was rolled back that is no saga");
    }
  }
  void check_saga(const Run& run, const weir::BatchReport& report) const {
    using weir::sim::ensure;
    const bool committed = report.outcome == weir::BatchOutcome::committed;
    const bool all = report.completed == report.results.size();
    ensure(all || !committed, "a saga committed that had a failure");
    // Its publisher may have been cancelled.
    ensure(!all || committed || scene_.act == BatchScene::Act::cancel, "a saga was rolled back that had no failure");
    ensure(committed == !report.error, "a saga was rolled back for no reason");
    ensure(static_cast<std::size_t>(run.held) == report.held_back, "what was held back was not counted");
    if (run.stopped) ensure(!committed, "a saga committed of which an event did not complete");
    if (committed) {
      ensure(run.undone.empty() && run.failed_undos.empty(), "a saga was undone that committed");
      const int published = run.held - static_cast<int>(report.not_published.size());
      ensure(aborted_ ? run.received <= published : run.received == published, "what was held back was lost");
      if (!aborted_) ensure(report.not_published.empty(), "what was held back was refused");
      return;
    }
    ensure(run.received == 0, "what was held back got out of a saga that was rolled back");
    check_undone(run, report);
  }
  void check_undone(const Run& run, const weir::BatchReport& report) const {
    using weir::sim::ensure;
    std::vector<std::size_t> place;
    std::size_t missing = 0;
    for (const Call& call : run.done) {
      const auto found = std::find(run.undone.begin(), run.undone.end(), Undo{call.event, call.handler});
      if (call.event == scene_.stubborn || call.event == scene_.hanging) {
        ensure(found == run.undone.end(), "what could not be undone was");
        ++missing;
      } else {
        ensure(found != run.undone.end(), "what was done was not undone");
      }
      place.push_back(static_cast<std::size_t>(found - run.undone.begin()));
    }
    ensure(run.undone.size() + missing == run.done.size(), "something was undone twice, or that was not done");
    // One that heeds it is called again, one that does not is not.
    ensure(run.hung == 0 || scene_.deaf || run.hung == 2 * static_cast<int>(missing),
           "a hanging one was not called again");
    ensure(report.not_undone.size() == missing, "what was not undone is not reported");
    ensure((report.outcome == weir::BatchOutcome::rolled_back) == (missing == 0), "the outcome is wrong");
    for (std::size_t a = 0; a < run.done.size(); ++a) {
      for (std::size_t b = 0; b < run.done.size(); ++b) {
        if (place[a] == run.undone.size() || place[b] == run.undone.size()) continue;
        if (run.done[a].ended < run.done[b].began) ensure(place[b] < place[a], "undone in the wrong order");
      }
    }
  }

  weir::sim::Simulator& sim_;
  const BatchScene scene_;
  Ledger& ledger_;
  std::vector<Run> runs_;
  Roots roots_{sim_};
  int busy_ = 0;
  int clock_ = 0;
  bool draining_ = false;
  bool aborted_ = false;
  bool left_ = false;
  weir::EventTicket go_ticket_;
  std::optional<Bus> bus_;
  weir::Subscription handlers_[2];
  weir::Subscription held_;
  weir::Subscription crowd_;
  weir::Subscription go_;
  weir::Subscription late_;
  std::map<int, int> values_;
};

template <class Bus = weir::PriorityEventBus>
auto scenario_of(const BatchScene& scene) {
  return weir_test::scenario_in<BatchWorld<Bus>>(scene);
}

}  // namespace weir_test
