/// As many events at once as give the best throughput, found while the stream runs.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <weir/core/error.hpp>
#include <weir/core/task.hpp>
#include <weir/core/timer.hpp>
#include <weir/stream/adaptive_step.hpp>
#include <weir/stream/batch.hpp>
#include <weir/stream/detail/adaptive_control.hpp>
#include <weir/stream/detail/adaptive_log.hpp>
#include <weir/stream/detail/hill_climb.hpp>
#include <weir/stream/detail/run_buffer.hpp>
#include <weir/stream/strategy/batched.hpp>
#include <weir/stream/strategy/strategy.hpp>

namespace weir {

/// Settings of `adaptive`. The defaults work.
struct AdaptiveOptions {
  std::size_t min_concurrency = 1;
  /// 0: as many as the machine runs at once for a receiver that is a plain function, 256 for a coroutine.
  std::size_t max_concurrency = 0;
  /// Where it begins.
  std::size_t start_concurrency = 1;
  /// For how long it looks at one setting before it judges: longer when the events take long or are few.
  EventTime::duration window = std::chrono::milliseconds(20);
  /// For how long it rests before it looks at the neighbours of the best again: an eighth of this at first, twice as
  /// long each time they are no better, up to eight times this. Not at all when the workload changes. Workers that idle
  /// are given up after it.
  EventTime::duration cooling = std::chrono::seconds(1);
  /// By which part more workers must be faster to be kept, and fewer may be slower: below it is noise.
  double gain = 0.05;
  /// By which part the time that an event takes must move to be another workload.
  double change = 0.3;
  /// Which part of the events may fail, or need another try, before it backs off. They are no throughput in any case.
  /// 1: any, for workloads of which many events fail by their nature.
  double failing = 0.1;
  /// How many decisions are kept.
  std::size_t trace_length = 256;
};

class AdaptiveBatched;

/// The strategy of `adaptive({...})`: workers as in `parallel(n)`, with an n that it finds by itself and changes when
/// the workload does. It measures the throughput and the time that events take, window by window, by the stream's
/// clock, and climbs: it keeps more workers only if they make the stream faster, and gives up those that don't. Events
/// that fail or are tried again are no throughput; when they become many, or events take longer than before, it tries
/// with fewer workers first, so that what they wait for is relieved. Results are collected as they come.
///
/// The object is a handle, too: keep a copy, and ask it, from any thread and also after the stream has ended, where it
/// is and how it got there. One stream at a time uses it; the next one begins a new trace.
///
///     auto adaptive = weir::adaptive({.max_concurrency = 32});
///     auto stream = weir::emits<Url>(pool).sender(urls).receiver(adaptive, fetch).start();
///     ...
///     for (const weir::AdaptiveStep& step : adaptive.trace()) std::puts(weir::to_string(step).c_str());
class Adaptive {
 public:
  static constexpr bool takes_ahead = true;

  /// Throws `Error(Errc::invalid_argument)` for limits that contradict each other.
  explicit Adaptive(const AdaptiveOptions& options)
      : options_(options), log_(std::make_shared<detail::AdaptiveLog>(options.trace_length)) {
    const auto require = [](bool good, const char* what) {
      if (!good) throw Error(Errc::invalid_argument, std::string("adaptive({...}): ") + what);
    };
    require(options.min_concurrency >= 1, "min_concurrency is 0: a stream needs at least 1 worker");
    require(options.max_concurrency == 0 || options.max_concurrency >= options.min_concurrency,
            "max_concurrency is less than min_concurrency");
    require(options.window > options.window.zero(), "the window must last for some time");
    require(options.cooling >= options.cooling.zero(), "cooling is negative");
    require(options.gain > 0 && options.gain < 1, "gain is not between 0 and 1");
    require(options.change > 0, "change is not positive");
    require(options.failing > 0 && options.failing <= 1, "failing is not between 0 and 1");
  }

  /// The same for receivers that take a span of events, as those of `weir::batched(most, max_delay)`: it finds the size
  /// of the batches as well, from 1 to `most`, or to half of the stream's capacity. It shares its trace with this
  /// handle.
  template <class Rep = std::chrono::milliseconds::rep, class Period = std::milli>
  [[nodiscard]] AdaptiveBatched batched(
      std::size_t most = 1024, std::chrono::duration<Rep, Period> max_delay = std::chrono::milliseconds(100)) const;

  /// For pictures of the stream, which ask once: the bounds of its concurrency.
  [[nodiscard]] std::string describe() const {
    return "adaptive(" + std::to_string(options_.min_concurrency) + " to " + std::to_string(concurrency()) + ")";
  }

  /// Where it is now.
  [[nodiscard]] AdaptivePoint current() const { return log_->point(); }
  /// What it decided, the last `trace_length` of it, the oldest first.
  [[nodiscard]] std::vector<AdaptiveStep> trace() const { return log_->steps(); }
  /// The trace for a spreadsheet or a plot: a line of names, and one for each decision.
  [[nodiscard]] std::string csv() const {
    std::string text = "seconds,concurrency,batch,reason,events_per_second,latency_seconds,failed_part\n";
    for (const AdaptiveStep& step : trace()) {
      text += fmt::format("{:.6f},{},{},{},{:.1f},{:.9f},{:.4f}\n", std::chrono::duration<double>(step.when).count(),
                          step.to.concurrency, step.to.batch, to_string(step.reason), step.throughput, step.latency,
                          step.failed);
    }
    return text;
  }

  [[nodiscard]] std::size_t concurrency() const noexcept { return most(false); }
  [[nodiscard]] std::size_t kept(std::size_t capacity) const noexcept { return capacity / 8; }

  template <class D>
  Task<> operator()(D& drain) const {
    auto control = make_control(drain, 1, drain.kept());
    start(drain, control, control->begin());
    auto own = work(drain, control);
    co_await std::move(own);
  }

 private:
  friend class AdaptiveBatched;
  using Control = detail::AdaptiveControl;

  /// Its measurements are worth a lock only so often.
  static constexpr std::chrono::microseconds often{100};
  /// A coroutine may begin to wait while it has taken so many ahead.
  static constexpr std::size_t longest_of_coroutine = 7;
  static constexpr std::size_t first_batch = 1;

  [[nodiscard]] std::size_t most(bool plain) const noexcept {
    if (options_.max_concurrency != 0) return options_.max_concurrency;
    const std::size_t at_once = plain ? std::max<std::size_t>(std::thread::hardware_concurrency(), 1) : 256;
    return std::max(at_once, options_.min_concurrency);
  }

  template <class D>
  [[nodiscard]] std::shared_ptr<Control> make_control(D& drain, std::size_t largest_batch, std::size_t ahead) const {
    detail::HillClimb::Limits limits;
    limits.least.concurrency = options_.min_concurrency;
    limits.most = {most(D::plain), largest_batch};
    limits.start = {std::clamp(options_.start_concurrency, limits.least.concurrency, limits.most.concurrency),
                    std::min(first_batch, largest_batch)};
    limits.gain = options_.gain;
    limits.change = options_.change;
    limits.cooling = options_.cooling;
    limits.failing = options_.failing;
    return std::make_shared<Control>(limits, options_.window, ahead, drain.now(), log_);
  }

  template <class D>
  static void start(D& drain, const std::shared_ptr<Control>& control, std::size_t workers) noexcept {
    start(drain, control, workers, [control](D& own) { return work(own, control); });
  }
  template <class D, class Body>
  static void start(D& drain, const std::shared_ptr<Control>& control, std::size_t workers, const Body& body) noexcept {
    for (; workers != 0; --workers) {
      try {
        drain.start_worker(body);
      } catch (...) {
        // Those that are there must do.
        control->not_started(workers);
        return;
      }
    }
  }

  /// Whoever leaves first, for whatever reason, lets the others go.
  struct Leaving {
    Control& control;
    ~Leaving() { control.end(); }
  };

  template <class D>
  static Task<> work(D& drain, std::shared_ptr<Control> control) {
    const Leaving leaving{*control};
    constexpr std::size_t longest = D::plain
                                        ? detail::longest_run<typename D::Element> - 1
                                        : std::min(detail::longest_run<typename D::Element> - 1, longest_of_coroutine);
    detail::WorkMeter meter;
    std::uint64_t failures = 0;
    meter.told = drain.now();
    EventTime last = meter.told;
    for (;;) {
      if (control->crowded()) {
        co_await Control::ParkOperation(*control);
        last = drain.now();
      }
      const std::size_t ahead = D::plain || control->alone() ? control->take_ahead(longest) : 0;
      if (!co_await drain.fetch(1 + ahead)) co_return;
      const std::size_t taken = drain.fetched();
      const EventTime begun = drain.now();
      while (auto* const event = drain.next()) co_await drain.process(*event);
      control->give_ahead(ahead);
      const EventTime done = drain.now();
      meter.add(taken, done - begun, done - std::exchange(last, done));
      meter.failed += EventBatch<D>::take_failures(drain, failures);
      if (done - meter.told >= often) start(drain, control, control->tell(meter, done));
    }
  }

  AdaptiveOptions options_;
  std::shared_ptr<detail::AdaptiveLog> log_;
};

/// The strategy of `adaptive({...}).batched(most, max_delay)`: batches as those of `Batched`, of a size and for a
/// number of workers that it finds by itself. While one worker fills its batch the others process theirs.
class AdaptiveBatched {
 public:
  static constexpr bool in_batches = true;
  static constexpr bool takes_ahead = true;

  AdaptiveBatched(Adaptive how, const Batched& batched) : how_(std::move(how)), batched_(batched) {}

  [[nodiscard]] std::string describe() const { return how_.describe() + "." + batched_.describe(); }
  /// See `Batched::split_on_error`.
  [[nodiscard]] AdaptiveBatched split_on_error() const { return {how_, batched_.split_on_error()}; }

  [[nodiscard]] std::size_t concurrency() const noexcept { return how_.concurrency(); }
  /// Half of the capacity at most: the sender needs room while a batch is gathered.
  [[nodiscard]] std::size_t kept(std::size_t capacity) const noexcept {
    return std::min(batched_.kept(capacity), capacity / 2);
  }

  template <class D>
  Task<> operator()(D& drain) const {
    auto control = how_.make_control(drain, drain.kept() + 1, 0);
    auto turns = std::make_shared<detail::GatherTurn>();
    start(drain, batched_, control, turns, control->begin());
    auto own = work(drain, batched_, control, turns);
    co_await std::move(own);
  }

 private:
  using Control = Adaptive::Control;
  using Turns = std::shared_ptr<detail::GatherTurn>;

  template <class D>
  static void start(D& drain, const Batched& how, const std::shared_ptr<Control>& control, const Turns& turns,
                    std::size_t workers) noexcept {
    if (workers == 0) return;
    Adaptive::start(drain, control, workers, [=](D& own) { return work(own, how, control, turns); });
  }

  template <class D>
  static Task<> work(D& drain, Batched how, std::shared_ptr<Control> control, Turns turns) {
    const Adaptive::Leaving leaving{*control};
    EventBatch<D> batch(drain, drain.kept() + 1);
    std::optional<detail::StreamTurnHeld> turn;
    detail::WorkMeter meter;
    std::uint64_t failures = 0;
    meter.told = drain.now();
    EventTime last = meter.told;
    for (;;) {
      if (control->crowded()) {
        co_await Control::ParkOperation(*control);
        last = drain.now();
      }
      // Before it takes the turn, in which nobody else gathers.
      co_await yield_when_due();
      turn.emplace(co_await detail::StreamTurn::TakeOperation(*turns));
      batch.limit_to(control->batch());
      if (!co_await batch.gather()) co_return;
      if (how.waits() && !batch.full()) {
        const EventTime due = how.due(drain.now());
        while (co_await batch.gather_until(due)) {
          if (batch.full()) break;
        }
      }
      turn.reset();
      const std::size_t taken = batch.size();
      const EventTime begun = drain.now();
      co_await batch.process(how.failure());
      const EventTime done = drain.now();
      meter.add(taken, done - begun, done - std::exchange(last, done));
      meter.failed += EventBatch<D>::take_failures(drain, failures);
      if (done - meter.told >= Adaptive::often) start(drain, how, control, turns, control->tell(meter, done));
    }
  }

  Adaptive how_;
  Batched batched_;
};

template <class Rep, class Period>
AdaptiveBatched Adaptive::batched(std::size_t most, std::chrono::duration<Rep, Period> max_delay) const {
  return {*this, weir::batched(most, max_delay)};
}

/// Finds the concurrency by itself: see `Adaptive`.
[[nodiscard]] inline Adaptive adaptive(const AdaptiveOptions& options = {}) { return Adaptive(options); }

static_assert(Strategy<Adaptive>);
static_assert(Strategy<AdaptiveBatched>);

}  // namespace weir
