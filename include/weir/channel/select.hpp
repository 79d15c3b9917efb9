/// `select`: one of several channel operations, the first that can be done.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include <weir/channel/channel.hpp>
#include <weir/channel/detail/select_cases.hpp>

namespace weir {
namespace detail {

/// `Flag` is that of `ClaimedBy`.
template <class Flag, class... Cases>
class SelectAwaiter : private Cancellable, private SelectCommon {
  static constexpr std::size_t size = sizeof...(Cases);
  static constexpr std::size_t none = size;

 public:
  using Result = std::variant<typename Cases::Result...>;

  template <class... Ops>
  SelectAwaiter(bool in_order, std::tuple<Ops...>& operations)
      : Cancellable(kind),
        SelectCommon(claim_),
        in_order_(in_order),
        enabled_(std::apply([](const Ops&... ops) { return std::array<bool, size>{enabled(ops)...}; }, operations)),
        cases_(std::apply([](Ops&... ops) { return std::tuple<decltype(operation_in(ops))...>(operation_in(ops)...); },
                          operations)) {}
  SelectAwaiter(const SelectAwaiter&) = delete;
  SelectAwaiter& operator=(const SelectAwaiter&) = delete;
  ~SelectAwaiter() {
    // From here on nobody serves it who has not begun to.
    static_cast<void>(choice.claim(nullptr));
    leave_all();
    if (suspended_) this->home().forget(again_);
  }

  void attach(Promise& p) {
    if (p.scope().cancelled()) throw Error(Errc::cancelled);
    choice.promise = &p;
    again_.callback = &begin_again;
    again_.select = this;
    choice.again = &again_;
  }
  [[nodiscard]] bool await_ready() {
    if (attempt()) {
      gives_turn_ = !this->home().spend();
      suspended_ = gives_turn_;
      return !gives_turn_;
    }
    choice.promise->scope().link(*this);
    suspended_ = true;
    return false;
  }
  void await_suspend(std::coroutine_handle<>) noexcept {
    if (gives_turn_) wake();
  }
  Result await_resume() {
    unlink();
    suspended_ = false;
    leave_all();
    if (error_) std::rethrow_exception(std::move(error_));
    if (cancelled_) throw Error(Errc::cancelled);
    if (winner_ == none) {
      for_each([this](std::size_t i, auto& one) {
        if (one.won(choice)) winner_ = i;
        return false;
      });
    }
    Result result;
    take(result, std::index_sequence_for<Cases...>());
    return result;
  }

 private:
  /// Calls `f(index, case)` until it returns true.
  template <class F>
  bool for_each(F&& f) {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return (f(I, std::get<I>(cases_)) || ...);
    }(std::index_sequence_for<Cases...>());
  }
  /// The same for those that take part, in the order in which they are looked at.
  template <class F>
  bool for_each_from(std::size_t start, F&& f) {
    for (std::size_t k = 0; k < size; ++k) {
      const std::size_t wanted = (start + k) % size;
      if (enabled_[wanted] && for_each([&](std::size_t i, auto& one) { return i == wanted && f(i, one); })) return true;
    }
    return false;
  }
  template <std::size_t... I>
  void take(Result& result, std::index_sequence<I...>) {
    const auto take_one = [&]<std::size_t N>(std::integral_constant<std::size_t, N>) {
      if (winner_ == N) std::get<N>(cases_).take(result.template emplace<N>());
    };
    (take_one(std::integral_constant<std::size_t, I>()), ...);
  }

  /// True: one was done. False: somebody will wake it, or has.
  bool attempt() {
    const std::size_t start = in_order_ ? 0 : this->home().pick(size);
    const auto at_once = [this](std::size_t i, auto& one) {
      if (!one.try_at_once()) return false;
      winner_ = i;
      return true;
    };
    if (for_each_from(start, at_once)) return true;
    bool lost = false;
    bool some = false;
    // A time that has passed already must not come before what can be done.
    for (const bool timers : {false, true}) {
      const auto enter = [&](std::size_t i, auto& one) {
        if (one.is_timer != timers) return false;
        some = true;
        const WaitState how = one.enter(*this);
        if (how == WaitState::queued) return false;
        lost = how == WaitState::lost;
        if (!lost) winner_ = i;
        return true;
      };
      if (for_each_from(start, enter)) return !lost;
    }
    if (!some) throw Error(Errc::invalid_argument, "a select of nothing would wait for ever");
    return false;
  }
  void leave_all() noexcept {
    for_each([](std::size_t, auto& one) {
      one.leave();
      return false;
    });
  }

  struct Again : Resumable {
    SelectAwaiter* select = nullptr;
  };
  /// A value was on its way and could not be built.
  static void begin_again(Resumable& self, bool run) noexcept {
    if (run) static_cast<Again&>(self).select->begin_again();
  }
  void begin_again() noexcept {
    leave_all();
    if (choice.promise->scope().cancelled()) {
      cancelled_ = true;
      return wake();
    }
    claim_.give_back();
    try {
      if (!attempt()) return;
    } catch (...) {
      error_ = std::current_exception();
    }
    wake();
  }

  static void cancel(Cancellable& self) noexcept {
    auto& me = static_cast<SelectAwaiter&>(self);
    if (!me.choice.claim(nullptr)) return;
    me.cancelled_ = true;
    me.wake();
  }
  static void describe(const Cancellable& self, std::string& text) {
    auto& me = const_cast<SelectAwaiter&>(static_cast<const SelectAwaiter&>(self));
    me.for_each([&](std::size_t i, auto& one) {
      if (!me.enabled_[i]) return false;
      text += (i == 0 ? "" : " | ") + std::to_string(i) + ": ";
      one.describe(text);
      return false;
    });
  }
  static constexpr Kind kind{&cancel, nullptr, "select", &describe};

  ClaimedBy<Flag> claim_;
  const bool in_order_;
  bool gives_turn_ = false;
  bool suspended_ = false;
  bool cancelled_ = false;
  std::size_t winner_ = none;
  const std::array<bool, size> enabled_;
  std::exception_ptr error_;
  Again again_;
  std::tuple<Cases...> cases_;
};

/// What `select` returns: it becomes an awaiter where it is awaited, and can be moved until then.
template <class Flag, class... Ops>
class [[nodiscard("co_await it: nothing happens before")]] Selection {
 public:
  Selection(bool in_order, Ops&&... operations) : in_order_(in_order), operations_(std::move(operations)...) {}

  [[nodiscard]] auto operator co_await() && {
    return SelectAwaiter<Flag, typename CaseOf<Ops>::type...>(in_order_, operations_);
  }

 private:
  bool in_order_;
  std::tuple<Ops...> operations_;
};

}  // namespace detail

/// What `select` waits for: `rx.receive()`, `rx.receive_some(out, max)`, `tx.send(value)`, `tx.send_emplace(args...)`,
/// `tx.reserve()`, each of a channel, and but for the last also of a broadcast; `after(duration)`; or one of these in a
/// `when`. Not `send_all`: a run goes as room comes, so that when another operation won, a part of it could have gone
/// already; reserve, or send one by one.
template <class Op>
concept Selectable = !std::is_reference_v<Op> && requires { typename detail::CaseOf<Op>::type; };

/// A time as one of the operations of a `select`: it wins when nothing else could be done for `duration` from when the
/// select is awaited. Zero or less: when nothing else can be done at once.
template <class Rep, class Period>
[[nodiscard]] detail::After after(std::chrono::duration<Rep, Period> duration) noexcept {
  return detail::After(detail::clock_duration(duration));
}

/// An operation that takes part in a `select` only if `condition` holds: for the channel that has closed already.
template <Selectable Op>
[[nodiscard]] detail::Guarded<Op> when(bool condition, Op operation) {
  return detail::Guarded<Op>(condition, std::move(operation));
}

/// Does exactly one of the operations, the first that can be done, and nothing of the others: no value is received that
/// is not given, and a value to be sent is moved from only by the send that won. It gives what that one gives, in a
/// `std::variant` with its index: `std::optional<T>` for a receive (empty: that channel is closed and drained), the
/// number for a `receive_some` (0: the same), a `Permit` for a `reserve`, `std::monostate` for a send or a time; it
/// throws what that one throws (`Errc::channel_closed` for a send, the reason
/// for a receive). So a closed channel is always ready: take it out by `when`.
///
/// Fair: when several can be done, it is a matter of chance which one is (the same in each run of the simulator), and
/// one that is always ready doesn't keep the others from their turn. Who waits is served in the order of the channel's
/// queue, as ever. A `receive_some` wins with its first value, and takes those that are behind it when the select
/// resumes; nothing is written to its output before it has won. A broadcast's receiver may occur once.
///
/// The channels may be of any kinds and types, and belong to any threads; one may occur several times, at both ends. A
/// handle must live until the select is awaited. It resumes on the coroutine's home. Cancelling throws
/// `Error(Errc::cancelled)`, unless one of the operations has been done before. All of them in a `when` that does not
/// hold: `Error(Errc::invalid_argument)`. Allocates nothing. O(number of operations): when it had to wait, one lock
/// each to wait, and one each to leave.
template <Selectable... Ops>
  requires(sizeof...(Ops) > 0)
[[nodiscard]] auto select(Ops... operations) {
  return detail::Selection<std::atomic<bool>, Ops...>(false, std::move(operations)...);
}

/// The same, in the order given: of those that can be done when it is awaited, the first one. One that is always ready
/// starves those behind it.
template <Selectable... Ops>
  requires(sizeof...(Ops) > 0)
[[nodiscard]] auto select_in_order(Ops... operations) {
  return detail::Selection<std::atomic<bool>, Ops...>(true, std::move(operations)...);
}

}  // namespace weir
