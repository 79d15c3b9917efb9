#include "report.hpp"

#include <algorithm>
#include <asio/version.hpp>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <ostream>
#include <sstream>
#include <thread>

namespace weir_bench {
namespace {

using Json = nlohmann::ordered_json;

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (!line.starts_with("model name")) continue;
    const auto colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

std::string compiler_name() {
#if defined(__clang__)
  return std::string("Clang ") + __clang_version__;
#elif defined(__GNUC__)
  return std::string("GCC ") + __VERSION__;
#else
  return "unknown";
#endif
}

// Three significant digits: the spread does not bear more.
std::string number(double value) {
  std::ostringstream text;
  text.setf(std::ios::fixed);
  text.precision(std::abs(value) >= 100 ? 0 : std::abs(value) >= 10 ? 1 : 2);
  text << value;
  return text.str();
}

std::string allocations_text(double value) {
  if (value == 0) return "0";
  return value < 0.005 ? "<0.01" : number(value);
}

Json spread_json(const Spread& spread) {
  return Json{{"median", spread.median}, {"min", spread.min}, {"max", spread.max}};
}

using Row = std::vector<std::string>;

// Names to the left, figures to the right, so that their digits stand under each other.
void print_rows(std::ostream& out, const std::vector<Row>& rows) {
  constexpr std::size_t names = 2;
  std::vector<std::size_t> widths(rows.front().size(), 0);
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const Row& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - row[i].size(), ' ');
      line += i == 0 ? "  " : "   ";
      line += i < names ? row[i] + padding : padding + row[i];
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out << line << '\n';
  }
}

std::string allocations_cell(const Result& result) {
  return result.subject->allocations_counted ? allocations_text(result.allocs_per_event) : "own";
}

std::vector<Row> rows_of_times(const GroupResult& outcome) {
  const bool has_ratio = !outcome.reference.empty();
  const std::string ratio_title = has_ratio ? "x " + outcome.reference : "ratio";
  std::vector<Row> rows{{"subject", "variant", "ns/event", "min", "max", ratio_title, "min", "max", "allocs/event"}};
  for (const Result& result : outcome.results) {
    const Subject& subject = *result.subject;
    if (subject.is_absent()) continue;
    const auto ratio = [&](double value) { return has_ratio ? number(value) : std::string("-"); };
    rows.push_back({subject.name, subject.variant, number(result.ns_per_event.median), number(result.ns_per_event.min),
                    number(result.ns_per_event.max), ratio(result.ratio.median), ratio(result.ratio.min),
                    ratio(result.ratio.max), allocations_cell(result)});
  }
  return rows;
}

std::vector<Row> rows_of_figures(const GroupResult& outcome) {
  std::vector<Row> rows{{"subject", "variant"}};
  for (const std::string& figure : outcome.group->figures)
    rows.back().insert(rows.back().end(), {figure, "min", "max"});
  const bool has_ratio = !outcome.group->rated.empty() && !outcome.reference.empty();
  if (has_ratio) rows.back().push_back(outcome.group->rated + " x " + outcome.reference);
  rows.back().push_back("allocs/event");
  for (const Result& result : outcome.results) {
    if (result.subject->is_absent()) continue;
    rows.push_back({result.subject->name, result.subject->variant});
    for (const std::string& figure : outcome.group->figures) {
      const Spread& spread = result.figures.at(figure);
      rows.back().insert(rows.back().end(), {number(spread.median), number(spread.min), number(spread.max)});
    }
    if (has_ratio) rows.back().push_back(number(result.ratio.median));
    rows.back().push_back(allocations_cell(result));
  }
  return rows;
}

void print_extras(std::ostream& out, const GroupResult& outcome) {
  std::vector<Row> rows;
  for (const Result& result : outcome.results) {
    if (result.extra.empty()) continue;
    if (rows.empty()) {
      rows.push_back({result.subject->extra->name, ""});
      for (const auto& [name, spread] : result.extra) rows.back().insert(rows.back().end(), {name, "max"});
    }
    rows.push_back({result.subject->name, result.subject->variant});
    for (const auto& [name, spread] : result.extra) {
      rows.back().insert(rows.back().end(), {number(spread.median), number(spread.max)});
    }
  }
  if (rows.empty()) return;
  out << '\n';
  print_rows(out, rows);
}

Json result_json(const GroupResult& outcome, const Result& result) {
  const Group& group = *outcome.group;
  const Subject& subject = *result.subject;
  Json entry{{"id", group.id}, {"payload", group.payload}, {"subject", subject.name}, {"variant", subject.variant}};
  for (const auto& [name, value] : group.fields) {
    std::visit([&entry, &key = name](const auto& field) { entry[key] = field; }, value);
  }
  if (subject.is_absent()) {
    entry["absent"] = true;
    entry["why"] = subject.absent_because;
    return entry;
  }
  entry["events"] = result.events;
  for (const std::string& figure : group.figures) entry[figure] = spread_json(result.figures.at(figure));
  if (group.figures.empty()) entry["ns_per_event"] = spread_json(result.ns_per_event);
  if ((group.figures.empty() || !group.rated.empty()) && !outcome.reference.empty()) {
    Json ratio{{"to", outcome.reference}};
    if (!group.rated.empty()) ratio["of"] = group.rated;
    ratio.update(spread_json(result.ratio));
    entry["ratio"] = std::move(ratio);
  }
  entry["allocs_per_event"] = subject.allocations_counted ? Json(result.allocs_per_event) : Json(nullptr);
  if (!result.timeline.empty()) {
    Json& timeline = entry["timeline"];
    for (const TimelinePoint& point : result.timeline) {
      timeline["seconds"].push_back(point.seconds);
      timeline["events_per_second"].push_back(point.events_per_second);
      timeline["concurrency"].push_back(point.concurrency);
      timeline["batch"].push_back(point.batch);
    }
  }
  if (subject.extra) {
    for (const auto& [name, spread] : result.extra) entry[subject.extra->name][name] = spread_json(spread);
  }
  return entry;
}

}  // namespace

Machine Machine::this_one() {
  return {cpu_name(), std::thread::hardware_concurrency(), compiler_name(),
          std::to_string(ASIO_VERSION / 100000) + "." + std::to_string(ASIO_VERSION / 100 % 1000) + "." +
              std::to_string(ASIO_VERSION % 100)};
}

void print_machine(std::ostream& out, const Machine& machine) {
  out << machine.cpu << ", " << machine.cores << " cores, " << machine.compiler << ", Asio " << machine.asio << '\n';
}

void print_table(std::ostream& out, const GroupResult& outcome) {
  const Group& group = *outcome.group;
  out << '\n' << group.id << "  " << group.title << ", " << group.payload << '\n';

  std::vector<Row> rows = group.figures.empty() ? rows_of_times(outcome) : rows_of_figures(outcome);
  print_rows(out, rows);

  for (const Result& result : outcome.results) {
    const Subject& subject = *result.subject;
    if (!subject.is_absent()) continue;
    out << "  " << subject.name << (subject.variant.empty() ? "" : " ") << subject.variant
        << " is absent: " << subject.absent_because << '\n';
  }
  print_extras(out, outcome);
  out.flush();
}

void write_json(std::ostream& out, const Machine& machine, const std::vector<GroupResult>& outcomes) {
  Json document;
  document["machine"] = {
      {"cpu", machine.cpu}, {"cores", machine.cores}, {"compiler", machine.compiler}, {"asio", machine.asio}};
  document["results"] = Json::array();
  for (const GroupResult& outcome : outcomes) {
    for (const Result& result : outcome.results) document["results"].push_back(result_json(outcome, result));
  }
  out << document.dump(2) << '\n';
}

}  // namespace weir_bench
