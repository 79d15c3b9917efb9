// For libFuzzer: see ./dev check fuzz.
#include <cstddef>
#include <cstdint>

#include "fuzz/channel_program.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  weir_fuzz::run_program({data, size});
  return 0;
}
