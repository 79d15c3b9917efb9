/// Flows: lazy sequences of values that may have to be waited for, and operators on them, composed with `|` as those of
/// `std::ranges` are: `weir::from(lines) | weir::map(parse) | weir::filter(valid) | weir::take(10)`.
///
/// A flow is cold: it does nothing before one of the operations that end a pipeline (`for_each`, `fold`, `to_vector`,
/// `to_channel`, the sender of a stream, ...) runs it, and each run pulls the values through it, one after another, on
/// the home of the task that runs it. Nothing is pulled ahead of what downstream asks for, but the one value for each
/// wait that is under way: that is the backpressure, and the bound on memory.
///
/// Why it is not a coroutine that gives a `Task<std::optional<T>>` for each value: that is a frame, two jumps through
/// the home's loop and a result to be moved twice, for each value and each operator. So asking and waiting are two
/// things:
///  - `pull(out)` is a plain function. It gives a value, or says that it has none yet and is to be asked again (it has
///    done one step of its work, so that a filter that rejects everything still lets others run), that it has to wait,
///    or that it is at its end.
///  - `ready()` is what is awaited after it has said that it has to wait; then it is asked again.
/// An operator that does not wait itself passes its upstream's `ready()` through, so that a pipeline over a range
/// compiles to a loop, and one over a channel has the channel's awaiter for each value and nothing else. Those that
/// wait for several things (`merge`, `zip`, the ones that look at the time) give each of its upstreams a child
/// coroutine for the time that it waits; where the user's function returns a `Task` there is a frame a value. Frames
/// come from the pool of recycled ones: in the steady state nothing is allocated.
///
/// Who runs a flow, runs it so (the library's own ends do; to pull by hand, `with_flow`):
///  1. `open(site)` once, first: where it will run. It starts nothing, and the flow is not moved after it.
///  2. `pull` and `ready` by turns, from one coroutine. Either may throw, and then the flow is at its end.
///  3. `co_await close()` once, also after an exception, unless `open` threw: it cancels what the flow has started, and
///     waits until that has ended, even when the scope has been cancelled. So an upstream ends with its downstream.
///  4. Destroying it without `close` is for frames that are destroyed with their execution context.
#pragma once

#include <concepts>
#include <coroutine>
#include <cstdint>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>

#include <weir/core/promise.hpp>

namespace weir {

/// What `pull` says.
enum class Pull : std::uint8_t {
  value,  ///< here it is
  again,  ///< none yet: ask again
  wait,   ///< none yet: await `ready()` and ask again
  end,    ///< there is none any more
};

/// Where a flow runs. Both outlive the flow; a synchronous flow may be run without.
struct FlowSite {
  Home* home = nullptr;
  CancelScope* scope = nullptr;
};

/// A lazy sequence of `value_type`s: see above for who calls what when. It is movable until it is opened. `synchronous`
/// says that it never waits. One's own source is easier made with `from`.
template <class F>
concept Flow = std::move_constructible<F> && std::same_as<F, std::remove_cvref_t<F>> &&
               requires(F& flow, const FlowSite& site, std::optional<typename F::value_type>& out) {
                 { F::synchronous } -> std::convertible_to<bool>;
                 flow.open(site);
                 { flow.pull(out) } -> std::same_as<Pull>;
                 { flow.ready() } -> AwaitableOf<void>;
                 { flow.close() } -> AwaitableOf<void>;
               };

template <Flow F>
using flow_value_t = typename F::value_type;

/// Awaits nothing: the `ready()` of what never waits, the `close()` of what has started nothing.
class FlowNothing {
 public:
  void attach(Promise&) const noexcept {}
  [[nodiscard]] bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  void await_resume() const noexcept {}
};

/// Base of a flow that starts nothing and needs nothing to run: a source that is there.
class FlowSource {
 public:
  static constexpr bool synchronous = true;
  void open(const FlowSite&) const noexcept {}
  [[nodiscard]] FlowNothing ready() const noexcept { return {}; }
  [[nodiscard]] FlowNothing close() const noexcept { return {}; }
};

/// Base of an operator with one upstream, which waits when that does.
template <Flow Up>
class FlowOver {
 public:
  static constexpr bool synchronous = Up::synchronous;

  explicit FlowOver(Up up) : up_(std::move(up)) {}

  void open(const FlowSite& site) { up_.open(site); }
  [[nodiscard]] auto ready() { return up_.ready(); }
  [[nodiscard]] auto close() { return up_.close(); }

 protected:
  using Upstream = Up;
  Up up_;
};

/// An operator that waits for its upstream: `flow | FlowAdaptor(make)` is `make(flow)`. Two of them make one.
template <class Make>
class [[nodiscard("an operator does nothing before a flow is piped into it")]] FlowAdaptor {
 public:
  explicit FlowAdaptor(Make make) : make_(std::move(make)) {}

  template <Flow F>
  [[nodiscard]] auto operator()(F flow) && {
    return std::move(make_)(std::move(flow));
  }

 private:
  Make make_;
};

namespace detail {

template <class A>
inline constexpr bool is_flow_adaptor = false;
template <class Make>
inline constexpr bool is_flow_adaptor<FlowAdaptor<Make>> = true;

/// What a function gives for the values of a flow, awaited if it has to be.
template <class R>
struct AwaitedOr {
  using type = R;
};
template <Awaitable R>
struct AwaitedOr<R> : await_result<R> {};
template <class F, class... Args>
using awaited_result_t = typename AwaitedOr<std::invoke_result_t<F, Args...>>::type;

}  // namespace detail

template <class F, class Make>
  requires Flow<std::remove_cvref_t<F>>
[[nodiscard]] auto operator|(F&& flow, FlowAdaptor<Make> adaptor) {
  return std::move(adaptor)(std::remove_cvref_t<F>(static_cast<F&&>(flow)));
}

template <class First, class Second>
[[nodiscard]] auto operator|(FlowAdaptor<First> first, FlowAdaptor<Second> second) {
  return FlowAdaptor([first = std::move(first), second = std::move(second)]<Flow F>(F flow) mutable {
    return std::move(second)(std::move(first)(std::move(flow)));
  });
}

}  // namespace weir
