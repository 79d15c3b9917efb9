// Runs programs from files, and as many that are made from numbers as are asked for: what a fuzzer found stays found,
// also by compilers without one.
//
//     replay [--verbose] [--made COUNT] [FILE or FOLDER]...
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "fuzz/channel_program.hpp"

namespace {

std::vector<std::uint8_t> read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::uint8_t> made(std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<std::uint8_t> bytes(4 + 2 * (random() % 60));
  for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random());
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  bool verbose = false;
  std::vector<std::filesystem::path> files;
  std::uint32_t count = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--verbose") {
      verbose = true;
    } else if (argument == "--made" && i + 1 < argc) {
      const std::string number = argv[++i];
      std::from_chars(number.data(), number.data() + number.size(), count);
    } else if (std::filesystem::is_directory(argument)) {
      for (const auto& entry : std::filesystem::directory_iterator(argument)) files.push_back(entry.path());
    } else {
      files.emplace_back(argument);
    }
  }
  for (const auto& file : files) {
    const auto bytes = read(file);
    if (bytes.empty()) {
      std::fprintf(stderr, "%s: nothing to read\n", file.c_str());
      return 1;
    }
    if (verbose) std::fprintf(stderr, "%s\n", file.c_str());
    weir_fuzz::run_program(bytes, verbose);
  }
  for (std::uint32_t seed = 1; seed <= count; ++seed) weir_fuzz::run_program(made(seed), verbose);
  std::printf("%zu programs from files, %u made\n", files.size(), count);
}
