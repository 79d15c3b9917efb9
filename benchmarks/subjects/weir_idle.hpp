#pragma once

#include <cstdint>
#include <utility>
#include <vector>
#include <weir/asio.hpp>
#include <weir/core/spawn.hpp>
#include <weir/core/task.hpp>
#include <weir/core/with_scope.hpp>

#include "crew.hpp"
#include "idle.hpp"
#include "pool_subject.hpp"
#include "weir_channel.hpp"

namespace weir_bench {

template <class Receiver>
weir::Task<> weir_receive_one(Receiver rx, IdleCrowd& crowd) {
  crowd.about_to_wait();
  if (const auto value = co_await rx.receive()) crowd.has_received(*value);
}

template <class Sender>
weir::Task<> weir_send_one_each(std::vector<Sender>& senders) {
  U64 number = 0;
  for (Sender& tx : senders) co_await tx.send_emplace(number++);
}

/// Each receiver is a root of its own: it could run on any thread.
struct AsRoots {
  template <class T, class Channel, class Context, class Sender>
  static void start(Context& context, std::vector<Sender>& senders, IdleCrowd& crowd) {
    for (Sender& sender : senders) {
      auto [tx, rx] = Channel::template make<T>(context, idle_capacity);
      sender = std::move(tx);
      weir::spawn(context, weir_receive_one(std::move(rx), crowd), [](std::exception_ptr) {});
    }
  }
};

/// The receivers are children of one root, and share its home.
struct AsChildren {
  template <class T, class Channel, class Context, class Sender>
  static void start(Context& context, std::vector<Sender>& senders, IdleCrowd& crowd) {
    weir::spawn(context, parent<T, Channel>(context, senders, crowd), [](std::exception_ptr) {});
  }

 private:
  template <class T, class Channel, class Context, class Sender>
  static weir::Task<> parent(Context& context, std::vector<Sender>& senders, IdleCrowd& crowd) {
    auto body = [&](weir::Scope& scope) -> weir::Task<> {
      for (Sender& sender : senders) {
        auto [tx, rx] = Channel::template make<T>(context, idle_capacity);
        sender = std::move(tx);
        scope.spawn(weir_receive_one(std::move(rx), crowd));
      }
      co_return;
    };
    co_await weir::with_scope(body);
  }
};

template <class T, class Channel, class Context>
using WeirSenders = std::vector<decltype(Channel::template make<T>(std::declval<Context&>(), 1).first)>;

template <class T, class Channel, class Placement>
[[nodiscard]] Sample run_weir_idle_one_thread(std::uint64_t size) {
  asio::io_context context(1);
  IdleCrowd crowd(size);
  WeirSenders<T, Channel, asio::io_context> senders(size);
  const Sample sample = measure_idle(
      size,
      [&] {
        Placement::template start<T, Channel>(context, senders, crowd);
        context.poll();
        crowd.wait_until_all_wait();
      },
      [&] {
        weir::spawn(context, weir_send_one_each(senders), [](std::exception_ptr) {});
        context.run();
      });
  expect_delivered(expected_digest<T>(size), crowd.sum());
  return sample;
}

template <class T, class Channel, class Placement>
[[nodiscard]] Sample run_weir_idle_pool(std::uint64_t size) {
  asio::thread_pool pool(pool_threads);
  IdleCrowd crowd(size);
  WeirSenders<T, Channel, asio::thread_pool> senders(size);
  const Sample sample = measure_idle(
      size,
      [&] {
        Placement::template start<T, Channel>(pool, senders, crowd);
        crowd.wait_until_all_wait();
      },
      [&] {
        weir::spawn(pool, weir_send_one_each(senders), [](std::exception_ptr) {});
        crowd.wait_until_all_received();
      });
  pool.join();
  expect_delivered(expected_digest<T>(size), crowd.sum());
  return sample;
}

}  // namespace weir_bench
