// A stream on the simulator with everything that can be done to it, and everything that must hold at each step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <weir/core/spawn.hpp>
#include <weir/core/timer.hpp>
#include <weir/sim/explore.hpp>
#include <weir/stream/emits.hpp>

namespace weir_test {

using weir::sim::ensure;

/// Neither default-constructible nor copyable; counted, so that one that is lost or destroyed twice is seen.
class Item {
 public:
  Item(int v, int& alive) : value(v), alive_(&alive) { ++alive; }
  Item(Item&& other) noexcept : value(other.value), alive_(std::exchange(other.alive_, nullptr)) {}
  Item& operator=(Item&& other) noexcept {
    std::swap(value, other.value);
    std::swap(alive_, other.alive_);
    return *this;
  }
  ~Item() {
    if (alive_) --*alive_;
  }
  [[nodiscard]] bool whole() const noexcept { return alive_ != nullptr; }

  int value;

 private:
  int* alive_;
};

/// What a receiver gives back: move-only as well.
class Found {
 public:
  explicit Found(int v) : value(std::make_unique<int>(v)) {}
  std::unique_ptr<int> value;
};

enum class Action { none, graceful, forceful, immediate, drop_handle, end_context };

struct SceneOptions {
  int events = 6;
  std::size_t capacity = 2;
  bool waiting_receiver = false;  // a coroutine that sleeps
  bool pausing_sender = false;    // sleeps between its events
  int failing = 0;                // the receiver throws for this value; -1: for each
  bool sender_throws = false;     // after the last value
  weir::ErrorPolicy on_error = weir::stop;
  std::optional<int> timeout_ms;
};

/// What happened: owned by the simulator, so that it outlives every root.
struct Record {
  int alive = 0;
  std::uint64_t accepted = 0;  // emits that returned
  std::uint64_t refused = 0;
  std::vector<int> begun;
  std::vector<int> ended;
  std::set<int> running;
  bool overlapped_key = false;
  std::size_t at_once = 0;
  bool sender_returned = false;
};

struct Refused : std::runtime_error {
  using std::runtime_error::runtime_error;
};

using SceneStream = weir::EmittingTask<Item, Found>;
using SceneFinal = SceneStream::final_event_type;

struct Scene {
  explicit Scene(SceneOptions o) : options(o) {}
  ~Scene() = default;

  SceneOptions options;
  Record record;
  SceneStream stream;
  std::shared_ptr<SceneFinal> seen = std::make_shared<SceneFinal>();
  int seen_times = 0;
  weir::StreamStats last;
  std::size_t workers = 0;
  bool in_batches = false;

  weir::Task<> send(weir::Emitter<Item>& out) {
    for (int i = 1; i <= options.events; ++i) {
      if (options.pausing_sender) co_await weir::sleep_for(std::chrono::milliseconds(i % 3));
      Item item(i, record.alive);
      try {
        co_await out.emit(std::move(item));
      } catch (...) {
        ++record.refused;
        ensure(item.whole() && item.value == i, "a refused value was not given back");
        throw;
      }
      ++record.accepted;
    }
    record.sender_returned = true;
    if (options.sender_throws) throw Refused("the source broke");
  }

  void begin(int value) {
    record.begun.push_back(value);
    ensure(record.running.insert(value).second, "an event is processed twice");
    record.at_once = std::max(record.at_once, record.running.size());
  }
  Found end(int value) {
    record.running.erase(value);
    if (options.failing == value || options.failing == -1) throw Refused("no good: " + std::to_string(value));
    record.ended.push_back(value);
    return Found(value);
  }

  using Batch = std::span<weir::ReceiverEvent<Item>>;
  using Out = weir::Collector<Found>;

  void begin_batch(Batch batch) {
    ensure(!batch.empty(), "an empty batch");
    for (auto& event : batch) begin(event.data().value);
  }
  void end_batch(Batch batch, Out& out) {
    for (auto& event : batch) {
      ensure(event.data().whole(), "an event was moved from while it was processed");
      record.running.erase(event.data().value);
    }
    for (auto& event : batch) {
      const int value = event.data().value;
      out.collect(Found(value));
      if (options.failing == value || options.failing == -1) throw Refused("no good: " + std::to_string(value));
    }
    for (auto& event : batch) record.ended.push_back(event.data().value);
  }
  template <class Builder, class Strategy>
  void start_in_batches(Builder builder, Strategy strategy) {
    if (options.waiting_receiver) {
      stream = std::move(builder)
                   .receiver(std::move(strategy),
                             [this](Batch batch, Out& out) -> weir::Task<> {
                               begin_batch(batch);
                               std::vector<std::unique_ptr<Left>> left;
                               for (auto& event : batch) {
                                 left.push_back(std::make_unique<Left>(record.running, event.data().value));
                               }
                               co_await weir::sleep_for(std::chrono::milliseconds(batch.size() % 3));
                               end_batch(batch, out);
                             })
                   .start();
    } else {
      stream = std::move(builder)
                   .receiver(std::move(strategy),
                             [this](Batch batch, Out& out) {
                               begin_batch(batch);
                               end_batch(batch, out);
                             })
                   .start();
    }
  }

  /// Takes a value out of those that are being processed, also when its coroutine is destroyed.
  class Left {
   public:
    Left(std::set<int>& running, int value) noexcept : running_(running), value_(value) {}
    Left(const Left&) = delete;
    Left& operator=(const Left&) = delete;
    ~Left() { running_.erase(value_); }

   private:
    std::set<int>& running_;
    int value_;
  };

  template <class Strategy>
  void start(weir::sim::Simulator& sim, Strategy strategy) {
    workers = strategy.concurrency();
    auto builder = weir::emits<Item>(sim).named("scene").capacity(options.capacity).on_error(options.on_error);
    if (options.timeout_ms) builder.timeout(std::chrono::milliseconds(*options.timeout_ms));
    auto sending = std::move(builder).sender([this](weir::Emitter<Item>& out) { return send(out); });
    if constexpr (weir::detail::in_batches<Strategy>) {
      in_batches = true;
      start_in_batches(std::move(sending), std::move(strategy));
    } else if (options.waiting_receiver) {
      stream = std::move(sending)
                   .receiver(std::move(strategy),
                             [this](auto& event) -> weir::Task<Found> {
                               const int value = event.data().value;
                               begin(value);
                               const Left left(record.running, value);
                               co_await weir::sleep_for(std::chrono::milliseconds(value % 3));
                               ensure(event.data().whole(), "an event was moved from while it was processed");
                               co_return end(value);
                             })
                   .start();
    } else {
      stream = std::move(sending)
                   .receiver(std::move(strategy),
                             [this](auto& event) {
                               begin(event.data().value);
                               return end(event.data().value);
                             })
                   .start();
    }
  }

  /// At each step: the conservation law, the bound, and that counters only grow.
  void check(const weir::StreamStats& stats) {
    ensure(stats.balanced(), "emitted == settled + buffered + in progress");
    ensure(stats.emitted >= record.accepted && stats.emitted <= record.accepted + 1,
           "what was emitted is what the sender's emits returned for");
    // A worker that waits is handed its next event directly, and begins it when it is resumed.
    const std::size_t idle = in_batches ? workers : workers - record.running.size();
    ensure(stats.emitted <= stats.discarded + record.begun.size() + options.capacity + idle,
           "never more than the capacity between the two ends");
    ensure(stats.emitted >= last.emitted && stats.settled() >= last.settled(), "counters only grow");
    last = stats;
  }
};

/// Runs a scene of `options` with `strategy`, and does `action` when the exploration says so. `judge(scene, final)`
/// looks at the end.
template <class Strategy, class Judge>
auto scene_of(SceneOptions options, Strategy strategy, Action action, Judge judge) {
  return [options, strategy, action, judge](weir::sim::Simulator& sim) {
    // Waits in another context, which is there when the simulator's has gone.
    asio::io_context elsewhere;
    auto& scene = sim.keep<Scene>(options);
    auto seen = scene.seen;
    int times = 0;
    scene.start(sim, strategy);
    weir::spawn(elsewhere, scene.stream.final_event(), [&times, seen](std::exception_ptr error, SceneFinal final) {
      ensure(!error, "waiting for the final event failed");
      ++times;
      *seen = std::move(final);
    });
    sim.on_step([&] {
      elsewhere.poll();
      elsewhere.restart();
      if (scene.stream) scene.check(scene.stream.stats());
      ensure(times <= 1, "the final event came twice");
    });
    // Another that waits on the simulator, as the stream does.
    if (action != Action::end_context) {
      sim.spawn(
          [](auto waiting) -> weir::Task<> {
            auto final = co_await std::move(waiting);
            ensure(final.valid(), "an empty final event");
          }(scene.stream.final_event()),
          "waits for the final event");
    }
    sim.on_action([&] {
      switch (action) {
        case Action::none:
          break;
        case Action::graceful:
          scene.stream.cancel(weir::CancellationLevel::graceful);
          break;
        case Action::forceful:
          scene.stream.cancel(weir::CancellationLevel::forceful);
          break;
        case Action::immediate:
          scene.stream.cancel(weir::CancellationLevel::immediate);
          break;
        case Action::drop_handle:
          scene.stream = SceneStream();
          break;
        case Action::end_context:
          sim.stop();
          break;
      }
    });
    sim.run();
    if (sim.stopped()) sim.shut_down();
    elsewhere.restart();
    elsewhere.run();
    ensure(times == 1, "the final event did not come");
    const SceneFinal final = *seen;
    const weir::StreamStats stats = final.stats();
    ensure(stats.balanced() && stats.buffered == 0 && stats.in_progress == 0, "the final event's counts add up");
    ensure(stats.emitted >= scene.record.accepted && stats.emitted <= scene.record.accepted + (sim.stopped() ? 1u : 0u),
           "what was emitted is what the sender's emits returned for");
    ensure(stats.processed == final.collected().size(), "each processed event was collected once");
    ensure(stats.processed == scene.record.ended.size() || sim.stopped(), "each returned receiver was counted");
    ensure(final.errors().size() == stats.failed, "each failed event has its error");
    ensure(scene.record.running.empty(), "a receiver runs after the final event");
    ensure(scene.record.alive == 0, "a value was lost or kept");
    if (scene.stream) {
      ensure(scene.stream.is_complete(), "complete");
      ensure(scene.stream.stats().emitted == stats.emitted, "the handle's statistics stay those of the end");
    }
    judge(scene, final, sim);
  };
}

/// All actions at every step, under at least the default number of seeds each, with plain and with waiting receivers.
template <class Strategy, class Judge>
void explore_strategy(Strategy strategy, Judge judge, SceneOptions options = {}) {
  for (const bool waiting : {false, true}) {
    options.waiting_receiver = waiting;
    weir::sim::explore(
        scene_of(options, strategy, Action::none, [judge](Scene& scene, const SceneFinal& final, auto& sim) {
          ensure(final.outcome() == weir::Outcome::completed && static_cast<bool>(final), "it completes");
          ensure(final.stats().processed == static_cast<std::uint64_t>(scene.options.events),
                 "everything was processed");
          judge(scene, final, sim);
        }));
    for (const Action action :
         {Action::graceful, Action::forceful, Action::immediate, Action::drop_handle, Action::end_context}) {
      weir::sim::explore_each_step(
          scene_of(options, strategy, action, [judge, action](Scene& scene, const SceneFinal& final, auto& sim) {
            ensure(final.outcome() == weir::Outcome::completed || final.outcome() == weir::Outcome::cancelled,
                   "cancelled, or not");
            if (final) {
              ensure(final.stats().processed == static_cast<std::uint64_t>(scene.options.events),
                     "completed means all");
            }
            if (action == Action::graceful) ensure(final.stats().discarded == 0, "a graceful cancel discards nothing");
            judge(scene, final, sim);
          }));
    }
  }
}

}  // namespace weir_test
