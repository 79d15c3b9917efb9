#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>
#include <utility>
#include <weir/asio.hpp>

#include "bystander.hpp"
#include "harness.hpp"

namespace weir_bench {

inline constexpr std::size_t pool_threads = 2;

/// The longest gap of a bystander whose only neighbour is another chain of posts: both threads are busy and nobody
/// holds one, so that this is what the machine itself takes. Where other programs want its processors, that is
/// milliseconds.
[[nodiscard]] inline double longest_gap_by_machine_us(std::chrono::nanoseconds duration) {
  asio::thread_pool pool(pool_threads);
  Bystander bystander(pool);
  Bystander neighbour(pool);
  bystander.start();
  neighbour.start();
  std::this_thread::sleep_for(duration);
  bystander.stop();
  neighbour.stop();
  pool.join();
  return bystander.longest_gap_us();
}

/// `run(events, pool, bystander)` measures on a pool of two threads and joins it; where `bystander` is not null it
/// starts and stops it with the clock.
template <class Run>
[[nodiscard]] Subject pool_subject(std::string name, std::string variant, Run run) {
  Subject subject;
  subject.name = std::move(name);
  subject.variant = std::move(variant);
  subject.run = [run](std::uint64_t events) {
    asio::thread_pool pool(pool_threads);
    return run(events, pool, nullptr);
  };
  Extra extra;
  extra.name = "bystander";
  extra.run = [run](std::uint64_t events) {
    asio::thread_pool pool(pool_threads);
    Bystander bystander(pool);
    const Sample sample = run(events, pool, &bystander);
    auto figures = bystander.figures(sample, events);
    const std::chrono::duration<double, std::nano> elapsed(sample.ns_per_event * static_cast<double>(events));
    figures["longest_gap_by_machine_us"] =
        longest_gap_by_machine_us(std::chrono::ceil<std::chrono::nanoseconds>(elapsed));
    return figures;
  };
  subject.extra = std::move(extra);
  return subject;
}

}  // namespace weir_bench
