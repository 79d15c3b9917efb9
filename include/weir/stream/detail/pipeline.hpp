/// The typed inside of a running stream: its channel, its functions, and the root coroutines that use them.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <weir/asio.hpp>
#include <weir/channel/channel.hpp>
#include <weir/core/spawn.hpp>
#include <weir/core/task.hpp>
#include <weir/core/this_task.hpp>
#include <weir/stream/detail/emit_hook.hpp>
#include <weir/stream/detail/error_handler.hpp>
#include <weir/stream/detail/sender_roots.hpp>
#include <weir/stream/detail/stream_state.hpp>
#include <weir/stream/drain.hpp>
#include <weir/stream/emitter.hpp>
#include <weir/stream/error_policy.hpp>
#include <weir/stream/receiver.hpp>
#include <weir/stream/sender.hpp>
#include <weir/stream/sender_strategy.hpp>

namespace weir::detail {

template <class R>
inline constexpr bool is_optional = false;
template <class U>
inline constexpr bool is_optional<std::optional<U>> = true;

/// A strategy that takes no more events ahead than what its `kept(capacity)` says, and says so.
template <class S>
inline constexpr bool takes_ahead = requires { requires S::takes_ahead; };

template <class T, class C, class Collection, class Receiver, class Executor, class Element = SenderEvent<T>,
          bool InBatches = false, bool Joined = false>
class Pipeline final : public StreamState<T, C, Collection> {
  using State = StreamState<T, C, Collection>;

 public:
  using value_type = T;
  using item_type = C;
  using collection_type = Collection;
  using element_type = Element;

  /// Otherwise it is a receiving half, and the channel is the user's.
  static constexpr bool has_own_channel = !Joined;

  using input_type = receiver_input_t<T, InBatches>;

  static constexpr bool takes_collector = TakesInputAndCollector<Receiver, input_type, C, Collection>;
  using receiver_result =
      typename std::conditional_t<takes_collector, std::invoke_result<Receiver&, input_type, Collector<C, Collection>&>,
                                  std::invoke_result<Receiver&, input_type>>::type;
  static constexpr bool plain_receiver = !Awaitable<receiver_result>;
  static constexpr bool returns_optional = is_optional<std::remove_cvref_t<typename awaited<receiver_result>::type>>;

  /// Events between the two ends: those in the channel, and those that workers took ahead of the one that they are at,
  /// which are an eighth of the capacity at most, so that a sender finds room for nearly all of it.
  struct Room {
    template <class Strategy>
    Room(std::size_t capacity, const Strategy& strategy) noexcept {
      const std::size_t workers = std::max<std::size_t>(strategy.concurrency(), 1);
      if constexpr (requires { strategy.kept(capacity); }) kept = strategy.kept(capacity);
      if constexpr (takes_ahead<Strategy>) {
        run = longest_run<Element>;
        channel = capacity - kept;
        return;
      }
      const std::size_t ahead = plain_receiver || workers == 1 ? (capacity - kept) / 8 / workers : 0;
      run = std::min(ahead + 1, longest_run<Element>);
      channel = capacity - kept - workers * (run - 1);
    }
    std::size_t kept = 0;
    std::size_t run = 1;
    std::size_t channel = 1;
  };

  Pipeline(std::string name, const Executor& executor, Collector<C, Collection> collector, Receiver function,
           ErrorPolicy error_policy, std::shared_ptr<const ErrorHandler<T>> error_handler, ChannelSender<Element> tx,
           ChannelReceiver<Element> rx, const Room& room)
      : State(std::move(name), context_of(executor), std::move(collector)),
        executor_(executor),
        receiver_(std::move(function)),
        error_policy_(error_handler ? error_handler->last() : error_policy),
        error_handler_(std::move(error_handler)),
        run_limit_(room.run),
        kept_(room.kept),
        tx_(std::move(tx)),
        rx_(std::move(rx)) {}

  [[nodiscard]] Receiver& receiver() noexcept { return *receiver_; }
  /// For what can't be tried again or put aside; and for everything, where there is no handler.
  [[nodiscard]] ErrorPolicy error_policy() const noexcept { return error_policy_; }
  [[nodiscard]] const ErrorHandler<T>* error_handler() const noexcept { return error_handler_.get(); }
  [[nodiscard]] std::size_t run_limit() const noexcept { return run_limit_; }
  [[nodiscard]] std::size_t kept() const noexcept { return kept_; }
  [[nodiscard]] const ChannelReceiver<Element>& receiver_end() const noexcept { return rx_; }
  [[nodiscard]] const ChannelSender<Element>& sender_end() const noexcept { return tx_; }
  /// For an emitter that something stands before.
  [[nodiscard]] std::unique_ptr<EmitOutlet<T>> make_outlet(bool gathers) {
    return std::make_unique<ChannelOutlet<T, Element>>(*this, ledger_.add(gathers), tx_);
  }
  [[nodiscard]] const Executor& executor() const noexcept { return executor_; }
  [[nodiscard]] std::size_t next_worker() noexcept { return workers_.fetch_add(1, std::memory_order_relaxed); }
  [[nodiscard]] bool runs_on_this_thread() const noexcept override { return weir::runs_on_this_thread(executor_); }

  [[nodiscard]] asio::any_io_executor any_executor() const override { return executor_; }

  /// Starts all of it. What has been started when this throws ends by itself.
  template <class SenderFunction, class Strategy>
  static void start(const std::shared_ptr<Pipeline>& self, SenderFunction sender, Strategy strategy,
                    std::optional<TimeService::Duration> timeout) {
    StreamRoot starter(self, StreamRole::starter);
    self->gathers_ = gathers(sender);
    try {
      if (timeout) self->arm(*timeout, self->executor_);
      self->start_worker(std::move(strategy));
      detail::start_sender(self, std::move(sender));
    } catch (...) {
      self->cancel(CancellationLevel::immediate, StreamCore::Cause::failed, std::current_exception());
      throw;
    }
    starter.returned();
  }

  /// The same for a half, which has no sender.
  template <class Strategy>
  static void start_receiving(const std::shared_ptr<Pipeline>& self, Strategy strategy,
                              std::optional<TimeService::Duration> timeout) {
    StreamRoot starter(self, StreamRole::starter);
    self->set_fed_from_outside(true);
    try {
      if (timeout) self->arm(*timeout, self->executor_);
      self->start_worker(std::move(strategy));
    } catch (...) {
      self->cancel(CancellationLevel::immediate, StreamCore::Cause::failed, std::current_exception());
      throw;
    }
    starter.returned();
  }

  template <class Body>
  void start_worker(Body body) {
    std::shared_ptr<Pipeline> self = std::static_pointer_cast<Pipeline>(this->shared_from_this());
    StreamRoot root(self, StreamRole::receiver);
    spawn(executor_, worker_root(std::move(root), std::move(self), std::move(body)));
  }

 private:
  template <class Body>
  static Task<> worker_root(StreamRoot root, std::shared_ptr<Pipeline> self, Body body) {
    Home& home = co_await this_task::home();
    home.set_name("a receiver of a stream");
    root.enter(home);
    try {
      Drain<Pipeline> drain(self);
      auto running = body(drain);
      co_await std::move(running);
    } catch (...) {
      std::exception_ptr error = std::current_exception();
      const bool told = self->level() >= static_cast<int>(CancellationLevel::immediate) &&
                        is_error_code(error, [](const std::error_code& code) { return is_cancellation(code); });
      if (!told) self->worker_threw(std::move(error));
    }
    root.returned();
  }

  void count_channel(StreamStats& stats) const override {
    if constexpr (Joined) {
      stats.emitted = stats.in_progress;
      return;
    }
    // In this order: what has gone on meanwhile was emitted before.
    const std::uint64_t discarded = gathers_ ? ledger_.totals().discarded : 0;
    const ChannelStats channel = rx_.stats();
    stats.emitted = gathers_ ? ledger_.totals().emitted : channel.admitted;
    stats.discarded += channel.dropped + discarded;
    stats.buffered = channel.buffered + (stats.emitted - channel.admitted - discarded);
    stats.in_progress = channel.received;
  }
  void look_at_channel(StreamGraph& graph) const override {
    std::unique_lock<std::mutex> lock;
    if constexpr (Joined) lock = std::unique_lock(rx_mutex_);
    if (!rx_) return;
    const ChannelStats channel = rx_.stats();
    graph.channel_capacity = channel.capacity;
    graph.senders_waiting = channel.waiting_senders;
    graph.workers_waiting = channel.waiting_receivers;
  }
  void close_channel() noexcept override {
    if constexpr (!Joined) tx_.close();
  }
  void discard_buffered() noexcept override {
    if constexpr (!Joined) rx_.discard();
  }
  void give_up_functions() noexcept override {
    receiver_.reset();
    error_handler_.reset();
    if constexpr (Joined) {
      ChannelReceiver<Element> last;
      const std::lock_guard lock(rx_mutex_);
      std::swap(last, rx_);
    }
  }

  Executor executor_;
  std::optional<Receiver> receiver_;
  ErrorPolicy error_policy_;
  std::shared_ptr<const ErrorHandler<T>> error_handler_;
  std::size_t run_limit_;
  std::size_t kept_;
  /// Empty in a half.
  ChannelSender<Element> tx_;
  /// In a half, for who looks at the channel while the end gives it up.
  mutable std::mutex rx_mutex_;
  ChannelReceiver<Element> rx_;
  std::atomic<std::size_t> workers_{0};
  EmitLedger ledger_;
  /// Whether the sender holds events back that it has emitted. Set before anything runs.
  bool gathers_ = false;
};

}  // namespace weir::detail
