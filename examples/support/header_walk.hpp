/// The C and C++ headers below a directory, one at a time.
#pragma once

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace example {

/// A header by its file name: .h .hh .hpp .hxx .ipp .tcc .inl, a standard header of C++ such as `vector`, or anything
/// without a dot in a folder `experimental`.
[[nodiscard]] inline bool is_header(const std::filesystem::path& path) {
  static constexpr std::array<std::string_view, 7> extensions = {".h", ".hh", ".hpp", ".hxx", ".inl", ".ipp", ".tcc"};
  static const std::set<std::string, std::less<>> standard = {"algorithm",
                                                              "any",
                                                              "array",
                                                              "atomic",
                                                              "barrier",
                                                              "bit",
                                                              "bitset",
                                                              "cassert",
                                                              "ccomplex",
                                                              "cctype",
                                                              "cerrno",
                                                              "cfenv",
                                                              "cfloat",
                                                              "charconv",
                                                              "chrono",
                                                              "cinttypes",
                                                              "ciso646",
                                                              "climits",
                                                              "clocale",
                                                              "cmath",
                                                              "codecvt",
                                                              "compare",
                                                              "complex",
                                                              "concepts",
                                                              "condition_variable",
                                                              "coroutine",
                                                              "csetjmp",
                                                              "csignal",
                                                              "cstdalign",
                                                              "cstdarg",
                                                              "cstdbool",
                                                              "cstddef",
                                                              "cstdint",
                                                              "cstdio",
                                                              "cstdlib",
                                                              "cstring",
                                                              "ctgmath",
                                                              "ctime",
                                                              "cuchar",
                                                              "cwchar",
                                                              "cwctype",
                                                              "deque",
                                                              "exception",
                                                              "execution",
                                                              "expected",
                                                              "filesystem",
                                                              "flat_map",
                                                              "flat_set",
                                                              "format",
                                                              "forward_list",
                                                              "fstream",
                                                              "functional",
                                                              "future",
                                                              "generator",
                                                              "initializer_list",
                                                              "iomanip",
                                                              "ios",
                                                              "iosfwd",
                                                              "iostream",
                                                              "istream",
                                                              "iterator",
                                                              "latch",
                                                              "limits",
                                                              "list",
                                                              "locale",
                                                              "map",
                                                              "mdspan",
                                                              "memory",
                                                              "memory_resource",
                                                              "mutex",
                                                              "new",
                                                              "numbers",
                                                              "numeric",
                                                              "optional",
                                                              "ostream",
                                                              "print",
                                                              "queue",
                                                              "random",
                                                              "ranges",
                                                              "ratio",
                                                              "regex",
                                                              "scoped_allocator",
                                                              "semaphore",
                                                              "set",
                                                              "shared_mutex",
                                                              "source_location",
                                                              "span",
                                                              "spanstream",
                                                              "sstream",
                                                              "stack",
                                                              "stacktrace",
                                                              "stdexcept",
                                                              "stdfloat",
                                                              "stop_token",
                                                              "streambuf",
                                                              "string",
                                                              "string_view",
                                                              "strstream",
                                                              "syncstream",
                                                              "system_error",
                                                              "thread",
                                                              "tuple",
                                                              "type_traits",
                                                              "typeindex",
                                                              "typeinfo",
                                                              "unordered_map",
                                                              "unordered_set",
                                                              "utility",
                                                              "valarray",
                                                              "variant",
                                                              "vector",
                                                              "version"};
  const std::string name = path.filename().string();
  const std::string extension = path.extension().string();
  if (!extension.empty()) return std::find(extensions.begin(), extensions.end(), extension) != extensions.end();
  if (name.find('.') != std::string::npos) return false;
  return standard.contains(name) || path.parent_path().filename() == "experimental";
}

/// A header, and the folder right below the root that it is in ("." for the root itself).
struct HeaderFile {
  std::filesystem::path path;
  std::string folder;
};

/// Walks over a tree and gives its headers, one for each call of `next`, always in the same order. A directory is
/// entered once, whatever links lead to it: those that are reached by links come after all the others. A link to a file
/// counts as a file. What cannot be looked at is left out, and reported by `problems`. Not thread-safe.
class HeaderWalk {
 public:
  /// Throws `std::filesystem::filesystem_error` if `root` is no readable directory.
  explicit HeaderWalk(const std::filesystem::path& root) {
    // Before anything else happens, a root that cannot be read is an error and no problem among others.
    static_cast<void>(std::filesystem::directory_iterator(root));
    directories_.push_back({root, ""});
  }

  [[nodiscard]] std::optional<HeaderFile> next() {
    while (headers_.empty()) {
      std::deque<HeaderFile>& source = directories_.empty() ? linked_ : directories_;
      if (source.empty()) return std::nullopt;
      // Depth first: what a directory holds is taken up before its neighbours.
      const HeaderFile directory = std::move(source.front());
      source.pop_front();
      enter(directory);
    }
    HeaderFile header = std::move(headers_.front());
    headers_.pop_front();
    return header;
  }

  [[nodiscard]] const std::vector<std::string>& problems() const noexcept { return problems_; }

 private:
  using Identity = std::pair<std::uint64_t, std::uint64_t>;

  [[nodiscard]] bool first_visit(const std::filesystem::path& directory) {
    struct stat status{};
    if (::stat(directory.c_str(), &status) != 0) return true;
    return visited_.insert(Identity(status.st_dev, status.st_ino)).second;
  }

  void enter(const HeaderFile& directory) {
    if (!first_visit(directory.path)) return;
    std::error_code error;
    std::vector<std::filesystem::directory_entry> entries;
    for (std::filesystem::directory_iterator it(directory.path, error), end; !error && it != end; it.increment(error)) {
      entries.push_back(*it);
    }
    if (error) problems_.push_back(fmt::format("{}: {}", directory.path.string(), error.message()));
    std::sort(entries.begin(), entries.end());

    std::deque<HeaderFile> below;
    for (const auto& entry : entries) {
      const bool link = entry.is_symlink(error);
      if (entry.is_directory(error)) {
        HeaderFile child{entry.path(), directory.folder.empty() ? entry.path().filename().string() : directory.folder};
        (link ? linked_ : below).push_back(std::move(child));
      } else if (is_header(entry.path())) {
        if (entry.is_regular_file(error)) {
          headers_.push_back({entry.path(), directory.folder.empty() ? "." : directory.folder});
        } else if (error) {
          problems_.push_back(fmt::format("{}: {}", entry.path().string(), error.message()));
        }
      }
    }
    directories_.insert(directories_.begin(), below.begin(), below.end());
  }

  std::deque<HeaderFile> directories_;
  std::deque<HeaderFile> linked_;
  std::deque<HeaderFile> headers_;
  std::set<Identity> visited_;
  std::vector<std::string> problems_;
};

}  // namespace example
