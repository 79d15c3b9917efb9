/// The events of a stream: what is emitted, and what a receiver gets.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <weir/stream/detail/event_numbers.hpp>

namespace weir {

/// What an event stands for.
enum class EventType : std::uint8_t {
  data,       ///< something that was emitted
  final,      ///< the end of a stream that completed
  error,      ///< the end of a stream that failed
  cancelled,  ///< the end of a stream that was cancelled or timed out
};

/// A moment on the clock of the execution context: the machine's steady clock, or a simulator's.
using EventTime = std::chrono::steady_clock::time_point;

/// What all events have.
class EventHeader {
 public:
  EventHeader() = default;
  EventHeader(EventType type, std::uint64_t id, std::uint64_t task_id) noexcept
      : id_(id), task_id_(task_id), type_(type) {}

  /// The number of the event in its stream, from 1, in the order in which they were emitted. One that was refused
  /// (the stream was stopped, or `try_emit` found no room) may leave a gap.
  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  /// The stream that it belongs to: `EmittingTask::id`.
  [[nodiscard]] std::uint64_t task_id() const noexcept { return task_id_; }
  [[nodiscard]] EventType type() const noexcept { return type_; }

  /// When it was emitted, to the tick of the kernel (some milliseconds): a finer clock costs more than a channel does.
  [[nodiscard]] EventTime created() const noexcept { return created_; }
  /// When the receiver was called. Exact for coroutines and for functions that take 10 us; the events of quicker ones
  /// are stamped a run at a time, and a run is planned to last 20 us at most: so much it may be early.
  [[nodiscard]] EventTime started() const noexcept { return started_; }
  /// When it was done: for a data event not before the receiver has returned.
  [[nodiscard]] EventTime completed() const noexcept { return completed_; }

  void set_created(EventTime time) noexcept { created_ = time; }
  void set_started(EventTime time) noexcept { started_ = time; }
  void set_completed(EventTime time) noexcept { completed_ = time; }

 private:
  std::uint64_t id_ = 0;
  std::uint64_t task_id_ = 0;
  EventTime created_{};
  EventTime started_{};
  EventTime completed_{};
  EventType type_ = EventType::data;
};

/// An event with its data, which may be of any movable type.
template <class T>
class StreamEvent : public EventHeader {
 public:
  template <class... Args>
  StreamEvent(const EventHeader& header, std::in_place_t, Args&&... args)
      : EventHeader(header), data_(static_cast<Args&&>(args)...) {}

  [[nodiscard]] const T& data() const& noexcept { return data_; }
  /// May be moved from: the event is the receiver's own.
  [[nodiscard]] T& data() & noexcept { return data_; }
  [[nodiscard]] T&& data() && noexcept { return std::move(data_); }

 private:
  T data_;
};

/// What goes through the channel of a stream. Senders emit plain values; who wants to say more about one, such as
/// the time at which it really happened, builds the event:
///
///     co_await out.emit(weir::SenderEvent<Reading>::with(value).created(reading_time).build());
template <class T>
class SenderEvent {
 public:
  class Builder;

  template <class... Args>
    requires std::constructible_from<T, Args...>
  explicit SenderEvent(std::in_place_t, Args&&... args) : data_(static_cast<Args&&>(args)...) {}
  /// For those who emit: moves `from`, and numbers it as it is put into the stream's channel.
  SenderEvent(SenderEvent& from, detail::EventNumbers& numbers)
      : data_(std::move(from.data_)), id_(numbers.next_in_channel()), created_(from.created_) {}

  /// Begins one whose data is constructed from `args`.
  template <class... Args>
  [[nodiscard]] static Builder with(Args&&... args) {
    return Builder(SenderEvent(std::in_place, static_cast<Args&&>(args)...));
  }

  /// 0 and the clock's epoch until it is emitted, unless the builder said otherwise.
  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  [[nodiscard]] EventTime created() const noexcept { return created_; }
  [[nodiscard]] const T& data() const& noexcept { return data_; }
  [[nodiscard]] T& data() & noexcept { return data_; }
  [[nodiscard]] T&& data() && noexcept { return std::move(data_); }

  /// For those who emit: gives it its number, and its time if it has none.
  void stamp(std::uint64_t id, EventTime now) noexcept {
    id_ = id;
    if (created_ == EventTime()) created_ = now;
  }

 private:
  T data_;
  std::uint64_t id_ = 0;
  EventTime created_{};
};

template <class T>
class SenderEvent<T>::Builder {
 public:
  explicit Builder(SenderEvent&& event) : event_(std::move(event)) {}
  Builder&& created(EventTime time) && noexcept {
    event_.created_ = time;
    return std::move(*this);
  }
  [[nodiscard]] SenderEvent build() && { return std::move(event_); }

 private:
  SenderEvent event_;
};

/// What a receiver gets: the event, and which of the stream's workers has it.
template <class T>
class ReceiverEvent : public StreamEvent<T> {
 public:
  ReceiverEvent(SenderEvent<T>&& event, std::uint64_t task_id, std::size_t worker)
      : StreamEvent<T>(EventHeader(EventType::data, event.id(), task_id), std::in_place, std::move(event).data()),
        worker_(worker) {
    this->set_created(event.created());
  }

  /// The number of the worker, from 0.
  [[nodiscard]] std::size_t worker() const noexcept { return worker_; }

 private:
  std::size_t worker_;
};

}  // namespace weir
