#pragma once

#include <weir/asio.hpp>

#include <asio/experimental/channel.hpp>
#include <asio/experimental/concurrent_channel.hpp>
#include <cstddef>
#include <cstdint>

#include "bystander.hpp"
#include "crew.hpp"
#include "harness.hpp"
#include "parties.hpp"
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

template <AsioUse use, class T, class Channel>
asio::awaitable<void> asio_send_all(Channel& channel, Share share) {
  for (U64 i = share.first; i < share.last; ++i) {
    const T value(i);
    if constexpr (use == AsioUse::try_first) {
      if (channel.try_send(asio::error_code{}, value)) continue;
    }
    co_await channel.async_send(asio::error_code{}, value, asio::use_awaitable);
  }
}

template <AsioUse use, class T, class Channel>
asio::awaitable<void> asio_receive_all(Channel& channel, std::uint64_t count, U64& sum) {
  for (U64 i = 0; i < count; ++i) {
    if constexpr (use == AsioUse::try_first) {
      if (channel.try_receive([&sum](asio::error_code, const T& value) { sum += digest(value); })) continue;
    }
    const T value = co_await channel.async_receive(asio::use_awaitable);
    sum += digest(value);
  }
}

template <AsioUse use, class T, std::size_t capacity = default_capacity>
[[nodiscard]] Sample run_asio_channel_one_thread(std::uint64_t events) {
  asio::io_context context(1);
  AsioChannel<T> channel(context, capacity);
  U64 sum = 0;
  const Sample sample = measure_on_one_thread(events, context, [&](auto done) {
    asio::co_spawn(context, asio_send_all<use, T>(channel, Share{0, events}), done);
    asio::co_spawn(context, asio_receive_all<use, T>(channel, events, sum), done);
  });
  expect_delivered(expected_digest<T>(events), sum);
  return sample;
}

template <AsioUse use, class T, std::size_t senders = 1, std::size_t receivers = 1,
          std::size_t capacity = default_capacity>
[[nodiscard]] Sample run_asio_channel_pool(std::uint64_t events, asio::thread_pool& pool, Bystander* bystander) {
  AsioConcurrentChannel<T> channel(pool.get_executor(), capacity);
  Sums<receivers> sums;
  const Sample sample = measure_on_pool(events, pool, bystander, senders + receivers, [&](Crew& crew) {
    for (std::size_t i = 0; i < senders; ++i) {
      asio::co_spawn(pool, asio_send_all<use, T>(channel, share_of(events, senders, i)), crew.on_finish());
    }
    for (std::size_t i = 0; i < receivers; ++i) {
      const std::uint64_t count = share_of(events, receivers, i).size();
      asio::co_spawn(pool, asio_receive_all<use, T>(channel, count, sums[i]), crew.on_finish());
    }
  });
  expect_delivered(expected_digest<T>(events), sums.total());
  return sample;
}

}  // namespace weir_bench
