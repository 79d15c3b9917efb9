#pragma once

#include <weir/asio.hpp>

#include <asio/experimental/channel.hpp>
#include <asio/experimental/concurrent_channel.hpp>
#include <cstdint>
#include <exception>
#include <latch>

#include "bystander.hpp"
#include "harness.hpp"
#include "payload.hpp"

namespace weir_bench {

enum class AsioUse {
  plain,      // co_await async_send and async_receive, as the documentation shows
  try_first,  // the try_ forms, and co_await only where they fail
};

template <class T>
using AsioChannel = asio::experimental::channel<void(asio::error_code, T)>;
template <class T>
using AsioConcurrentChannel = asio::experimental::concurrent_channel<void(asio::error_code, T)>;

template <AsioUse use, class Channel, class T>
asio::awaitable<void> asio_send_all(Channel& channel, std::uint64_t events) {
  for (U64 i = 0; i < events; ++i) {
    const T value(i);
    if constexpr (use == AsioUse::try_first) {
      if (channel.try_send(asio::error_code{}, value)) continue;
    }
    co_await channel.async_send(asio::error_code{}, value, asio::use_awaitable);
  }
}

template <AsioUse use, class Channel, class T>
asio::awaitable<void> asio_receive_all(Channel& channel, std::uint64_t events, U64& sum) {
  for (U64 i = 0; i < events; ++i) {
    if constexpr (use == AsioUse::try_first) {
      if (channel.try_receive([&sum](asio::error_code, const T& value) { sum += digest(value); })) continue;
    }
    const T value = co_await channel.async_receive(asio::use_awaitable);
    sum += digest(value);
  }
}

template <AsioUse use, class T>
[[nodiscard]] Sample run_asio_channel_one_thread(std::uint64_t events) {
  asio::io_context context(1);
  AsioChannel<T> channel(context, default_capacity);
  U64 sum = 0;
  std::exception_ptr error;
  const auto done = [&error](std::exception_ptr e) {
    if (e) error = e;
  };
  const Measurement measurement;
  asio::co_spawn(context, asio_send_all<use, AsioChannel<T>, T>(channel, events), done);
  asio::co_spawn(context, asio_receive_all<use, AsioChannel<T>, T>(channel, events, sum), done);
  context.run();
  const Sample sample = measurement.finish(events);
  if (error) std::rethrow_exception(error);
  expect_delivered(expected_digest<T>(events), sum);
  return sample;
}

template <AsioUse use, class T>
[[nodiscard]] Sample run_asio_channel_pool(std::uint64_t events, asio::thread_pool& pool, Bystander* bystander) {
  AsioConcurrentChannel<T> channel(pool.get_executor(), default_capacity);
  U64 sum = 0;
  std::exception_ptr errors[2];
  std::latch finished(2);
  const Measurement measurement;
  if (bystander != nullptr) bystander->start();
  asio::co_spawn(pool, asio_send_all<use, AsioConcurrentChannel<T>, T>(channel, events), [&](std::exception_ptr e) {
    errors[0] = e;
    finished.count_down();
  });
  asio::co_spawn(pool, asio_receive_all<use, AsioConcurrentChannel<T>, T>(channel, events, sum),
                 [&](std::exception_ptr e) {
                   errors[1] = e;
                   finished.count_down();
                 });
  finished.wait();
  const Sample sample = measurement.finish(events);
  if (bystander != nullptr) bystander->stop();
  pool.join();
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
  expect_delivered(expected_digest<T>(events), sum);
  return sample;
}

}  // namespace weir_bench
