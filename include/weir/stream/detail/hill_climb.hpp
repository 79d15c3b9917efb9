/// The decisions of the strategy `adaptive`, apart from any clock, thread or stream: measurements go in, moves come
/// out.
///
/// How it climbs. In each dimension (concurrency, batch size) it keeps the best point and a bracket: the nearest points
/// on both sides that are known to be no better. It tries twice the best, and on success twice that; then the
/// geometric middle of what is left, until the bracket is narrow; then the same downwards. More is better only if the
/// throughput grows by `gain`; less is better as soon as the throughput is not worse by half of that than the best that
/// was seen. So it ends at the least that gives nearly the best throughput, and what it gives away stays bounded.
/// Where one dimension has moved by half since the other was looked at, that one is looked at upwards once more: more
/// workers are no better as long as batches are so small that taking them is most of the work.
///
/// How it stays calm. At the end of a climb it rests, looks at its neighbours only, and rests twice as long each time
/// they are no better: from an eighth of `cooling`, or as long as makes a look cheap, to eight times that. It climbs
/// anew at once when the workload changes: when the time that an event takes moves by `change` and stays there for a
/// second window, while workers are busy, or when idle workers become busy.
/// If the events take longer, less is tried first: whatever they wait for may have too much to do already.
/// Workers that idle have nothing to tell: then it tries no more of them, and gives up those that were idle for
/// `cooling`.
///
/// What it does about failures. Events that fail, or need another try, are no throughput. When they are more than the
/// part `failing` of all, what was being tried is given up at once, and what it came from is a tenth less with every
/// window, as limiters of remote work do, until they are fewer. If they are as many with half of the workers, and not
/// most of them, then it is not the workers that they come from: from then on they are taken for granted. When they
/// have become fewer for two windows it climbs anew, in small steps if that place is near to the one where they began.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include <weir/stream/adaptive_step.hpp>
#include <weir/stream/detail/window_measurement.hpp>
#include <weir/stream/event.hpp>

namespace weir::detail {

class HillClimb {
 public:
  struct Limits {
    AdaptivePoint least;
    AdaptivePoint most;
    AdaptivePoint start;
    double gain = 0.05;
    double change = 0.3;
    EventTime::duration cooling = std::chrono::seconds(1);
    /// Which part of the events may fail; 1: any.
    double failing = 1;
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
  /// Whether short windows will do: it is on its way, or has seen something odd.
  [[nodiscard]] bool hurried() const noexcept { return !resting() || odd_windows_ != 0; }

  /// A measurement that was taken at `point()`, and not while it was on its way there. Empty: stay.
  [[nodiscard]] std::optional<Move> feed(const WindowMeasurement& seen) noexcept {
    if (seen.events == 0 || seen.length.count() <= 0) return std::nullopt;
    const bool more = phase_ == Phase::probing && at(point_, dimension_) > at(best_, dimension_);
    const double usual = more ? std::max(usual_failures_, best_seen_.failed_part()) : usual_failures_;
    const bool failing =
        seen.failed >= some_failures && limits_.failing < 1 && seen.failed_part() > usual + limits_.failing;
    if (failing && phase_ != Phase::backing_off) return more ? give_up(seen) : begin_back_off(seen);
    switch (phase_) {
      case Phase::measuring:
        best_seen_ = seen;
        peak_ = std::max(peak_, seen.throughput());
        return try_next(seen);
      case Phase::probing:
        return judge(seen);
      case Phase::backing_off:
        return back_off(seen, failing);
      case Phase::resting:
        break;
    }
    return rest(seen);
  }

 private:
  enum class Phase : unsigned char { measuring, probing, resting, backing_off };
  static constexpr std::size_t dimensions = 2;
  static constexpr int longest_rest = 8;
  static constexpr int windows_a_look = 64;
  static constexpr double busy_enough = 0.7;
  /// Windows on the way are short, and miss a part of what lasts long.
  static constexpr double busy_enough_to_grow = 0.5;
  static constexpr double idle_enough = 0.5;
  static constexpr double back_off_by = 0.9;
  /// A few that fail in a short window are no trend.
  static constexpr std::uint64_t some_failures = 3;
  /// When more fail than this there is nothing to be found by looking around.
  static constexpr double most_failures = 0.5;
  static constexpr int longest_look = 6;
  static constexpr int most_rounds = 4;
  static constexpr double slower_by_far = 3;
  static constexpr double least_worth = 0.2;

  static constexpr std::size_t unknown = static_cast<std::size_t>(-1);
  /// The nearest points that are known to be no better; 0 and `unknown`: nothing is.
  struct Bracket {
    std::size_t below = 0;
    std::size_t above = unknown;
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

  /// Batches are looked at by far steps first: with larger ones more workers may pay.
  [[nodiscard]] bool looks_between(std::size_t d) const noexcept { return climbing_ && (d == 0 || fine_); }

  /// The next point above or below the best in a dimension that is worth a look; empty: there is none.
  [[nodiscard]] std::optional<std::size_t> above(std::size_t d) const noexcept {
    const std::size_t best = at(best_, d);
    const std::size_t known = brackets_[d].above;
    const std::size_t far = std::max(best + 1, rounded(static_cast<double>(best) * stride_));
    const std::size_t top = at(limits_.most, d);
    if (known > top) return best < top ? std::optional(std::min(far, top)) : std::nullopt;
    if (!looks_between(d) || narrow(best, known)) return std::nullopt;
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
    if (!looks_between(d) || narrow(known, best)) return std::nullopt;
    return std::clamp(middle(known, best), known + 1, best - 1);
  }

  std::optional<Move> try_next(const WindowMeasurement& seen) noexcept {
    const bool busy = best_seen_.in_use() >= busy_enough_to_grow * static_cast<double>(best_.concurrency);
    for (;; ++dimension_) {
      if (dimension_ == dimensions) dimension_ = stale_dimension();
      if (dimension_ == dimensions) {
        if (fine_ || !climbing_) break;
        fine_ = true;
        dimension_ = dimensions - 1;
      }
      look_up_anew(dimension_);
      // More workers than there is work for tell nothing; larger batches may still make it cheaper.
      const auto more = busy || dimension_ != 0 ? above(dimension_) : std::nullopt;
      const auto less = below(dimension_);
      const bool go_up = more && (!less || !downwards_);
      const auto to = go_up ? more : less;
      if (!to) {
        downwards_ = relieving_ = false;
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

  /// One whose bracket was found where the other dimension was far from where it is now; `dimensions`: none, or it has
  /// gone round often enough.
  [[nodiscard]] std::size_t stale_dimension() noexcept {
    for (std::size_t d = 0; climbing_ && rounds_ < most_rounds && d < dimensions; ++d) {
      if (!is_stale(d)) continue;
      ++rounds_;
      return d;
    }
    return dimensions;
  }
  [[nodiscard]] bool is_stale(std::size_t d) const noexcept {
    const std::size_t now = at(best_, 1 - d);
    const std::size_t then = beside_[d];
    return then != 0 && 2 * std::max(now, then) >= 3 * std::min(now, then);
  }
  /// Looks far above once more, if it was found elsewhere that more is no better.
  void look_up_anew(std::size_t d) noexcept {
    if (beside_[d] != 0 && !is_stale(d)) return;
    if (beside_[d] != 0) known_above_[d] = std::exchange(brackets_[d].above, unknown);
    beside_[d] = at(best_, 1 - d);
  }

  std::optional<Move> judge(const WindowMeasurement& seen) noexcept {
    probe_.add(seen);
    ++windows_;
    const std::size_t d = dimension_;
    const bool more = at(point_, d) > at(best_, d);
    // That is not because they are fewer.
    if (!more && d == 0 && seen.latency() > best_seen_.latency() * slower_by_far) {
      return relieve(seen, best_seen_.latency() / seen.latency());
    }
    const double needed = more ? best_seen_.throughput() * (1 + worth(d)) : peak_ * (1 - worth(d) / 2);
    const double got = probe_.throughput();
    // Too near to be told from noise, the more so the less has been seen: look longer.
    const double least_doubt =
        probe_.steady() && best_seen_.steady() ? 0.5 : std::max(0.5, 4.0 / (1 << (windows_ - 1)));
    const double doubt = std::max(limits_.gain * least_doubt, probe_.noise * 1.5);
    if (windows_ < longest_look && std::abs(got - needed) < needed * doubt) return std::nullopt;
    if (got >= needed && got > 0) {
      (more ? brackets_[d].below : brackets_[d].above) = at(best_, d);
      known_above_[d] = unknown;
      best_ = point_;
      best_seen_ = probe_;
      downwards_ = !more;
      peak_ = std::max(peak_, got);
      // Something has been found: look as far as at the beginning.
      begin_climb();
    } else {
      (more ? brackets_[d].above : brackets_[d].below) = at(point_, d);
      if (more) brackets_[d].above = std::min(brackets_[d].above, std::exchange(known_above_[d], unknown));
      // Only the first look was to be downwards.
      if (std::exchange(relieving_, false)) downwards_ = false;
    }
    return try_next(seen);
  }

  /// By which part another point must be faster to be better: `gain` for a doubling, less for a smaller step.
  [[nodiscard]] double worth(std::size_t d) const noexcept {
    const double ratio = static_cast<double>(at(point_, d)) / static_cast<double>(at(best_, d));
    return limits_.gain * std::clamp(std::abs(std::log2(ratio)), least_worth, 1.0);
  }

  /// What is tried fails: no second look.
  std::optional<Move> give_up(const WindowMeasurement& seen) noexcept {
    brackets_[dimension_].above = at(point_, dimension_);
    return try_next(seen);
  }

  std::optional<Move> begin_back_off(const WindowMeasurement& seen) noexcept {
    phase_ = Phase::backing_off;
    failing_at_ = point_.concurrency;
    failed_first_ = seen.failed_part();
    odd_windows_ = 0;
    return fewer_by_a_tenth();
  }
  std::optional<Move> back_off(const WindowMeasurement& seen, bool failing) noexcept {
    if (!failing) {
      if (++odd_windows_ < 2) return std::nullopt;
      usual_failures_ = std::min(usual_failures_, seen.failed_part());
      // Near to where it failed, that place is known to be no better.
      const bool near = 2 * point_.concurrency > failing_at_ && point_.concurrency < failing_at_;
      return climb_anew(seen, AdaptiveReason::recovered, near ? failing_at_ : unknown);
    }
    odd_windows_ = 0;
    const bool far = 2 * point_.concurrency <= failing_at_ || point_.concurrency <= limits_.least.concurrency;
    if (far && seen.failed_part() <= most_failures && seen.failed_part() >= failed_first_ * 0.7) {
      usual_failures_ = seen.failed_part();
      return climb_anew(seen, AdaptiveReason::changed);
    }
    return fewer_by_a_tenth();
  }
  std::optional<Move> fewer_by_a_tenth() noexcept {
    const auto tenth_less = static_cast<std::size_t>(static_cast<double>(point_.concurrency) * back_off_by);
    best_ = point_;
    best_.concurrency = std::max({tenth_less, limits_.least.concurrency, std::size_t{1}});
    if (best_ == point_) return std::nullopt;
    return move_to(best_, AdaptiveReason::failing);
  }

  std::optional<Move> begin_rest(const WindowMeasurement& seen) noexcept {
    // A look costs some windows: where they are long it is worth its price less often. The first rest is short, as
    // something else may have been on while it climbed.
    const auto worth_it = std::max(climbing_ ? limits_.cooling / 8 : rest_ * 2, seen.length * windows_a_look);
    rest_ = std::min(worth_it, limits_.cooling * longest_rest);
    looking_again_ = false;
    phase_ = Phase::resting;
    rest_until_ = seen.end + rest_;
    calm_latency_ = best_seen_.latency();
    calm_busy_ = !is_idle(best_seen_);
    calm_length_ = seen.length;
    odd_windows_ = 0;
    idle_since_.reset();
    return move_to(best_, point_ == best_ ? AdaptiveReason::settled : AdaptiveReason::revert);
  }

  std::optional<Move> rest(const WindowMeasurement& seen) noexcept {
    const double latency = seen.latency();
    const bool idle = is_idle(seen);
    const double change = 1 + limits_.change + 2 * seen.noise;
    // Where workers idle the time of an event is of no consequence.
    const bool busy = seen.idle <= seen.busy;
    const bool other = busy && (latency > calm_latency_ * change || latency * change < calm_latency_);
    const bool demand = !calm_busy_ && seen.in_use() >= busy_enough * static_cast<double>(point_.concurrency);
    const bool odd = other || demand;
    // Where nothing has ended for long, the window was long.
    odd_windows_ = odd ? odd_windows_ + (seen.length >= 2 * calm_length_ ? 2 : 1) : 0;
    if (odd_windows_ >= 2) {
      if (other && latency > calm_latency_) return relieve(seen, calm_latency_ / latency);
      return climb_anew(seen, other ? AdaptiveReason::changed : AdaptiveReason::demand);
    }
    if (!odd) {
      calm_latency_ += (latency - calm_latency_) / 8;
      calm_length_ += (seen.length - calm_length_) / 8;
    }
    if (seen.failed_part() < usual_failures_) usual_failures_ += (seen.failed_part() - usual_failures_) / 8;
    if (!idle) {
      idle_since_.reset();
    } else if (!idle_since_) {
      idle_since_ = seen.end - seen.length;
    } else if (seen.end - *idle_since_ >= limits_.cooling) {
      if (auto move = shrink(seen)) return move;
    }
    if (seen.end < rest_until_) return std::nullopt;
    // Not while something is going on.
    if (odd_windows_ != 0 || latency > calm_latency_ * (1 + limits_.change)) return std::nullopt;
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

  /// Events take longer: as many fewer workers as they take longer, but half of them at least. What was seen is partly
  /// of before, and so it measures there first, and then looks downwards first.
  std::optional<Move> relieve(const WindowMeasurement& seen, double part) noexcept {
    relieving_ = true;
    const auto fewer = static_cast<std::size_t>(static_cast<double>(point_.concurrency) * std::min(part, 0.5));
    AdaptivePoint less = point_;
    less.concurrency = std::max({fewer, limits_.least.concurrency, std::size_t{1}});
    if (less.concurrency >= point_.concurrency) return climb_anew(seen, AdaptiveReason::changed);
    best_ = less;
    peak_ = 0;
    forget_brackets();
    dimension_ = 0;
    downwards_ = true;
    begin_climb();
    phase_ = Phase::measuring;
    return move_to(less, AdaptiveReason::changed);
  }

  std::optional<Move> climb_anew(const WindowMeasurement& seen, AdaptiveReason reason,
                                 std::size_t no_better = unknown) noexcept {
    best_ = point_;
    best_seen_ = seen;
    peak_ = seen.throughput();
    forget_brackets();
    brackets_[0].above = no_better;
    dimension_ = 0;
    downwards_ = relieving_;
    begin_climb();
    auto move = try_next(seen);
    if (move) move->reason = reason;
    return move;
  }
  void forget_brackets() noexcept {
    fine_ = false;
    known_above_ = {unknown, unknown};
    brackets_ = {};
    beside_ = {};
    rounds_ = 0;
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
    forget_brackets();
    dimension_ = 0;
    downwards_ = false;
    climbing_ = false;
    looking_again_ = true;
    stride_ = 1.25;
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
  /// Where the other dimension was when a bracket was begun; 0: it was not.
  std::array<std::size_t, dimensions> beside_{};
  /// Where more was no better, before it is looked for farther up.
  std::array<std::size_t, dimensions> known_above_{unknown, unknown};
  int rounds_ = 0;
  std::size_t dimension_ = 0;
  /// What went well last is tried first.
  bool downwards_ = false;
  /// The events take longer: less is looked at before more.
  bool relieving_ = false;
  double stride_ = 2;
  bool climbing_ = true;
  /// Far steps have found what they can in both dimensions.
  bool fine_ = false;
  bool looking_again_ = false;
  WindowMeasurement probe_;
  int windows_ = 0;
  EventTime::duration rest_{};
  EventTime rest_until_{};
  double calm_latency_ = 0;
  EventTime::duration calm_length_{};
  bool calm_busy_ = true;
  int odd_windows_ = 0;
  /// Which part of the events fails whatever it does.
  double usual_failures_ = 0;
  /// Where it began to back off, and how many failed there.
  std::size_t failing_at_ = 0;
  double failed_first_ = 0;
  std::optional<EventTime> idle_since_;
};

}  // namespace weir::detail
