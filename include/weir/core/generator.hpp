/// `Generator<T>`: a synchronous coroutine that yields one value after another, when it is asked.
#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>

#include <weir/core/detail/frame_memory.hpp>

namespace weir {

/// A lazy sequence: `co_yield` gives a value and waits there until the next is asked for. It is an input range and a
/// view, for range-for and `std::views`; iterate over it once. It runs inside `begin()` and `++`, on the thread that
/// calls them, so it belongs to one thread at a time, and it cannot `co_await`.
///
/// `Generator<T>` gives `T&`: the yielded object itself while it is a temporary or was moved in (`co_yield
/// std::move(x)`, `co_yield make()`), a copy of it when an lvalue is yielded, so the consumer may move from what it
/// gets. `Generator<T&>` gives the lvalue that was yielded, `Generator<const T&>` whatever was, without a copy.
///
/// What the coroutine throws comes out of `begin()` or `++`, and the sequence is then at its end. Destroying a
/// generator midway destroys its frame where it waits. Move-only; a moved-from one is empty. O(1) a step.
///
/// Allocates the frame, and nothing else: from blocks that the calling thread keeps of earlier frames, up to 1 KiB
/// each, else by `operator new`; when the coroutine's parameters begin with `std::allocator_arg_t` and an allocator
/// (behind the object, in a member function or a lambda), by that allocator, as a `Task` does.
template <class T>
class [[nodiscard("a generator does nothing before it is iterated over")]] Generator
    : public std::ranges::view_interface<Generator<T>> {
 public:
  using value_type = std::remove_cvref_t<T>;
  using reference = std::conditional_t<std::is_reference_v<T>, T, T&>;
  class promise_type;
  class iterator;

  Generator() noexcept = default;
  Generator(Generator&& other) noexcept : frame_(std::exchange(other.frame_, {})) {}
  Generator& operator=(Generator&& other) noexcept {
    std::swap(frame_, other.frame_);
    return *this;
  }
  ~Generator() {
    if (frame_) frame_.destroy();
  }

  /// Runs to the first value. Call it once.
  [[nodiscard]] iterator begin() {
    if (frame_) iterator::advance(frame_);
    return iterator(frame_);
  }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return std::default_sentinel; }

 private:
  using Frame = std::coroutine_handle<promise_type>;

  explicit Generator(Frame frame) noexcept : frame_(frame) {}

  Frame frame_;
};

template <class T>
class Generator<T>::promise_type : public detail::PooledFrame {
 public:
  Generator get_return_object() noexcept { return Generator(Frame::from_promise(*this)); }
  [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }
  [[nodiscard]] std::suspend_always final_suspend() const noexcept { return {}; }
  void return_void() const noexcept {}
  void unhandled_exception() noexcept { error_ = std::current_exception(); }

  std::suspend_always yield_value(reference value)
    requires std::is_reference_v<T>
  {
    value_ = std::addressof(value);
    return {};
  }
  std::suspend_always yield_value(value_type&& value) noexcept
    requires(!std::is_reference_v<T>)
  {
    value_ = std::addressof(value);
    return {};
  }
  /// The copy lives in the awaiter, which lives until the coroutine goes on.
  auto yield_value(const value_type& value)
    requires(!std::is_reference_v<T> && std::copy_constructible<value_type>)
  {
    return YieldedCopy(value, value_);
  }
  /// A generator cannot wait: use a `Task` and a channel.
  template <class U>
  void await_transform(U&&) = delete;

 private:
  friend class iterator;

  class YieldedCopy {
   public:
    YieldedCopy(const value_type& value, std::remove_reference_t<reference>*& place) : copy_(value), place_(&place) {}
    YieldedCopy(const YieldedCopy&) = delete;
    YieldedCopy& operator=(const YieldedCopy&) = delete;
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<>) noexcept { *place_ = std::addressof(copy_); }
    void await_resume() const noexcept {}

   private:
    value_type copy_;
    std::remove_reference_t<reference>** place_;
  };

  std::remove_reference_t<reference>* value_ = nullptr;
  std::exception_ptr error_;
};

/// An input iterator: comparing it with `std::default_sentinel` tells the end.
template <class T>
class Generator<T>::iterator {
 public:
  using iterator_concept = std::input_iterator_tag;
  using value_type = Generator::value_type;
  using difference_type = std::ptrdiff_t;

  iterator() noexcept = default;
  iterator(iterator&& other) noexcept : frame_(std::exchange(other.frame_, {})) {}
  iterator& operator=(iterator&& other) noexcept {
    frame_ = std::exchange(other.frame_, {});
    return *this;
  }
  ~iterator() = default;

  [[nodiscard]] reference operator*() const noexcept { return static_cast<reference>(*frame_.promise().value_); }
  iterator& operator++() {
    advance(frame_);
    return *this;
  }
  void operator++(int) { ++*this; }
  [[nodiscard]] friend bool operator==(const iterator& i, std::default_sentinel_t) noexcept {
    return !i.frame_ || i.frame_.done();
  }

 private:
  friend class Generator;

  explicit iterator(Frame frame) noexcept : frame_(frame) {}

  static void advance(Frame frame) {
    frame.resume();
    if (frame.promise().error_) std::rethrow_exception(std::exchange(frame.promise().error_, nullptr));
  }

  Frame frame_;
};

}  // namespace weir

/// A generator whose frame comes from an allocator.
template <class T, class... Args>
  requires weir::detail::AllocatorFirst<typename weir::Generator<T>::promise_type, Args...>::found
struct std::coroutine_traits<weir::Generator<T>, Args...>
    : weir::detail::AllocatorFirst<typename weir::Generator<T>::promise_type, Args...> {};
