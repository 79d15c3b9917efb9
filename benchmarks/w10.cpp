#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "payload.hpp"
#include "subjects/weir_load.hpp"
#include "workloads.hpp"

namespace weir_bench {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::microseconds run_time = 50us;

using LoadRun = void (*)(const OpenLoad& load, std::uint64_t events, std::uint64_t seed, LoadMeter& meter);

Subject load_subject(std::string name, double percent, LoadRun run) {
  Subject subject;
  subject.name = std::move(name);
  subject.variant = "urgency";
  subject.allocations_counted = false;
  // Each round has other arrivals, the same for all.
  subject.run = [percent, run, seed = std::uint64_t{0}](std::uint64_t events) mutable {
    LoadMeter meter(events);
    run({.percent = percent, .run = run_time}, events, ++seed, meter);
    const double run_ns = std::chrono::duration<double, std::nano>(run_time).count();
    Sample sample;
    meter.urgent_to_start.add_figures(sample.figures);
    sample.figures["p99_runs"] = sample.figures["p99_ns"] / run_ns;
    sample.figures["p99_in_way"] = static_cast<double>(quantile(std::move(meter.urgent_in_way), 0.99));
    sample.figures["p99_beyond_runs"] = std::max(0.0, meter.urgent_beyond.quantile_ns(0.99)) / run_ns;
    meter.low_to_start.add_figures(sample.figures, "low_");
    return sample;
  };
  return subject;
}

Group w10_group(std::int64_t percent, std::string clock, LoadRun plain, LoadRun weir) {
  Group group;
  group.id = "W10";
  group.title = "from publishing to the start, one critical event of ten, the others low, 50 us each, at " +
                std::to_string(percent) + " %, " + clock + " time";
  group.payload = payload_name<U64>;
  group.fields = {{"load_percent", percent}, {"clock", std::move(clock)}};
  group.fixed_events = 16'384;
  group.max_rounds = 9;
  group.figures = {"p50_ns",          "p99_ns",     "p999_ns",    "p99_runs",   "p99_in_way",
                   "p99_beyond_runs", "low_p50_ns", "low_p99_ns", "low_p999_ns"};
  group.rated = "p99_ns";
  group.references = {"plain_bus"};
  const auto percentage = static_cast<double>(percent);
  group.subjects = {load_subject("plain_bus", percentage, plain), load_subject("weir", percentage, weir)};
  return group;
}

}  // namespace

std::vector<Group> w10_groups() {
  std::vector<Group> groups;
  for (const std::int64_t percent : {80, 95, 120}) {
    groups.push_back(
        w10_group(percent, "real", &run_weir_open_load<weir::EventBus>, &run_weir_open_load<weir::PriorityEventBus>));
    groups.push_back(w10_group(percent, "virtual", &run_weir_virtual_load<weir::EventBus>,
                               &run_weir_virtual_load<weir::PriorityEventBus>));
  }
  return groups;
}

}  // namespace weir_bench
