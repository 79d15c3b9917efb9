#pragma once

#include <cstddef>
#include <cstdint>

#include "harness.hpp"
#include "parties.hpp"
#include "payload.hpp"
#include "threads.hpp"

namespace weir_bench {

/// A queue that blocks threads (`send(Share)`, `receive(count, sum)`), with a thread for each party: it cannot have
/// several of them wait on one.
template <class Queue, class T, std::size_t senders = 1, std::size_t receivers = 1,
          std::size_t capacity = default_capacity>
[[nodiscard]] Sample run_queue_on_threads(std::uint64_t events) {
  Queue queue(capacity);
  Sums<receivers> sums;
  const Sample sample = measure_threads(events, senders + receivers, [&](std::size_t which) {
    if (which < senders) {
      queue.send(share_of(events, senders, which));
    } else {
      const std::size_t receiver = which - senders;
      queue.receive(share_of(events, receivers, receiver).size(), sums[receiver]);
    }
  });
  expect_delivered(expected_digest<T>(events), sums.total());
  return sample;
}

/// A queue of capacity 1 each way; an event is a request and its reply.
template <class Queue, class T>
[[nodiscard]] Sample run_request_on_threads(std::uint64_t events) {
  Queue requests(1);
  Queue replies(1);
  U64 sum = 0;
  const Sample sample = measure_two_threads(
      events,
      [&] {
        for (U64 i = 0; i < events; ++i) {
          requests.push(T(i));
          sum += digest(replies.pop());
        }
      },
      [&] {
        for (U64 i = 0; i < events; ++i) replies.push(requests.pop());
      });
  expect_delivered(expected_digest<T>(events), sum);
  return sample;
}

}  // namespace weir_bench
