/// The roots of an execution context: those that never finished are destroyed when the context is.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include <weir/asio.hpp>
#include <weir/core/home.hpp>

namespace weir {

/// A service of each execution context that has roots. Thread-safe.
class RootRegistry final : public asio::execution_context::service {
 public:
  /// The key under which Asio keeps the service: its type, so that a shared object with a copy of this finds it.
  static inline asio::detail::service_id<RootRegistry> id;

  explicit RootRegistry(asio::execution_context& context)
      : asio::execution_context::service(context), roots_(std::make_shared<Roots>()) {}

  /// The list outlives the context as long as a home's block does, so that a block can always leave it.
  class Roots {
   public:
    void add(Home& home) {
      const std::lock_guard lock(mutex_);
      home.id_ = ++last_id_;
      home.registry_next_ = first_;
      if (first_) first_->registry_prev_ = &home;
      first_ = &home;
    }
    void remove(Home& home) noexcept {
      const std::lock_guard lock(mutex_);
      unlink(home);
    }

   private:
    friend class RootRegistry;

    bool empty() noexcept {
      const std::lock_guard lock(mutex_);
      return !first_;
    }
    /// Takes those that can be deafened out of the list, in its order.
    Home* take_deafened() noexcept {
      const std::lock_guard lock(mutex_);
      Home* deaf = nullptr;
      Home** end = &deaf;
      Home* next = nullptr;
      for (Home* home = first_; home; home = next) {
        next = home->registry_next_;
        if (!home->deafen()) continue;
        unlink(*home);
        *end = home;
        end = &home->deaf_next_;
      }
      return deaf;
    }
    void unlink(Home& home) noexcept {
      if (home.registry_prev_) home.registry_prev_->registry_next_ = home.registry_next_;
      if (home.registry_next_) home.registry_next_->registry_prev_ = home.registry_prev_;
      if (first_ == &home) first_ = home.registry_next_;
      home.registry_prev_ = home.registry_next_ = nullptr;
    }

    std::mutex mutex_;
    Home* first_ = nullptr;
    std::uint64_t last_id_ = 0;
  };

  [[nodiscard]] const std::shared_ptr<Roots>& roots() const noexcept { return roots_; }

  /// See `set_turns` (core/turns.hpp). The simulator sets a budget of 1, so that each operation is a choice.
  void set_budget(int budget) noexcept { budget_ = budget; }
  [[nodiscard]] int budget() const noexcept { return budget_; }
  void set_patience(std::optional<std::uint32_t> pauses) noexcept { patience_ = pauses; }
  /// For an executor that so many threads run.
  [[nodiscard]] std::uint32_t patience(std::size_t threads) const noexcept {
    if (patience_) return *patience_;
    static const bool several_cores = std::thread::hardware_concurrency() > 1;
    return threads > 1 && several_cores ? default_patience : 0;
  }

  void set_runs_woken(bool runs) noexcept { runs_woken_ = runs; }
  [[nodiscard]] bool runs_woken() const noexcept { return runs_woken_; }
  void set_turns_by_time(bool by_time) noexcept { turns_by_time_ = by_time; }
  [[nodiscard]] bool turns_by_time() const noexcept { return turns_by_time_; }

  /// Calls `visit(home)` for each root that has not finished, the newest first. Only while none of them runs.
  template <class Visit>
  void for_each(Visit&& visit) const {
    const std::lock_guard lock(roots_->mutex_);
    for (Home* home = roots_->first_; home; home = home->registry_next_) {
      if (!home->finished()) visit(*home);
    }
  }

 private:
  void shutdown() noexcept override {
    // Again until none is left: the destructor of a frame may spawn, and a finished root's block that is being
    // destroyed on another thread needs the context until it has left the list.
    while (!roots_->empty()) {
      // Deaf first, all of them: the destructor of one frame may want to wake another root.
      Home* deaf = roots_->take_deafened();
      if (!deaf) std::this_thread::yield();
      for (Home* home = deaf; home; home = home->deaf_next_) home->await_posts();
      while (Home* const home = deaf) {
        deaf = home->deaf_next_;
        home->destroy_frame();
        home->release();
      }
    }
  }

  static constexpr std::uint32_t default_patience = 512;

  std::shared_ptr<Roots> roots_;
  int budget_ = 256;
  std::optional<std::uint32_t> patience_;
  bool runs_woken_ = true;
  bool turns_by_time_ = true;
};

}  // namespace weir
