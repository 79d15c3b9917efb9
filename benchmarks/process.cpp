#include "process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <utility>

extern char** environ;

namespace weir_bench {
namespace {

// Long enough for any sample on any machine; a program that takes longer hangs.
constexpr int patience_ms = 300'000;

[[noreturn]] void fail(const std::string& what) { throw std::system_error(errno, std::generic_category(), what); }

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) noexcept : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    Descriptor taken(std::move(other));
    std::swap(number_, taken.number_);
    return *this;
  }
  ~Descriptor() { close(); }

  [[nodiscard]] int number() const noexcept { return number_; }
  void close() noexcept {
    if (number_ >= 0) ::close(std::exchange(number_, -1));
  }

 private:
  int number_ = -1;
};

struct Pipe {
  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) fail("pipe");
    out = Descriptor(ends[0]);
    in = Descriptor(ends[1]);
  }
  Descriptor out;
  Descriptor in;
};

void write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      fail("write");
    }
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

/// One answer at a time: whatever follows a line's end has not been asked for. Gives what came before the other side
/// ended, if it did.
std::string read_line(int descriptor) {
  std::string line;
  for (;;) {
    pollfd wanted{.fd = descriptor, .events = POLLIN, .revents = 0};
    const int ready = poll(&wanted, 1, patience_ms);
    if (ready == 0) throw std::runtime_error("no answer within minutes");
    if (ready < 0) {
      if (errno == EINTR) continue;
      fail("poll");
    }
    char text[512];
    const ssize_t count = ::read(descriptor, text, std::size(text));
    if (count < 0) {
      if (errno == EINTR) continue;
      fail("read");
    }
    line.append(text, static_cast<std::size_t>(count));
    if (count == 0) return line;
    if (line.ends_with('\n')) {
      line.pop_back();
      return line;
    }
  }
}

std::string as_line(const Sample& sample) {
  std::ostringstream line;
  line.precision(17);
  line << "ns_per_event " << sample.ns_per_event << " allocs_per_event " << sample.allocs_per_event;
  for (const auto& [name, value] : sample.figures) line << ' ' << name << ' ' << value;
  line << '\n';
  return line.str();
}

}  // namespace

Sample parse_sample(const std::string& line) {
  constexpr std::string_view error = "error ";
  if (line.empty()) throw std::runtime_error("it ended without an answer");
  if (line.starts_with(error)) throw std::runtime_error(line.substr(error.size()));
  Sample sample;
  std::istringstream words(line);
  std::string name;
  for (double value = 0; words >> name >> value;) {
    if (name == "ns_per_event") {
      sample.ns_per_event = value;
    } else if (name == "allocs_per_event") {
      sample.allocs_per_event = value;
    } else {
      sample.figures[name] = value;
    }
  }
  if (!words.eof()) throw std::runtime_error("its answer is not one: " + line);
  return sample;
}

Sample run_in_a_copy(const std::function<Sample()>& run) {
  Pipe answer;
  std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid < 0) fail("fork");
  if (pid == 0) {
    std::string line;
    try {
      line = as_line(run());
    } catch (const std::exception& error) {
      line = std::string("error ") + error.what() + '\n';
    }
    try {
      write_all(answer.in.number(), line);
    } catch (...) {
      // The parent sees that nothing came.
    }
    _exit(0);
  }
  answer.in.close();
  std::string line;
  try {
    line = read_line(answer.out.number());
  } catch (...) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    throw;
  }
  waitpid(pid, nullptr, 0);
  return parse_sample(line);
}

class Program::Child {
 public:
  explicit Child(const std::string& path) {
    Pipe requests;
    Pipe answers;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, requests.out.number(), STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, answers.in.number(), STDOUT_FILENO);
    std::string name = path;
    char* arguments[] = {name.data(), nullptr};
    const int error = posix_spawn(&pid_, path.c_str(), &actions, nullptr, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) throw std::system_error(error, std::generic_category(), path);
    requests_ = std::move(requests.in);
    answers_ = std::move(answers.out);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    requests_.close();
    if (hangs_) kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }

  std::string ask(const std::string& request) {
    // A program that has ended is found out by its missing answer, and not by a signal.
    std::signal(SIGPIPE, SIG_IGN);
    hangs_ = true;
    write_all(requests_.number(), request + '\n');
    std::string answer = read_line(answers_.number());
    hangs_ = false;
    return answer;
  }

 private:
  pid_t pid_ = 0;
  Descriptor requests_;
  Descriptor answers_;
  bool hangs_ = false;  // true until it has answered
};

Program::Program(std::string path) : path_(std::move(path)) {}

Program::~Program() = default;

Sample Program::ask(const std::string& request) {
  if (!child_) child_ = std::make_unique<Child>(path_);
  return parse_sample(child_->ask(request));
}

}  // namespace weir_bench
