// A file, or a named pipe, that is there for one test.
#pragma once

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace weir_test {

class TemporaryFile {
 public:
  explicit TemporaryFile(std::string_view content) { std::ofstream(path_, std::ios::binary) << content; }
  struct Pipe {};
  explicit TemporaryFile(Pipe) { made_ = ::mkfifo(path_.c_str(), 0600) == 0; }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() { std::filesystem::remove(path_); }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] bool made() const { return made_; }

 private:
  static std::string name() {
    std::string unique = std::filesystem::temp_directory_path() / "weir_test_XXXXXX";
    const int fd = ::mkstemp(unique.data());
    if (fd >= 0) ::close(fd);
    std::filesystem::remove(unique);
    return unique;
  }

  std::filesystem::path path_ = name();
  bool made_ = true;
};

}  // namespace weir_test
