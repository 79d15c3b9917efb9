/// What the builder of a stream is told, and what it makes of it.
#pragma once

#include <concepts>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>

#include <weir/core/time_service.hpp>
#include <weir/stream/collect.hpp>
#include <weir/stream/detail/error_handler.hpp>
#include <weir/stream/error_policy.hpp>
#include <weir/stream/receiver.hpp>

namespace weir::detail {

struct NotSaid {};

template <class X>
inline constexpr bool said = !std::same_as<X, NotSaid>;

/// The settings whose types don't change the builder's.
template <class T>
struct StreamSettings {
  std::string name;
  std::size_t capacity = 1024;
  ErrorPolicy error_policy = ErrorPolicy::stop;
  std::shared_ptr<const ErrorHandler<T>> error_handler;
  std::optional<TimeService::Duration> timeout;
};

/// What a receiver collects; `Item` is what `collecting<C>()` said.
template <class Receiver, class Input, class Item>
struct item_of {
  using type = Item;
};
template <class Receiver, class Input>
  requires TakesInput<Receiver, Input>
struct item_of<Receiver, Input, NotSaid> {
  using type = deduced_item_t<Receiver, Input>;
};
template <class Receiver, class Input>
  requires(!TakesInput<Receiver, Input> && NamesItsCollector<Receiver>)
struct item_of<Receiver, Input, NotSaid> {
  using type = typename named_collector<Receiver>::item;
};

/// A strategy that calls the receiver with a span of events, and says so.
template <class S>
inline constexpr bool in_batches = requires { requires S::in_batches; };

template <class Policy, class C>
using policy_or_default_t =
    std::conditional_t<said<Policy>, Policy, std::conditional_t<std::is_void_v<C>, collect::None, collect::List>>;

}  // namespace weir::detail
