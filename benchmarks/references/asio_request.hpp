#pragma once

#include <cstdint>

#include "asio_channel.hpp"

namespace weir_bench {

template <AsioUse use, class T, class Channel>
asio::awaitable<void> asio_serve(Channel& requests, Channel& replies, std::uint64_t events) {
  for (U64 i = 0; i < events; ++i) {
    T value{};
    if (use == AsioUse::plain ||
        !requests.try_receive([&value](asio::error_code, const T& request) { value = request; })) {
      value = co_await requests.async_receive(asio::use_awaitable);
    }
    if (use == AsioUse::plain || !replies.try_send(asio::error_code{}, value)) {
      co_await replies.async_send(asio::error_code{}, value, asio::use_awaitable);
    }
  }
}

template <AsioUse use, class T, class Channel>
asio::awaitable<void> asio_ask(Channel& requests, Channel& replies, std::uint64_t events, U64& sum) {
  for (U64 i = 0; i < events; ++i) {
    const T value(i);
    if (use == AsioUse::plain || !requests.try_send(asio::error_code{}, value)) {
      co_await requests.async_send(asio::error_code{}, value, asio::use_awaitable);
    }
    if (use == AsioUse::plain ||
        !replies.try_receive([&sum](asio::error_code, const T& reply) { sum += digest(reply); })) {
      const T reply = co_await replies.async_receive(asio::use_awaitable);
      sum += digest(reply);
    }
  }
}

template <AsioUse use, class T>
[[nodiscard]] Sample run_asio_request_one_thread(std::uint64_t events) {
  asio::io_context context(1);
  AsioChannel<T> requests(context, 1);
  AsioChannel<T> replies(context, 1);
  U64 sum = 0;
  const Sample sample = measure_on_one_thread(events, context, [&](auto done) {
    asio::co_spawn(context, asio_ask<use, T>(requests, replies, events, sum), done);
    asio::co_spawn(context, asio_serve<use, T>(requests, replies, events), done);
  });
  expect_delivered(expected_digest<T>(events), sum);
  return sample;
}

template <AsioUse use, class T>
[[nodiscard]] Sample run_asio_request_pool(std::uint64_t events, asio::thread_pool& pool, Bystander* bystander) {
  AsioConcurrentChannel<T> requests(pool.get_executor(), 1);
  AsioConcurrentChannel<T> replies(pool.get_executor(), 1);
  U64 sum = 0;
  const Sample sample = measure_on_pool(events, pool, bystander, 2, [&](Crew& crew) {
    asio::co_spawn(pool, asio_ask<use, T>(requests, replies, events, sum), crew.on_finish());
    asio::co_spawn(pool, asio_serve<use, T>(requests, replies, events), crew.on_finish());
  });
  expect_delivered(expected_digest<T>(events), sum);
  return sample;
}

}  // namespace weir_bench
