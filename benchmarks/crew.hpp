#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <latch>
#include <mutex>
#include <utility>
#include <weir/asio.hpp>

#include "bystander.hpp"
#include "harness.hpp"

namespace weir_bench {

/// The coroutines of a workload on a pool, to be waited for.
class Crew {
 public:
  explicit Crew(std::size_t parties) : finished_(static_cast<std::ptrdiff_t>(parties)) {}

  /// The completion handler of one of them.
  [[nodiscard]] auto on_finish() noexcept {
    return [this](std::exception_ptr error) {
      if (error) keep(std::move(error));
      finished_.count_down();
    };
  }

  void wait() const { finished_.wait(); }

  /// To be called when all have finished.
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  void keep(std::exception_ptr error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
  }

  std::latch finished_;
  std::mutex mutex_;
  std::exception_ptr error_;
};

/// `start(crew)` starts that many coroutines on the pool, which is joined at the end. Where `bystander` is not null, it
/// starts and stops with the clock.
template <class Start>
[[nodiscard]] Sample measure_on_pool(std::uint64_t events, asio::thread_pool& pool, Bystander* bystander,
                                     std::size_t parties, Start start) {
  Crew crew(parties);
  const Measurement measurement;
  if (bystander != nullptr) bystander->start();
  start(crew);
  crew.wait();
  const Sample sample = measurement.finish(events);
  if (bystander != nullptr) bystander->stop();
  pool.join();
  crew.rethrow();
  return sample;
}

/// The same on one thread: `start(done)` starts coroutines that end in a call of `done`.
template <class Start>
[[nodiscard]] Sample measure_on_one_thread(std::uint64_t events, asio::io_context& context, Start start) {
  std::exception_ptr error;
  const auto done = [&error](std::exception_ptr e) {
    if (e) error = std::move(e);
  };
  const Measurement measurement;
  start(done);
  context.run();
  const Sample sample = measurement.finish(events);
  if (error) std::rethrow_exception(error);
  return sample;
}

}  // namespace weir_bench
