#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "subjects/weir_phases.hpp"
#include "work.hpp"
#include "workloads.hpp"

namespace weir_bench {
namespace {

using namespace std::chrono_literals;

/// Calls `add(name, strategy, point)` with each fixed strategy and where it stays, and `add_adaptive(name, make)` with
/// those that move: `make(handle)` makes one from a handle that tells where it is.
template <class Add, class AddAdaptive>
void for_each_strategy(std::span<const std::size_t> workers, const Add& add, const AddAdaptive& add_adaptive) {
  const auto named = [](std::string_view name, std::size_t n) { return std::string(name) + std::to_string(n); };
  add_adaptive("adaptive", [](const weir::Adaptive& handle) { return handle; });
  add_adaptive("adaptive_batched", [](const weir::Adaptive& handle) { return handle.batched(); });
  add("serial", weir::serial(), weir::AdaptivePoint{1, 1});
  for (const std::size_t n : workers) add(named("parallel_", n), weir::parallel(n), weir::AdaptivePoint{n, 1});
  for (const std::size_t size : {std::size_t{64}, std::size_t{1024}}) {
    const std::string batched = named("batched_", size);
    add(batched, weir::batched(size), weir::AdaptivePoint{1, size});
    for (const std::size_t n : workers) {
      add(named(batched + "_parallel_", n), weir::batched(size).parallel(n), weir::AdaptivePoint{n, size});
    }
  }
}

Group group_of(std::string phase, std::string clock, std::string title) {
  Group group;
  group.id = "W11";
  group.title = std::move(title);
  group.payload = payload_name<U64>;
  group.fields = {{"phase", std::move(phase)}, {"clock", std::move(clock)}};
  group.fields["capacity"] = static_cast<std::int64_t>(phases_capacity);
  group.against_best_fixed = true;
  return group;
}

Subject subject_of(std::string variant, bool fixed, std::function<Sample(std::uint64_t)> run) {
  Subject subject{.name = "weir", .variant = std::move(variant), .run = std::move(run)};
  subject.fixed = fixed;
  return subject;
}

/// In real time. What adapts needs some of it: samples last for a second.
Group working_group(std::string phase, std::int64_t work_ns) {
  const std::uint64_t iterations = iterations_for_ns(static_cast<double>(work_ns));
  Group group = group_of(std::move(phase), "real", std::to_string(work_ns) + " ns of work an event, on two threads");
  group.longer = 50;
  group.max_rounds = 5;
  static constexpr std::array<std::size_t, 4> workers{2, 4, 8, 16};
  for_each_strategy(
      workers,
      [&](std::string name, auto strategy, weir::AdaptivePoint) {
        group.subjects.push_back(subject_of(std::move(name), true, [=](std::uint64_t events) {
          return run_working_stream(events, iterations, strategy);
        }));
      },
      [&](std::string name, auto make) {
        group.subjects.push_back(subject_of(std::move(name), false, [=](std::uint64_t events) {
          return run_working_stream(events, iterations, make(weir::adaptive()));
        }));
      });
  return group;
}

/// In virtual time, which costs next to none: each round with another seed.
Group waiting_group(std::string phase, std::string title, std::uint64_t events, std::uint64_t cycles,
                    std::vector<ServicePhase> phases) {
  Group group = group_of(std::move(phase), "virtual", std::move(title));
  group.fixed_events = events;
  group.max_rounds = 3;
  const auto service_of = [phases = std::move(phases), cycles](std::uint64_t count, std::uint64_t seed) {
    return Service(phases, count, cycles, seed);
  };
  auto next_seed = [seeds = std::uint64_t{0}]() mutable { return ++seeds; };
  static constexpr std::array<std::size_t, 7> workers{2, 4, 8, 16, 32, 64, 128};
  for_each_strategy(
      workers,
      [&](std::string name, auto strategy, weir::AdaptivePoint point) {
        group.subjects.push_back(subject_of(std::move(name), true, [=](std::uint64_t count) mutable {
          const std::uint64_t seed = next_seed();
          Service service = service_of(count, seed);
          Sample sample = run_waiting_stream(count, service, seed, strategy, [point] { return point; });
          if (cycles == 1) sample.timeline.clear();
          return sample;
        }));
      },
      [&](std::string name, auto make) {
        group.subjects.push_back(subject_of(std::move(name), false, [=](std::uint64_t count) mutable {
          const std::uint64_t seed = next_seed();
          Service service = service_of(count, seed);
          const weir::Adaptive handle = weir::adaptive();
          Sample sample = run_waiting_stream(count, service, seed, make(handle), [handle] { return handle.current(); });
          if (cycles == 1) sample.timeline.clear();
          return sample;
        }));
      });
  return group;
}

}  // namespace

std::vector<Group> w11_groups() {
  // A server that is asked for more than it serves well gets less done; two processors are shared.
  const ServicePhase cheap{.name = "cheap", .share = 100'000, .time = 40us, .at_once = 1};
  const ServicePhase cpu{.name = "cpu", .share = 4'000, .time = 2ms, .at_once = 2};
  const ServicePhase server{.name = "server", .share = 16'000, .time = 10ms, .at_once = 32, .suffers = 2};
  const ServicePhase degraded{.name = "degraded server", .share = 1'000, .time = 20ms, .at_once = 4, .suffers = 2};
  const ServicePhase calls{.name = "calls", .share = 1, .time = 50us, .at_once = 8, .suffers = 2, .call = 2ms};

  std::vector<Group> groups;
  groups.push_back(working_group("cheap", 0));
  groups.push_back(working_group("cpu", 20'000));
  groups.push_back(waiting_group("waiting", "for a server that serves 32 at once in 10 ms", 64'000, 1, {server}));
  groups.push_back(waiting_group("calls", "calls of 2 ms and 50 us an event, 8 at once", 1'600'000, 1, {calls}));
  groups.push_back(waiting_group("mix", "cheap, two processors, a server, the same degraded, and again", 242'000, 2,
                                 {cheap, cpu, server, degraded}));
  return groups;
}

}  // namespace weir_bench
