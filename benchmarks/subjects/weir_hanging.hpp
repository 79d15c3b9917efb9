#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>
#include <weir/asio.hpp>
#include <weir/bus/priority_event_bus.hpp>
#include <weir/core/spawn.hpp>
#include <weir/core/task.hpp>
#include <weir/core/timer.hpp>

#include "crew.hpp"
#include "harness.hpp"

namespace weir_bench {

/// What is done about handlers that wait for what never comes.
enum class Against { nothing, run_timeout, cancelling };

inline constexpr std::chrono::milliseconds hanging_patience{20};
inline constexpr std::size_t hanging_workers = 4;
inline constexpr std::uint64_t hangs_one_of = 100;

/// Four workers, and events of which one of a hundred hangs. How many have not ended long after they could have.
template <class Bus, Against against>
class HangingBus {
 public:
  explicit HangingBus(std::uint64_t events) : events_(events) {}

  [[nodiscard]] Sample run() {
    Crew crew(1);
    {
      Bus bus(pool_, {.workers = hanging_workers, .capacity = events_});
      const auto subscription = bus.subscribe("hang", [this](weir::EventContext& event) { return handle(event); });
      weir::spawn(pool_, script(bus), crew.on_finish());
      crew.wait();
    }
    pool_.join();
    crew.rethrow();
    return std::move(sample_);
  }

 private:
  weir::Task<> handle(weir::EventContext& event) {
    const auto number = event.payload<std::uint64_t>();
    if (number % hangs_one_of != 0) co_return;
    {
      const std::lock_guard lock(mutex_);
      hanging_.push_back(number);
    }
    co_await weir::sleep_for(std::chrono::hours(1));
  }

  weir::Task<> script(Bus& bus) {
    for (std::uint64_t i = 0; i < events_; ++i) {
      weir::Event event("hang", i);
      if constexpr (against == Against::cancelling) {
        auto ticket = co_await bus.publish_cancellable(std::move(event));
        tickets_.push_back(std::move(ticket));
      } else {
        if (against == Against::run_timeout) event.run_timeout(hanging_patience);
        co_await bus.publish(std::move(event));
      }
    }
    // Each that hangs is given up two turns after it began, at the latest; and twice as long as that takes.
    const std::uint64_t turns = 4 * (events_ / hangs_one_of / hanging_workers + 2);
    auto stats = bus.stats();
    for (std::uint64_t turn = 0; turn < turns && stats.queued + stats.running != 0; ++turn) {
      const std::vector<std::uint64_t> hanging = take_hanging();
      co_await weir::sleep_for(hanging_patience);
      if constexpr (against == Against::cancelling) {
        for (const std::uint64_t number : hanging) tickets_[number].cancel();
      }
      stats = bus.stats();
    }
    sample_.figures["stuck"] = static_cast<double>(stats.queued + stats.running);
    sample_.figures["completed"] = static_cast<double>(stats.completed);
    sample_.figures["given_up"] = static_cast<double>(stats.timed_out + stats.cancelled);
    bus.abort();
  }
  [[nodiscard]] std::vector<std::uint64_t> take_hanging() {
    const std::lock_guard lock(mutex_);
    return std::exchange(hanging_, {});
  }

  const std::uint64_t events_;
  asio::thread_pool pool_{2};
  std::mutex mutex_;
  std::vector<std::uint64_t> hanging_;
  std::vector<weir::EventTicket> tickets_;
  Sample sample_;
};

}  // namespace weir_bench
