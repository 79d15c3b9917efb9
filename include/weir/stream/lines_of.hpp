/// The lines of a file, as the sender of a stream.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <concepts>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <weir/core/task.hpp>
#include <weir/stream/emitter.hpp>

namespace weir {
namespace detail {

/// A file that is read by blocks.
class BlockFile {
 public:
  explicit BlockFile(const std::filesystem::path& path)
      : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY)) {
    if (descriptor_ < 0) fail("can't open ");
  }
  BlockFile(const BlockFile&) = delete;
  BlockFile& operator=(const BlockFile&) = delete;
  ~BlockFile() { ::close(descriptor_); }

  /// What is there, at most `size` bytes; 0 at the end.
  [[nodiscard]] std::size_t read(char* into, std::size_t size) {
    for (;;) {
      const ssize_t got = ::read(descriptor_, into, size);
      if (got >= 0) return static_cast<std::size_t>(got);
      if (errno != EINTR) fail("can't read ");
    }
  }

 private:
  [[noreturn]] void fail(const char* what) const {
    const int code = errno;
    throw std::system_error(code, std::generic_category(), what + path_.string());
  }

  const std::filesystem::path& path_;
  int descriptor_;
};

}  // namespace detail

/// Made by `lines_of`.
class LinesOf {
 public:
  static constexpr std::size_t block_size = std::size_t{256} * 1024;

  explicit LinesOf(std::filesystem::path path) : path_(std::move(path)) {}

  template <class T>
    requires std::constructible_from<T, std::string_view>
  Task<> operator()(Emitter<T>& out) const {
    detail::BlockFile file(path_);
    std::vector<char> block(block_size);
    std::vector<T> lines;
    std::string begun;  // a line whose end is in a later block
    while (const std::size_t size = file.read(block.data(), block.size())) {
      std::string_view rest(block.data(), size);
      for (std::size_t end = 0; (end = rest.find('\n')) != std::string_view::npos; rest.remove_prefix(end + 1)) {
        if (begun.empty()) {
          lines.emplace_back(without_return(rest.substr(0, end)));
        } else {
          begun.append(rest.substr(0, end));
          lines.emplace_back(without_return(begun));
          begun.clear();
        }
      }
      begun.append(rest);
      if (lines.empty()) continue;
      co_await out.emit_all(std::move(lines));
      lines.clear();
    }
    if (!begun.empty()) co_await out.emit_emplace(without_return(begun));
  }

 private:
  static std::string_view without_return(std::string_view line) noexcept {
    if (line.ends_with('\r')) line.remove_suffix(1);
    return line;
  }

  std::filesystem::path path_;
};

/// A sender that emits the lines of a file (or a pipe), without their ends: `\n` or `\r\n`. A last line without an end
/// is a line; lines may be of any length. `T` is whatever can be constructed from a `std::string_view`.
///
/// The file is opened when the stream starts. If it can't be opened or read, the stream ends `failed`, with a
/// `std::system_error` that names the path; what was read before is processed. Reads big blocks, which block a thread
/// of the stream's executor while the disk (or the pipe's other end) is slow. Allocates the lines.
[[nodiscard]] inline LinesOf lines_of(std::filesystem::path path) { return LinesOf(std::move(path)); }

}  // namespace weir
