// Runs one stream to its end on the simulator.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include <weir/sim/simulator.hpp>
#include <weir/stream/emits.hpp>

namespace weir_test {

template <class Stream>
auto final_of(weir::sim::Simulator& sim, const Stream& stream) {
  typename Stream::final_event_type final;
  weir::spawn(sim, stream.final_event(), [&final](std::exception_ptr error, auto event) {
    if (error) std::rethrow_exception(error);
    final = std::move(event);
  });
  sim.run();
  return final;
}

}  // namespace weir_test
