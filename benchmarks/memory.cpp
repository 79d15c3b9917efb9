#include "memory.hpp"

#include <fstream>

#if defined(__GLIBC__)
#  include <malloc.h>
#endif
#if defined(__linux__)
#  include <unistd.h>
#endif

namespace weir_bench {

double heap_bytes() noexcept {
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
  const struct mallinfo2 info = mallinfo2();
  return static_cast<double>(info.uordblks + info.hblkhd);
#else
  return 0;
#endif
}

double resident_bytes() {
#if defined(__linux__)
  std::ifstream statm("/proc/self/statm");
  double total = 0;
  double resident = 0;
  statm >> total >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
#else
  return 0;
#endif
}

void give_back_freed_memory() noexcept {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

void forget_allocation_settings() noexcept {
#if defined(__GLIBC__)
  mallopt(M_MMAP_THRESHOLD, 128 << 10);
  mallopt(M_TRIM_THRESHOLD, 128 << 10);
  mallopt(M_TOP_PAD, 128 << 10);
#endif
  give_back_freed_memory();
}

}  // namespace weir_bench
