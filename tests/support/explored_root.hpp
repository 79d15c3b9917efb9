// A root whose outcome is recorded, which can be cancelled, and whose frames are counted: for scenarios of the
// simulator.
#pragma once

#include <exception>
#include <memory>
#include <optional>
#include <utility>

#include <weir/asio.hpp>
#include <weir/core/error.hpp>
#include <weir/core/spawn.hpp>
#include <weir/sim/explore.hpp>

namespace weir_test {

/// How many guards live, and how often one was destroyed that did not: an object that is destroyed twice.
struct Ledger {
  int made = 0;
  int alive = 0;
  int twice = 0;
};

/// An object that must be destroyed once. A coroutine that has one as a parameter or a local variable shows that its
/// frame was.
class Guard {
 public:
  explicit Guard(Ledger& ledger) : ledger_(&ledger) {
    ++ledger_->made;
    ++ledger_->alive;
  }
  Guard(const Guard& other) : Guard(*other.ledger_) {}
  Guard& operator=(const Guard&) = delete;
  ~Guard() {
    if (!std::exchange(here_, false)) ++ledger_->twice;
    --ledger_->alive;
  }

 private:
  Ledger* ledger_;
  bool here_ = true;
};

/// `Root` for a task of void, `Root<T>` for a `T` that has a default.
template <class T = void>
class Root {
 public:
  template <class A>
  void start(weir::sim::Simulator& sim, A&& awaitable) {
    weir::spawn(sim, std::forward<A>(awaitable),
                asio::bind_cancellation_slot(signal_.slot(), [this](std::exception_ptr e, auto... v) {
                  done_ = true;
                  error_ = std::move(e);
                  if constexpr (sizeof...(v) != 0) (value_.emplace(std::move(v)), ...);
                }));
  }
  void cancel() { signal_.emit(asio::cancellation_type::all); }

  [[nodiscard]] bool done() const noexcept { return done_; }
  [[nodiscard]] bool failed() const noexcept { return error_ != nullptr; }
  [[nodiscard]] bool succeeded() const noexcept { return done_ && !error_; }
  /// The code of the `std::system_error` that it ended with, if it did.
  [[nodiscard]] std::error_code code() const {
    try {
      if (error_) std::rethrow_exception(error_);
    } catch (const std::system_error& e) {
      return e.code();
    } catch (...) {
    }
    return {};
  }
  [[nodiscard]] bool cancelled() const { return weir::is_cancellation(code()); }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }
  [[nodiscard]] const auto& value() const { return *value_; }

 private:
  struct Nothing {};
  asio::cancellation_signal signal_;
  bool done_ = false;
  std::exception_ptr error_;
  std::optional<std::conditional_t<std::is_void_v<T>, Nothing, T>> value_;
};

/// Explores a scenario under random seeds, with its root cancelled at each step, and with the context destroyed at each
/// step. `scene(sim, root, ledger)` starts the root; `check(root)` judges how it ended when it was not destroyed. Each
/// guard is destroyed once in any case.
template <class T = void, class Scene, class Check>
void explore_root(Scene scene, Check check) {
  enum class Action { none, cancel, destroy };
  const auto scenario = [&](Action action) {
    return [&scene, &check, action](weir::sim::Simulator& sim) {
      auto& ledger = sim.keep<Ledger>();
      auto& root = sim.keep<Root<T>>();
      scene(sim, root, ledger);
      sim.on_action([&sim, &root, action] { action == Action::cancel ? root.cancel() : sim.stop(); });
      sim.run();
      if (sim.stopped()) {
        sim.shut_down();
      } else {
        weir::sim::ensure(root.done(), "the root ended without its handler");
        if (!sim.acted()) weir::sim::ensure(ledger.made != 0, "the scene has no guards");
        check(sim, root);
      }
      weir::sim::ensure(ledger.alive == 0, "a frame was not destroyed");
      weir::sim::ensure(ledger.twice == 0, "a frame was destroyed twice");
    };
  };
  weir::sim::explore(scenario(Action::none));
  weir::sim::explore_each_step(scenario(Action::cancel));
  weir::sim::explore_each_step(scenario(Action::destroy));
}

}  // namespace weir_test
