// What scenes of selects share: how one is disturbed, who still produces, and the frame of its scenario.
#pragma once

#include <cstddef>
#include <memory>

#include <weir/sim/simulator.hpp>

namespace channel_test {

/// Done at some step: to the root or the channel `victim`, or to all.
enum class Act { nothing, cancel, close, destroy };

/// One of those that still produce, who are counted before they begin: a schedule may let them begin last.
class Producing {
 public:
  explicit Producing(std::size_t& n) : left_(n) {}
  Producing(const Producing&) = delete;
  Producing& operator=(const Producing&) = delete;
  ~Producing() { --left_; }

 private:
  std::size_t& left_;
};

/// A `World` of the scene is checked at each step, disturbed at one, and checked at the end.
template <class World, class Scene>
auto scenario_in(Scene scene) {
  return [scene](weir::sim::Simulator& sim) {
    auto& world = *sim.keep<std::unique_ptr<World>>(std::make_unique<World>(sim, scene));
    sim.on_step([&world] { world.check(); });
    sim.on_action([&world] { world.act(); });
    sim.run();
    if (sim.stopped()) sim.shut_down();
    world.check_end();
  };
}

}  // namespace channel_test
