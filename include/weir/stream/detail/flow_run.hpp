/// The loop that runs a flow.
#pragma once

#include <coroutine>
#include <exception>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>

#include <weir/core/task.hpp>
#include <weir/stream/flow/flow.hpp>

namespace weir::detail {

/// Gives the promise of the coroutine that awaits it, at once.
class FlowRunner {
 public:
  FlowRunner() = default;
  FlowRunner(const FlowRunner&) = delete;
  FlowRunner& operator=(const FlowRunner&) = delete;

  void attach(Promise& promise) noexcept { promise_ = &promise; }
  [[nodiscard]] bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  [[nodiscard]] Promise& await_resume() const noexcept { return *promise_; }

 private:
  Promise* promise_ = nullptr;
};

/// Gives up the turn, after so many values at once. Throws if the scope has been cancelled.
class FlowTurn {
 public:
  FlowTurn() = default;
  FlowTurn(const FlowTurn&) = delete;
  FlowTurn& operator=(const FlowTurn&) = delete;

  void attach(Promise& promise) {
    if (promise.scope().cancelled()) throw Error(Errc::cancelled);
    promise_ = &promise;
  }
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<>) noexcept { promise_->home().resume_here(promise_->resumable()); }
  void await_resume() const noexcept {}

 private:
  Promise* promise_ = nullptr;
};

enum class FlowPause : std::uint8_t { value, wait, turn, end };

/// Pulls until there is something for a coroutine to do. With a `take`, which is given the values as they come: false
/// is enough of them.
template <Flow F, class Take>
FlowPause pull_some(F& flow, std::optional<flow_value_t<F>>& value, Home& home, Take&& take) {
  for (;;) {
    switch (flow.pull(value)) {
      case Pull::value:
        if (!take(value)) return FlowPause::value;
        break;
      case Pull::again:
        break;
      case Pull::wait:
        return FlowPause::wait;
      case Pull::end:
        return FlowPause::end;
    }
    if (!home.spend()) return FlowPause::turn;
  }
}

/// The next value: empty at the end.
template <Flow F>
Task<std::optional<flow_value_t<F>>> next_of(F& flow) {
  Promise& self = co_await FlowRunner();
  std::optional<flow_value_t<F>> value;
  for (;;) {
    const FlowPause pause = pull_some(flow, value, self.home(), [](auto&) { return false; });
    if (pause == FlowPause::value || pause == FlowPause::end) break;
    if (pause == FlowPause::wait) {
      co_await flow.ready();
    } else {
      co_await FlowTurn();
    }
  }
  co_return value;
}

/// Gives a value to a sink that is a plain function: false is enough. One that has to be awaited is the coroutine's.
template <class Sink, class T>
struct FlowTake {
  bool operator()(std::optional<T>& pulled) const {
    using Result = std::invoke_result_t<Sink&, T&&>;
    bool more = false;
    if constexpr (!Awaitable<Result>) {
      if constexpr (std::is_void_v<Result>) {
        std::invoke(sink, std::move(*pulled));
        more = true;
      } else {
        more = static_cast<bool>(std::invoke(sink, std::move(*pulled)));
      }
      pulled.reset();
    }
    return more;
  }
  Sink& sink;
};

/// Runs the flow to its end, or until the sink has enough: it takes a value and returns nothing, or whether it wants
/// more; or something to await that gives one of these. Closes the flow in any case.
template <Flow F, class Sink>
Task<> run_flow(F& flow, Sink& sink) {
  using T = flow_value_t<F>;
  using Result = std::invoke_result_t<Sink&, T&&>;
  Promise& self = co_await FlowRunner();
  Home& home = self.home();
  flow.open(FlowSite{&home, &self.scope()});
  std::exception_ptr error;
  try {
    std::optional<T> value;
    for (bool more = true; more;) {
      const FlowPause pause = pull_some(flow, value, home, FlowTake<Sink, T>{sink});
      switch (pause) {
        case FlowPause::value:
          if constexpr (Awaitable<Result>) {
            if constexpr (std::is_void_v<await_result_t<Result>>) {
              co_await std::invoke(sink, std::move(*value));
            } else {
              more = static_cast<bool>(co_await std::invoke(sink, std::move(*value)));
            }
            value.reset();
            if (more && !home.spend()) co_await FlowTurn();
          } else {
            more = false;
          }
          break;
        case FlowPause::wait:
          co_await flow.ready();
          break;
        case FlowPause::turn:
          co_await FlowTurn();
          break;
        case FlowPause::end:
          more = false;
          break;
      }
    }
  } catch (...) {
    error = std::current_exception();
  }
  co_await flow.close();
  if (error) std::rethrow_exception(std::move(error));
}

}  // namespace weir::detail
