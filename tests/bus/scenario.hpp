// What every exploration of a bus does with its world: runs it, looks at it after each step and at the end, and finds
// nothing left.
#pragma once

#include <weir/sim/simulator.hpp>

#include "support/explored_root.hpp"

namespace weir_test {

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
