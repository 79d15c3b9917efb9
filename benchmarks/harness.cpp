#include "harness.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

#include "allocation_count.hpp"

namespace weir_bench {

Measurement::Measurement() noexcept : allocations_at_start_(allocations()), start_(Clock::now()) {}

Sample Measurement::finish(std::uint64_t events) const noexcept {
  const std::chrono::duration<double, std::nano> elapsed = Clock::now() - start_;
  const auto allocated = static_cast<double>(allocations() - allocations_at_start_);
  return {elapsed.count() / static_cast<double>(events), allocated / static_cast<double>(events)};
}

void expect_delivered(std::uint64_t expected, std::uint64_t actual) {
  if (expected == actual) return;
  throw std::runtime_error("what came out is not what went in: expected " + std::to_string(expected) + ", got " +
                           std::to_string(actual));
}

Spread spread_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  const double median = values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  return {median, values.front(), values.back()};
}

Subject Subject::absent(std::string name, std::string variant, std::string why) {
  Subject subject;
  subject.name = std::move(name);
  subject.variant = std::move(variant);
  subject.absent_because = std::move(why);
  return subject;
}

namespace {

[[noreturn]] void rethrow_for(const Group& group, const Subject& subject, const std::exception& error) {
  throw std::runtime_error(group.id + " " + group.payload + " " + subject.name +
                           (subject.variant.empty() ? "" : " " + subject.variant) + ": " + error.what());
}

template <class Run>
auto run_guarded(const Group& group, const Subject& subject, Run&& run) {
  try {
    return run();
  } catch (const std::exception& error) {
    rethrow_for(group, subject, error);
  }
}

// Fewer would fit into the queue at once, or nearly, and never meet its end.
constexpr std::uint64_t min_events = 8 * default_capacity;

// Whole blocks of the default capacity: some references work in these.
std::uint64_t whole_blocks(double events, std::uint64_t max_events) {
  constexpr std::uint64_t block = default_capacity;
  const double bounded = std::clamp(events, static_cast<double>(min_events), static_cast<double>(max_events));
  return static_cast<std::uint64_t>(bounded) / block * block;
}

std::uint64_t events_for(const Group& group, const Subject& subject, const Effort& effort) {
  if (effort.events) return *effort.events;
  if (group.fixed_events) return *group.fixed_events;
  const double target_ns = std::chrono::duration<double, std::nano>(effort.sample_time).count() * group.longer;
  for (std::uint64_t events = min_events;;) {
    // The faster of two: one that was cold, or interrupted, would make every sample after it too short.
    const double ns_per_event = std::min(subject.run(events).ns_per_event, subject.run(events).ns_per_event);
    const double took_ns = ns_per_event * static_cast<double>(events);
    const std::uint64_t next = whole_blocks(target_ns / std::max(ns_per_event, 0.01), group.max_events);
    if (took_ns >= target_ns / 4 || next <= events) return next;
    events = std::min(next, events * 8);
  }
}

}  // namespace

Effort Effort::smoke() { return {std::chrono::milliseconds(0), 1, 1, 0, min_events}; }

GroupResult measure(const Group& group, const Effort& effort) {
  GroupResult outcome{.group = &group, .reference = {}, .results = {}};
  std::vector<const Subject*> present;
  for (const Subject& subject : group.subjects) {
    outcome.results.push_back({.subject = &subject});
    if (!subject.is_absent()) present.push_back(&subject);
  }

  const auto find_reference = [&](const std::string& name) {
    return std::find_if(present.begin(), present.end(), [&](const Subject* s) { return s->name == name; });
  };
  auto reference = present.end();
  for (const std::string& name : group.references) {
    reference = find_reference(name);
    if (reference != present.end()) break;
  }
  std::vector<std::uint64_t> events;
  for (const Subject* subject : present) {
    events.push_back(run_guarded(group, *subject, [&] { return events_for(group, *subject, effort); }));
  }

  std::vector<std::vector<double>> times(present.size());
  std::vector<std::vector<double>> allocs(present.size());
  std::vector<std::map<std::string, std::vector<double>>> figures(present.size());
  std::vector<std::vector<TimelinePoint>> timelines(present.size());
  for (int round = 0; round < std::min(effort.rounds, group.max_rounds); ++round) {
    for (std::size_t step = 0; step < present.size(); ++step) {
      // Each round begins with another subject, so that none always inherits the same predecessor's caches and heap.
      const std::size_t i = (step + static_cast<std::size_t>(round)) % present.size();
      Sample sample = run_guarded(group, *present[i], [&] { return present[i]->run(events[i]); });
      if (round == 0) timelines[i] = std::move(sample.timeline);
      times[i].push_back(group.rated.empty() ? sample.ns_per_event : sample.figures.at(group.rated));
      allocs[i].push_back(sample.allocs_per_event);
      for (const std::string& name : group.figures) figures[i][name].push_back(sample.figures.at(name));
    }
  }

  if (group.against_best_fixed) {
    const auto median_of = [&](const Subject* subject) {
      const auto i = static_cast<std::size_t>(std::find(present.begin(), present.end(), subject) - present.begin());
      return subject->fixed ? spread_of(times[i]).median : std::numeric_limits<double>::infinity();
    };
    reference = std::min_element(present.begin(), present.end(),
                                 [&](const Subject* a, const Subject* b) { return median_of(a) < median_of(b); });
  }
  const bool has_reference = reference != present.end();
  const auto reference_index = static_cast<std::size_t>(reference - present.begin());
  if (has_reference) outcome.reference = group.against_best_fixed ? (*reference)->variant : (*reference)->name;

  std::vector<std::map<std::string, std::vector<double>>> extras(present.size());
  for (int round = 0; round < effort.extra_rounds; ++round) {
    for (std::size_t i = 0; i < present.size(); ++i) {
      const std::optional<Extra>& extra = present[i]->extra;
      if (!extra) continue;
      const double ns = std::chrono::duration<double, std::nano>(extra->sample_time).count() * effort.extra_share;
      const std::uint64_t count =
          effort.events ? *effort.events : whole_blocks(ns / spread_of(times[i]).median, group.max_events);
      const auto beside = run_guarded(group, *present[i], [&] { return extra->run(count); });
      for (const auto& [name, value] : beside) extras[i][name].push_back(value);
    }
  }

  for (std::size_t i = 0; i < present.size(); ++i) {
    auto& result = *std::find_if(outcome.results.begin(), outcome.results.end(),
                                 [&](const Result& r) { return r.subject == present[i]; });
    result.events = events[i];
    result.timeline = std::move(timelines[i]);
    result.ns_per_event = spread_of(times[i]);
    result.allocs_per_event = spread_of(allocs[i]).median;
    if (has_reference) {
      std::vector<double> ratios;
      for (std::size_t round = 0; round < times[i].size(); ++round) {
        ratios.push_back(times[i][round] / times[reference_index][round]);
      }
      result.ratio = spread_of(std::move(ratios));
    }
    for (auto& [name, values] : figures[i]) result.figures[name] = spread_of(std::move(values));
    for (auto& [name, values] : extras[i]) result.extra[name] = spread_of(std::move(values));
  }
  return outcome;
}

}  // namespace weir_bench
