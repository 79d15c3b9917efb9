#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>
#include <weir/asio.hpp>
#include <weir/channel/channel.hpp>
#include <weir/core/spawn.hpp>
#include <weir/core/task.hpp>

#include "bystander.hpp"
#include "crew.hpp"
#include "harness.hpp"
#include "parties.hpp"
#include "payload.hpp"

namespace weir_bench {

/// Which channel: one for each function that makes one.
struct LocalChannel {
  template <class T, class Context>
  static auto make(Context& context, std::size_t capacity) {
    return weir::make_local_channel<T>(context, {.capacity = capacity});
  }
};

struct SharedChannel {
  template <class T, class Context>
  static auto make(Context& context, std::size_t capacity) {
    return weir::make_channel<T>(context, {.capacity = capacity});
  }
};

struct SpscChannel {
  template <class T, class Context>
  static auto make(Context& context, std::size_t capacity) {
    return weir::make_spsc_channel<T>(context, {.capacity = capacity});
  }
};

template <class Sender>
weir::Task<> weir_send(Sender tx, Share share) {
  for (U64 i = share.first; i < share.last; ++i) co_await tx.send_emplace(i);
}

template <class Receiver>
weir::Task<> weir_receive(Receiver rx, U64& sum) {
  while (const auto value = co_await rx.receive()) sum += digest(*value);
}

// The locals of a coroutine live in its frame: loops over a batch are kept out of it, as a user who counts would.
template <class T>
void number_from(std::span<T> values, U64 first) noexcept {
  for (T& value : values) value = T(first++);
}
template <class T>
[[nodiscard]] U64 digest_all(std::span<const T> values) noexcept {
  U64 sum = 0;
  for (const T& value : values) sum += digest(value);
  return sum;
}

template <class T, class Sender>
weir::Task<> weir_send_bulk(Sender tx, Share share, std::size_t batch) {
  std::vector<T> values(batch);
  for (U64 next = share.first; next < share.last; next += values.size()) {
    values.resize(std::min<U64>(batch, share.last - next));
    number_from<T>(values, next);
    co_await tx.send_all(values);
  }
}

template <class T, class Receiver>
weir::Task<> weir_receive_bulk(Receiver rx, U64& sum, std::size_t batch) {
  std::vector<T> values(batch);
  while (const std::size_t received = co_await rx.receive_some(values.data(), batch)) {
    sum += digest_all<T>(std::span<const T>(values.data(), received));
  }
}

/// Calls `use(which, handle)` with a handle for each party: copies, and the original for the last.
template <std::size_t parties, class Handle, class Use>
void for_each_party(Handle handle, Use use) {
  if constexpr (parties > 1) {
    for (std::size_t which = 0; which + 1 < parties; ++which) use(which, Handle(handle));
  }
  use(parties - 1, std::move(handle));
}

/// What a workload moves: a channel's kind and capacity, the parties at its ends, and how many values at a time (0: one
/// by one, as most users do).
template <class Kind, std::size_t from, std::size_t to, std::size_t values_at_a_time = 0,
          std::size_t room = default_capacity>
struct Traffic {
  using Channel = Kind;
  static constexpr std::size_t senders = from;
  static constexpr std::size_t receivers = to;
  static constexpr std::size_t batch = values_at_a_time;
  static constexpr std::size_t capacity = room;
};

/// Starts both ends; each of them calls a handler that `on_finish()` gives.
template <class T, class Traffic, class Context, class OnFinish>
void weir_start(Context& context, std::uint64_t events, Sums<Traffic::receivers>& sums, OnFinish on_finish) {
  constexpr std::size_t batch = Traffic::batch;
  auto [sender, receiver] = Traffic::Channel::template make<T>(context, Traffic::capacity);
  for_each_party<Traffic::senders>(std::move(sender), [&](std::size_t which, auto tx) {
    const Share share = share_of(events, Traffic::senders, which);
    if constexpr (batch == 0) {
      weir::spawn(context, weir_send(std::move(tx), share), on_finish());
    } else {
      weir::spawn(context, weir_send_bulk<T>(std::move(tx), share, batch), on_finish());
    }
  });
  for_each_party<Traffic::receivers>(std::move(receiver), [&](std::size_t which, auto rx) {
    if constexpr (batch == 0) {
      weir::spawn(context, weir_receive(std::move(rx), sums[which]), on_finish());
    } else {
      weir::spawn(context, weir_receive_bulk<T>(std::move(rx), sums[which], batch), on_finish());
    }
  });
}

template <class T, class Traffic>
[[nodiscard]] Sample run_weir_channel_one_thread(std::uint64_t events) {
  asio::io_context context(1);
  Sums<Traffic::receivers> sums;
  const Sample sample = measure_on_one_thread(
      events, context, [&](auto done) { weir_start<T, Traffic>(context, events, sums, [&] { return done; }); });
  expect_delivered(expected_digest<T>(events), sums.total());
  return sample;
}

template <class T, class Traffic>
[[nodiscard]] Sample run_weir_channel_pool(std::uint64_t events, asio::thread_pool& pool, Bystander* bystander) {
  Sums<Traffic::receivers> sums;
  const Sample sample = measure_on_pool(
      events, pool, bystander, Traffic::senders + Traffic::receivers,
      [&](Crew& crew) { weir_start<T, Traffic>(pool, events, sums, [&] { return crew.on_finish(); }); });
  expect_delivered(expected_digest<T>(events), sums.total());
  return sample;
}

}  // namespace weir_bench
