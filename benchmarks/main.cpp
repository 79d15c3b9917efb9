#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <exception>
#include <fstream>
#include <iostream>
#include <list>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#if defined(__GLIBC__)
#  include <malloc.h>
#endif

#include "harness.hpp"
#include "report.hpp"
#include "workloads.hpp"

namespace weir_bench {
namespace {

struct Workload {
  std::string_view id;
  std::string_view what;
  std::vector<Group> (*groups)();
};

constexpr std::array workloads{
    Workload{"W1", "one sender, one receiver, one thread", &w1_groups},
    Workload{"W2", "one sender, one receiver, two threads; beside it with a bystander", &w2_groups},
    Workload{"W3", "four senders, one receiver, two threads", &w3_groups},
    Workload{"W4", "four senders, four receivers, two threads", &w4_groups},
    Workload{"W5", "capacity 1: hand-off, and a request and its reply, on one thread and on two", &w5_groups},
    Workload{"W6", "a stream: source, four receivers that work, a collection", &w6_groups},
    Workload{"W7", "a bus: published to 1 and 10 handlers, at any depth; the bare queue; memory of a burst",
             &w7_groups},
    Workload{"W8", "100,000 idle channels: bytes each, and one value through each", &w8_groups},
    Workload{"W9", "a bus: from a cancel to the token, and to the end of a handler, beside a post's round trip",
             &w9_groups},
    Workload{"W10", "a bus: critical events beside low ones at 80, 95 and 120 % of what it can do", &w10_groups},
    Workload{"W11", "adaptive beside every fixed strategy: cheap, CPU-heavy and waiting events, and a mix over time",
             &w11_groups},
    Workload{"PROMISES", "a bus: what its users are promised, beside the plain one under the same load",
             &promise_groups},
};

constexpr int usage_error = 2;

const Workload* find_workload(std::string id) {
  std::transform(id.begin(), id.end(), id.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  const auto found = std::find_if(workloads.begin(), workloads.end(), [&](const Workload& w) { return w.id == id; });
  return found == workloads.end() ? nullptr : &*found;
}

std::string known_ids() {
  std::string ids;
  for (const Workload& workload : workloads) ids += (ids.empty() ? "" : " ") + std::string(workload.id);
  return ids;
}

// glibc's locks and libstdc++'s atomics are cheaper in a process with one thread; the programs that a channel is for
// have more. The second one sleeps until the end.
class SecondThread {
 public:
  SecondThread() = default;
  SecondThread(const SecondThread&) = delete;
  SecondThread& operator=(const SecondThread&) = delete;
  ~SecondThread() {
    done_.test_and_set();
    done_.notify_one();
    thread_.join();
  }

 private:
  std::atomic_flag done_;
  std::thread thread_{[this] { done_.wait(false); }};
};

// Memory that goes back to the system between two samples returns page by page inside the next one.
void keep_freed_memory() {
#if defined(__GLIBC__)
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_TOP_PAD, 16 << 20);
#endif
}

int run(const std::vector<const Workload*>& chosen, const Effort& effort, const std::string& json_path) {
  // Opened before the minutes of measuring, not after them.
  std::ofstream json;
  if (!json_path.empty()) {
    json.open(json_path);
    if (!json) {
      std::cerr << "weir_bench: cannot write " << json_path << '\n';
      return usage_error;
    }
  }

#if !defined(NDEBUG)
  std::cerr << "weir_bench: built with assertions; these are not weir's figures\n";
#endif
  const Machine machine = Machine::this_one();
  print_machine(std::cout, machine);

  std::list<std::vector<Group>> groups;
  std::vector<GroupResult> outcomes;
  for (const Workload* workload : chosen) {
    for (const Group& group : groups.emplace_back(workload->groups())) {
      outcomes.push_back(measure(group, effort));
      print_table(std::cout, outcomes.back());
    }
  }

  if (json.is_open()) {
    write_json(json, machine, outcomes);
    json.close();
    if (!json) {
      std::cerr << "weir_bench: cannot write " << json_path << '\n';
      return 1;
    }
  }
  return 0;
}

int run_command_line(int argc, char** argv) {
  CLI::App app{"Measures weir against its references. Subjects of a workload run in turns; what counts is the ratio."};
  std::vector<std::string> ids;
  std::string json_path;
  bool quick = false;
  bool smoke = false;
  bool list = false;
  app.add_option("ID", ids, "workloads to run (" + known_ids() + "); all when none is named");
  app.add_flag("--quick", quick, "short samples and few rounds: a look, not a measurement");
  app.add_flag("--smoke", smoke, "a few events for each subject: that it runs, and no figures")->excludes("--quick");
  app.add_option("--json", json_path, "write the results to FILE")->option_text("FILE");
  app.add_flag("--list", list, "list the workloads and leave");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : usage_error;
  }

  if (list) {
    for (const Workload& workload : workloads) std::cout << workload.id << "  " << workload.what << '\n';
    return 0;
  }

  std::vector<const Workload*> chosen;
  for (const std::string& id : ids) {
    const Workload* workload = find_workload(id);
    if (workload == nullptr) {
      std::cerr << "weir_bench: no workload " << id << " (there are " << known_ids() << ")\n";
      return usage_error;
    }
    if (std::find(chosen.begin(), chosen.end(), workload) == chosen.end()) chosen.push_back(workload);
  }
  if (ids.empty()) {
    for (const Workload& workload : workloads) chosen.push_back(&workload);
  }

  keep_freed_memory();
  const SecondThread second_thread;
  return run(chosen, smoke ? Effort::smoke() : quick ? Effort::quick() : Effort{}, json_path);
}

}  // namespace
}  // namespace weir_bench

int main(int argc, char** argv) {
  try {
    return weir_bench::run_command_line(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "weir_bench: " << error.what() << '\n';
    return 1;
  }
}
