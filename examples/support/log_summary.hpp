/// What the lines of an access log add up to.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "support/log_line.hpp"
#include "support/table.hpp"

namespace example {

/// A line that was read: by its number, from 1.
struct LogRecord {
  std::uint64_t line = 0;
  std::variant<LogHit, LogFault> content;
  std::string text;  ///< only of a malformed line
};

/// Reads a line into a record.
[[nodiscard]] inline LogRecord read_log_record(std::uint64_t number, std::string_view line, bool merge_queries) {
  LogRecord record{number, parse_log_line(line), {}};
  if (std::holds_alternative<LogFault>(record.content)) {
    record.text = shown(line, 100);
  } else if (merge_queries) {
    std::string& path = std::get<LogHit>(record.content).path;
    path.resize(without_query(path).size());
  }
  return record;
}

/// What was asked of one path.
struct PathTotals {
  std::uint64_t requests = 0;
  std::uint64_t bytes = 0;
  friend bool operator==(const PathTotals&, const PathTotals&) = default;
};

/// A line that is no log line.
struct MalformedLine {
  std::string_view reason;
  std::string text;
  friend bool operator==(const MalformedLine&, const MalformedLine&) = default;
};

/// Several counts made in one pass. The same records give the same summary in whatever order they come.
class LogSummary {
 public:
  static constexpr std::size_t shown_malformed = 5;

  void add(LogRecord record) {
    ++lines_;
    if (const auto* const fault = std::get_if<LogFault>(&record.content)) {
      ++malformed_;
      first_malformed_.insert_or_assign(record.line, MalformedLine{fault->reason, std::move(record.text)});
      if (first_malformed_.size() > shown_malformed) first_malformed_.erase(std::prev(first_malformed_.end()));
      return;
    }
    auto& hit = std::get<LogHit>(record.content);
    ++by_status_[hit.status];
    ++by_hour_[hit.hour];
    bytes_ += hit.bytes;
    PathTotals& path = by_path_[std::move(hit.path)];
    ++path.requests;
    path.bytes += hit.bytes;
  }

  friend bool operator==(const LogSummary&, const LogSummary&) = default;

  [[nodiscard]] std::uint64_t lines() const noexcept { return lines_; }
  [[nodiscard]] std::uint64_t malformed() const noexcept { return malformed_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
  [[nodiscard]] const std::map<int, std::uint64_t>& by_status() const noexcept { return by_status_; }
  [[nodiscard]] const std::map<int, std::uint64_t>& by_hour() const noexcept { return by_hour_; }
  [[nodiscard]] const std::unordered_map<std::string, PathTotals>& by_path() const noexcept { return by_path_; }
  /// By line number.
  [[nodiscard]] const std::map<std::uint64_t, MalformedLine>& first_malformed() const noexcept {
    return first_malformed_;
  }

 private:
  std::uint64_t lines_ = 0;
  std::uint64_t malformed_ = 0;
  std::uint64_t bytes_ = 0;
  std::map<int, std::uint64_t> by_status_;
  std::map<int, std::uint64_t> by_hour_;
  std::unordered_map<std::string, PathTotals> by_path_;
  std::map<std::uint64_t, MalformedLine> first_malformed_;
};

/// The summary as the JSON object of `--json`, but for what the run adds: strategy, seconds, outcome.
[[nodiscard]] inline nlohmann::ordered_json to_json(const LogSummary& summary) {
  using Json = nlohmann::ordered_json;
  Json by_status = Json::object();
  for (const auto& [status, requests] : summary.by_status()) by_status[fmt::format("{}", status)] = requests;
  Json by_hour = Json::object();
  for (const auto& [hour, requests] : summary.by_hour()) by_hour[fmt::format("{:02}", hour)] = requests;
  Json top_paths = Json::array();
  const auto requests_of = [](const auto& entry) { return entry.second.requests; };
  for (const auto& [path, totals] : top_of(summary.by_path(), 10, requests_of)) {
    Json entry;
    entry["path"] = path;
    entry["requests"] = totals.requests;
    entry["bytes"] = totals.bytes;
    top_paths.push_back(std::move(entry));
  }
  Json json;
  json["lines"] = summary.lines();
  json["malformed"] = summary.malformed();
  json["by_status"] = std::move(by_status);
  json["by_hour"] = std::move(by_hour);
  json["bytes"] = summary.bytes();
  json["top_paths"] = std::move(top_paths);
  return json;
}

/// The summary for people.
[[nodiscard]] inline std::string to_text(const LogSummary& summary) {
  std::string text = fmt::format("{} lines, {} bytes sent\n", grouped(summary.lines()), grouped(summary.bytes()));

  const auto share = [&summary](std::uint64_t requests) {
    const auto total = static_cast<double>(summary.lines() - summary.malformed());
    return fmt::format("{:.1f}%", 100.0 * static_cast<double>(requests) / total);
  };
  Table statuses({"requests", "share", "status"});
  for (const auto& [status, n] : top_of(summary.by_status(), 10)) {
    statuses.add({grouped(n), share(n), fmt::format("{}", status)});
  }
  Table hours({"requests", "share", "hour"});
  for (const auto& [hour, n] : top_of(summary.by_hour(), 10)) {
    hours.add({grouped(n), share(n), fmt::format("{:02}", hour)});
  }
  const auto paths = [&summary](auto rank) {
    Table table({"requests", "bytes", "path"});
    for (const auto& [path, totals] : top_of(summary.by_path(), 10, rank)) {
      table.add({grouped(totals.requests), grouped(totals.bytes), shown(path, 80)});
    }
    return table.text();
  };
  text += "\nRequests by status\n" + statuses.text();
  text += "\nBusiest hours\n" + hours.text();
  text += "\nMost requested\n" + paths([](const auto& entry) { return entry.second.requests; });
  text += "\nMost bytes\n" + paths([](const auto& entry) { return entry.second.bytes; });

  if (summary.malformed() > 0) {
    text += fmt::format("\nMalformed lines: {}\n", grouped(summary.malformed()));
    for (const auto& [line, malformed] : summary.first_malformed()) {
      text += fmt::format("  line {}: {}: {}\n", line, malformed.reason, malformed.text);
    }
    if (summary.malformed() > summary.first_malformed().size()) text += "  and more\n";
  }
  return text;
}

}  // namespace example
