#include "programs.hpp"

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "process.hpp"

namespace weir_bench {
namespace {

namespace fs = std::filesystem;

// What the build left there for each: the program, or a file that says why there is none.
struct Built {
  explicit Built(std::string program_name)
      : name(std::move(program_name)), path(fs::path(WEIR_BENCH_PROGRAMS) / ("weir_bench_" + name)) {}

  [[nodiscard]] bool present() const { return fs::exists(path); }
  [[nodiscard]] std::string why_absent() const {
    std::ifstream file(path.string() + ".absent");
    std::string why;
    return std::getline(file, why) && !why.empty() ? why : "it was not built";
  }

  std::string name;
  fs::path path;
};

std::string request(const std::string& workload, const std::string& payload, std::uint64_t events) {
  return workload + ' ' + payload + ' ' + std::to_string(events);
}

Subject subject_of(const Built& built, std::shared_ptr<Program> program, const std::string& workload,
                   std::string_view payload, std::string variant) {
  Subject subject;
  subject.name = built.name;
  subject.variant = std::move(variant);
  if (!built.present()) {
    subject.absent_because = built.why_absent();
    return subject;
  }
  subject.run = [program, path = built.path.string(), workload, payload = std::string(payload)](std::uint64_t events) {
    if (program) return program->ask(request(workload, payload, events));
    return Program(path).ask(request(workload, payload, events));
  };
  return subject;
}

const Built& go() {
  static const Built built("go");
  return built;
}

const Built& tokio() {
  static const Built built("tokio");
  return built;
}

}  // namespace

Subject go_subject(const std::string& workload, std::string_view payload, std::string variant) {
  static const auto program = std::make_shared<Program>(go().path.string());
  return subject_of(go(), program, workload, payload, std::move(variant));
}

Subject tokio_subject(const std::string& workload, std::string_view payload, std::string variant) {
  static const auto program = std::make_shared<Program>(tokio().path.string());
  return subject_of(tokio(), program, workload, payload, std::move(variant));
}

Subject fresh_go_subject(const std::string& workload, std::string_view payload) {
  return subject_of(go(), nullptr, workload, payload, {});
}

Subject fresh_tokio_subject(const std::string& workload, std::string_view payload) {
  return subject_of(tokio(), nullptr, workload, payload, {});
}

}  // namespace weir_bench
