/// The child coroutines of a flow, and an upstream that waits in one.
#pragma once

#include <cassert>
#include <coroutine>
#include <optional>
#include <utility>

#include <weir/core/task.hpp>
#include <weir/stream/detail/flow_signal.hpp>
#include <weir/stream/flow/flow.hpp>

namespace weir::detail {

/// A task that runs beside the one who runs the flow, on the same home, in a scope of its own: one after another. Each
/// end of one raises the signal. Movable until it is opened; destroyed while its task runs only with the root.
class FlowChild {
 public:
  class Join;

  FlowChild() = default;
  FlowChild([[maybe_unused]] FlowChild&& other) noexcept { assert(!other.scope_); }
  FlowChild& operator=(FlowChild&&) = delete;
  ~FlowChild() {
    if (running()) home_->forget(end_);
  }

  void open(const FlowSite& site, FlowSignal& signal) {
    home_ = site.home;
    signal_ = &signal;
    if (site.scope) scope_.emplace(*site.scope);
  }
  [[nodiscard]] FlowSite site() noexcept { return {home_, scope_ ? &*scope_ : nullptr}; }

  void start(Task<> task) noexcept {
    task_ = std::move(task);
    ended_ = false;
    end_.child = this;
    end_.callback = &on_end;
    Promise& promise = task_.handle().promise();
    promise.place(*home_, *scope_, &end_);
    home_->resume_here(promise.resumable());
  }
  [[nodiscard]] bool running() const noexcept { return task_ && !ended_; }
  /// It has ended, and nobody has taken its result.
  [[nodiscard]] bool ended() const noexcept { return task_ && ended_; }
  /// Throws what it threw.
  void take() {
    const Task<> done = std::move(task_);
    done.handle().promise().result().get();
  }

  /// Cancels it; then nothing that it would start waits any more.
  void cancel() noexcept {
    if (scope_) scope_->cancel();
  }
  /// Waits for its end, whatever is cancelled.
  [[nodiscard]] Join join() noexcept;

 private:
  struct End : Resumable {
    FlowChild* child = nullptr;
  };

  static void on_end(Resumable& self, bool run) noexcept {
    FlowChild& child = *static_cast<End&>(self).child;
    child.ended_ = true;
    if (!run) return;
    child.signal_->raise();
    if (Promise* const joiner = std::exchange(child.joiner_, nullptr)) {
      child.home_->resume_here(joiner->resumable());
    }
  }

  Home* home_ = nullptr;
  FlowSignal* signal_ = nullptr;
  Promise* joiner_ = nullptr;
  bool ended_ = false;
  End end_;
  // What waits in the task is linked into the scope.
  std::optional<CancelScope> scope_;
  Task<> task_;
};

class [[nodiscard]] FlowChild::Join {
 public:
  explicit Join(FlowChild& child) noexcept : child_(child) {}
  Join(const Join&) = delete;
  Join& operator=(const Join&) = delete;

  void attach(Promise& promise) noexcept { promise_ = &promise; }
  [[nodiscard]] bool await_ready() const noexcept { return !child_.running(); }
  void await_suspend(std::coroutine_handle<>) noexcept { child_.joiner_ = promise_; }
  void await_resume() const noexcept {}

 private:
  FlowChild& child_;
  Promise* promise_ = nullptr;
};

inline FlowChild::Join FlowChild::join() noexcept { return Join(*this); }

/// An upstream of one who has other things to wait for: where it has to wait, it does so in a child, which raises the
/// signal when it is worth asking again. What it holds then is the one value that is pulled ahead.
template <Flow Up>
class FlowArm {
 public:
  using value_type = flow_value_t<Up>;
  static constexpr bool synchronous = Up::synchronous;

  explicit FlowArm(Up up) : up_(std::move(up)) {}

  void open(const FlowSite& site, FlowSignal& signal) {
    if constexpr (synchronous) {
      up_.open(site);
    } else {
      child_.open(site, signal);
      up_.open(child_.site());
    }
  }
  [[nodiscard]] Pull pull(std::optional<value_type>& out) {
    if (at_end_) return Pull::end;
    if constexpr (!synchronous) {
      if (child_.running()) return Pull::wait;
      if (child_.ended()) child_.take();
    }
    const Pull pulled = up_.pull(out);
    if (pulled == Pull::end) at_end_ = true;
    if constexpr (!synchronous) {
      if (pulled == Pull::wait) child_.start(wait());
    }
    return pulled;
  }
  [[nodiscard]] bool at_end() const noexcept { return at_end_; }

  void cancel() noexcept {
    if constexpr (!synchronous) child_.cancel();
  }
  Task<> close() {
    cancel();
    if constexpr (!synchronous) co_await child_.join();
    co_await up_.close();
  }

 private:
  Task<> wait() { co_await up_.ready(); }

  Up up_;
  bool at_end_ = false;
  FlowChild child_;
};

}  // namespace weir::detail
