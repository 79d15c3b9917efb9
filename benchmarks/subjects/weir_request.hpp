#pragma once

#include <cstdint>
#include <utility>

#include "weir_channel.hpp"

namespace weir_bench {

template <class Requests, class Replies>
weir::Task<> weir_serve(Requests requests, Replies replies) {
  while (const auto request = co_await requests.receive()) co_await replies.send(*request);
}

template <class Requests, class Replies>
weir::Task<> weir_ask(Requests requests, Replies replies, std::uint64_t events, U64& sum) {
  for (U64 i = 0; i < events; ++i) {
    co_await requests.send_emplace(i);
    const auto reply = co_await replies.receive();
    if (reply) sum += digest(*reply);
  }
}

/// A channel of capacity 1 each way; an event is a request and its reply.
template <class T, class Channel, class Context, class OnFinish>
void weir_start_request(Context& context, std::uint64_t events, U64& sum, OnFinish on_finish) {
  auto [request_tx, request_rx] = Channel::template make<T>(context, 1);
  auto [reply_tx, reply_rx] = Channel::template make<T>(context, 1);
  weir::spawn(context, weir_ask(std::move(request_tx), std::move(reply_rx), events, sum), on_finish());
  weir::spawn(context, weir_serve(std::move(request_rx), std::move(reply_tx)), on_finish());
}

template <class T, class Channel>
[[nodiscard]] Sample run_weir_request_one_thread(std::uint64_t events) {
  asio::io_context context(1);
  U64 sum = 0;
  const Sample sample = measure_on_one_thread(
      events, context, [&](auto done) { weir_start_request<T, Channel>(context, events, sum, [&] { return done; }); });
  expect_delivered(expected_digest<T>(events), sum);
  return sample;
}

template <class T, class Channel>
[[nodiscard]] Sample run_weir_request_pool(std::uint64_t events, asio::thread_pool& pool, Bystander* bystander) {
  U64 sum = 0;
  const Sample sample = measure_on_pool(events, pool, bystander, 2, [&](Crew& crew) {
    weir_start_request<T, Channel>(pool, events, sum, [&] { return crew.on_finish(); });
  });
  expect_delivered(expected_digest<T>(events), sum);
  return sample;
}

}  // namespace weir_bench
