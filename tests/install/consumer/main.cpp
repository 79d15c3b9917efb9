#include <fmt/core.h>

#include <weir/version.hpp>

int main() { fmt::print("weir {}.{}\n", weir::version.major_number, weir::version.minor_number); }
