/// What can be the receiver of a stream, and what it collects.
#pragma once

#include <concepts>
#include <functional>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

#include <weir/core/promise.hpp>
#include <weir/stream/collector.hpp>
#include <weir/stream/event.hpp>

namespace weir {

/// A plain function, or a coroutine, that takes the event: `R(const ReceiverEvent<T>&)`, or as `auto&`. It returns
/// nothing, what is to be collected, or a `std::optional` of it (empty: nothing to collect). The event is the
/// receiver's own: its data may be moved out. With `parallel` several workers call the one function object at once.
template <class F, class T>
concept EventReceiver = std::invocable<F&, ReceiverEvent<T>&>;

/// The same with a second parameter, the `Collector` (as `auto&`): for what collects several items for an event, or
/// under a key.
template <class F, class T, class C, class Collection>
concept CollectingReceiver = !EventReceiver<F, T> && std::invocable<F&, ReceiverEvent<T>&, Collector<C, Collection>&>;

/// For strategies that call the receiver with several events at once, such as `batched`: it takes a `std::span` of them
/// (of const events or not, or as `auto`), and returns what the others do, once for all of them. It may take the
/// collector as well. The span lives until the receiver has returned.
template <class F, class T>
concept BatchReceiver = std::invocable<F&, std::span<ReceiverEvent<T>>&>;

namespace detail {

/// What the receiver of a stream is called with.
template <class T, bool InBatches>
using receiver_input_t = std::conditional_t<InBatches, std::span<ReceiverEvent<T>>&, ReceiverEvent<T>&>;

template <class F, class Input>
concept TakesInput = std::invocable<F&, Input>;
template <class F, class Input, class C, class Collection>
concept TakesInputAndCollector = !TakesInput<F, Input> && std::invocable<F&, Input, Collector<C, Collection>&>;

template <class R>
struct awaited {
  using type = R;
};
template <Awaitable R>
struct awaited<R> {
  using type = await_result_t<R>;
};

template <class R>
struct collected_item {
  using type = std::remove_cvref_t<R>;
};
template <class C>
struct collected_item<std::optional<C>> {
  using type = C;
};

/// The C of a receiver of the event, or the batch, alone.
template <class F, class Input>
using deduced_item_t =
    typename collected_item<std::remove_cvref_t<typename awaited<std::invoke_result_t<F&, Input>>::type>>::type;

/// The C of a function that names its collector: `[](const auto&, weir::Collector<Hit>& out)` has none that can be
/// found, as it is a template; a plain signature does.
template <class F>
struct named_collector {};
template <class R, class Event, class C, class Collection>
struct named_collector<R (*)(Event, Collector<C, Collection>&)> {
  using item = C;
};
template <class G, class R, class Event, class C, class Collection>
struct named_collector<R (G::*)(Event, Collector<C, Collection>&) const> {
  using item = C;
};
template <class G, class R, class Event, class C, class Collection>
struct named_collector<R (G::*)(Event, Collector<C, Collection>&)> {
  using item = C;
};
template <class F>
  requires requires { &F::operator(); }
struct named_collector<F> : named_collector<decltype(&F::operator())> {};

template <class F>
concept NamesItsCollector = requires { typename named_collector<F>::item; };

}  // namespace detail
}  // namespace weir
