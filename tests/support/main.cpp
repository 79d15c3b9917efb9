#define WEIR_DEFINE_ALLOCATION_COUNTER
#include "support/allocation_counter.hpp"

// Catch2 2 compiles its runner here, once for all test programs; Catch2 3 brings it in a library.
#define CATCH_CONFIG_RUNNER
#include "support/catch.hpp"

#ifdef WEIR_SANITIZED
// The owners of an exception are counted inside libstdc++, whose atomics the thread sanitizer does not see: it would
// take the last one, which frees the exception, for a race with who read it before.
extern "C" const char* __tsan_default_suppressions() {
  return "race:std::__exception_ptr::exception_ptr::_M_release\n"
         "race:std::runtime_error::~runtime_error\n"
         "race:std::logic_error::~logic_error\n";
}
#endif

int main(int argc, char** argv) { return Catch::Session().run(argc, argv); }
