#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <random>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>
#include <weir/asio.hpp>
#include <weir/core/sync_wait.hpp>
#include <weir/core/task.hpp>
#include <weir/core/timer.hpp>
#include <weir/sim/simulator.hpp>
#include <weir/stream/collect.hpp>
#include <weir/stream/emits.hpp>
#include <weir/stream/strategy/adaptive.hpp>
#include <weir/stream/strategy/batched.hpp>
#include <weir/stream/strategy/parallel.hpp>
#include <weir/stream/strategy/serial.hpp>

#include "harness.hpp"
#include "payload.hpp"
#include "pool_subject.hpp"
#include "work.hpp"

namespace weir_bench {

/// Four of the largest batches.
inline constexpr std::size_t phases_capacity = 4096;

/// What the events of a part of a stream wait for: a server, or a lock, or processors. One event takes `time`, give or
/// take a tenth, while no more than `at_once` are under way. With twice as many each takes 2^`suffers` times as long: 1
/// shares what there is, with more less gets done. `call` is what each call costs, however many events it is for.
struct ServicePhase {
  std::string_view name;
  std::uint64_t share;
  std::chrono::microseconds time;
  double at_once;
  double suffers = 1;
  std::chrono::microseconds call{0};
};

/// In virtual time, on one thread.
class Service {
 public:
  using Duration = std::chrono::steady_clock::duration;

  /// The phases share the events as they say, in turns, `cycles` times.
  Service(std::span<const ServicePhase> phases, std::uint64_t events, std::uint64_t cycles, std::uint64_t seed)
      : dice_(seed) {
    std::uint64_t all = 0;
    for (const ServicePhase& phase : phases) all += phase.share;
    std::uint64_t shares = 0;
    for (std::uint64_t cycle = 0; cycle < cycles; ++cycle) {
      for (const ServicePhase& phase : phases) {
        shares += phase.share;
        parts_.push_back({&phase, events * shares / (all * cycles)});
      }
    }
  }

  /// One call for consecutive events of one phase.
  weir::Task<> serve(std::span<const U64> numbers) {
    for (std::size_t begin = 0; begin < numbers.size();) {
      const Part& part = part_of(numbers[begin]);
      std::size_t end = begin + 1;
      while (end < numbers.size() && numbers[end] < part.end) ++end;
      ++under_way_;
      const Duration time = time_for(*part.phase, end - begin);
      co_await weir::sleep_for(time);
      --under_way_;
      begin = end;
    }
  }

  void done(std::size_t events) noexcept { done_ += events; }
  [[nodiscard]] std::uint64_t done() const noexcept { return done_; }

 private:
  struct Part {
    const ServicePhase* phase;
    std::uint64_t end;
  };

  [[nodiscard]] const Part& part_of(U64 number) const noexcept {
    return *std::ranges::find_if(parts_, [number](const Part& part) { return number < part.end; });
  }
  [[nodiscard]] Duration time_for(const ServicePhase& phase, std::size_t events) {
    const double load = std::max(1.0, static_cast<double>(under_way_) / phase.at_once);
    const double once =
        static_cast<double>(phase.call.count()) + static_cast<double>(phase.time.count()) * static_cast<double>(events);
    const double us = once * std::pow(load, phase.suffers) * std::uniform_real_distribution(0.9, 1.1)(dice_);
    return std::chrono::nanoseconds(std::llround(us * 1000));
  }

  std::vector<Part> parts_;
  std::mt19937_64 dice_;
  std::size_t under_way_ = 0;
  std::uint64_t done_ = 0;
};

template <class Strategy>
inline constexpr bool takes_batches = requires { requires Strategy::in_batches; };

/// Looks at a stream every tenth of a second of the simulator's time.
class TimelineRecorder {
 public:
  static constexpr std::chrono::milliseconds interval{100};

  void look(const Service& service, weir::AdaptivePoint point) {
    const std::uint64_t done = service.done();
    const double seconds = std::chrono::duration<double>(interval).count();
    points_.push_back({static_cast<double>(points_.size() + 1) * seconds, static_cast<double>(done - before_) / seconds,
                       static_cast<double>(point.concurrency), static_cast<double>(point.batch)});
    before_ = done;
  }
  /// A few hundred points, however long it took.
  [[nodiscard]] std::vector<TimelinePoint> points() const {
    const std::size_t together = points_.size() / 400 + 1;
    std::vector<TimelinePoint> few;
    for (std::size_t i = 0; i < points_.size(); i += together) {
      const std::size_t n = std::min(together, points_.size() - i);
      TimelinePoint point = points_[i + n - 1];
      point.events_per_second = 0;
      for (std::size_t k = i; k < i + n; ++k) point.events_per_second += points_[k].events_per_second;
      point.events_per_second /= static_cast<double>(n);
      few.push_back(point);
    }
    return few;
  }

 private:
  std::vector<TimelinePoint> points_;
  std::uint64_t before_ = 0;
};

template <class Where>
weir::Task<> record(TimelineRecorder& recorder, const Service& service, std::uint64_t events, Where where) {
  while (service.done() < events) {
    co_await weir::sleep_for(TimelineRecorder::interval);
    recorder.look(service, where());
  }
}

/// A stream of events that wait, by the simulator's clock. `where` tells where the strategy is.
template <class Strategy, class Where>
[[nodiscard]] Sample run_waiting_stream(std::uint64_t events, Service& service, std::uint64_t seed, Strategy strategy,
                                        Where where) {
  weir::sim::Simulator sim(seed);
  sim.limit_steps(~std::uint64_t{0});
  TimelineRecorder recorder;
  const Measurement measurement;
  const auto receiver = [&service] {
    if constexpr (takes_batches<Strategy>) {
      return [&service](std::span<const weir::ReceiverEvent<U64>> batch) -> weir::Task<> {
        std::vector<U64> numbers;
        for (const auto& event : batch) numbers.push_back(event.data());
        auto serving = service.serve(numbers);
        co_await std::move(serving);
        service.done(numbers.size());
      };
    } else {
      return [&service](const weir::ReceiverEvent<U64>& event) -> weir::Task<> {
        const U64 number = event.data();
        auto serving = service.serve(std::span(&number, 1));
        co_await std::move(serving);
        service.done(1);
      };
    }
  }();
  auto stream = weir::emits<U64>(sim)
                    .capacity(phases_capacity)
                    .sender(std::views::iota(U64{0}, events))
                    .receiver(std::move(strategy), receiver)
                    .start();
  sim.spawn(record(recorder, service, events, where), "timeline");
  std::chrono::duration<double, std::nano> took{};
  weir::spawn(sim, stream.final_event(), [&](std::exception_ptr error, const auto& final) {
    if (error) std::rethrow_exception(error);
    if (!final) throw std::runtime_error("the stream ended as " + std::string(weir::to_string(final.outcome())));
    took = sim.elapsed();
  });
  sim.run();
  expect_delivered(events, service.done());
  Sample sample = measurement.finish(events);
  sample.ns_per_event = took.count() / static_cast<double>(events);
  sample.timeline = recorder.points();
  return sample;
}

/// A stream of events that work, in real time on a pool of two threads.
template <class Strategy>
[[nodiscard]] Sample run_working_stream(std::uint64_t events, std::uint64_t iterations, Strategy strategy) {
  asio::thread_pool pool(pool_threads);
  const Measurement measurement;
  const auto receiver = [iterations] {
    if constexpr (takes_batches<Strategy>) {
      return [iterations](std::span<const weir::ReceiverEvent<U64>> batch) {
        U64 sum = 0;
        for (const auto& event : batch) sum += work_on(event.data(), iterations);
        return sum;
      };
    } else {
      return [iterations](const weir::ReceiverEvent<U64>& event) { return work_on(event.data(), iterations); };
    }
  }();
  auto stream = weir::emits<U64>(pool)
                    .capacity(phases_capacity)
                    .sender([events](weir::Emitter<U64>& out) -> weir::Task<> {
                      const auto numbers = std::views::iota(U64{0}, events);
                      auto emitting = out.emit_all(numbers);
                      co_await std::move(emitting);
                    })
                    .receiver(std::move(strategy), receiver)
                    .collect(weir::collect::fold(U64{0}, [](U64& sum, U64 result) { sum += result; }))
                    .start();
  const auto result = weir::sync_wait(stream.final_event());
  const Sample sample = measurement.finish(events);
  pool.join();
  if (!result) throw std::runtime_error("the stream ended as " + std::string(weir::to_string(result.outcome())));
  expect_delivered(expected_digest<U64>(events), result.collected());
  return sample;
}

}  // namespace weir_bench
