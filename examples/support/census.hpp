/// What the headers of a tree add up to.
#pragma once

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "support/header_walk.hpp"
#include "support/include_scan.hpp"
#include "support/table.hpp"

namespace example {

/// The whole of a file. Throws `std::system_error` that names the path.
[[nodiscard]] inline std::string read_whole(const std::filesystem::path& path) {
  const auto failed = [&path] { return std::system_error(errno, std::generic_category(), path.string()); };
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rbe"), &std::fclose);
  if (!file) throw failed();
  std::string text;
  constexpr std::size_t step = 64 * 1024;
  for (;;) {
    const std::size_t before = text.size();
    text.resize(before + step);
    const std::size_t got = std::fread(text.data() + before, 1, step, file.get());
    text.resize(before + got);
    if (got < step) break;
  }
  if (std::ferror(file.get())) throw failed();
  return text;
}

/// What one header adds.
struct HeaderFacts {
  std::string folder;
  std::uint64_t bytes = 0;
  IncludeScan scan;
};

/// Opens, reads and scans a header. Throws `std::system_error` if it cannot be read.
[[nodiscard]] inline HeaderFacts read_header(const HeaderFile& header) {
  const std::string text = read_whole(header.path);
  return {header.folder, text.size(), scan_includes(text)};
}

/// What is in one folder.
struct FolderTotals {
  std::uint64_t headers = 0;
  std::uint64_t lines = 0;
  friend bool operator==(const FolderTotals&, const FolderTotals&) = default;
};

/// Several counts made in one pass. The same headers give the same census in whatever order they come.
class Census {
 public:
  void add(HeaderFacts facts) {
    ++headers_;
    lines_ += facts.scan.lines;
    bytes_ += facts.bytes;
    includes_ += facts.scan.includes.size();
    FolderTotals& folder = by_folder_[std::move(facts.folder)];
    ++folder.headers;
    folder.lines += facts.scan.lines;
    for (std::string& name : facts.scan.includes) ++by_include_[std::move(name)];
  }

  friend bool operator==(const Census&, const Census&) = default;

  [[nodiscard]] std::uint64_t headers() const noexcept { return headers_; }
  [[nodiscard]] std::uint64_t lines() const noexcept { return lines_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
  [[nodiscard]] std::uint64_t includes() const noexcept { return includes_; }
  [[nodiscard]] const std::map<std::string, FolderTotals>& by_folder() const noexcept { return by_folder_; }
  [[nodiscard]] const std::unordered_map<std::string, std::uint64_t>& by_include() const noexcept {
    return by_include_;
  }

 private:
  std::uint64_t headers_ = 0;
  std::uint64_t lines_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t includes_ = 0;
  std::map<std::string, FolderTotals> by_folder_;
  std::unordered_map<std::string, std::uint64_t> by_include_;
};

/// The census as JSON, but for what the run adds: unreadable, strategy, seconds, outcome.
[[nodiscard]] inline nlohmann::ordered_json to_json(const Census& census) {
  using Json = nlohmann::ordered_json;
  Json top_includes = Json::array();
  for (const auto& [name, times] : top_of(census.by_include(), 10)) {
    Json entry;
    entry["name"] = name;
    entry["times"] = times;
    top_includes.push_back(std::move(entry));
  }
  Json lines_by_folder = Json::object();
  for (const auto& [folder, totals] : census.by_folder()) lines_by_folder[folder] = totals.lines;
  Json json;
  json["headers"] = census.headers();
  json["lines"] = census.lines();
  json["bytes"] = census.bytes();
  json["includes"] = census.includes();
  json["top_includes"] = std::move(top_includes);
  json["lines_by_folder"] = std::move(lines_by_folder);
  return json;
}

/// The census for people.
[[nodiscard]] inline std::string to_text(const Census& census) {
  std::string text = fmt::format("{} headers, {} lines, {} includes\n", grouped(census.headers()),
                                 grouped(census.lines()), grouped(census.includes()));
  Table includes({"times", "included"});
  for (const auto& [name, times] : top_of(census.by_include(), 10)) includes.add({grouped(times), shown(name, 80)});
  Table folders({"lines", "headers", "folder"});
  const auto lines_of = [](const auto& entry) { return entry.second.lines; };
  for (const auto& [folder, totals] : top_of(census.by_folder(), 10, lines_of)) {
    folders.add({grouped(totals.lines), grouped(totals.headers), shown(folder, 80)});
  }
  return text + "\nMost included\n" + includes.text() + "\nLines by top folder\n" + folders.text();
}

}  // namespace example
