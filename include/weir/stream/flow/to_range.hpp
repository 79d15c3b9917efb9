/// Flows for those who are no coroutine, or run elsewhere: `to_generator`, `to_channel`, `to_range`.
#pragma once

#include <concepts>
#include <cstddef>
#include <exception>
#include <iterator>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <weir/asio.hpp>
#include <weir/channel/channel.hpp>
#include <weir/core/generator.hpp>
#include <weir/core/spawn.hpp>
#include <weir/core/sync_wait.hpp>
#include <weir/core/task.hpp>
#include <weir/stream/detail/flow_run.hpp>
#include <weir/stream/flow/flow.hpp>
#include <weir/stream/flow/for_each.hpp>

namespace weir {
namespace detail {

template <Flow F>
Generator<flow_value_t<F>> generate(F flow) {
  flow.open(FlowSite());
  std::optional<flow_value_t<F>> value;
  for (;;) {
    switch (flow.pull(value)) {
      case Pull::value:
        co_yield std::move(*value);
        value.reset();
        break;
      case Pull::again:
        break;
      case Pull::wait:
      case Pull::end:
        co_return;
    }
  }
}

/// Closes a channel when the root that fills it is destroyed before its end: the receivers are not to take it for one.
template <class T>
class ClosedIfDestroyed {
 public:
  explicit ClosedIfDestroyed(const ChannelSender<T>& tx) noexcept : tx_(tx) {}
  ClosedIfDestroyed(const ClosedIfDestroyed&) = delete;
  ClosedIfDestroyed& operator=(const ClosedIfDestroyed&) = delete;
  ~ClosedIfDestroyed() {
    if (ended_) return;
    tx_.close(std::make_exception_ptr(Error(Errc::cancelled, "the execution context of a flow ended before the flow")));
  }
  void ended() noexcept { ended_ = true; }

 private:
  const ChannelSender<T>& tx_;
  bool ended_ = false;
};

/// The root that fills a channel. Its end, however it comes, closes the channel.
template <Flow F>
Task<> fill(F flow, ChannelSender<flow_value_t<F>> tx) {
  ClosedIfDestroyed<flow_value_t<F>> closing(tx);
  try {
    auto send = [&tx](flow_value_t<F>&& value) { return tx.send(std::move(value)); };
    auto running = run_flow(flow, send);
    co_await std::move(running);
  } catch (...) {
    tx.close(std::current_exception());
  }
  closing.ended();
}

}  // namespace detail

/// Ends a pipeline that never has to wait: a `Generator`, for range-for and `std::views`, which runs inside of each
/// step on the calling thread. A flow that may wait (of a channel, of the time, with a function that returns a task) is
/// refused when it is compiled: `to_range` is for those.
[[nodiscard]] inline auto to_generator() {
  return FlowEnd([]<Flow F>(F flow) {
    static_assert(F::synchronous,
                  "weir::to_generator(): this flow may have to wait, which a generator can't; use to_range(executor), "
                  "which blocks, or to_channel(executor)");
    return detail::generate(std::move(flow));
  });
}

/// Ends a pipeline: runs it as a root of its own on `executor`, and gives the `ChannelReceiver` of a channel of
/// `capacity` that it is sent into, which is how far it may be ahead. Its values come out in order; what it throws is
/// thrown to receivers that have drained the channel, and `Error(Errc::cancelled)` if its execution context goes first.
/// Once the last receiver is gone it ends with the next value that it has; until then it waits for that. Allocates the
/// channel and the root, and nothing for a value. Throws `Error(Errc::invalid_argument)` for a capacity of 0.
template <ExecutorSource E>
[[nodiscard]] auto to_channel(E&& executor, std::size_t capacity) {
  if (capacity == 0) {
    throw Error(Errc::invalid_argument, "to_channel(executor, 0): the capacity of a channel is at least 1");
  }
  return FlowEnd([where = executor_of(static_cast<E&&>(executor)), capacity]<Flow F>(F flow) {
    auto [tx, rx] = make_channel<flow_value_t<F>>(where, {.capacity = capacity});
    spawn(where, detail::fill(std::move(flow), std::move(tx)));
    return std::move(rx);
  });
}

/// What `to_range` gives: an input range that blocks. Move-only, for one pass, by one thread at a time.
template <class T, class Executor>
class [[nodiscard]] BlockingRange {
 public:
  class iterator;
  using value_type = T;

  BlockingRange(ChannelReceiver<T> rx, Executor executor) : rx_(std::move(rx)), executor_(std::move(executor)) {}
  BlockingRange(BlockingRange&&) noexcept = default;
  BlockingRange& operator=(BlockingRange&&) noexcept = default;

  /// Blocks until there is a value, or none any more. Throws what the flow threw, and `Error(Errc::would_deadlock)` on
  /// a thread of the executor that the flow runs on.
  [[nodiscard]] iterator begin() {
    refuse_to_deadlock();
    if (!started_) {
      run_.reserve(longest_run);
      advance();
    }
    started_ = true;
    return iterator(*this);
  }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return std::default_sentinel; }

 private:
  void refuse_to_deadlock() const {
    if (!runs_on_this_thread(executor_)) return;
    throw Error(Errc::would_deadlock,
                "a range made by to_range was iterated over on a thread that its flow needs; co_await the flow there");
  }
  void advance() {
    current_.reset();
    if (next_ == run_.size()) {
      run_.clear();
      next_ = 0;
      if (auto one = rx_.try_receive()) {
        run_.push_back(std::move(*one));
      } else {
        refuse_to_deadlock();
        sync_wait(rx_.receive_some(run_, longest_run));
      }
    }
    if (next_ < run_.size()) current_.emplace(std::move(run_[next_++]));
  }

  static constexpr std::size_t longest_run = 64;

  ChannelReceiver<T> rx_;
  Executor executor_;
  bool started_ = false;
  std::vector<T> run_;
  std::size_t next_ = 0;
  std::optional<T> current_;
};

template <class T, class Executor>
class BlockingRange<T, Executor>::iterator {
 public:
  using iterator_concept = std::input_iterator_tag;
  using value_type = T;
  using difference_type = std::ptrdiff_t;

  iterator() noexcept = default;
  explicit iterator(BlockingRange& range) noexcept : range_(&range) {}

  [[nodiscard]] T& operator*() const noexcept { return *range_->current_; }
  iterator& operator++() {
    range_->advance();
    return *this;
  }
  void operator++(int) { ++*this; }
  [[nodiscard]] friend bool operator==(const iterator& i, std::default_sentinel_t) noexcept { return i.at_end(); }

 private:
  [[nodiscard]] bool at_end() const noexcept { return !range_ || !range_->current_; }

  BlockingRange* range_ = nullptr;
};

/// Ends a pipeline, for blocking code: runs it as a root of its own on `executor`, at most `capacity` values and those
/// of one run (64) ahead, and gives an input range whose iteration blocks the calling thread until a value is there;
/// the range gives `T&`, to be moved from. Blocking allocates (see `sync_wait`), a value that is there does not. What
/// the flow throws comes out of the iteration. Iterating on a thread of that executor throws
/// `Error(Errc::would_deadlock)` (where the executor tells: see `runs_on_this_thread`). Destroying the range does not
/// wait: the flow ends as with `to_channel`, and what its functions refer to must live until then.
template <ExecutorSource E>
[[nodiscard]] auto to_range(E&& executor, std::size_t capacity = 64) {
  if (capacity == 0) {
    throw Error(Errc::invalid_argument, "to_range(executor, 0): at least 1 value has to be on its way");
  }
  auto where = executor_of(static_cast<E&&>(executor));
  return FlowEnd([where, capacity]<Flow F>(F flow) {
    auto rx = std::move(flow) | to_channel(where, capacity);
    return BlockingRange<flow_value_t<F>, decltype(where)>(std::move(rx), where);
  });
}

}  // namespace weir
