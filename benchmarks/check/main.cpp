// Says whether a file of results has the shape that others rely on: weir_bench_check RESULTS.json ID…
#include <algorithm>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using Json = nlohmann::json;

void expect(bool holds, const std::string& what, const Json& where) {
  if (!holds) throw std::runtime_error(what + ": " + where.dump());
}

bool is_spread(const Json& value) {
  if (!value.is_object()) return false;
  for (const char* name : {"median", "min", "max"}) {
    if (!value.contains(name) || !value[name].is_number()) return false;
  }
  return value["min"] <= value["median"] && value["median"] <= value["max"] && value["min"] >= 0;
}

void check_machine(const Json& machine) {
  for (const char* name : {"cpu", "compiler", "asio"}) {
    expect(machine.contains(name) && machine[name].is_string() && machine[name] != "", name, machine);
  }
  expect(machine.contains("cores") && machine["cores"].is_number_unsigned(), "cores", machine);
}

void check_timeline(const Json& timeline) {
  for (const char* name : {"seconds", "events_per_second", "concurrency", "batch"}) {
    expect(timeline.contains(name) && timeline[name].is_array(), name, timeline);
    expect(timeline[name].size() == timeline["seconds"].size(), name, timeline);
    for (const Json& value : timeline[name]) expect(value.is_number() && value >= 0, name, timeline);
  }
}

// What a workload reports in place of a time for each event.
std::vector<std::string> figures_of(const Json& result) {
  if (result["id"] == "W8") return {"bytes", "resident_bytes", "ns_per_value"};
  if (result["id"] == "W7" && result["job"] == "burst") {
    return {"bytes", "resident_bytes", "given_back", "resident_given_back", "trimmed_given_back"};
  }
  if (result["id"] == "W9") {
    return {"p50_ns",       "p99_ns",    "p999_ns",   "post_p50_ns", "post_p99_ns",
            "post_p999_ns", "p50_posts", "p99_posts", "p999_posts",  "post_p999_posts"};
  }
  if (result["id"] == "W10") {
    return {"p50_ns",          "p99_ns",     "p999_ns",    "p99_runs",   "p99_in_way",
            "p99_beyond_runs", "low_p50_ns", "low_p99_ns", "low_p999_ns"};
  }
  if (result["id"] == "promises") {
    if (result["promise"] == "response") return {"urgent_mean_ns", "urgent_p99_ns", "low_mean_ns", "low_p99_ns"};
    if (result["promise"] == "stuck") return {"stuck", "completed", "given_up"};
    return {"good_per_s", "urgent_good", "low_good", "handled"};
  }
  return {};
}

void check_result(const Json& result) {
  for (const char* name : {"id", "payload", "subject", "variant"}) {
    expect(result.contains(name) && result[name].is_string(), name, result);
  }
  expect(result["payload"] == "u64" || result["payload"] == "p64", "payload", result);
  if (result.contains("absent")) {
    expect(result["absent"] == true && result.value("why", "") != "", "absent without a reason", result);
    expect(result["subject"] != "weir", "weir itself is absent", result);
    return;
  }
  if (const auto figures = figures_of(result); !figures.empty()) {
    for (const std::string& name : figures) {
      expect(result.contains(name) && is_spread(result[name]), name, result);
    }
    expect(!result.contains("ns_per_event"), "a time in place of its figures", result);
  } else {
    expect(result.contains("ns_per_event") && is_spread(result["ns_per_event"]), "ns_per_event", result);
    expect(result["ns_per_event"]["min"] > 0, "no time at all", result);
    expect(result.contains("ratio") && is_spread(result["ratio"]) && result["ratio"]["to"].is_string(), "ratio",
           result);
  }
  if (result.contains("timeline")) check_timeline(result["timeline"]);
  const Json& allocations = result.at("allocs_per_event");
  expect(allocations.is_null() || (allocations.is_number() && allocations >= 0), "allocs_per_event", result);
}

// What a plot or a comparison looks a result up by; a second one of the same name would hide the first.
std::string name_of(const Json& result) {
  Json name = result;
  for (const std::string& figure : figures_of(result)) name.erase(figure);
  for (const char* figure :
       {"events", "ns_per_event", "ratio", "allocs_per_event", "bystander", "absent", "why", "timeline"}) {
    name.erase(figure);
  }
  return name.dump();
}

void check_workload(const std::string& id, const Json& results) {
  std::set<std::string> variants;
  std::set<std::string> payloads;
  for (const Json& result : results) {
    if (result["id"] != id || result["subject"] != "weir") continue;
    variants.insert(result["variant"]);
    payloads.insert(result["payload"]);
  }
  const std::set<std::string> both{"p64", "u64"};
  const bool one_payload = id == "W9" || id == "W10" || id == "W11" || id == "promises";
  expect(one_payload ? payloads.contains("u64") : payloads == both, id + " has not both payloads", payloads);

  std::set<std::string> wanted;
  if (id == "W1") wanted = {"local", "local_bulk", "shared", "shared_bulk"};
  if (id == "W2" || id == "W3" || id == "W4") wanted = {"shared", "shared_bulk"};
  if (id == "W7") wanted = {"another_thread", "one_thread", "normal", "mixed", "burst"};
  if (id == "W9") wanted = {"to_token", "to_end"};
  if (id == "W10") wanted = {"urgency"};
  if (id == "promises") wanted = {"response", "run_timeout", "cancelled", "priorities", "both"};
  if (id == "W5" || id == "W8") wanted = {"local", "shared"};
  if (id == "W11") wanted = {"adaptive", "adaptive_batched", "serial", "parallel_2", "batched_64"};
  expect(std::includes(variants.begin(), variants.end(), wanted.begin(), wanted.end()), id + " lacks a variant",
         variants);
}

void check(const char* path, const std::vector<std::string>& ids) {
  std::ifstream file(path);
  const Json document = Json::parse(file);
  check_machine(document.at("machine"));
  const Json& results = document.at("results");
  std::set<std::string> names;
  for (const Json& result : results) {
    check_result(result);
    expect(names.insert(name_of(result)).second, "twice", result);
  }
  for (const std::string& id : ids) check_workload(id, results);
  std::cout << results.size() << " results as promised\n";
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc < 2) throw std::runtime_error("which file?");
    check(argv[1], {argv + 2, argv + argc});
  } catch (const std::exception& error) {
    std::cerr << "weir_bench_check: " << error.what() << '\n';
    return 1;
  }
}
