/// `results_of(stream)`: a flow of what the receivers of a stream give, as they come.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>

#include <weir/channel/channel.hpp>
#include <weir/core/error.hpp>
#include <weir/core/shielded.hpp>
#include <weir/core/task.hpp>
#include <weir/stream/cancellation_level.hpp>
#include <weir/stream/detail/pipeline.hpp>
#include <weir/stream/emits.hpp>
#include <weir/stream/flow/flow.hpp>
#include <weir/stream/strategy/ordered.hpp>

namespace weir {
namespace detail {

/// Calls the user's receiver, and sends what it gives.
template <class Receiver, class Input, class C>
class SendingReceiver {
  using Result = std::invoke_result_t<Receiver&, Input>;
  static constexpr bool optional = is_optional<std::remove_cvref_t<typename awaited<Result>::type>>;

 public:
  SendingReceiver(Receiver receiver, ChannelSender<C> tx) : receiver_(std::move(receiver)), tx_(std::move(tx)) {}

  Task<> operator()(Input input) {
    if constexpr (Awaitable<Result>) {
      auto result = co_await std::invoke(receiver_, input);
      auto sending = send(std::move(result));
      co_await std::move(sending);
    } else {
      auto result = std::invoke(receiver_, input);
      auto sending = send(std::move(result));
      co_await std::move(sending);
    }
  }

 private:
  template <class R>
  Task<> send(R result) {
    if constexpr (optional) {
      if (result) co_await tx_.send(std::move(*result));
    } else {
      co_await tx_.send(std::move(result));
    }
  }

  Receiver receiver_;
  ChannelSender<C> tx_;
};

/// `Start` gives the running stream, and sends its results to what it is given.
template <class C, class Builder>
class ResultsFlow : public FlowSource {
  using Stream = decltype(std::declval<Builder&&>().start_sending(std::size_t{1}).first);

 public:
  using value_type = C;
  static constexpr bool synchronous = false;

  ResultsFlow(Builder builder, std::size_t capacity) : builder_(std::move(builder)), capacity_(capacity) {}

  [[nodiscard]] Pull pull(std::optional<C>& out) {
    if (at_end_) return Pull::end;
    if (builder_) start();
    if (!next_) next_ = results_.try_receive();
    if (!next_) return Pull::wait;
    out.emplace(std::move(*next_));
    next_.reset();
    return Pull::value;
  }
  [[nodiscard]] Task<> ready() {
    auto receiving = results_.receive();
    next_ = co_await std::move(receiving);
    if (next_) co_return;
    // The receivers' end of the channel went with the stream.
    auto waiting = stream_.final_event();
    const auto final = co_await std::move(waiting);
    at_end_ = true;
    if (final.outcome() == Outcome::timed_out) throw Error(Errc::timed_out, final.error().text());
    if (!final) final.error().rethrow();
  }
  /// Also the receivers are told: some may be waiting for room.
  [[nodiscard]] Task<> close() {
    if (!stream_ || stream_.is_complete()) co_return;
    stream_.cancel(CancellationLevel::immediate);
    co_await shielded(stream_.join());
  }

 private:
  void start() {
    auto started = std::move(*builder_).start_sending(capacity_);
    builder_.reset();
    stream_ = std::move(started.first);
    results_ = std::move(started.second);
  }

  std::optional<Builder> builder_;
  std::size_t capacity_;
  bool at_end_ = false;
  ChannelReceiver<C> results_;
  std::optional<C> next_;
  Stream stream_;
};

/// A builder whose receivers will send.
template <class C, class Input, class Builder>
class SendingBuilder {
 public:
  explicit SendingBuilder(Builder builder) : builder_(std::move(builder)) {}

  auto start_sending(std::size_t capacity) && {
    auto [tx, rx] = make_channel<C>(builder_.executor(), {.capacity = capacity});
    auto sending = std::move(builder_).with_receiver([&sender = tx]<class R>(R receiver) {
      return SendingReceiver<R, Input, C>(std::move(receiver), std::move(sender));
    });
    return std::pair(std::move(sending).start(), std::move(rx));
  }

 private:
  Builder builder_;
};

}  // namespace detail

/// A flow of what the receivers of a stream return, as it comes: of a builder that has its sender and its receivers,
/// and has not been started. The flow starts it when its first value is asked for, and owns it. A receiver whose result
/// finds `capacity` others before it waits: so a slow consumer holds the receivers back, and these the sender. When
/// downstream ends first, the stream is cancelled with its receivers (`CancellationLevel::immediate`), and joined; its
/// functions are gone when the run of the flow has ended.
///
/// Receivers take the event (or in batches the span of them) alone, and return what is to go into the flow, or an
/// optional of it; they may be coroutines. Results come in the order in which receivers returned. A receiver that
/// throws is dealt with as `on_error` says, and what the stream fails with ends the flow, after the results that came
/// before: it throws that, `Error(Errc::timed_out)` when the stream's time was up, `Error(Errc::cancelled)` when its
/// execution context went. Two frames for each event, recycled.
template <class T, class Executor, class Sending, class How, class Receiver, class Policy, class Item>
[[nodiscard]] auto results_of(StreamBuilder<T, Executor, Sending, How, Receiver, Policy, Item> builder,
                              std::size_t capacity = 64) {
  using Builder = decltype(builder);
  using Input = detail::receiver_input_t<T, detail::in_batches<How>>;
  static_assert(detail::said<Sending> && detail::said<Receiver>,
                "weir::results_of(stream): the stream needs a sender and a receiver, and is not to be started");
  static_assert(!detail::said<Policy>,
                "weir::results_of(stream): the results go into the flow; leave .collect(policy) away");
  static_assert(!std::is_same_v<How, Ordered>,
                "weir::results_of(stream): .ordered() orders a collection; a flow has the results as they come");
  static_assert(detail::TakesInput<Receiver, Input>,
                "weir::results_of(stream): the receiver can't be called with the event (in batches: the span) alone");
  if constexpr (detail::TakesInput<Receiver, Input>) {
    using C = detail::deduced_item_t<Receiver, Input>;
    static_assert(!std::is_void_v<C>, "weir::results_of(stream): the receiver returns nothing");
    if (capacity == 0) throw Error(Errc::invalid_argument, "results_of(stream, 0): the capacity must be at least 1");
    using Parts = detail::SendingBuilder<C, Input, Builder>;
    return detail::ResultsFlow<C, Parts>(Parts(std::move(builder)), capacity);
  }
}

}  // namespace weir
