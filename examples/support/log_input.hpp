/// A file or standard input, and its lines.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <weir/asio.hpp>
#include <weir/core/task.hpp>
#include <weir/core/this_task.hpp>
#include <weir/core/use_task.hpp>
#include <weir/stream/emitter.hpp>

#include <asio/posix/stream_descriptor.hpp>

namespace example {

/// Something open to be read. Move-only.
class LogInput {
 public:
  /// Opens a file, or standard input for "-". Throws `std::system_error` that names it if it cannot be read.
  explicit LogInput(const std::string& path) : name_(path == "-" ? "standard input" : path) {
    descriptor_ = path == "-" ? ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat status{};
    if (descriptor_ < 0 || ::fstat(descriptor_, &status) != 0) refuse(errno);
    if (S_ISDIR(status.st_mode)) refuse(EISDIR);
    if (S_ISREG(status.st_mode)) size_ = static_cast<std::uint64_t>(status.st_size);
  }
  LogInput(LogInput&& other) noexcept
      : name_(std::move(other.name_)), descriptor_(std::exchange(other.descriptor_, -1)), size_(other.size_) {}
  LogInput& operator=(LogInput&&) = delete;
  ~LogInput() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  /// In bytes, where it has one: a pipe has none.
  [[nodiscard]] std::optional<std::uint64_t> size() const noexcept { return size_; }
  /// Gives the descriptor away, to be closed by the caller.
  [[nodiscard]] int release() noexcept { return std::exchange(descriptor_, -1); }

 private:
  [[noreturn]] void refuse(int error) const {
    if (descriptor_ >= 0) ::close(descriptor_);
    throw std::system_error(error, std::generic_category(), name_);
  }

  std::string name_;
  int descriptor_ = -1;
  std::optional<std::uint64_t> size_;
};

/// Cuts what is read into lines.
class LineCutter {
 public:
  /// Takes what was read next, and gives the lines that it completes, without their newlines.
  [[nodiscard]] std::vector<std::string> cut(std::string_view text) {
    std::vector<std::string> lines;
    for (auto end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
      rest_.append(text.substr(0, end));
      lines.push_back(std::exchange(rest_, {}));
      text.remove_prefix(end + 1);
    }
    rest_.append(text);
    return lines;
  }

  /// At the end: a last line without a newline, or nothing.
  [[nodiscard]] std::optional<std::string> last() {
    if (rest_.empty()) return std::nullopt;
    return std::exchange(rest_, {});
  }

 private:
  std::string rest_;
};

/// A sender of lines that never blocks a thread: it waits in Asio for a pipe that is slow, and can be cancelled there.
/// Files work as well. Ends the stream with `std::system_error` if reading fails.
class LineSender {
 public:
  explicit LineSender(LogInput input) : input_(std::move(input)) {}

  weir::Task<> operator()(weir::Emitter<std::string>& out) {
    const auto executor = co_await weir::this_task::executor();
    asio::posix::stream_descriptor stream(executor, input_.release());
    LineCutter cutter;
    std::vector<char> buffer(64 * std::size_t{1024});
    for (;;) {
      const auto [error, length] = co_await stream.async_read_some(asio::buffer(buffer), weir::use_task.as_tuple());
      if (error == asio::error::eof) break;
      if (weir::is_cancellation(error)) throw weir::Error(weir::Errc::cancelled);
      if (error) throw std::system_error(error, input_.name());
      std::vector<std::string> lines = cutter.cut(std::string_view(buffer.data(), length));
      co_await out.emit_all(std::move(lines));
    }
    if (std::optional<std::string> last = cutter.last()) co_await out.emit(*std::move(last));
  }

 private:
  LogInput input_;
};

}  // namespace example
