#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <vector>

#include "asio_channel.hpp"
#include "idle.hpp"
#include "pool_subject.hpp"

namespace weir_bench {

template <class T, class Channel>
asio::awaitable<void> asio_receive_one(Channel& channel, IdleCrowd& crowd) {
  crowd.about_to_wait();
  crowd.has_received(co_await channel.async_receive(asio::use_awaitable));
}

template <class T, class Channel>
asio::awaitable<void> asio_send_one_each(std::vector<std::unique_ptr<Channel>>& channels) {
  U64 number = 0;
  for (const auto& channel : channels) {
    co_await channel->async_send(asio::error_code{}, T(number++), asio::use_awaitable);
  }
}

template <class T, class Channel, class Context>
void asio_start_idle(Context& context, std::vector<std::unique_ptr<Channel>>& channels, IdleCrowd& crowd) {
  for (auto& channel : channels) {
    channel = std::make_unique<Channel>(context.get_executor(), idle_capacity);
    asio::co_spawn(context, asio_receive_one<T>(*channel, crowd), [](std::exception_ptr) {});
  }
}

template <class T>
[[nodiscard]] Sample run_asio_idle_one_thread(std::uint64_t size) {
  using Channel = AsioChannel<T>;
  asio::io_context context(1);
  IdleCrowd crowd(size);
  std::vector<std::unique_ptr<Channel>> channels(size);
  const Sample sample = measure_idle(
      size,
      [&] {
        asio_start_idle<T>(context, channels, crowd);
        context.poll();
        crowd.wait_until_all_wait();
      },
      [&] {
        asio::co_spawn(context, asio_send_one_each<T>(channels), [](std::exception_ptr) {});
        context.run();
      });
  expect_delivered(expected_digest<T>(size), crowd.sum());
  return sample;
}

template <class T>
[[nodiscard]] Sample run_asio_idle_pool(std::uint64_t size) {
  using Channel = AsioConcurrentChannel<T>;
  asio::thread_pool pool(pool_threads);
  IdleCrowd crowd(size);
  std::vector<std::unique_ptr<Channel>> channels(size);
  const Sample sample = measure_idle(
      size,
      [&] {
        asio_start_idle<T>(pool, channels, crowd);
        crowd.wait_until_all_wait();
      },
      [&] {
        asio::co_spawn(pool, asio_send_one_each<T>(channels), [](std::exception_ptr) {});
        crowd.wait_until_all_received();
      });
  pool.join();
  expect_delivered(expected_digest<T>(size), crowd.sum());
  return sample;
}

}  // namespace weir_bench
