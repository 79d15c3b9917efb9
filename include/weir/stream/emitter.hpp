/// What a sender emits with.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <ranges>
#include <type_traits>
#include <utility>
#include <vector>

#include <weir/channel/channel.hpp>
#include <weir/core/always_inline.hpp>
#include <weir/core/cancellation.hpp>
#include <weir/core/task.hpp>
#include <weir/stream/detail/emit_hook.hpp>
#include <weir/stream/detail/stream_core.hpp>
#include <weir/stream/event.hpp>

namespace weir {

template <class T>
class Emitter;

namespace detail {

/// Walks over events, and numbers each as it is moved into the channel.
template <class T>
class NumberingIterator {
 public:
  using iterator_concept = std::forward_iterator_tag;
  using value_type = SenderEvent<T>;
  using difference_type = std::ptrdiff_t;

  NumberingIterator() = default;
  NumberingIterator(SenderEvent<T>* at, EventNumbers& numbers) noexcept : at_(at), numbers_(&numbers) {}

  [[nodiscard]] SenderEvent<T>&& operator*() const noexcept {
    at_->stamp(numbers_->next_in_channel(), at_->created());
    return std::move(*at_);
  }
  NumberingIterator& operator++() noexcept {
    ++at_;
    return *this;
  }
  NumberingIterator operator++(int) noexcept { return {at_++, *numbers_}; }
  [[nodiscard]] friend bool operator==(const NumberingIterator& a, const NumberingIterator& b) noexcept {
    return a.at_ == b.at_;
  }

 private:
  SenderEvent<T>* at_ = nullptr;
  EventNumbers* numbers_ = nullptr;
};

/// A send into the stream's channel that gives the value back to its place when it was refused; or, where something
/// stands before the channel, what that does.
template <class T>
class [[nodiscard("co_await it: nothing is emitted before. A plain function can't: it has try_emit")]] EmitOperation {
 public:
  /// The event is built from `args`.
  template <class... Args>
  WEIR_ALWAYS_INLINE EmitOperation(StreamCore& core, const ChannelSender<SenderEvent<T>>& tx, EmitHook<T>* hook,
                                   T* origin, Args&&... args)
      : core_(core), event_(static_cast<Args&&>(args)...), origin_(origin), hook_(hook) {
    if (hook_) [[unlikely]] {
      waits_ = false;
    } else {
      ::new (static_cast<void*>(&send_))
          Send(tx.send_emplace(std::ref(event_), std::ref(core.numbers())).operator co_await());
    }
  }
  EmitOperation(const EmitOperation&) = delete;
  EmitOperation& operator=(const EmitOperation&) = delete;
  WEIR_ALWAYS_INLINE ~EmitOperation() {
    if (hook_) [[unlikely]] {
      if (waits_) std::destroy_at(&later_);
    } else {
      std::destroy_at(&send_);
    }
  }

  WEIR_ALWAYS_INLINE void attach(Promise& promise) {
    if (hook_) [[unlikely]]
      return attach_to_hook(promise);
    try {
      if (core_.level() != 0) throw Error(Errc::cancelled);
      promise.home().renew_if_due();
      send_.attach(promise);
    } catch (...) {
      give_back();
      throw;
    }
    event_.stamp(0, core_.clock().coarse_now());
  }
  [[nodiscard]] WEIR_ALWAYS_INLINE bool await_ready() {
    if (hook_) [[unlikely]]
      return !waits_ && promise_->home().spend();
    return send_.await_ready();
  }
  void await_suspend(std::coroutine_handle<> handle) noexcept {
    if (hook_) [[unlikely]] {
      suspend_in_hook(handle);
    } else {
      send_.await_suspend(handle);
    }
  }
  WEIR_ALWAYS_INLINE void await_resume() {
    if (hook_) [[unlikely]]
      return resume_from_hook();
    try {
      send_.await_resume();
    } catch (...) {
      give_back();
      throw;
    }
  }

 private:
  using Send = typename decltype(std::declval<const ChannelSender<SenderEvent<T>>&>().send_emplace(
      std::declval<std::reference_wrapper<SenderEvent<T>>>(),
      std::declval<std::reference_wrapper<EventNumbers>>()))::awaiter_type;
  using Later = typename Task<>::Awaiter;

  [[gnu::cold, gnu::noinline]] void suspend_in_hook(std::coroutine_handle<> handle) noexcept {
    if (waits_) {
      later_.await_suspend(handle);
    } else {
      promise_->home().resume_here(promise_->resumable());
    }
  }
  [[gnu::cold, gnu::noinline]] void attach_to_hook(Promise& promise) {
    promise_ = &promise;
    try {
      if (core_.level() != 0 || promise.scope().cancelled()) throw Error(Errc::cancelled);
      if (hook_->emit_at_once(event_)) return;
      ::new (static_cast<void*>(&later_)) Later(hook_->emit(event_).operator co_await());
      waits_ = true;
      later_.attach(promise);
    } catch (...) {
      give_back();
      throw;
    }
  }
  [[gnu::cold, gnu::noinline]] void resume_from_hook() {
    if (!waits_) return;
    try {
      later_.await_resume();
    } catch (...) {
      give_back();
      throw;
    }
  }

  [[gnu::noinline]] void give_back() {
    if (!origin_) return;
    if constexpr (std::is_move_assignable_v<T>) {
      *origin_ = std::move(event_).data();
    } else {
      std::destroy_at(origin_);
      std::construct_at(origin_, std::move(event_).data());
    }
  }

  StreamCore& core_;
  SenderEvent<T> event_;
  T* origin_;
  EmitHook<T>* hook_;
  /// The next two are the hook's.
  Promise* promise_;
  bool waits_;
  union {
    Send send_;
    Later later_;
  };
};

}  // namespace detail

/// Given to the sender's function by reference; it must not be used after that function has returned. Every operation
/// may be called from any thread.
///
/// Emitting waits while `capacity` events are under way: that is the backpressure. Awaited operations resume on the
/// home of the coroutine that awaits, and allocate nothing but for `emit_all`. They throw `Error(Errc::cancelled)` once
/// the stream is being stopped (the function should then let it pass, or tidy up and return), and
/// `Error(Errc::channel_closed)` when nobody receives any more. What was refused is still, or again, in the caller's
/// object.
///
/// With GCC 12 don't build a temporary with braces inside `co_await out.emit(...)` when it owns something: name it, or
/// use `emit_emplace`.
template <class T>
class Emitter {
 public:
  using value_type = T;

  Emitter(detail::StreamCore& core, ChannelSender<SenderEvent<T>> tx) : core_(core), tx_(std::move(tx)) {}
  Emitter(detail::StreamCore& core, detail::EmitHook<T>& hook) : core_(core), hook_(&hook) {}
  Emitter(const Emitter&) = delete;
  Emitter& operator=(const Emitter&) = delete;

  [[nodiscard]] auto emit(T&& value) {
    return Operation(core_, tx_, hook_, std::addressof(value), std::in_place, std::move(value));
  }
  [[nodiscard]] auto emit(const T& value)
    requires std::copy_constructible<T>
  {
    return Operation(core_, tx_, hook_, nullptr, std::in_place, value);
  }
  /// An event that says more than its value. It is moved from.
  [[nodiscard]] auto emit(SenderEvent<T>&& event) { return Operation(core_, tx_, hook_, nullptr, std::move(event)); }

  /// Builds the value from `args`.
  template <class... Args>
    requires std::constructible_from<T, Args...>
  [[nodiscard]] auto emit_emplace(Args&&... args) {
    return Operation(core_, tx_, hook_, nullptr, std::in_place, static_cast<Args&&>(args)...);
  }

  /// Emits the elements of a range in order, a run of them in one critical section. What is given as an rvalue is the
  /// operation's, and a container's elements are moved out of it; an lvalue must outlive the wait, and its elements are
  /// copied. Gives their number. When it throws, some may have gone. Allocates a frame and one run.
  template <std::ranges::input_range Range>
    requires std::constructible_from<T, std::ranges::range_reference_t<Range>> ||
             std::constructible_from<T, std::ranges::range_rvalue_reference_t<Range>>
  [[nodiscard]] Task<std::size_t> emit_all(Range&& range) {
    return emit_range<Range>(static_cast<Range&&>(range));
  }

  /// Emits the events of `run` in order, in one critical section if there is room, and leaves it empty, with its
  /// memory: for senders that gather what they emit. It must outlive the wait. When it throws, some may have gone, and
  /// what is left in `run` has no meaning. Allocates nothing in the steady state.
  [[nodiscard]] Task<> emit_run(std::vector<SenderEvent<T>>& run) {
    if (stopping()) throw Error(Errc::cancelled);
    if (hook_) {
      auto emitting = hook_->emit_run(run);
      co_await std::move(emitting);
    } else {
      const EventTime now = core_.clock().coarse_now();
      for (SenderEvent<T>& event : run) event.stamp(0, now);
      co_await tx_.send_all(numbered(run));
    }
    run.clear();
  }

  /// Emits if that needs no waiting: false, with the value still the caller's, when there is no room or the stream is
  /// being stopped (`stopping()`). For plain functions and callbacks.
  [[nodiscard]] bool try_emit(T&& value) {
    if (stopping()) return false;
    SenderEvent<T> event(std::in_place, std::move(value));
    if (try_emit_event(event)) return true;
    if constexpr (std::is_move_assignable_v<T>) {
      value = std::move(event).data();
    } else {
      std::destroy_at(std::addressof(value));
      std::construct_at(std::addressof(value), std::move(event).data());
    }
    return false;
  }
  [[nodiscard]] bool try_emit(const T& value)
    requires std::copy_constructible<T>
  {
    if (stopping()) return false;
    SenderEvent<T> event(std::in_place, value);
    return try_emit_event(event);
  }

  /// True once the stream is being stopped: nothing is emitted any more.
  [[nodiscard]] bool stopping() const noexcept { return core_.level() != 0; }
  /// Cancelled when the stream is stopped, at whatever level: for other roots and threads that work for the sender.
  [[nodiscard]] const CancellationToken& token() const noexcept { return core_.token(); }

 private:
  using Operation = detail::EmitOperation<T>;
  static constexpr std::size_t run_length = 64;

  bool try_emit_event(SenderEvent<T>& event) {
    if (hook_) return hook_->try_emit(event);
    event.stamp(0, core_.clock().coarse_now());
    return static_cast<bool>(tx_.try_send_emplace(std::ref(event), std::ref(core_.numbers())));
  }
  [[nodiscard]] auto numbered(std::vector<SenderEvent<T>>& run) noexcept {
    using Iterator = detail::NumberingIterator<T>;
    SenderEvent<T>* const first = run.data();
    return std::ranges::subrange<Iterator>(Iterator(first, core_.numbers()),
                                           Iterator(first + run.size(), core_.numbers()));
  }

  /// `Range` is a reference for an lvalue.
  template <class Range>
  Task<std::size_t> emit_range(Range range) {
    constexpr bool move = !std::is_lvalue_reference_v<Range> && !std::ranges::view<std::remove_cvref_t<Range>>;
    std::vector<SenderEvent<T>> run;
    run.reserve(run_length);
    std::size_t count = 0;
    auto next = std::ranges::begin(range);
    const auto last = std::ranges::end(range);
    while (next != last) {
      const EventTime now = core_.clock().coarse_now();
      for (; next != last && run.size() < run_length; ++next) {
        if constexpr (move) {
          run.emplace_back(std::in_place, std::ranges::iter_move(next)).stamp(0, now);
        } else {
          run.emplace_back(std::in_place, *next).stamp(0, now);
        }
      }
      if (stopping()) throw Error(Errc::cancelled);
      if (hook_) {
        count += run.size();
        auto emitting = hook_->emit_run(run);
        co_await std::move(emitting);
      } else {
        count += co_await tx_.send_all(numbered(run));
      }
      run.clear();
    }
    co_return count;
  }

  detail::StreamCore& core_;
  ChannelSender<SenderEvent<T>> tx_;
  /// Null unless something stands before the channel: a strategy of the sender's, or a channel of the user's.
  detail::EmitHook<T>* hook_ = nullptr;
};

}  // namespace weir
