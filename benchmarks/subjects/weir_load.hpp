#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <stdexcept>
#include <utility>
#include <vector>
#include <weir/asio.hpp>
#include <weir/bus/priority_event_bus.hpp>
#include <weir/core/sync_wait.hpp>
#include <weir/core/task.hpp>
#include <weir/core/timer.hpp>
#include <weir/sim/simulator.hpp>

#include "harness.hpp"
#include "latencies.hpp"
#include "work.hpp"

namespace weir_bench {

/// Events that arrive at random, whether or not those before them have been handled, for one worker on a thread of its
/// own. Each keeps the processor busy for as long.
struct OpenLoad {
  double percent = 100;  ///< of what the worker can do
  std::chrono::microseconds run{};
  std::uint64_t urgent_of_ten = 1;
  /// The time to live of each event.
  std::optional<std::chrono::milliseconds> time_to_live{};

  [[nodiscard]] bool is_urgent(std::uint64_t number) const noexcept { return number % 10 < urgent_of_ten; }
};

/// When it was to arrive, since the begin; and when it did, how many had been handled, and how long nobody had been
/// handling anything.
struct Arrival {
  Clock::duration when{};
  std::uint64_t ended = 0;
  Clock::duration idle{};
  bool urgent = false;
};

/// What the events of a load waited for. One thread lets them arrive, one handles them.
class LoadMeter {
 public:
  explicit LoadMeter(std::size_t events)
      : urgent_to_start(events),
        urgent_to_end(events),
        urgent_beyond(events),
        low_to_start(events),
        low_to_end(events) {
    urgent_in_way.reserve(events);
  }

  [[nodiscard]] Arrival arrive(Clock::duration when, Clock::duration now, bool urgent) const noexcept {
    const std::uint64_t ended = ended_.load(std::memory_order_acquire);
    const Clock::duration busy = busy_.load(std::memory_order_relaxed);
    const Clock::rep since = since_.load(std::memory_order_relaxed);
    return {when, ended, (since == not_running ? now : Clock::duration(since)) - busy, urgent};
  }
  /// What was in the way of an event ended after it had arrived, and before it starts.
  void start(const Arrival& arrival, Clock::duration now) {
    (arrival.urgent ? urgent_to_start : low_to_start).add(now - arrival.when);
    if (arrival.urgent) {
      urgent_in_way.push_back(ended_.load(std::memory_order_relaxed) - arrival.ended);
      urgent_beyond.add(now - busy_.load(std::memory_order_relaxed) - arrival.idle);
    }
    since_.store(now.count(), std::memory_order_relaxed);
  }
  void end(const Arrival& arrival, Clock::duration now) {
    (arrival.urgent ? urgent_to_end : low_to_end).add(now - arrival.when);
    const Clock::duration ran = now - Clock::duration(since_.load(std::memory_order_relaxed));
    since_.store(not_running, std::memory_order_relaxed);
    busy_.store(busy_.load(std::memory_order_relaxed) + ran, std::memory_order_relaxed);
    ended_.fetch_add(1, std::memory_order_release);
  }

  /// From when they were to arrive, so that an arrival that was late because of the load counts.
  Latencies urgent_to_start;
  Latencies urgent_to_end;
  /// What urgent events waited, from their publication, besides for the handlers that were in their way.
  Latencies urgent_beyond;
  Latencies low_to_start;
  Latencies low_to_end;
  std::vector<std::uint64_t> urgent_in_way;
  Clock::duration took{};

 private:
  static constexpr Clock::rep not_running = -1;

  std::atomic<std::uint64_t> ended_{0};
  std::atomic<Clock::duration> busy_{};
  std::atomic<Clock::rep> since_{not_running};
};

/// The same for each subject of a round.
[[nodiscard]] inline std::vector<Clock::duration> arrivals(const OpenLoad& load, std::uint64_t events,
                                                           std::uint64_t seed) {
  std::mt19937_64 dice(seed);
  std::exponential_distribution<double> gap(load.percent / 100 / std::chrono::duration<double>(load.run).count());
  std::vector<Clock::duration> times;
  double seconds = 0;
  for (std::uint64_t i = 0; i < events; ++i) {
    seconds += gap(dice);
    times.push_back(std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds)));
  }
  return times;
}

[[nodiscard]] inline weir::Event weir_arrival(const OpenLoad& load, const Arrival& arrival) {
  weir::Event event("load.event", arrival, !arrival.urgent ? weir::EventPriority::low : weir::EventPriority::critical);
  if (load.time_to_live) event.time_to_live(*load.time_to_live);
  return event;
}

/// In real time: the handlers keep a processor busy, and those who let them arrive another.
template <class Bus>
void run_weir_open_load(const OpenLoad& load, std::uint64_t events, std::uint64_t seed, LoadMeter& meter) {
  const std::uint64_t iterations = iterations_for_ns(std::chrono::duration<double, std::nano>(load.run).count());
  const std::vector<Clock::duration> times = arrivals(load, events, seed);
  asio::thread_pool pool(1);
  Bus bus(pool, {.workers = 1, .capacity = events});
  const Clock::time_point begin = Clock::now();
  const auto now = [begin] { return Clock::now() - begin; };
  const auto subscription = bus.subscribe("load.event", [&](weir::EventContext& context) {
    const Arrival& arrival = context.payload<Arrival>();
    meter.start(arrival, now());
    spin(iterations);
    meter.end(arrival, now());
  });
  for (std::uint64_t i = 0; i < events; ++i) {
    while (now() < times[i]) {
    }
    if (!bus.try_publish(weir_arrival(load, meter.arrive(times[i], now(), load.is_urgent(i))))) {
      throw std::runtime_error("an event was refused");
    }
  }
  weir::sync_wait(bus.drain());
  meter.took = now();
  pool.join();
  const auto stats = bus.stats();
  expect_delivered(events, stats.completed + stats.expired);
}

template <class Bus>
weir::Task<> weir_let_arrive(Bus& bus, const OpenLoad& load, const std::vector<Clock::duration>& times,
                             LoadMeter& meter, weir::sim::Simulator& sim) {
  for (std::uint64_t i = 0; i < times.size(); ++i) {
    if (times[i] > sim.elapsed()) co_await weir::sleep_for(times[i] - sim.elapsed());
    weir::Event event = weir_arrival(load, meter.arrive(times[i], sim.elapsed(), load.is_urgent(i)));
    co_await bus.publish(std::move(event));
  }
  co_await bus.drain();
  meter.took = sim.elapsed();
}

/// By the simulator's clock: what the order of events does, without what the machine does to it.
template <class Bus>
void run_weir_virtual_load(const OpenLoad& load, std::uint64_t events, std::uint64_t seed, LoadMeter& meter) {
  const std::vector<Clock::duration> times = arrivals(load, events, seed);
  weir::sim::Simulator sim(seed);
  Bus bus(sim, {.workers = 1, .capacity = events});
  const auto subscription = bus.subscribe("load.event", [&](weir::EventContext& context) -> weir::Task<> {
    const Arrival& arrival = context.payload<Arrival>();
    meter.start(arrival, sim.elapsed());
    co_await weir::sleep_for(load.run);
    meter.end(arrival, sim.elapsed());
  });
  sim.spawn(weir_let_arrive(bus, load, times, meter, sim), "arrivals");
  sim.run();
  const auto stats = bus.stats();
  expect_delivered(events, stats.completed + stats.expired);
}

}  // namespace weir_bench
