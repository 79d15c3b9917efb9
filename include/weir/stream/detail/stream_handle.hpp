/// What the handles of running streams have in common.
#pragma once

#include <concepts>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include <weir/asio.hpp>
#include <weir/core/spawn.hpp>
#include <weir/stream/cancellation_level.hpp>
#include <weir/stream/detail/stream_state.hpp>
#include <weir/stream/final_event.hpp>
#include <weir/stream/stats.hpp>
#include <weir/stream/stream_graph.hpp>

namespace weir {
namespace detail {

/// A handler of the event alone, for a signature that begins with an exception. It has the handler's associations.
template <class Handler>
struct EventHandler {
  template <class Event>
  void operator()(const std::exception_ptr& error, Event event) {
    if (!error) std::move(handler)(std::move(event));
  }
  Handler handler;
};

}  // namespace detail
}  // namespace weir

template <template <class, class> class Associator, class Handler, class Default>
struct asio::associator<Associator, weir::detail::EventHandler<Handler>, Default> : Associator<Handler, Default> {
  static auto get(const weir::detail::EventHandler<Handler>& wrapped, const Default& otherwise = Default()) noexcept {
    return Associator<Handler, Default>::get(wrapped.handler, otherwise);
  }
};

namespace weir {
namespace detail {

/// The handle of a stream, or of half of one: see `EmittingTask`, `SenderTask`, `ReceiverTask`. `State` is a
/// `StreamState`.
template <class State>
class StreamHandle {
 public:
  using final_event_type = typename State::Final;

  /// An empty handle.
  StreamHandle() noexcept = default;
  explicit StreamHandle(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}
  StreamHandle(StreamHandle&&) noexcept = default;
  StreamHandle& operator=(StreamHandle&& other) noexcept {
    StreamHandle old(std::move(other));
    std::swap(state_, old.state_);
    return *this;
  }
  ~StreamHandle() {
    if (state_) state_->cancel(CancellationLevel::forceful, StreamCore::Cause::cancelled);
  }

  /// False for a default-constructed or moved-from handle.
  [[nodiscard]] explicit operator bool() const noexcept { return state_ != nullptr; }

  /// Waits for the end: `co_await stream.final_event()`, or `sync_wait(stream.final_event())`, which throws
  /// `Error(Errc::would_deadlock)` on a thread of the stream's own executor. As often as one likes, from any number of
  /// coroutines on any executors. Resumes on the home of the one that awaits. Being cancelled ends the waiting, not the
  /// stream. Allocates nothing. What is awaited may outlive the handle.
  [[nodiscard]] AwaitableOf<final_event_type> auto final_event() const { return FinalEventOperation<State>(share()); }

  /// The same by completion token: `void(std::exception_ptr, FinalEvent)`, where the exception says that the waiting
  /// was cancelled by the token's slot. A plain handler may also be `void(FinalEvent)`. It is called on its associated
  /// executor, by default one of its own execution context, never inside this call. Allocates the root that waits.
  template <class Token>
  auto await_final_event(Token&& token) const {
    if constexpr (std::invocable<std::decay_t<Token>&, final_event_type>) {
      return await_final_event(EventHandler<std::decay_t<Token>>{static_cast<Token&&>(token)});
    } else {
      return asio::async_initiate<Token, void(std::exception_ptr, final_event_type)>(InitiateWait(), token, share());
    }
  }

  /// Stops the stream: see `CancellationLevel`. Returns at once; the final event comes when all have returned. True if
  /// it changed anything: not when the stream is complete or is being stopped as hard already, and not for a graceful
  /// cancel when the sender has ended by itself, as such a stream completes. Allocates nothing; destroys what it
  /// discards.
  bool cancel(CancellationLevel level = CancellationLevel::graceful) const {
    return state().cancel(level, StreamCore::Cause::cancelled);
  }

  [[nodiscard]] bool is_complete() const { return state().done(); }
  [[nodiscard]] StreamStatus status() const { return state().status(); }
  [[nodiscard]] StreamStats stats() const { return state().stats(); }
  [[nodiscard]] StreamProgress progress() const {
    const StreamStats stats = state().stats();
    const EventTime now = state().done() ? stats.completed : state().clock().now();
    return {stats.emitted, stats.settled(), stats.buffered + stats.in_progress, now - stats.started};
  }

  /// What it is made of, and how much is where: each count is right at a moment of the call, not all at the same one.
  /// Calls nothing of the user's. Allocates the texts in it; O(workers).
  [[nodiscard]] StreamGraph graph() const { return state().graph(); }
  /// The graph as a few lines of text, while the stream runs and when it has ended: see `to_text`.
  [[nodiscard]] std::string describe() const { return to_text(graph()); }
  /// The same as a Mermaid flowchart: see `to_mermaid`.
  [[nodiscard]] std::string mermaid() const { return to_mermaid(graph()); }

  /// Waits for the end without its event.
  [[nodiscard]] AwaitableOf<void> auto join() const { return JoinOperation<State>(share()); }

  [[nodiscard]] const std::string& name() const { return state().name(); }
  /// Different for each stream of the process.
  [[nodiscard]] std::uint64_t id() const { return state().id(); }

 private:
  struct InitiateWait {
    template <class Handler>
    void operator()(Handler&& handler, std::shared_ptr<State> state) const {
      const auto executor = asio::get_associated_executor(handler, state->any_executor());
      spawn(executor, FinalEventOperation<State>(std::move(state)), static_cast<Handler&&>(handler));
    }
  };

  [[nodiscard]] State& state() const {
    if (!state_) throw Error(Errc::empty_handle, "this handle of a stream was moved from, or never started");
    return *state_;
  }
  [[nodiscard]] std::shared_ptr<State> share() const {
    static_cast<void>(state());
    return state_;
  }

  std::shared_ptr<State> state_;
};

}  // namespace detail
}  // namespace weir
