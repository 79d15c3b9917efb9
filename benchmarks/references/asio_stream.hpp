#pragma once

#include <cstdint>
#include <exception>
#include <latch>
#include <vector>

#include "asio_channel.hpp"
#include "collections.hpp"
#include "pool_subject.hpp"
#include "work.hpp"

namespace weir_bench {

// Closing the channel would lose what it holds (1.22), so that the source ends it with a mark for each receiver.
template <AsioUse use, class T>
asio::awaitable<void> asio_source(AsioConcurrentChannel<T>& channel, std::uint64_t events, int receivers) {
  co_await asio_send_all<use, T>(channel, Share{0, events});
  for (int i = 0; i < receivers; ++i) {
    co_await channel.async_send(asio::error_code{}, end_mark<T>(), asio::use_awaitable);
  }
}

template <AsioUse use, class T, class Into>
asio::awaitable<void> asio_receiver(AsioConcurrentChannel<T>& channel, LockedCollection<Into>& collection,
                                    std::uint64_t iterations) {
  for (;;) {
    T event{};
    bool received = false;
    if constexpr (use == AsioUse::try_first) {
      received = channel.try_receive([&event](asio::error_code, const T& value) { event = value; });
    }
    if (!received) event = co_await channel.async_receive(asio::use_awaitable);
    if (is_end_mark(event)) co_return;
    collection.collect(work_on(event, iterations));
  }
}

template <AsioUse use, class T, class Into>
[[nodiscard]] Sample run_asio_stream(std::uint64_t events, std::uint64_t iterations) {
  constexpr int receivers = 4;
  asio::thread_pool pool(pool_threads);
  AsioConcurrentChannel<T> channel(pool.get_executor(), default_capacity);
  LockedCollection<Into> collection;
  std::vector<std::exception_ptr> errors(receivers + 1);
  std::latch finished(receivers + 1);
  const auto on_finish = [&](std::size_t which) {
    return [&, which](std::exception_ptr error) {
      errors[which] = error;
      finished.count_down();
    };
  };
  const Measurement measurement;
  asio::co_spawn(pool, asio_source<use, T>(channel, events, receivers), on_finish(receivers));
  for (std::size_t i = 0; i < receivers; ++i) {
    asio::co_spawn(pool, asio_receiver<use, T, Into>(channel, collection, iterations), on_finish(i));
  }
  finished.wait();
  const Sample sample = measurement.finish(events);
  pool.join();
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
  Into::expect_all(collection.collected(), events, expected_digest<T>(events));
  return sample;
}

}  // namespace weir_bench
