// A stream on the simulator with everything that can be done to it, and everything that must hold at each step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
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

/// What goes wrong besides, by the seed.
enum class Trouble { none, fails, fails_and_stops, all_fail, sender_throws, times_out };

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
  Trouble trouble = Trouble::none;

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

  // The receivers have types of their own, so that streams with different strategies are of one type.
  struct Plain {
    Found operator()(weir::ReceiverEvent<Item>& event) const {
      scene->begin(event.data().value);
      return scene->end(event.data().value);
    }
    Scene* scene;
  };
  struct Waiting {
    weir::Task<Found> operator()(weir::ReceiverEvent<Item>& event) const {
      Scene& at = *scene;
      const int value = event.data().value;
      at.begin(value);
      const Left left(at.record.running, value);
      co_await weir::sleep_for(std::chrono::milliseconds(value % 3));
      ensure(event.data().whole(), "an event was moved from while it was processed");
      co_return at.end(value);
    }
    Scene* scene;
  };
  struct PlainBatch {
    void operator()(Batch batch, Out& out) const {
      scene->begin_batch(batch);
      scene->end_batch(batch, out);
    }
    Scene* scene;
  };
  struct WaitingBatch {
    weir::Task<> operator()(Batch batch, Out& out) const {
      Scene& at = *scene;
      at.begin_batch(batch);
      std::vector<std::unique_ptr<Left>> left;
      for (auto& event : batch) left.push_back(std::make_unique<Left>(at.record.running, event.data().value));
      co_await weir::sleep_for(std::chrono::milliseconds(batch.size() % 3));
      at.end_batch(batch, out);
    }
    Scene* scene;
  };
  struct Sending {
    weir::Task<> operator()(weir::Emitter<Item>& out) const { return scene->send(out); }
    Scene* scene;
  };

  template <class Strategy>
  void start(weir::sim::Simulator& sim, Strategy strategy) {
    workers = strategy.concurrency();
    in_batches = weir::detail::in_batches<Strategy>;
    using OnThem = std::conditional_t<weir::detail::in_batches<Strategy>, PlainBatch, Plain>;
    using WaitingOnThem = std::conditional_t<weir::detail::in_batches<Strategy>, WaitingBatch, Waiting>;
    auto builder = weir::emits<Item>(sim).named("scene").capacity(options.capacity).on_error(options.on_error);
    if (options.timeout_ms) builder.timeout(std::chrono::milliseconds(*options.timeout_ms));
    auto sending = std::move(builder).sender(Sending{this});
    if (options.waiting_receiver) {
      stream = std::move(sending).receiver(std::move(strategy), WaitingOnThem{this}).start();
    } else {
      stream = std::move(sending).receiver(std::move(strategy), OnThem{this}).start();
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

/// Looks at the end.
using Judge = std::function<void(Scene&, const SceneFinal&, weir::sim::Simulator&)>;

inline void make_trouble(SceneOptions& options, Trouble trouble) {
  if (trouble == Trouble::fails || trouble == Trouble::all_fail) options.on_error = weir::continue_;
  if (trouble == Trouble::fails || trouble == Trouble::fails_and_stops) options.failing = 3;
  if (trouble == Trouble::all_fail) options.failing = -1;
  options.sender_throws = trouble == Trouble::sender_throws;
  if (trouble == Trouble::times_out) options.timeout_ms = 2;
}

/// Runs a scene of `options` with `strategy`, and does `action` when the exploration says so. `in_trouble` adds some by
/// the seed, which says then whether receivers wait, too.
template <class Strategy>
auto scene_of(SceneOptions all, Strategy strategy, Action action, Judge judge, bool in_trouble = false) {
  return [all, strategy, action, judge, in_trouble](weir::sim::Simulator& sim) {
    SceneOptions options = all;
    Trouble trouble = Trouble::none;
    if (in_trouble) {
      const std::uint64_t seed = std::stoull(sim.name().substr(sim.name().find(' ')));
      trouble = static_cast<Trouble>(seed % 6);
      make_trouble(options, trouble);
      options.waiting_receiver = seed / 6 % 2 == 1;
    }
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
    scene.trouble = trouble;
    judge(scene, final, sim);
  };
}

inline constexpr Action all_actions[] = {Action::none,      Action::graceful,    Action::forceful,
                                         Action::immediate, Action::drop_handle, Action::end_context};

/// What the final event says when nothing was done to a scene that was in trouble; and when something was, what a
/// cancel can't have done.
inline void judge_trouble(const Scene& scene, const SceneFinal& final, bool acted) {
  const weir::StreamStats stats = final.stats();
  const auto events = static_cast<std::uint64_t>(scene.options.events);
  const auto ended = [&](weir::Outcome expected) {
    ensure(final.outcome() == expected || (acted && final.outcome() == weir::Outcome::cancelled), "another outcome");
  };
  switch (scene.trouble) {
    case Trouble::none:
      ended(weir::Outcome::completed);
      break;
    case Trouble::fails:
      ended(weir::Outcome::completed);
      ensure(acted || (stats.failed >= 1 && stats.settled() == events), "one failed, and all were settled");
      break;
    case Trouble::all_fail:
      ended(weir::Outcome::completed);
      ensure(stats.processed == 0 && (acted || stats.failed == events), "all fail");
      break;
    case Trouble::fails_and_stops:
      ensure(acted || final.outcome() == weir::Outcome::failed, "it fails");
      ensure(acted || stats.failed >= 1, "with an event that failed");
      break;
    case Trouble::sender_throws:
      ended(weir::Outcome::failed);
      ensure(acted || stats.processed == events, "what was emitted was processed");
      break;
    case Trouble::times_out:
      ensure(acted || final.outcome() == weir::Outcome::completed || final.outcome() == weir::Outcome::timed_out,
             "done, or out of time");
      break;
  }
  if (final) ensure(stats.processed + stats.failed == events, "completed means all");
}

/// All actions at every step, under at least the default number of seeds each: with plain and with waiting receivers,
/// and once more with receivers and senders that throw, and with a timeout.
template <class Strategy>
void explore_strategy(Strategy strategy, Judge judge, SceneOptions options = {}) {
  const auto explore_with = [&](Action action, bool in_trouble) {
    const auto look = [judge, action](Scene& scene, const SceneFinal& final, weir::sim::Simulator& sim) {
      judge_trouble(scene, final, sim.acted());
      const bool discards = scene.trouble == Trouble::fails_and_stops || scene.trouble == Trouble::times_out;
      if (action == Action::graceful && !discards) {
        ensure(final.stats().discarded == 0, "a graceful cancel discards nothing");
      }
      judge(scene, final, sim);
    };
    const auto scenario = scene_of(options, strategy, action, look, in_trouble);
    if (action == Action::none) {
      weir::sim::explore(scenario);
    } else {
      weir::sim::explore_each_step(scenario);
    }
  };
  for (const Action action : all_actions) {
    for (const bool waiting : {false, true}) {
      options.waiting_receiver = waiting;
      explore_with(action, false);
    }
    explore_with(action, true);
  }
}

}  // namespace weir_test
