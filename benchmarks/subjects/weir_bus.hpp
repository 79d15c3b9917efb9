#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>
#include <weir/asio.hpp>
#include <weir/bus/priority_event_bus.hpp>
#include <weir/core/spawn.hpp>
#include <weir/core/task.hpp>
#include <weir/core/timer.hpp>

#include "bus_job.hpp"
#include "crew.hpp"
#include "harness.hpp"
#include "memory.hpp"
#include "payload.hpp"

namespace weir_bench {

template <class T>
inline constexpr weir::Topic<T> weir_topic{bus_topic};

/// `count` handlers that read what they get.
template <class T, class Bus>
[[nodiscard]] std::vector<weir::Subscription> weir_subscribe(Bus& bus, std::size_t count, U64& sum) {
  std::vector<weir::Subscription> subscriptions;
  for (std::size_t i = 0; i < count; ++i) {
    subscriptions.push_back(bus.subscribe(weir_topic<T>, [&sum](const T& value) { sum += digest(value); }));
  }
  return subscriptions;
}

template <class T, class Bus>
weir::Task<> weir_publish(Bus& bus, std::uint64_t first, std::uint64_t last) {
  for (U64 i = first; i < last; ++i) co_await bus.template publish_as<T>(bus_topic, i);
}

/// The clock starts when a bus has been full once, so that it has what it needs, and stops when the last handler has
/// returned.
template <class T, class Bus>
weir::Task<> weir_measure_publishing(Bus& bus, std::uint64_t events, Sample& sample) {
  co_await weir_publish<T>(bus, 0, default_capacity);
  for (auto stats = bus.stats(); stats.completed != default_capacity; stats = bus.stats()) co_await weir::yield();
  const Measurement measurement;
  co_await weir_publish<T>(bus, default_capacity, default_capacity + events);
  co_await bus.drain();
  sample = measurement.finish(events);
}

/// The publisher on one thread, the bus and its worker on another.
template <class T, class Bus>
[[nodiscard]] Sample run_weir_bus(std::uint64_t events, std::size_t handlers) {
  asio::thread_pool bus_thread(1);
  asio::thread_pool publisher_thread(1);
  U64 sum = 0;
  Bus bus(bus_thread, {.workers = 1, .capacity = default_capacity});
  const auto subscriptions = weir_subscribe<T>(bus, handlers, sum);
  Sample sample;
  Crew crew(1);
  weir::spawn(publisher_thread, weir_measure_publishing<T>(bus, events, sample), crew.on_finish());
  publisher_thread.join();
  bus_thread.join();
  crew.rethrow();
  expect_delivered(handlers * expected_digest<T>(default_capacity + events), sum);
  return sample;
}

template <class T, class Bus>
[[nodiscard]] Sample run_weir_bus_one_thread(std::uint64_t events, std::size_t handlers) {
  asio::io_context context(1);
  U64 sum = 0;
  Bus bus(context, {.workers = 1, .capacity = default_capacity});
  const auto subscriptions = weir_subscribe<T>(bus, handlers, sum);
  Sample sample;
  Crew crew(1);
  weir::spawn(context, weir_measure_publishing<T>(bus, events, sample), crew.on_finish());
  context.run();
  crew.rethrow();
  expect_delivered(handlers * expected_digest<T>(default_capacity + events), sum);
  return sample;
}

/// On one thread, at a depth that stays: a handler publishes the next event.
template <class T, class Bus, bool mixed = false>
[[nodiscard]] Sample run_weir_bus_at_depth(std::uint64_t events, std::uint64_t depth) {
  asio::io_context context(1);
  Bus bus(context, {.workers = 1, .capacity = 2 * static_cast<std::size_t>(depth) + events * mixed});
  HeldDepth held(events, depth);
  U64 sum = 0;
  U64 refused = 0;
  const auto publish = [&](U64 number) {
    const auto priority = mixed ? static_cast<weir::EventPriority>(urgency_of(number)) : weir::EventPriority::normal;
    if (!bus.try_publish(bus_topic, T(number), priority)) ++refused;
  };
  const auto subscription = bus.subscribe(weir_topic<T>, [&](const T& value) {
    if (held.over()) return;
    sum += digest(value);
    if (const auto next = held.handled()) {
      publish(*next);
    } else {
      bus.abort();
    }
  });
  for (U64 i = 0; i < depth; ++i) publish(i);
  context.run();
  expect_delivered(0, refused);
  if (!mixed) expect_delivered(expected_digest<T>(events + 1), sum);
  return held.sample();
}

/// What a burst of events costs while nobody takes them, and how much of that comes back when they have been handled.
/// To be called in a process of its own.
template <class T, class Bus>
[[nodiscard]] Sample run_weir_bus_burst(std::uint64_t events) {
  forget_allocation_settings();
  asio::io_context context(1);
  U64 sum = 0;
  Bus bus(context, {.workers = 1, .capacity = events});
  const auto subscriptions = weir_subscribe<T>(bus, 1, sum);
  const Measurement measurement;
  const double heap = heap_bytes();
  const double resident = resident_bytes();
  for (U64 i = 0; i < events; ++i) {
    if (!bus.try_publish(bus_topic, T(i))) throw std::runtime_error("an event was refused");
  }
  const double full_heap = heap_bytes();
  const double full_resident = resident_bytes();
  // The worker ends only with the bus: nothing is left to do when nothing is ready.
  context.poll();
  Sample sample = measurement.finish(events);
  expect_delivered(expected_digest<T>(events), sum);
  sample.figures["bytes"] = (full_heap - heap) / static_cast<double>(events);
  sample.figures["resident_bytes"] = (full_resident - resident) / static_cast<double>(events);
  const auto given_back = [](double before, double full, double after) {
    return std::max(0.0, (full - after) / (full - before));
  };
  sample.figures["given_back"] = given_back(heap, full_heap, heap_bytes());
  sample.figures["resident_given_back"] = given_back(resident, full_resident, resident_bytes());
  give_back_freed_memory();
  sample.figures["trimmed_given_back"] = given_back(resident, full_resident, resident_bytes());
  bus.abort();
  context.poll();
  return sample;
}

}  // namespace weir_bench
