// What the tests of the buses share: a script on the simulator, and a log of what the handlers saw.
#pragma once

#include <exception>
#include <string>
#include <utility>

#include <weir/asio.hpp>
#include <weir/core/spawn.hpp>
#include <weir/core/timer.hpp>
#include <weir/sim/simulator.hpp>

namespace weir_test {

/// Runs a task on the simulator until nothing is left to do, and rethrows what it threw.
template <class T>
void play(weir::sim::Simulator& sim, weir::Task<T> script) {
  std::exception_ptr error;
  bool ended = false;
  weir::spawn(sim, std::move(script), [&](std::exception_ptr e, auto...) {
    error = std::move(e);
    ended = true;
  });
  sim.run();
  if (error) std::rethrow_exception(error);
  if (!ended) throw std::runtime_error("the script did not end");
}

/// A handler that writes the payload, a text, into a log.
inline auto note(std::string& log) {
  return [&log](weir::EventContext& event) { log += event.payload<std::string>() + " "; };
}

}  // namespace weir_test
