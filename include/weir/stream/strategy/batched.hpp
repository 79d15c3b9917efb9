/// Several events at a time, given to the receiver together.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <weir/core/error.hpp>
#include <weir/core/task.hpp>
#include <weir/core/timer.hpp>
#include <weir/stream/batch.hpp>
#include <weir/stream/detail/stream_turn.hpp>
#include <weir/stream/strategy/strategy.hpp>

namespace weir {
namespace detail {

/// Whose turn it is to gather: while one worker fills its batch the others process theirs.
class GatherTurn final : public StreamTurn {
  [[nodiscard]] bool has_room() const noexcept override { return true; }
};

}  // namespace detail

/// The strategy of `batched(size, max_delay)`: the receiver takes a `std::span` of events, in the order in which they
/// were emitted. A batch goes when it is full, when its oldest event was taken from the channel `max_delay` ago, by the
/// clock of the stream's execution context, or when the stream ends. It succeeds or fails as a unit: see `EventBatch`.
///
/// Events in a batch that is being filled are between sender and receiver, so that a batch is never larger than the
/// stream's capacity. With a plain receiver nothing is allocated once it runs.
class Batched {
 public:
  static constexpr bool in_batches = true;
  static constexpr bool takes_ahead = true;

  Batched(std::size_t size, TimeService::Duration max_delay) : size_(size), max_delay_(max_delay) {
    if (size == 0) throw Error(Errc::invalid_argument, "batched(0): a batch has at least 1 event");
    if (max_delay < TimeService::Duration::zero()) {
      throw Error(Errc::invalid_argument, "batched(size, max_delay): the delay is negative");
    }
  }

  /// A batch whose receiver throws is tried again in halves, down to single events, so that only the bad ones fail:
  /// see `BatchFailure::split`.
  [[nodiscard]] Batched split_on_error() const noexcept {
    Batched copy(*this);
    copy.failure_ = BatchFailure::split;
    return copy;
  }
  /// Up to `workers` batches are processed at once, while the next one is filled. Their order is not kept. Throws
  /// `Error(Errc::invalid_argument)` for 0.
  [[nodiscard]] Batched parallel(std::size_t workers) const {
    if (workers == 0) throw Error(Errc::invalid_argument, "batched().parallel(0): a stream needs at least 1 worker");
    Batched copy(*this);
    copy.workers_ = workers;
    return copy;
  }

  [[nodiscard]] std::size_t concurrency() const noexcept { return workers_; }
  [[nodiscard]] std::size_t kept(std::size_t capacity) const noexcept { return std::min(size_, capacity) - 1; }

  /// For pictures of the stream.
  [[nodiscard]] std::string describe() const {
    const auto delay = std::chrono::duration_cast<std::chrono::microseconds>(max_delay_).count();
    std::string text = "batched(" + std::to_string(size_) + ", " + std::to_string(delay) + " us)";
    if (workers_ != 1) text += ".parallel(" + std::to_string(workers_) + ")";
    if (failure_ == BatchFailure::split) text += ".split_on_error()";
    return text;
  }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] TimeService::Duration max_delay() const noexcept { return max_delay_; }
  /// For strategies made of this one: whether a batch waits for more events; until when, if its first one was taken at
  /// `taken`; and what becomes of one that fails.
  [[nodiscard]] bool waits() const noexcept { return max_delay_ > max_delay_.zero(); }
  [[nodiscard]] EventTime due(EventTime taken) const noexcept {
    return max_delay_ > EventTime::max() - taken ? EventTime::max() : taken + max_delay_;
  }
  [[nodiscard]] BatchFailure failure() const noexcept { return failure_; }

  template <class D>
  Task<> operator()(D& drain) const {
    auto turns = workers_ == 1 ? nullptr : std::make_shared<detail::GatherTurn>();
    for (std::size_t i = 1; i < workers_; ++i) {
      drain.start_worker([turns, how = *this](D& own) { return work(own, how, turns); });
    }
    auto own = work(drain, *this, turns);
    co_await std::move(own);
  }

 private:
  template <class D>
  static Task<> work(D& drain, Batched how, std::shared_ptr<detail::GatherTurn> turns) {
    EventBatch<D> batch(drain, drain.kept() + 1);
    std::optional<detail::StreamTurnHeld> turn;
    for (;;) {
      // Before it takes the turn, in which nobody else gathers.
      co_await yield_when_due();
      if (turns) turn.emplace(co_await detail::StreamTurn::TakeOperation(*turns));
      if (!co_await batch.gather()) co_return;
      if (how.waits() && !batch.full()) {
        const EventTime due = how.due(batch.now());
        while (co_await batch.gather_until(due)) {
          if (batch.full()) break;
        }
      }
      turn.reset();
      co_await batch.process(how.failure_);
    }
  }

  std::size_t size_;
  TimeService::Duration max_delay_;
  std::size_t workers_ = 1;
  BatchFailure failure_ = BatchFailure::whole;
};

/// Batches of up to `size` events, which wait for more no longer than `max_delay`. Throws
/// `Error(Errc::invalid_argument)` for a size of 0 and for a negative delay; with a delay of 0 a batch is what is there
/// when its first event is taken.
template <class Rep = std::chrono::milliseconds::rep, class Period = std::milli>
[[nodiscard]] Batched batched(std::size_t size = 64,
                              std::chrono::duration<Rep, Period> max_delay = std::chrono::milliseconds(100)) {
  if (max_delay < max_delay.zero()) return Batched(size, TimeService::Duration(-1));
  return Batched(size, detail::clock_duration(max_delay));
}

static_assert(Strategy<Batched>);

}  // namespace weir
