#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

namespace weir::detail {

/// Owns a file descriptor.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) noexcept : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }

  [[nodiscard]] explicit operator bool() const noexcept { return fd_ >= 0; }
  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

/// A file that is read by blocks, each by one call: opens it first.
class FileBlocks {
 public:
  /// `patient`: it may wait inside a call for a pipe's other end.
  FileBlocks(std::filesystem::path path, std::size_t size, bool patient)
      : path_(std::move(path)), next_(size), patient_(patient) {}

  /// Reads the next block and gives its size: 0 at the end, or if it `must_wait`.
  std::size_t operator()() {
    if (!file_) open();
    if (must_wait_) return 0;
    for (;;) {
      const ssize_t got = ::read(file_.get(), next_.data(), next_.size());
      if (got >= 0) return static_cast<std::size_t>(got);
      if (errno != EINTR) fail("can't read ");
    }
  }

  /// Gives the block that was read for one that is to be filled, of the same size.
  void swap(std::vector<char>& block) noexcept { next_.swap(block); }
  /// It is a pipe or a terminal, on which a read would hold up a thread for as long as its other end likes.
  [[nodiscard]] bool must_wait() const noexcept { return must_wait_; }
  [[nodiscard]] int release() noexcept { return file_.release(); }

 private:
  void open() {
    // A pipe is opened without waiting for its other end.
    const int flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | (patient_ ? 0 : O_NONBLOCK);
    file_ = Descriptor(::open(path_.c_str(), flags));
    if (!file_) fail("can't open ");
    struct stat info{};
    if (::fstat(file_.get(), &info) != 0) fail("can't open ");
    must_wait_ = !patient_ && (S_ISFIFO(info.st_mode) || S_ISSOCK(info.st_mode) || ::isatty(file_.get()) == 1);
  }
  [[noreturn]] void fail(const char* what) const {
    const int code = errno;
    throw std::system_error(code, std::generic_category(), what + path_.string());
  }

  std::filesystem::path path_;
  std::vector<char> next_;
  Descriptor file_;
  bool patient_;
  bool must_wait_ = false;
};

}  // namespace weir::detail
