/// Where flows come from: ranges, generators, channels, functions that give the next value.
#pragma once

#include <concepts>
#include <coroutine>
#include <functional>
#include <iterator>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>

#include <weir/core/generator.hpp>
#include <weir/core/task.hpp>
#include <weir/stream/flow/flow.hpp>

namespace weir {
namespace detail {

template <class R>
inline constexpr bool is_optional_value = false;
template <class T>
inline constexpr bool is_optional_value<std::optional<T>> = true;

template <class R>
inline constexpr bool yields_its_own = !std::ranges::view<R>;
template <class T>
inline constexpr bool yields_its_own<Generator<T>> = true;

template <class Range>
class RangeFlow : public FlowSource {
 public:
  using value_type = std::ranges::range_value_t<Range>;

  explicit RangeFlow(Range range) : range_(std::move(range)) {}

  [[nodiscard]] Pull pull(std::optional<value_type>& out) {
    // The step to the next value is made when that is asked for: a generator has side effects.
    if (next_) {
      if (*next_ == std::ranges::end(range_)) return Pull::end;
      ++*next_;
    } else {
      next_.emplace(std::ranges::begin(range_));
    }
    if (*next_ == std::ranges::end(range_)) return Pull::end;
    if constexpr (yields_its_own<Range> &&
                  std::constructible_from<value_type, std::ranges::range_rvalue_reference_t<Range>>) {
      out.emplace(std::ranges::iter_move(*next_));
    } else {
      out.emplace(**next_);
    }
    return Pull::value;
  }

 private:
  Range range_;
  std::optional<std::ranges::iterator_t<Range>> next_;
};

template <class F>
class FunctionFlow : public FlowSource {
 public:
  using value_type = typename std::remove_cvref_t<std::invoke_result_t<F&>>::value_type;

  explicit FunctionFlow(F function) : function_(std::move(function)) {}

  [[nodiscard]] Pull pull(std::optional<value_type>& out) {
    if (at_end_) return Pull::end;
    out = std::invoke(function_);
    at_end_ = !out;
    return out ? Pull::value : Pull::end;
  }

 private:
  F function_;
  bool at_end_ = false;
};

/// What a source that is awaited for each value has in common: `ready()` puts the value here.
template <class T>
class AwaitedSource : public FlowSource {
 public:
  using value_type = T;
  static constexpr bool synchronous = false;

  [[nodiscard]] Pull pull(std::optional<T>& out) {
    if (!arrived_) return at_end_ ? Pull::end : Pull::wait;
    if constexpr (std::is_move_assignable_v<T>) {
      out = std::move(arrived_);
    } else {
      out.emplace(std::move(*arrived_));
    }
    arrived_.reset();
    return Pull::value;
  }

 protected:
  template <class Make>
  void arrive(Make&& make) {
    if (std::optional<T> next = make()) {
      arrived_.emplace(std::move(*next));
    } else {
      at_end_ = true;
    }
  }

 private:
  std::optional<T> arrived_;
  bool at_end_ = false;
};

template <class F>
class AwaitedFunctionFlow : public AwaitedSource<typename awaited_result_t<F&>::value_type> {
 public:
  explicit AwaitedFunctionFlow(F function) : function_(std::move(function)) {}

  [[nodiscard]] Task<> ready() {
    auto next = co_await std::invoke(function_);
    this->arrive([&next] { return std::move(next); });
  }

 private:
  F function_;
};

/// A receiver, awaited without a frame.
template <class Receiver>
class ReceiverFlow : public AwaitedSource<typename Receiver::value_type> {
  static auto receive(const Receiver& receiver) {
    if constexpr (HasCoAwait<decltype(receiver.receive())>) {
      return receiver.receive().operator co_await();
    } else {
      return receiver.receive();
    }
  }

 public:
  class [[nodiscard]] Ready {
   public:
    explicit Ready(ReceiverFlow& flow) : flow_(flow), receive_(receive(flow.receiver_)) {}
    Ready(const Ready&) = delete;
    Ready& operator=(const Ready&) = delete;

    void attach(Promise& promise) { receive_.attach(promise); }
    [[nodiscard]] bool await_ready() { return receive_.await_ready(); }
    auto await_suspend(std::coroutine_handle<> handle) { return receive_.await_suspend(handle); }
    void await_resume() {
      flow_.arrive([this] { return receive_.await_resume(); });
    }

   private:
    ReceiverFlow& flow_;
    decltype(receive(std::declval<const Receiver&>())) receive_;
  };

  explicit ReceiverFlow(Receiver receiver) : receiver_(std::move(receiver)) {}

  [[nodiscard]] Ready ready() { return Ready(*this); }

 private:
  Receiver receiver_;
};

template <class F>
concept OptionalFunction = std::invocable<F&> && is_optional_value<std::remove_cvref_t<std::invoke_result_t<F&>>>;
template <class F>
concept AwaitedOptionalFunction =
    std::invocable<F&> && Awaitable<std::invoke_result_t<F&>> && is_optional_value<awaited_result_t<F&>>;
template <class R>
concept ReceivesOptional = requires(const R& receiver) {
  { receiver.receive() } -> AwaitableOf<std::optional<typename R::value_type>>;
};

}  // namespace detail

/// A flow of the elements of a range. A container that is given as an rvalue belongs to the flow, which moves its
/// elements out; one that is given as an lvalue is copied from and has to outlive the run. What a `Generator` yields is
/// moved; it runs one step for each value, when that is asked for.
template <class Range>
  requires std::ranges::input_range<Range> && (!Flow<std::remove_cvref_t<Range>>)
[[nodiscard]] auto from(Range&& range) {
  if constexpr (std::is_lvalue_reference_v<Range>) {
    return detail::RangeFlow<std::views::all_t<Range>>(std::views::all(range));
  } else {
    return detail::RangeFlow<std::remove_cvref_t<Range>>(static_cast<Range&&>(range));
  }
}

/// A flow of what a function gives until it gives nothing: `std::optional<T>()`, or something to await that gives that,
/// such as a coroutine. It is called once for each value that is asked for.
template <class F>
  requires detail::OptionalFunction<std::decay_t<F>> || detail::AwaitedOptionalFunction<std::decay_t<F>>
[[nodiscard]] auto from(F&& function) {
  if constexpr (detail::OptionalFunction<std::decay_t<F>>) {
    return detail::FunctionFlow<std::decay_t<F>>(static_cast<F&&>(function));
  } else {
    return detail::AwaitedFunctionFlow<std::decay_t<F>>(static_cast<F&&>(function));
  }
}

/// A flow of what comes out of a channel or a broadcast, until that is closed and drained; the reason that it was
/// closed with is thrown. The flow owns its receiver. One value at a time is taken out of the channel, when it is asked
/// for.
template <class Receiver>
  requires detail::ReceivesOptional<std::remove_cvref_t<Receiver>>
[[nodiscard]] auto from(Receiver&& receiver) {
  return detail::ReceiverFlow<std::remove_cvref_t<Receiver>>(static_cast<Receiver&&>(receiver));
}

/// A flow is one already.
template <Flow F>
[[nodiscard]] F from(F flow) {
  return flow;
}

}  // namespace weir
