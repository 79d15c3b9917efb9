#define WEIR_DEFINE_ALLOCATION_COUNTER
#include "support/allocation_counter.hpp"

// Catch2 2 compiles its runner here, once for all test programs; Catch2 3 brings it in a library.
#define CATCH_CONFIG_RUNNER
#include "support/catch.hpp"

int main(int argc, char** argv) { return Catch::Session().run(argc, argv); }
