// What the scenes share in which a channel's allocations fail.
#pragma once

#include <weir/channel/channel.hpp>

#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <utility>

#include <weir/core/spawn.hpp>
#include <weir/core/task.hpp>

#include "support/alloc_failure.hpp"
#include "support/catch.hpp"

namespace alloc_failure {

/// A value of its own memory, which moving does not allocate.
using Value = std::unique_ptr<int>;
using Tx = weir::ChannelSender<Value>;
using Rx = weir::ChannelReceiver<Value>;

/// What the parties of a scenario were told. Values are known by their numbers.
struct Tally {
  int started = 0;
  int ended = 0;
  int sent = 0;
  int received = 0;
  int sum_sent = 0;
  int sum_received = 0;

  void got(const Value& value) {
    weir_test::require(value != nullptr, "an empty value was received");
    ++received;
    sum_received += *value;
  }
  void gave(int value) {
    ++sent;
    sum_sent += value;
  }
  /// When everything was drained.
  void check() const {
    weir_test::require(started == ended, "a root waits for ever");
    weir_test::require(sent == received && sum_sent == sum_received, "what was received is not what was sent");
  }
};

/// Starts a root. When the start fails the root is not there, and nothing waits for it.
template <class F>
bool start(weir_test::Stage& stage, Tally& tally, F function) {
  try {
    weir::spawn(stage.executor(), std::move(function), [&tally](std::exception_ptr error) {
      ++tally.ended;
      try {
        if (error) std::rethrow_exception(error);
      } catch (const std::bad_alloc&) {
      } catch (const weir::Error& e) {
        weir_test::require(e.code() == weir::Errc::channel_closed || e.code() == weir::Errc::cancelled,
                           "an error nobody expects");
      }
    });
  } catch (const std::bad_alloc&) {
    return false;
  }
  ++tally.started;
  return true;
}

inline weir::Task<> send_each(Tx tx, int first, int count, Tally& tally) {
  for (int i = first; i < first + count; ++i) {
    auto value = std::make_unique<int>(i);
    try {
      co_await tx.send(std::move(value));
    } catch (...) {
      weir_test::require(value && *value == i, "a value that was not sent is not with the sender");
      throw;
    }
    tally.gave(i);
  }
}

inline weir::Task<> receive_each(Rx rx, Tally& tally) {
  for (;;) {
    const std::optional<Value> value = co_await rx.receive();
    if (!value) break;
    tally.got(*value);
  }
}

/// Whatever is left after the parties: a channel must still work when memory is back.
inline void drain(weir_test::Stage& stage, const Rx& rx, Tally& tally) {
  stage.poll();
  while (const auto value = rx.try_receive()) tally.got(*value);
  stage.poll();
}

inline void check(const weir_test::Failures& failures, std::uint64_t at_least) {
  INFO(failures.trouble);
  CHECK(failures.trouble.empty());
  CHECK(failures.allocations >= at_least);
}

}  // namespace alloc_failure
