#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "process.hpp"
#include "references/bare_queues.hpp"
#include "references/mutex_bus.hpp"
#include "references/priority_queues.hpp"
#include "subjects/weir_bus.hpp"
#include "workloads.hpp"

namespace weir_bench {
namespace {

/// `number` is that of handlers, or the depth.
using BusRun = Sample (*)(std::uint64_t events, std::uint64_t number);

Subject bus_subject(std::string name, std::string variant, BusRun run, std::uint64_t number) {
  return {.name = std::move(name), .variant = std::move(variant), .run = [=](std::uint64_t events) {
            return run(events, number);
          }};
}

Subject tbb_subject([[maybe_unused]] std::string variant, [[maybe_unused]] BusRun run,
                    [[maybe_unused]] std::uint64_t number) {
#if WEIR_BENCH_HAS_TBB
  Subject subject = bus_subject("tbb_priority_queue", std::move(variant), run, number);
  subject.allocations_counted = false;
  return subject;
#else
  return Subject::absent("tbb_priority_queue", std::move(variant), "built without oneTBB");
#endif
}

#if WEIR_BENCH_HAS_TBB
template <class T>
constexpr BusRun run_tbb = &run_priority_queue<TbbPriorityQueue, T>;
template <class T>
constexpr BusRun run_tbb_one_thread = &run_priority_queue_one_thread<TbbPriorityQueue, T>;
template <class T>
constexpr BusRun run_tbb_at_depth = &run_priority_queue_at_depth<TbbPriorityQueue, T>;
#else
template <class T>
constexpr BusRun run_tbb = nullptr;
template <class T>
constexpr BusRun run_tbb_one_thread = nullptr;
template <class T>
constexpr BusRun run_tbb_at_depth = nullptr;
#endif

Subject eventpp_subject(std::string variant) {
  return Subject::absent("eventpp", std::move(variant), "no package of the distribution");
}

template <class T>
Group w7_group(const char* job, std::string title) {
  Group group;
  group.id = "W7";
  group.title = std::move(title);
  group.payload = payload_name<T>;
  group.fields = {{"job", std::string(job)}};
  return group;
}

std::string handlers_text(std::size_t count) { return std::to_string(count) + (count == 1 ? " handler" : " handlers"); }

template <class T>
Group publish_to_another_thread(std::size_t handlers) {
  Group group = w7_group<T>("publish", "published to " + handlers_text(handlers) + " on another thread");
  group.fields["threads"] = std::int64_t{2};
  group.fields["handlers"] = static_cast<std::int64_t>(handlers);
  group.references = {"mutex_vector"};
  const std::string variant = "another_thread";
  group.subjects = {
      bus_subject("mutex_vector", variant, &run_mutex_bus<T, default_capacity>, handlers),
      bus_subject("mutex_vector_unbounded", variant, &run_mutex_bus<T, unbounded>, handlers),
      bus_subject("std_priority_queue", variant, &run_priority_queue<MutexPriorityQueue, T>, handlers),
      tbb_subject(variant, run_tbb<T>, handlers),
      eventpp_subject(variant),
      bus_subject("plain_bus", variant, &run_weir_bus<T, weir::EventBus>, handlers),
      bus_subject("weir", variant, &run_weir_bus<T, weir::PriorityEventBus>, handlers),
  };
  return group;
}

template <class T>
Group publish_on_one_thread(std::size_t handlers) {
  Group group = w7_group<T>("publish", "published to " + handlers_text(handlers) + " on one thread");
  group.fields["threads"] = std::int64_t{1};
  group.fields["handlers"] = static_cast<std::int64_t>(handlers);
  group.references = {"mutex_vector"};
  const std::string variant = "one_thread";
  group.subjects = {
      bus_subject("direct_call", variant, &run_direct_calls<T>, handlers),
      bus_subject("mutex_vector", variant, &run_mutex_bus_one_thread<T>, handlers),
      bus_subject("std_priority_queue", variant, &run_priority_queue_one_thread<MutexPriorityQueue, T>, handlers),
      tbb_subject(variant, run_tbb_one_thread<T>, handlers),
      eventpp_subject(variant),
      bus_subject("plain_bus", variant, &run_weir_bus_one_thread<T, weir::EventBus>, handlers),
      bus_subject("weir", variant, &run_weir_bus_one_thread<T, weir::PriorityEventBus>, handlers),
  };
  return group;
}

// Each sample fills the queue first, which takes longer than the sample itself.
constexpr std::uint64_t deep = 1'000'000;
constexpr int rounds_when_deep = 7;

template <class T>
Group hold_depth(std::uint64_t depth) {
  Group group = w7_group<T>("depth", "a handler publishes the next, " + std::to_string(depth) + " queued, one thread");
  group.fields["depth"] = static_cast<std::int64_t>(depth);
  if (depth == deep) group.max_rounds = rounds_when_deep;
  group.references = {"plain_bus"};
  group.subjects = {
      bus_subject("std_priority_queue", "normal", &run_priority_queue_at_depth<MutexPriorityQueue, T>, depth),
      tbb_subject("normal", run_tbb_at_depth<T>, depth),
      bus_subject("plain_bus", "normal", &run_weir_bus_at_depth<T, weir::EventBus>, depth),
      bus_subject("weir", "normal", &run_weir_bus_at_depth<T, weir::PriorityEventBus>, depth),
      bus_subject("weir", "mixed", &run_weir_bus_at_depth<T, weir::PriorityEventBus, true>, depth),
  };
  return group;
}

Group bare_queue(std::uint64_t depth) {
  Group group = w7_group<U64>("queue", "a pop and a push of the bare queue, " + std::to_string(depth) + " queued");
  group.fields["depth"] = static_cast<std::int64_t>(depth);
  if (depth == deep) group.max_rounds = rounds_when_deep;
  group.references = {"fifo_lanes"};
  group.subjects = {
      bus_subject("fifo_lanes", "normal", &run_bare_queue<FifoLanes, false>, depth),
      bus_subject("fifo_lanes", "mixed", &run_bare_queue<FifoLanes, true>, depth),
      bus_subject("std_priority_queue", "normal", &run_bare_queue<StdHeap, false>, depth),
      bus_subject("std_priority_queue", "mixed", &run_bare_queue<StdHeap, true>, depth),
      bus_subject("weir", "normal", &run_bare_queue<EventHeap, false>, depth),
      bus_subject("weir", "mixed", &run_bare_queue<EventHeap, true>, depth),
  };
  return group;
}

template <class T, class Bus>
Subject burst_subject(std::string name) {
  return {.name = std::move(name), .variant = "burst", .run = [](std::uint64_t events) {
            return run_in_a_copy([events] { return run_weir_bus_burst<T, Bus>(events); });
          }};
}

template <class T>
Group burst() {
  Group group = w7_group<T>("burst", "1,000,000 events queued at once, then handled");
  group.fixed_events = deep;
  group.max_rounds = 3;
  group.figures = {"bytes", "resident_bytes", "given_back", "resident_given_back", "trimmed_given_back"};
  group.subjects = {burst_subject<T, weir::EventBus>("plain_bus"), burst_subject<T, weir::PriorityEventBus>("weir")};
  return group;
}

template <class T>
void add_groups(std::vector<Group>& groups) {
  for (const std::size_t handlers : {std::size_t{1}, std::size_t{10}}) {
    groups.push_back(publish_to_another_thread<T>(handlers));
    groups.push_back(publish_on_one_thread<T>(handlers));
  }
  for (const std::uint64_t depth : {std::uint64_t{1}, std::uint64_t{1000}, std::uint64_t{100'000}, deep}) {
    groups.push_back(hold_depth<T>(depth));
    if (payload_name<T> == payload_name<U64>) groups.push_back(bare_queue(depth));
  }
  groups.push_back(burst<T>());
}

}  // namespace

std::vector<Group> w7_groups() {
  std::vector<Group> groups;
  add_groups<U64>(groups);
  add_groups<P64>(groups);
  return groups;
}

}  // namespace weir_bench
