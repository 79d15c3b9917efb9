#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace weir_bench {

/// The same value, of which the compiler no longer knows where it comes from.
template <class T>
[[nodiscard]] inline T hidden(T value) noexcept {
  asm volatile("" : "+r"(value));
  return value;
}

using Clock = std::chrono::steady_clock;

inline constexpr std::size_t default_capacity = 1024;

/// What a strategy was at, and what it got done since the point before.
struct TimelinePoint {
  double seconds = 0;
  double events_per_second = 0;
  double concurrency = 0;
  double batch = 0;
};

struct Sample {
  double ns_per_event = 0;
  double allocs_per_event = 0;
  std::map<std::string, double> figures{};  // those that its group asks for in place of ns_per_event
  std::vector<TimelinePoint> timeline{};
};

/// Counts time and allocations from its construction. A subject builds one when its queue and threads stand, so that
/// what is measured is the steady state.
class Measurement {
 public:
  Measurement() noexcept;
  [[nodiscard]] Sample finish(std::uint64_t events) const noexcept;

 private:
  std::uint64_t allocations_at_start_;
  Clock::time_point start_;
};

/// Throws if a subject did not deliver what was sent through it: a figure of a broken queue is worth nothing.
void expect_delivered(std::uint64_t expected, std::uint64_t actual);

struct Spread {
  double median = 0;
  double min = 0;
  double max = 0;
};

[[nodiscard]] Spread spread_of(std::vector<double> values);

/// A measurement beside the main one, with figures of its own; run in rounds of its own, so as not to disturb the
/// others.
struct Extra {
  std::string name;
  std::chrono::milliseconds sample_time{100};
  std::function<std::map<std::string, double>(std::uint64_t events)> run;
};

struct Subject {
  std::string name;
  std::string variant{};
  std::function<Sample(std::uint64_t events)> run;
  bool allocations_counted = true;
  std::optional<Extra> extra{};
  std::string absent_because{};
  bool fixed = false;  // it does not adapt: see Group::against_best_fixed

  [[nodiscard]] static Subject absent(std::string name, std::string variant, std::string why);
  [[nodiscard]] bool is_absent() const noexcept { return !absent_because.empty(); }
};

/// Subjects that do the same job on the same payload. They run in turns, and their ratios are those of neighbours in
/// time.
struct Group {
  std::string id;
  std::string title;
  std::string payload;
  std::vector<std::string> references;  // the first that is present is what the ratios are to
  std::map<std::string, std::variant<std::int64_t, std::string>> fields;
  std::uint64_t max_events = std::uint64_t{1} << 40;
  std::optional<std::uint64_t> fixed_events{};  // where the number is part of the job, and not the length of a sample
  int longer = 1;  // so many times as long as other samples, for what has to find its way first
  int max_rounds = 1 << 20;
  bool against_best_fixed = false;     // the ratios are to the fixed subject of the least median
  std::vector<std::string> figures{};  // what is reported in place of ns_per_event, if that is not the question
  std::string rated{};                 // the one of these that the ratios are of; none: there are no ratios
  std::vector<Subject> subjects;
};

struct Result {
  const Subject* subject = nullptr;
  std::uint64_t events = 0;
  Spread ns_per_event{};
  Spread ratio{};
  double allocs_per_event = 0;
  std::map<std::string, Spread> figures{};
  std::map<std::string, Spread> extra{};
  std::vector<TimelinePoint> timeline{};  // of the first round
};

struct GroupResult {
  const Group* group = nullptr;
  std::string reference;
  std::vector<Result> results;
};

struct Effort {
  std::chrono::milliseconds sample_time{20};
  int rounds = 21;
  int extra_rounds = 7;
  double extra_share = 1;
  std::optional<std::uint64_t> events{};  // as many for each sample, however long it takes

  [[nodiscard]] static Effort quick() { return {std::chrono::milliseconds(3), 5, 3, 0.25}; }
  /// Proves that everything runs; the figures are worth nothing.
  [[nodiscard]] static Effort smoke();
};

[[nodiscard]] GroupResult measure(const Group& group, const Effort& effort);

}  // namespace weir_bench
