/// The decisions of the strategy `adaptive`, apart from any clock, thread or stream: measurements go in, moves come
/// out.
///
/// How it climbs. In each dimension (concurrency, batch size) it keeps the best point and a bracket: the nearest points
/// on both sides that are known to be no better. It tries twice the best, and on success twice that; then the
/// geometric middle of what is left, until the bracket is narrow; then the same downwards. More is better only if the
/// throughput grows by `gain`; less is better as soon as the throughput is not worse by half of that than the best that
/// was seen. So it ends at the least that gives nearly the best throughput, and what it gives away stays bounded.
///
/// How it stays calm. At the end of a climb it rests for `cooling`, looks at its neighbours only, and rests twice as
/// long each time they are no better, up to eight times. It climbs anew at once when the workload changes: when the
/// time that an event takes moves by `change` and stays there for a second window, or when idle workers become busy.
/// Workers that idle have nothing to tell: then it tries no more of them, and gives up those that were idle for
/// `cooling`.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>

#include <weir/stream/event.hpp>

namespace weir {

/// How many workers an adaptive stream has, and how many events a batch.
struct AdaptivePoint {
  std::size_t concurrency = 1;
  std::size_t batch = 1;
  friend bool operator==(AdaptivePoint, AdaptivePoint) = default;
};

/// Why an adaptive stream moved.
enum class AdaptiveReason : std::uint8_t {
  probe_more,  ///< to see whether more is better
  probe_less,  ///< to see whether less does as well
  revert,      ///< it was no better: back to the best
  settled,     ///< the neighbours are no better: it rests here
  recheck,     ///< it has rested: are the neighbours better by now?
  changed,     ///< the events take another time than before: it climbs anew
  demand,      ///< workers that were idle have become busy: it climbs anew
  idle,        ///< some workers have been idle for long
};

[[nodiscard]] constexpr const char* to_string(AdaptiveReason reason) noexcept {
  constexpr std::array names{"probe more", "probe less", "revert", "settled", "recheck", "changed", "demand", "idle"};
  return names[static_cast<std::size_t>(reason)];
}

namespace detail {

/// What was seen at one point.
struct WindowMeasurement {
  EventTime end{};
  EventTime::duration length{};
  std::uint64_t events = 0;
  /// The time that workers spent in the receiver, summed up.
  EventTime::duration busy{};

  [[nodiscard]] double throughput() const noexcept {
    const double seconds = std::chrono::duration<double>(length).count();
    return seconds > 0 ? static_cast<double>(events) / seconds : 0;
  }
  /// For how long an event keeps a worker, in seconds.
  [[nodiscard]] double latency() const noexcept {
    return events == 0 ? 0 : std::chrono::duration<double>(busy).count() / static_cast<double>(events);
  }
  /// How many workers were busy, on average.
  [[nodiscard]] double in_use() const noexcept {
    return length.count() > 0 ? static_cast<double>(busy.count()) / static_cast<double>(length.count()) : 0;
  }
  void add(const WindowMeasurement& other) noexcept {
    end = other.end;
    length += other.length;
    events += other.events;
    busy += other.busy;
  }
};

class HillClimb {
 public:
  struct Limits {
    AdaptivePoint least;
    AdaptivePoint most;
    AdaptivePoint start;
    double gain = 0.05;
    double change = 0.3;
    EventTime::duration cooling = std::chrono::seconds(1);
  };
  struct Move {
    AdaptivePoint from;
    AdaptivePoint to;
    AdaptiveReason reason;
  };

  explicit HillClimb(const Limits& limits) noexcept : limits_(limits), best_(limits.start), point_(limits.start) {
    rest_ = limits_.cooling;
  }

  /// Where to be until the next measurement.
  [[nodiscard]] AdaptivePoint point() const noexcept { return point_; }
  [[nodiscard]] bool resting() const noexcept { return phase_ == Phase::resting; }

  /// A measurement that was taken at `point()`, and not while it was on its way there. Empty: stay.
  [[nodiscard]] std::optional<Move> feed(const WindowMeasurement& seen) noexcept {
    if (seen.events == 0 || seen.length.count() <= 0) return std::nullopt;
    switch (phase_) {
      case Phase::measuring:
        best_seen_ = seen;
        peak_ = std::max(peak_, seen.throughput());
        return try_next(seen);
      case Phase::probing:
        return judge(seen);
      case Phase::resting:
        break;
    }
    return rest(seen);
  }

 private:
  enum class Phase : unsigned char { measuring, probing, resting };
  static constexpr std::size_t dimensions = 2;
  static constexpr int longest_rest = 8;
  static constexpr double busy_enough = 0.7;
  static constexpr double idle_enough = 0.5;

  /// The nearest points that are known to be no better; 0 and the greatest number: nothing is known.
  struct Bracket {
    std::size_t below = 0;
    std::size_t above = static_cast<std::size_t>(-1);
  };

  [[nodiscard]] static std::size_t& at(AdaptivePoint& point, std::size_t dimension) noexcept {
    return dimension == 0 ? point.concurrency : point.batch;
  }
  [[nodiscard]] static std::size_t at(const AdaptivePoint& point, std::size_t dimension) noexcept {
    return dimension == 0 ? point.concurrency : point.batch;
  }
  [[nodiscard]] static std::size_t rounded(double n) noexcept { return static_cast<std::size_t>(std::lround(n)); }
  [[nodiscard]] static std::size_t middle(std::size_t a, std::size_t b) noexcept {
    return rounded(std::sqrt(static_cast<double>(a) * static_cast<double>(b)));
  }
  /// Whether two points are so near that it is not worth a look between them.
  [[nodiscard]] static bool narrow(std::size_t a, std::size_t b) noexcept {
    return b - a <= std::max<std::size_t>(1, a / 8);
  }

  /// The next point above or below the best in a dimension that is worth a look; empty: there is none.
  [[nodiscard]] std::optional<std::size_t> above(std::size_t d) const noexcept {
    const std::size_t best = at(best_, d);
    const std::size_t known = brackets_[d].above;
    const std::size_t far = std::max(best + 1, rounded(static_cast<double>(best) * stride_));
    const std::size_t top = at(limits_.most, d);
    if (known > top) return best < top ? std::optional(std::min(far, top)) : std::nullopt;
    if (!climbing_ || narrow(best, known)) return std::nullopt;
    return std::clamp(middle(best, known), best + 1, known - 1);
  }
  [[nodiscard]] std::optional<std::size_t> below(std::size_t d) const noexcept {
    const std::size_t best = at(best_, d);
    const std::size_t known = brackets_[d].below;
    const std::size_t bottom = at(limits_.least, d);
    if (known < bottom) {
      if (best <= bottom) return std::nullopt;
      return std::clamp(rounded(static_cast<double>(best) / stride_), bottom, best - 1);
    }
    if (!climbing_ || narrow(known, best)) return std::nullopt;
    return std::clamp(middle(known, best), known + 1, best - 1);
  }

  std::optional<Move> try_next(const WindowMeasurement& seen) noexcept {
    const bool busy = best_seen_.in_use() >= busy_enough * static_cast<double>(best_.concurrency);
    for (; dimension_ < dimensions; ++dimension_) {
      // More workers than there is work for tell nothing; larger batches may still make it cheaper.
      const auto more = busy || dimension_ != 0 ? above(dimension_) : std::nullopt;
      const auto less = below(dimension_);
      const bool go_up = more && (!less || !downwards_);
      const auto to = go_up ? more : less;
      if (!to) {
        downwards_ = false;
        continue;
      }
      AdaptivePoint next = best_;
      at(next, dimension_) = *to;
      phase_ = Phase::probing;
      probe_ = WindowMeasurement();
      windows_ = 0;
      return move_to(next, looking_again_ ? AdaptiveReason::recheck
                           : go_up        ? AdaptiveReason::probe_more
                                          : AdaptiveReason::probe_less);
    }
    return begin_rest(seen);
  }

  std::optional<Move> judge(const WindowMeasurement& seen) noexcept {
    probe_.add(seen);
    ++windows_;
    const std::size_t d = dimension_;
    const bool more = at(point_, d) > at(best_, d);
    const double needed = more ? best_seen_.throughput() * (1 + limits_.gain) : peak_ * (1 - limits_.gain / 2);
    const double got = probe_.throughput();
    // Too near to be told from noise: look longer.
    if (windows_ < 3 && std::abs(got - needed) < needed * limits_.gain / 2) return std::nullopt;
    if (got >= needed) {
      (more ? brackets_[d].below : brackets_[d].above) = at(best_, d);
      best_ = point_;
      best_seen_ = probe_;
      downwards_ = !more;
      peak_ = std::max(peak_, got);
      // Something has been found: look as far as at the beginning.
      begin_climb();
    } else {
      (more ? brackets_[d].above : brackets_[d].below) = at(point_, d);
    }
    return try_next(seen);
  }

  std::optional<Move> begin_rest(const WindowMeasurement& seen) noexcept {
    rest_ = climbing_ ? limits_.cooling : std::min(rest_ * 2, limits_.cooling * longest_rest);
    looking_again_ = false;
    phase_ = Phase::resting;
    rest_until_ = seen.end + rest_;
    calm_latency_ = best_seen_.latency();
    calm_busy_ = !is_idle(best_seen_);
    odd_windows_ = 0;
    idle_since_.reset();
    return move_to(best_, point_ == best_ ? AdaptiveReason::settled : AdaptiveReason::revert);
  }

  std::optional<Move> rest(const WindowMeasurement& seen) noexcept {
    const double latency = seen.latency();
    const bool idle = is_idle(seen);
    const bool other = latency > calm_latency_ * (1 + limits_.change) || latency * (1 + limits_.change) < calm_latency_;
    const bool demand = !calm_busy_ && seen.in_use() >= busy_enough * static_cast<double>(point_.concurrency);
    odd_windows_ = other || demand ? odd_windows_ + 1 : 0;
    if (odd_windows_ >= 2) return climb_anew(seen, other ? AdaptiveReason::changed : AdaptiveReason::demand);
    if (odd_windows_ == 0) calm_latency_ += (latency - calm_latency_) / 8;
    if (!idle) {
      idle_since_.reset();
    } else if (!idle_since_) {
      idle_since_ = seen.end - seen.length;
    } else if (seen.end - *idle_since_ >= limits_.cooling) {
      if (auto move = shrink(seen)) return move;
    }
    if (seen.end < rest_until_) return std::nullopt;
    rest_until_ = seen.end + rest_;
    if (idle) return std::nullopt;
    begin_look(seen);
    return try_next(seen);
  }

  /// Those who were idle for long go, but for some who may be needed soon.
  std::optional<Move> shrink(const WindowMeasurement& seen) noexcept {
    const auto wanted = static_cast<std::size_t>(std::ceil(seen.in_use() * 1.5));
    const std::size_t fewer = std::max({wanted, limits_.least.concurrency, std::size_t{1}});
    if (fewer >= point_.concurrency) return std::nullopt;
    best_.concurrency = fewer;
    idle_since_.reset();
    calm_busy_ = false;
    return move_to(best_, AdaptiveReason::idle);
  }

  std::optional<Move> climb_anew(const WindowMeasurement& seen, AdaptiveReason reason) noexcept {
    best_ = point_;
    best_seen_ = seen;
    peak_ = seen.throughput();
    brackets_ = {};
    dimension_ = 0;
    downwards_ = false;
    begin_climb();
    auto move = try_next(seen);
    if (move) move->reason = reason;
    return move;
  }
  void begin_climb() noexcept {
    climbing_ = true;
    looking_again_ = false;
    stride_ = 2;
  }
  /// At the neighbours only.
  void begin_look(const WindowMeasurement& seen) noexcept {
    best_seen_ = seen;
    peak_ = seen.throughput();
    brackets_ = {};
    dimension_ = 0;
    downwards_ = false;
    climbing_ = false;
    looking_again_ = true;
    stride_ = 1.5;
  }

  [[nodiscard]] bool is_idle(const WindowMeasurement& seen) const noexcept {
    return seen.in_use() < idle_enough * static_cast<double>(best_.concurrency);
  }
  std::optional<Move> move_to(AdaptivePoint to, AdaptiveReason reason) noexcept {
    const Move move{point_, to, reason};
    point_ = to;
    return move;
  }

  Limits limits_;
  Phase phase_ = Phase::measuring;
  AdaptivePoint best_;
  AdaptivePoint point_;
  WindowMeasurement best_seen_;
  /// The best throughput of this climb: what less may fall short of by `gain`.
  double peak_ = 0;
  std::array<Bracket, dimensions> brackets_{};
  std::size_t dimension_ = 0;
  /// What went well last is tried first.
  bool downwards_ = false;
  double stride_ = 2;
  bool climbing_ = true;
  bool looking_again_ = false;
  WindowMeasurement probe_;
  int windows_ = 0;
  EventTime::duration rest_{};
  EventTime rest_until_{};
  double calm_latency_ = 0;
  bool calm_busy_ = true;
  int odd_windows_ = 0;
  std::optional<EventTime> idle_since_;
};

}  // namespace detail
}  // namespace weir
