/// What is ready to run in a simulation.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <span>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <weir/asio.hpp>
#include <weir/sim/strategy.hpp>

namespace weir::sim::detail {

/// A posted function. Intrusive head of a block that `Posted` makes.
struct Handler {
  void (*complete)(Handler& self, bool run);
};

template <class F>
class Posted final : public Handler {
  using Allocator = typename std::allocator_traits<asio::associated_allocator_t<F>>::template rebind_alloc<Posted>;
  using Traits = std::allocator_traits<Allocator>;

 public:
  template <class G>
  explicit Posted(std::in_place_t, G&& f) : Handler{&run_or_drop}, function_(static_cast<G&&>(f)) {}

  template <class G>
  static Handler& make(G&& f) {
    Allocator allocator(asio::get_associated_allocator(f));
    Posted* const memory = Traits::allocate(allocator, 1);
    try {
      return *::new (static_cast<void*>(memory)) Posted(std::in_place, static_cast<G&&>(f));
    } catch (...) {
      Traits::deallocate(allocator, memory, 1);
      throw;
    }
  }

 private:
  static void run_or_drop(Handler& self, bool run) {
    // The memory is given back before the call, so that the call can use it again.
    Posted& posted = static_cast<Posted&>(self);
    Allocator allocator(asio::get_associated_allocator(posted.function_));
    F function(std::move(posted.function_));
    posted.~Posted();
    Traits::deallocate(allocator, &posted, 1);
    if (run) std::move(function)();
  }

  F function_;
};

/// The queue of a simulator. It is the first service of its context, so it is the last to be shut down, as the
/// scheduler of an `io_context` is: the roots go first, then the handlers that would have drained them. What is posted
/// after that is destroyed with the service.
class ReadyQueue final : public asio::execution_context::service {
 public:
  static inline asio::execution_context::id id;

  explicit ReadyQueue(asio::execution_context& context)
      : asio::execution_context::service(context), owner_(std::this_thread::get_id()) {}
  ~ReadyQueue() override { drop_all(); }

  [[nodiscard]] bool on_owner_thread() const noexcept { return std::this_thread::get_id() == owner_; }

  /// `root` is the number of the root whose turn `f` is, or 0.
  template <class F>
  void post(F&& f, std::uint64_t root = 0) {
    Handler& handler = Posted<std::decay_t<F>>::make(static_cast<F&&>(f));
    if (on_owner_thread()) {
      handlers_.push_back(&handler);
      ready_.push_back({++last_number_, root});
    } else {
      keep_foreign(handler);
    }
  }

  [[nodiscard]] bool empty() const noexcept { return handlers_.empty(); }
  /// What strategies see of the handlers, the longest waiting first.
  [[nodiscard]] std::span<const Ready> ready() const noexcept { return ready_; }

  [[nodiscard]] Handler& take(std::size_t index) noexcept {
    Handler& handler = *handlers_[index];
    handlers_.erase(handlers_.begin() + static_cast<std::ptrdiff_t>(index));
    ready_.erase(ready_.begin() + static_cast<std::ptrdiff_t>(index));
    return handler;
  }

  /// Whether another thread has posted. Any thread.
  [[nodiscard]] bool foreign() const noexcept { return foreign_.load(std::memory_order_acquire); }
  [[nodiscard]] std::string foreign_thread() const {
    const std::lock_guard lock(foreign_mutex_);
    return foreign_thread_;
  }

  void work_started() noexcept { work_.fetch_add(1, std::memory_order_relaxed); }
  void work_finished() noexcept { work_.fetch_sub(1, std::memory_order_relaxed); }
  [[nodiscard]] std::size_t work() const noexcept { return work_.load(std::memory_order_relaxed); }

 private:
  void shutdown() noexcept override { drop_all(); }

  // Not run, as that would be a race with what runs here, and not destroyed there, for the same reason.
  void keep_foreign(Handler& handler) {
    std::ostringstream thread;
    thread << std::this_thread::get_id();
    const std::lock_guard lock(foreign_mutex_);
    foreign_handlers_.push_back(&handler);
    if (foreign_thread_.empty()) foreign_thread_ = thread.str();
    foreign_.store(true, std::memory_order_release);
  }

  void drop_all() noexcept {
    // Destroying one may post another.
    for (;;) {
      std::vector<Handler*> handlers;
      handlers.swap(handlers_);
      ready_.clear();
      {
        const std::lock_guard lock(foreign_mutex_);
        handlers.insert(handlers.end(), foreign_handlers_.begin(), foreign_handlers_.end());
        foreign_handlers_.clear();
      }
      if (handlers.empty()) return;
      for (Handler* const handler : handlers) handler->complete(*handler, false);
    }
  }

  const std::thread::id owner_;
  std::vector<Handler*> handlers_;
  std::vector<Ready> ready_;
  std::uint64_t last_number_ = 0;
  std::atomic<std::size_t> work_{0};
  std::atomic<bool> foreign_{false};
  mutable std::mutex foreign_mutex_;
  std::vector<Handler*> foreign_handlers_;
  std::string foreign_thread_;
};

}  // namespace weir::sim::detail
