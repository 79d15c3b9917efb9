/// The events that a worker has taken from the channel and not begun.
#pragma once

#include <algorithm>
#include <chrono>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <utility>

#include <weir/channel/channel.hpp>
#include <weir/core/processor.hpp>
#include <weir/core/task.hpp>
#include <weir/core/with_cancellation.hpp>
#include <weir/stream/detail/recovery.hpp>
#include <weir/stream/detail/run_buffer.hpp>
#include <weir/stream/event.hpp>

namespace weir::detail {

/// The part of a worker's drain that takes events, a run of them in one critical section.
template <class Pipeline>
class EventRun : protected Recovery<Pipeline> {
 protected:
  using Recovery = detail::Recovery<Pipeline>;
  using typename Recovery::event_type;
  using typename Recovery::T;
  using Element = typename Pipeline::element_type;
  using Buffer = RunBuffer<Element, longest_run<Element>>;
  using Inserter = RunInserter<Buffer, Element>;
  /// A run of quick events.
  static constexpr EventTime::duration longest = std::chrono::microseconds(20);
  /// One of few events, and so short that it pays to let more pile up before the next is taken.
  static constexpr std::size_t sparse_run = 16;
  static constexpr EventTime::duration sparse_time = std::chrono::microseconds(1);

  using Recovery::count;
  using Recovery::counters_;
  using Recovery::pipeline_;
  using Recovery::plain;

  explicit EventRun(std::shared_ptr<Pipeline> pipeline)
      : Recovery(std::move(pipeline)), rx_(pipeline_->receiver_end()), worker_(pipeline_->next_worker()) {}
  ~EventRun() = default;

  [[nodiscard]] auto fetch_run(std::size_t max) {
    if constexpr (Pipeline::has_own_channel) {
      return Fetch(*this, max);
    } else {
      return until_stopped([this, max] { return Fetch(*this, max); });
    }
  }
  [[nodiscard]] std::size_t try_fetch_run(std::size_t max) {
    std::size_t taken = 0;
    if constexpr (!Pipeline::has_own_channel) {
      if (pipeline_->level() != 0) return 0;
    }
    for (max = std::min(max, Buffer::room); taken < max; ++taken) {
      std::optional<Element> element = rx_.try_receive();
      if (!element) break;
      count(counters_.taken);
      run_.push(std::move(*element));
    }
    if (taken != 0) {
      run_started_ = pipeline_->clock().now();
      timed_ = true;
    }
    run_length_ = std::max<std::size_t>(taken, 1);
    return taken;
  }

  /// How many to take. Runs spare critical sections, but what is in a run waits for this worker while others may be
  /// idle: so they are short unless the events are quick.
  [[nodiscard]] std::size_t plan_run() noexcept {
    planned_ = pipeline_->clock().now();
    waited_ = false;
    if (timed_) {
      const auto per_event = (planned_ - run_started_) / static_cast<std::ptrdiff_t>(run_length_);
      quick_ = per_event < longest / 2;
      sparse_ =
          run_length_ < sparse_run && pipeline_->run_limit() >= sparse_run && planned_ - run_started_ < sparse_time;
      if (run_length_ == plan_) plan_ = std::min(plan_ * 2, pipeline_->run_limit());
      if (per_event > per_event.zero()) {
        plan_ = std::clamp<std::size_t>(static_cast<std::size_t>(longest / per_event), 1, plan_);
      }
      timed_ = false;
    }
    return plan_;
  }
  void begin_run(std::size_t taken) noexcept {
    if (taken == 0) return;
    count(counters_.taken, taken);
    run_length_ = taken;
    run_started_ = waited_ ? pipeline_->clock().now() : planned_;
    timed_ = true;
  }

  /// Awaits what `make` makes, which says whether something was taken from a channel that is not the stream's own:
  /// that one is not closed when the stream is stopped, so the wait is cancelled. False also when the channel is closed
  /// with a reason: the stream has failed then.
  template <class Make>
  Task<bool> until_stopped(Make make) {
    if (pipeline_->level() != 0) co_return false;
    try {
      auto taking = taken_by(std::move(make));
      const bool taken = co_await with_cancellation(pipeline_->token(), std::move(taking));
      if (!taken && rx_.closed()) pipeline_->set_fed_from_outside(false);
      co_return taken;
    } catch (...) {
      pipeline_->source_threw(std::current_exception());
    }
    co_return false;
  }

  void take_front() {
    Element& front = run_.front();
    if constexpr (std::same_as<Element, SenderEvent<T>>) {
      current_.emplace(std::move(front), pipeline_->id(), worker_);
    } else {
      SenderEvent<T> event(std::in_place, std::move(front));
      event.stamp(pipeline_->numbers().take(1), run_started_);
      current_.emplace(std::move(event), pipeline_->id(), worker_);
    }
    run_.pop();
    current_->set_started(plain && quick_ ? run_started_ : pipeline_->clock().now());
  }

  /// One's own: a handle is used by one worker.
  ChannelReceiver<Element> rx_;
  std::size_t worker_;
  std::size_t plan_ = 1;
  std::size_t run_length_ = 1;
  EventTime run_started_{};
  /// When the last fetch began, and whether it suspended.
  EventTime planned_{};
  bool waited_ = false;
  /// `run_started_` is of the last run.
  bool timed_ = false;
  bool quick_ = false;
  bool sparse_ = false;
  std::optional<event_type> current_;
  Buffer run_;

 private:
  class Fetch {
   public:
    Fetch(EventRun& run, std::size_t max)
        : run_(run),
          receive_(run.rx_.receive_some(Inserter(run.run_), std::min(max, run.plan_run())).operator co_await()) {}
    Fetch(const Fetch&) = delete;
    Fetch& operator=(const Fetch&) = delete;

    void attach(Promise& promise) {
      Home& home = promise.home();
      home.look_at_time();
      if (run_.sparse_ && home.patience() != 0) let_pile_up();
      receive_.attach(promise);
    }
    [[nodiscard]] bool await_ready() { return receive_.await_ready(); }
    void await_suspend(std::coroutine_handle<> handle) noexcept {
      run_.waited_ = true;
      receive_.await_suspend(handle);
    }
    bool await_resume() {
      const std::size_t taken = receive_.await_resume();
      run_.begin_run(taken);
      return taken != 0;
    }

   private:
    /// Who is as fast as the sender takes events one by one, and each time the line that the sender writes next.
    static void let_pile_up() noexcept {
      constexpr int pauses = 32;
      for (int i = 0; i < pauses; ++i) processor_pause();
    }

    EventRun& run_;
    typename decltype(std::declval<const ChannelReceiver<Element>&>().receive_some(std::declval<Inserter>(),
                                                                                   1))::awaiter_type receive_;
  };

  template <class Make>
  static Task<bool> taken_by(Make make) {
    auto taking = make();
    co_return co_await taking;
  }
};

}  // namespace weir::detail
