#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <latch>
#include <utility>
#include <vector>
#include <weir/asio.hpp>
#include <weir/channel/channel.hpp>
#include <weir/core/spawn.hpp>
#include <weir/core/task.hpp>

#include "bystander.hpp"
#include "harness.hpp"
#include "payload.hpp"

namespace weir_bench {

/// Which channel: one for each function that makes one.
struct LocalChannel {
  template <class T, class Context>
  static auto make(Context& context) {
    return weir::make_local_channel<T>(context, {.capacity = default_capacity});
  }
};

struct SharedChannel {
  template <class T, class Context>
  static auto make(Context& context) {
    return weir::make_channel<T>(context, {.capacity = default_capacity});
  }
};

struct SpscChannel {
  template <class T, class Context>
  static auto make(Context& context) {
    return weir::make_spsc_channel<T>(context, {.capacity = default_capacity});
  }
};

template <class T, class Sender>
weir::Task<> weir_send(Sender tx, std::uint64_t events) {
  for (U64 i = 0; i < events; ++i) co_await tx.send_emplace(i);
}

template <class T, class Receiver>
weir::Task<> weir_receive(Receiver rx, U64& sum) {
  while (const auto value = co_await rx.receive()) sum += digest(*value);
}

template <class T, class Sender>
weir::Task<> weir_send_bulk(Sender tx, std::uint64_t events, std::size_t batch) {
  std::vector<T> values(batch);
  for (U64 sent = 0; sent < events;) {
    values.resize(std::min<U64>(batch, events - sent));
    for (T& value : values) value = T(sent++);
    co_await tx.send_all(values);
  }
}

template <class T, class Receiver>
weir::Task<> weir_receive_bulk(Receiver rx, U64& sum, std::size_t batch) {
  std::vector<T> values(batch);
  while (const std::size_t received = co_await rx.receive_some(values.data(), batch)) {
    for (std::size_t i = 0; i < received; ++i) sum += digest(values[i]);
  }
}

/// Starts both ends; `batch` 0 is one event at a time.
template <class T, class Channel, class Context, class Sent, class Received>
void weir_start(Context& context, std::uint64_t events, std::size_t batch, U64& sum, Sent sent, Received received) {
  auto [tx, rx] = Channel::template make<T>(context);
  if (batch == 0) {
    weir::spawn(context, weir_send<T>(std::move(tx), events), std::move(sent));
    weir::spawn(context, weir_receive<T>(std::move(rx), sum), std::move(received));
  } else {
    weir::spawn(context, weir_send_bulk<T>(std::move(tx), events, batch), std::move(sent));
    weir::spawn(context, weir_receive_bulk<T>(std::move(rx), sum, batch), std::move(received));
  }
}

template <class T, class Channel, std::size_t batch>
[[nodiscard]] Sample run_weir_channel_one_thread(std::uint64_t events) {
  asio::io_context context(1);
  U64 sum = 0;
  std::exception_ptr error;
  const auto done = [&error](std::exception_ptr e) {
    if (e) error = e;
  };
  const Measurement measurement;
  weir_start<T, Channel>(context, events, batch, sum, done, done);
  context.run();
  const Sample sample = measurement.finish(events);
  if (error) std::rethrow_exception(error);
  expect_delivered(expected_digest<T>(events), sum);
  return sample;
}

template <class T, class Channel, std::size_t batch>
[[nodiscard]] Sample run_weir_channel_pool(std::uint64_t events, asio::thread_pool& pool, Bystander* bystander) {
  U64 sum = 0;
  std::exception_ptr errors[2];
  std::latch finished(2);
  const auto done = [&](std::exception_ptr& error) {
    return [&](std::exception_ptr e) {
      error = e;
      finished.count_down();
    };
  };
  const Measurement measurement;
  if (bystander != nullptr) bystander->start();
  weir_start<T, Channel>(pool, events, batch, sum, done(errors[0]), done(errors[1]));
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
