/// What changes in a directory, as the sender of a stream (Linux: inotify).
#pragma once

#if defined(__linux__)

#  include <sys/inotify.h>
#  include <unistd.h>

#  include <array>
#  include <cerrno>
#  include <climits>
#  include <cstddef>
#  include <cstdint>
#  include <cstring>
#  include <filesystem>
#  include <string>
#  include <string_view>
#  include <system_error>
#  include <utility>

#  include <fmt/format.h>

#  include <weir/asio.hpp>
#  include <weir/core/blocking.hpp>
#  include <weir/core/error.hpp>
#  include <weir/core/task.hpp>
#  include <weir/core/this_task.hpp>
#  include <weir/core/use_task.hpp>
#  include <weir/stream/detail/file_blocks.hpp>
#  include <weir/stream/emitter.hpp>

namespace weir {

/// One change in a directory that is watched.
struct DirectoryChange {
  enum class Kind : std::uint8_t {
    created,     ///< a file or a directory was made, or linked
    modified,    ///< a file was written to, or cut
    closed,      ///< a file that had been opened for writing was closed: it may be whole now
    removed,     ///< a file or a directory was deleted
    moved_from,  ///< it was moved away, or renamed
    moved_to,    ///< it was moved here, or renamed
    overflow,    ///< changes came faster than they were read, and some were lost: look at the directory itself
  };

  DirectoryChange() = default;
  DirectoryChange(Kind k, std::filesystem::path p, bool directory = false, std::uint32_t move = 0)
      : kind(k), path(std::move(p)), is_directory(directory), move_id(move) {}

  Kind kind = Kind::created;
  /// The directory as it was said to be watched, and the name in it; the directory alone for `overflow`.
  std::filesystem::path path;
  /// Whether what changed is a directory.
  bool is_directory = false;
  /// The same number for the two halves of a move inside the directory. The second usually follows the first.
  std::uint32_t move_id = 0;
};

/// Made by `directory_changes`. Move-only: it owns the watch.
class DirectoryChanges {
 public:
  explicit DirectoryChanges(std::filesystem::path path)
      : path_(std::move(path)), watch_(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) {
    if (!watch_) fail(errno);
    constexpr std::uint32_t mask = IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO |
                                   IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
    if (::inotify_add_watch(watch_.get(), path_.c_str(), mask) < 0) fail(errno);
  }

  /// For pictures of the stream.
  [[nodiscard]] std::string describe() const { return fmt::format("changes of {}", path_.string()); }

  template <class T>
    requires std::constructible_from<T, DirectoryChange&&>
  Task<> operator()(Emitter<T>& out) {
    Home& home = co_await this_task::home();
    if (asio::use_service<BlockingService>(home.context()).runs_inline()) {
      throw Error(Errc::invalid_argument, "directory_changes: a directory can't be watched in the simulator");
    }
    asio::posix::stream_descriptor in(home.base_executor(), watch_.release());
    alignas(inotify_event) std::array<char, 16 * 1024> buffer;
    for (;;) {
      const std::size_t size = co_await in.async_read_some(asio::buffer(buffer), use_task);
      for (std::size_t at = 0; at < size;) {
        DirectoryChange change = next_change(buffer.data(), at);
        T value(std::move(change));
        co_await out.emit(std::move(value));
      }
    }
  }

 private:
  /// The change at `at`, which moves on to the next. Throws when the directory itself is gone.
  DirectoryChange next_change(const char* buffer, std::size_t& at) const {
    inotify_event event;
    std::memcpy(&event, buffer + at, sizeof(event));
    const char* const name = buffer + at + sizeof(event);
    at += sizeof(event) + event.len;
    if ((event.mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED)) != 0) fail(ENOENT);
    DirectoryChange change(kind_of(event.mask), path_, (event.mask & IN_ISDIR) != 0, event.cookie);
    // The name is filled up with zeros.
    if (event.len != 0) change.path /= std::string_view(name, ::strnlen(name, event.len));
    return change;
  }
  static DirectoryChange::Kind kind_of(std::uint32_t mask) noexcept {
    using Kind = DirectoryChange::Kind;
    if (mask & IN_Q_OVERFLOW) return Kind::overflow;
    if (mask & IN_CREATE) return Kind::created;
    if (mask & IN_DELETE) return Kind::removed;
    if (mask & IN_MOVED_FROM) return Kind::moved_from;
    if (mask & IN_MOVED_TO) return Kind::moved_to;
    return (mask & IN_CLOSE_WRITE) != 0 ? Kind::closed : Kind::modified;
  }
  [[noreturn]] void fail(int code) const {
    throw std::system_error(code, std::generic_category(), "can't watch " + path_.string());
  }

  std::filesystem::path path_;
  detail::Descriptor watch_;
};

/// A sender that emits a `DirectoryChange` (or what can be constructed from one) for each change of an entry of `path`,
/// a directory; not for what is below its subdirectories. Changes are seen from this call on, also before the stream
/// starts.
///
/// Throws `std::system_error`, which names the path, when it can't be watched. It ends only when the stream is stopped,
/// or as `failed`, with the code `ENOENT`, when the directory itself is removed or moved away. The kernel keeps changes
/// while the receivers are slow (16384 unless configured), and then loses some, which is an event of its own:
/// `overflow`. It merges a change with the one before if they are the same. Not in the simulator. Allocates the path of
/// each change.
[[nodiscard]] inline DirectoryChanges directory_changes(std::filesystem::path path) {
  return DirectoryChanges(std::move(path));
}

}  // namespace weir

#endif
