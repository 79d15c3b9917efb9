/// The root coroutines of a stream's sender, whatever the stream is besides.
#pragma once

#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <weir/core/spawn.hpp>
#include <weir/core/task.hpp>
#include <weir/core/this_task.hpp>
#include <weir/core/token_bucket.hpp>
#include <weir/stream/detail/emit_gather.hpp>
#include <weir/stream/detail/emit_hook.hpp>
#include <weir/stream/detail/emit_paced.hpp>
#include <weir/stream/detail/emit_slices.hpp>
#include <weir/stream/detail/stream_core.hpp>
#include <weir/stream/emitter.hpp>
#include <weir/stream/sender.hpp>
#include <weir/stream/sender_strategy.hpp>

namespace weir::detail {

/// Straight into the stream's own channel.
template <class Stream, class S>
Task<> sender_root(StreamRoot root, std::shared_ptr<Stream> self, S sender) {
  using T = typename Stream::value_type;
  Home& home = co_await this_task::home();
  home.set_name("the sender of a stream");
  root.enter(home);
  if (self->level() == 0) {
    try {
      Emitter<T> out(*self, self->sender_end());
      auto running = run_sender<T>(sender, out);
      co_await std::move(running);
    } catch (...) {
      self->sender_threw(std::current_exception());
    }
  }
  root.returned();
}

template <class Stream>
Task<> due_root(StreamRoot root, std::shared_ptr<Stream> self,
                std::shared_ptr<EmitGather<typename Stream::value_type>> gather) {
  Home& home = co_await this_task::home();
  home.set_name("what a stream's sender has gathered");
  root.enter(home);
  try {
    auto running = EmitGather<typename Stream::value_type>::send_when_due(std::move(gather));
    co_await std::move(running);
  } catch (...) {
    self->sender_threw(std::current_exception());
  }
  root.returned();
}

template <class Stream, class S>
Task<> run_gathering(std::shared_ptr<Stream> self, S& sender, const EmitPlan& plan) {
  using T = typename Stream::value_type;
  const auto gather = std::make_shared<EmitGather<T>>(self->make_outlet(true), plan.gathered, plan.max_delay);
  spawn(self->executor(), due_root(StreamRoot(self, StreamRole::starter), self, gather));
  std::exception_ptr error;
  try {
    Emitter<T> out(*self, *gather);
    auto running = run_sender<T>(sender, out);
    co_await std::move(running);
  } catch (...) {
    error = std::current_exception();
  }
  auto finishing = gather->finish(error != nullptr);
  co_await std::move(finishing);
  if (error) std::rethrow_exception(std::move(error));
}

/// With something before the channel, or into a channel of the user's.
template <class Stream, class S>
Task<> planned_sender_root(StreamRoot root, std::shared_ptr<Stream> self, S sender, EmitPlan plan,
                           std::optional<TokenBucket> bucket) {
  using T = typename Stream::value_type;
  Home& home = co_await this_task::home();
  home.set_name("the sender of a stream");
  root.enter(home);
  if (self->level() == 0) {
    try {
      if (plan.gathers()) {
        auto running = run_gathering(self, sender, plan);
        co_await std::move(running);
      } else {
        auto outlet = self->make_outlet(false);
        std::unique_ptr<EmitHook<T>> hook;
        if (bucket) {
          hook = std::make_unique<EmitPaced<T>>(*outlet, std::move(*bucket));
        } else {
          hook = std::make_unique<EmitStraight<T>>(*outlet);
        }
        Emitter<T> out(*self, *hook);
        auto running = run_sender<T>(sender, out);
        co_await std::move(running);
      }
    } catch (...) {
      self->sender_threw(std::current_exception());
    }
  }
  root.returned();
}

/// Starts the sender on the executor of the stream, which is a `StreamCore` with a `value_type`, an `executor()`, a
/// `make_outlet(gathers)`, and a `sender_end()` if it has a channel of its own.
template <class Stream, class S>
void start_sender(const std::shared_ptr<Stream>& self, S sender) {
  constexpr bool own_channel = Stream::has_own_channel;
  if constexpr (is_partitioned<S>) {
    const std::size_t count = sender.partitions;
    const EmitPlan plan = sender.plan;
    const std::optional<TokenBucket> bucket = plan.limit.bucket(context_of(self->executor()));
    const auto shared = std::make_shared<S>(std::move(sender));
    // All of them before the first can end: the end of the last one ends the sending.
    std::vector<StreamRoot> roots;
    roots.reserve(count);
    for (std::size_t i = 0; i < count; ++i) roots.emplace_back(self, StreamRole::sender);
    for (std::size_t i = 0; i < count; ++i) {
      PartitionOf<decltype(shared->function)> part{shared, Partition{i, count}};
      if (own_channel && plan.plain()) {
        if constexpr (own_channel) spawn(self->executor(), sender_root(std::move(roots[i]), self, std::move(part)));
      } else {
        spawn(self->executor(), planned_sender_root(std::move(roots[i]), self, std::move(part), plan, bucket));
      }
    }
  } else if constexpr (is_adaptive_sender<S>) {
    Adaptive how = sender.how;
    const auto shared = std::make_shared<S>(std::move(sender));
    spawn(self->executor(), adaptive_sender_root(StreamRoot(self, StreamRole::sender), self, shared, std::move(how)));
  } else if constexpr (is_planned<S>) {
    auto bucket = sender.plan.limit.bucket(context_of(self->executor()));
    spawn(self->executor(), planned_sender_root(StreamRoot(self, StreamRole::sender), self, std::move(sender.function),
                                                std::move(sender.plan), std::move(bucket)));
  } else if constexpr (own_channel) {
    spawn(self->executor(), sender_root(StreamRoot(self, StreamRole::sender), self, std::move(sender)));
  } else {
    spawn(self->executor(),
          planned_sender_root(StreamRoot(self, StreamRole::sender), self, std::move(sender), EmitPlan(), std::nullopt));
  }
}

/// Whether it gathers events before they are in the channel.
template <class S>
[[nodiscard]] bool gathers(const S& sender) noexcept {
  if constexpr (is_partitioned<S> || is_planned<S>) {
    return sender.plan.gathers();
  } else {
    return false;
  }
}

}  // namespace weir::detail
