#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "payload.hpp"
#include "subjects/weir_hanging.hpp"
#include "subjects/weir_load.hpp"
#include "workloads.hpp"

namespace weir_bench {
namespace {

using namespace std::chrono_literals;

Group promise(const char* name, std::string title, std::uint64_t events) {
  Group group;
  group.id = "promises";
  group.title = std::move(title);
  group.payload = payload_name<U64>;
  group.fields = {{"promise", std::string(name)}};
  group.references = {"plain_bus"};
  group.fixed_events = events;
  group.max_rounds = 9;
  return group;
}

template <class Run>
Subject scenario(std::string name, std::string variant, Run run) {
  Subject subject{.name = std::move(name), .variant = std::move(variant), .run = std::move(run)};
  subject.allocations_counted = false;
  return subject;
}

template <class Bus>
Subject response_subject(std::string name, const OpenLoad& load) {
  return scenario(std::move(name), "response", [load, seed = std::uint64_t{0}](std::uint64_t events) mutable {
    LoadMeter outcome(events);
    run_weir_open_load<Bus>(load, events, ++seed, outcome);
    Sample sample;
    sample.figures = {{"urgent_mean_ns", outcome.urgent_to_end.mean_ns()},
                      {"urgent_p99_ns", outcome.urgent_to_end.quantile_ns(0.99)},
                      {"low_mean_ns", outcome.low_to_end.mean_ns()},
                      {"low_p99_ns", outcome.low_to_end.quantile_ns(0.99)}};
    return sample;
  });
}

Group response() {
  const OpenLoad load{.percent = 95, .run = 50us};
  Group group = promise("response", "response time of one urgent event of ten at 95 %, 50 us each", 16'384);
  group.figures = {"urgent_mean_ns", "urgent_p99_ns", "low_mean_ns", "low_p99_ns"};
  group.rated = "urgent_mean_ns";
  group.subjects = {response_subject<weir::EventBus>("plain_bus", load),
                    response_subject<weir::PriorityEventBus>("weir", load)};
  return group;
}

template <class Bus, Against against>
Subject hanging_subject(std::string name, std::string variant) {
  return scenario(std::move(name), std::move(variant),
                  [](std::uint64_t events) { return HangingBus<Bus, against>(events).run(); });
}

Group stuck() {
  Group group = promise("stuck", "events that have not ended where one of a hundred handlers hangs", 2'000);
  group.figures = {"stuck", "completed", "given_up"};
  group.rated = "stuck";
  group.subjects = {hanging_subject<weir::EventBus, Against::nothing>("plain_bus", "stuck"),
                    hanging_subject<weir::PriorityEventBus, Against::run_timeout>("weir", "run_timeout"),
                    hanging_subject<weir::PriorityEventBus, Against::cancelling>("weir", "cancelled")};
  return group;
}

constexpr std::chrono::milliseconds deadline = 50ms;

template <class Bus>
Subject goodput_subject(std::string name, std::string variant, const OpenLoad& load) {
  return scenario(std::move(name), std::move(variant), [load, seed = std::uint64_t{0}](std::uint64_t events) mutable {
    LoadMeter outcome(events);
    run_weir_open_load<Bus>(load, events, ++seed, outcome);
    const auto urgent = static_cast<double>(outcome.urgent_to_end.within(deadline));
    const auto low = static_cast<double>(outcome.low_to_end.within(deadline));
    const double seconds = std::chrono::duration<double>(outcome.took).count();
    Sample sample;
    sample.figures = {{"good_per_s", (urgent + low) / seconds},
                      {"urgent_good", urgent},
                      {"low_good", low},
                      {"handled", static_cast<double>(outcome.urgent_to_end.count() + outcome.low_to_end.count())}};
    return sample;
  });
}

Group goodput() {
  OpenLoad load{.percent = 150, .run = 100us, .urgent_of_ten = 3};
  Group group = promise("goodput", "events handled within 50 ms at 150 %, 100 us each, three of ten urgent", 8'192);
  group.figures = {"good_per_s", "urgent_good", "low_good", "handled"};
  group.rated = "good_per_s";
  group.subjects = {goodput_subject<weir::EventBus>("plain_bus", "goodput", load),
                    goodput_subject<weir::PriorityEventBus>("weir", "priorities", load)};
  // The time is to the tick of the system: some milliseconds before the deadline are left for that and the run.
  load.time_to_live = 44ms;
  group.subjects.push_back(goodput_subject<weir::EventBus>("plain_bus", "time_to_live", load));
  group.subjects.push_back(goodput_subject<weir::PriorityEventBus>("weir", "both", load));
  return group;
}

}  // namespace

std::vector<Group> promise_groups() { return {response(), stuck(), goodput()}; }

}  // namespace weir_bench
