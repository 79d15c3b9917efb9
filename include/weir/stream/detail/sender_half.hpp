/// The typed inside of a stream that is a sender alone.
#pragma once

#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include <weir/asio.hpp>
#include <weir/channel/channel.hpp>
#include <weir/core/spawn.hpp>
#include <weir/stream/collect.hpp>
#include <weir/stream/collector.hpp>
#include <weir/stream/detail/emit_hook.hpp>
#include <weir/stream/detail/sender_roots.hpp>
#include <weir/stream/detail/stream_state.hpp>

namespace weir::detail {

/// `Element` is what the channel carries: `T` or `SenderEvent<T>`.
template <class T, class Executor, class Element>
class SenderHalf final : public StreamState<T, void, Nothing> {
  using State = StreamState<T, void, Nothing>;

 public:
  using value_type = T;
  static constexpr bool has_own_channel = false;

  SenderHalf(std::string name, const Executor& executor, ChannelSender<Element> tx)
      : State(std::move(name), context_of(executor), Collector<void, Nothing>(collect::nothing)),
        executor_(executor),
        tx_(std::move(tx)) {}

  [[nodiscard]] const Executor& executor() const noexcept { return executor_; }
  [[nodiscard]] bool runs_on_this_thread() const noexcept override { return weir::runs_on_this_thread(executor_); }
  [[nodiscard]] asio::any_io_executor any_executor() const override { return executor_; }
  [[nodiscard]] std::unique_ptr<EmitOutlet<T>> make_outlet(bool gathers) {
    return std::make_unique<ChannelOutlet<T, Element>>(*this, ledger_.add(gathers), tx_);
  }

  template <class SenderFunction>
  static void start(const std::shared_ptr<SenderHalf>& self, SenderFunction sender,
                    std::optional<TimeService::Duration> timeout) {
    StreamRoot starter(self, StreamRole::starter);
    try {
      if (timeout) self->arm(*timeout, self->executor_);
      start_sender(self, std::move(sender));
    } catch (...) {
      self->cancel(CancellationLevel::immediate, StreamCore::Cause::failed, std::current_exception());
      throw;
    }
    starter.returned();
  }

 private:
  void count_channel(StreamStats& stats) const override {
    const EmitLedger::Totals totals = ledger_.totals();
    stats.emitted = totals.emitted;
    stats.processed = totals.sent;
    stats.discarded = totals.discarded;
    stats.buffered = totals.emitted - totals.sent - totals.discarded;
    stats.in_progress = 0;
  }
  void look_at_channel(StreamGraph& graph) const override {
    const std::lock_guard lock(tx_mutex_);
    if (!tx_) return;
    const ChannelStats channel = tx_.stats();
    graph.channel_capacity = channel.capacity;
    graph.senders_waiting = channel.waiting_senders;
    graph.workers_waiting = channel.waiting_receivers;
  }
  /// The channel is the user's.
  void close_channel() noexcept override {}
  void discard_buffered() noexcept override {}
  void give_up_functions() noexcept override {
    const std::lock_guard lock(tx_mutex_);
    tx_.reset();
  }

  Executor executor_;
  /// For who looks at the channel while the end gives it up.
  mutable std::mutex tx_mutex_;
  ChannelSender<Element> tx_;
  EmitLedger ledger_;
};

}  // namespace weir::detail
