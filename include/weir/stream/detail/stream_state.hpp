/// The part of a stream that its handle knows: everything but the types of functions, strategy and executor.
#pragma once

#include <memory>
#include <new>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include <weir/stream/collector.hpp>
#include <weir/stream/detail/stream_core.hpp>
#include <weir/stream/final_event.hpp>
#include <weir/stream/stream_graph.hpp>

namespace weir::detail {

template <class T, class C, class Collection>
class StreamState : public StreamCore {
 public:
  using Final = FinalEvent<T, C, Collection>;

  StreamState(std::string name, asio::execution_context& context, Collector<C, Collection> collector)
      : StreamCore(std::move(name), context), collector_(std::move(collector)) {
    prepared_->name = this->name();
  }

  /// Once the stream is done.
  [[nodiscard]] const Final& final_event() const noexcept { return final_; }
  [[nodiscard]] StreamStats stats() const { return done() ? final_.stats() : StreamCore::stats(); }
  [[nodiscard]] EventTime since() const noexcept { return started(); }

  /// What the parts are, before anything runs.
  void set_parts(StreamGraph parts) {
    parts_ = std::move(parts);
    parts_.name = name();
    parts_.id = id();
  }
  [[nodiscard]] StreamGraph graph() const {
    StreamGraph graph(parts_);
    graph.status = status();
    graph.stats = StreamCore::stats();
    std::tie(graph.senders, graph.workers) = working();
    look_at_channel(graph);
    if (done()) {
      graph.status = StreamStatus::complete;
      graph.stats = final_.stats();
      graph.outcome = final_.outcome();
      graph.senders = graph.workers = 0;
    }
    return graph;
  }

  [[nodiscard]] Collector<C, Collection>& collector() noexcept { return *collector_; }
  /// The executor of the stream.
  [[nodiscard]] virtual asio::any_io_executor any_executor() const = 0;

 protected:
  /// The user's functions, and what their captures own, go before anybody hears of the end.
  virtual void give_up_functions() noexcept = 0;
  /// Adds the channel's capacity, and who waits at its ends.
  virtual void look_at_channel(StreamGraph& graph) const = 0;

 private:
  void make_final(Outcome outcome, StreamError error, StreamStats stats) noexcept override {
    try {
      collector_->merge_parts();
    } catch (...) {
      if (outcome != Outcome::failed) error = error_of(std::current_exception());
      outcome = Outcome::failed;
    }
    const auto type = [outcome] {
      switch (outcome) {
        case Outcome::completed:
          return EventType::final;
        case Outcome::failed:
          return EventType::error;
        default:
          return EventType::cancelled;
      }
    }();
    EventHeader header(type, 0, id());
    header.set_created(stats.completed);
    header.set_started(stats.started);
    header.set_completed(stats.completed);
    std::vector<EventError> errors = collector_->take_errors();
    if (!error && !errors.empty()) error = first_of(errors);
    auto& content = prepared_->content.emplace(Content{header, std::move(prepared_->name), outcome, collector_->take(),
                                                       std::move(errors), stats, std::move(error)});
    final_ = Final(std::shared_ptr<Content>(std::move(prepared_), &content));
    collector_.reset();
    give_up_functions();
  }

  using Content = typename Final::Content;

  /// The memory of the final event, which comes with the stream: its end comes also when there is none left.
  struct Prepared {
    std::string name;
    std::optional<Content> content;
  };

  [[nodiscard]] static StreamError error_of(std::exception_ptr thrown) noexcept {
    try {
      return {message_of(thrown), thrown};
    } catch (const std::bad_alloc&) {
      return {std::string(), std::move(thrown)};
    }
  }
  [[nodiscard]] static StreamError first_of(const std::vector<EventError>& errors) noexcept {
    try {
      return {errors.front().message, errors.front().error};
    } catch (const std::bad_alloc&) {
      return {std::string(), errors.front().error};
    }
  }

  std::optional<Collector<C, Collection>> collector_;
  std::shared_ptr<Prepared> prepared_ = std::make_shared<Prepared>();
  Final final_;
  StreamGraph parts_;
};

/// Waits for the end. Any number may, on any homes. It is movable until it is attached, as a coroutine that runs it by
/// itself takes it over.
template <class State>
class [[nodiscard("co_await it")]] StreamEndOperation : public StreamWaiter {
 public:
  explicit StreamEndOperation(std::shared_ptr<State> state) noexcept
      : StreamWaiter(state->mutex(), state->waiters(), kind), state_(std::move(state)) {}
  StreamEndOperation(StreamEndOperation&& other) noexcept : StreamEndOperation(std::move(other.state_)) {}
  ~StreamEndOperation() { leave(); }

  [[nodiscard]] bool blocks_this_thread() const noexcept { return !state_->done() && state_->runs_on_this_thread(); }

  [[nodiscard]] bool await_ready() {
    {
      const std::lock_guard lock(state_->mutex());
      if (!state_->done()) {
        wait_locked();
        return false;
      }
    }
    return spend();
  }

 protected:
  static constexpr Cancellable::Kind kind{&StreamWaiter::cancel, nullptr, "the final event of a stream"};

  std::shared_ptr<State> state_;
};

template <class State>
class FinalEventOperation final : public StreamEndOperation<State> {
 public:
  using StreamEndOperation<State>::StreamEndOperation;
  typename State::Final await_resume() {
    this->resumed();
    return this->state_->final_event();
  }
};

template <class State>
class JoinOperation final : public StreamEndOperation<State> {
 public:
  using StreamEndOperation<State>::StreamEndOperation;
  void await_resume() { this->resumed(); }
};

}  // namespace weir::detail
