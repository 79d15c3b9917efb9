// What every exploration of a bus does with its world: runs it, looks at it after each step and at the end, and finds
// nothing left.
#pragma once

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include <weir/bus/bus_options.hpp>
#include <weir/sim/simulator.hpp>

#include "support/explored_root.hpp"

namespace weir_test {

/// What a world runs on its simulator, and how each ended.
class Roots {
 public:
  explicit Roots(weir::sim::Simulator& sim) : sim_(sim) {}

  template <class T>
  void start(weir::Task<T> task) {
    all_.push_back(std::make_unique<Root<>>());
    all_.back()->start(sim_, std::move(task));
  }
  void cancel() {
    for (const auto& root : all_) root->cancel();
  }
  [[nodiscard]] Root<>& operator[](std::size_t index) const { return *all_[index]; }
  [[nodiscard]] std::size_t size() const noexcept { return all_.size(); }
  [[nodiscard]] bool done() const {
    return std::all_of(all_.begin(), all_.end(), [](const auto& root) { return root->done(); });
  }
  void check_end() const { weir::sim::ensure(done(), "a root has not ended"); }

 private:
  weir::sim::Simulator& sim_;
  std::vector<std::unique_ptr<Root<>>> all_;
};

/// One of those that publish, while it lives.
struct Publishing {
  explicit Publishing(int& n) : left(n) { ++left; }
  Publishing(const Publishing&) = delete;
  Publishing& operator=(const Publishing&) = delete;
  ~Publishing() { --left; }
  int& left;
};

/// The bus's own task holds what it needs.
inline weir::Task<> wait_for(weir::Task<weir::DrainReport> draining) { co_await std::move(draining); }

inline void ensure_sum(const weir::BusStats& s) {
  const auto ended = s.completed + s.failed + s.cancelled + s.timed_out + s.expired + s.dropped + s.discarded;
  weir::sim::ensure(s.admitted == s.queued + s.running + ended, "admitted events are missing");
}

/// `World(sim, scene, ledger)` has `check()`, `act()`, `check_end()`, and perhaps `check_shut_down()`.
template <class World, class Scene>
auto scenario_in(const Scene& scene) {
  return [scene](weir::sim::Simulator& sim) {
    Ledger ledger;
    {
      World world(sim, scene, ledger);
      sim.on_step([&world] { world.check(); });
      sim.on_action([&world] { world.act(); });
      try {
        sim.run();
        world.check_end();
      } catch (...) {
        // What is suspended refers to the world.
        sim.shut_down();
        throw;
      }
      sim.shut_down();
      if constexpr (requires { world.check_shut_down(); }) world.check_shut_down();
    }
    weir::sim::ensure(ledger.alive == 0, "something is left");
    weir::sim::ensure(ledger.twice == 0, "something was destroyed twice");
  };
}

}  // namespace weir_test
