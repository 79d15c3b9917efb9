#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <weir/asio.hpp>

#include "bystander.hpp"
#include "harness.hpp"

namespace weir_bench {

inline constexpr std::size_t pool_threads = 2;

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
    return bystander.figures(sample, events);
  };
  subject.extra = std::move(extra);
  return subject;
}

}  // namespace weir_bench
