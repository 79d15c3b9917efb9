/// A home as an Asio executor: what runs on it runs one at a time with the root's coroutines.
#pragma once

#include <memory>
#include <new>
#include <utility>

#include <weir/asio.hpp>
#include <weir/core/home.hpp>

namespace weir {

/// The executor that the completion handlers, and the inner steps, of a root's Asio operations run on. A pool's own
/// executor would run them, and the emission of their cancellation, at the same time on two threads. It never runs
/// inline
/// (`blocking.never`). Copies share the home and keep its block alive. Posting allocates one block for the function,
/// with the allocator that Asio passes on.
class HomeExecutor {
 public:
  explicit HomeExecutor(Home& home) noexcept : home_(&home) { home_->retain(); }
  HomeExecutor(const HomeExecutor& other) noexcept : home_(other.home_) { home_->retain(); }
  HomeExecutor& operator=(const HomeExecutor& other) noexcept {
    other.home_->retain();
    std::exchange(home_, other.home_)->release();
    return *this;
  }
  ~HomeExecutor() { home_->release(); }

  [[nodiscard]] friend bool operator==(const HomeExecutor& a, const HomeExecutor& b) noexcept {
    return a.home_ == b.home_;
  }

  [[nodiscard]] asio::execution_context& query(asio::execution::context_t) const noexcept { return home_->context(); }
  [[nodiscard]] static constexpr asio::execution::blocking_t query(asio::execution::blocking_t) noexcept {
    return asio::execution::blocking_t::never_t();
  }
  [[nodiscard]] HomeExecutor require(asio::execution::blocking_t::never_t) const noexcept { return *this; }

  [[nodiscard]] Home& home() const noexcept { return *home_; }
  /// Whether the calling thread is one that could be running the home.
  [[nodiscard]] bool running_in_this_thread() const noexcept { return home_->runs_on_this_thread(); }

  template <class F>
  void execute(F&& f) const {
    using Function = Posted<std::decay_t<F>>;
    home_->resume_later(*Function::make(static_cast<F&&>(f)));
  }

 private:
  template <class F>
  struct Posted : Resumable {
    using Allocator = typename std::allocator_traits<asio::associated_allocator_t<F>>::template rebind_alloc<Posted>;
    using Traits = std::allocator_traits<Allocator>;

    explicit Posted(F&& f) : function(std::move(f)) { callback = &complete; }
    explicit Posted(const F& f) : function(f) { callback = &complete; }

    template <class G>
    static Posted* make(G&& f) {
      Allocator allocator(asio::get_associated_allocator(f));
      Posted* const memory = Traits::allocate(allocator, 1);
      try {
        return ::new (static_cast<void*>(memory)) Posted(static_cast<G&&>(f));
      } catch (...) {
        Traits::deallocate(allocator, memory, 1);
        throw;
      }
    }

    static void complete(Resumable& self, bool run) noexcept {
      // The memory is given back before the call, so that the call can use it again.
      Posted& posted = static_cast<Posted&>(self);
      Allocator allocator(asio::get_associated_allocator(posted.function));
      F function(std::move(posted.function));
      posted.~Posted();
      Traits::deallocate(allocator, &posted, 1);
      if (run) std::move(function)();
    }

    F function;
  };

  Home* home_;
};

}  // namespace weir
