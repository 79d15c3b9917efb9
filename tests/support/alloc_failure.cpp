#include "support/alloc_failure.hpp"

#include <dlfcn.h>
#include <execinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <stdexcept>
#include <string_view>

#define CATCH_CONFIG_RUNNER
#include "support/catch.hpp"

namespace {

constexpr std::uint64_t never = static_cast<std::uint64_t>(-1);

std::uint64_t fail_at = never;
bool fail_after = false;
std::uint64_t asked = 0;
std::int64_t live = 0;
int reliable = 0;

/// Whether it is asked for by a post: one to an `any_io_executor` asks before the executor within, which may be
/// reliable, knows of it. The program has to export its names.
bool is_in_post() {
  ++reliable;
  std::array<void*, 64> frames;
  const int depth = backtrace(frames.data(), static_cast<int>(frames.size()));
  bool found = false;
  for (int i = 0; i < depth && !found; ++i) {
    Dl_info place{};
    found = dladdr(frames[static_cast<std::size_t>(i)], &place) != 0 && place.dli_sname &&
            std::string_view(place.dli_sname).find("4asio4post") != std::string_view::npos;
  }
  --reliable;
  return found;
}

void* allocate(std::size_t size) {
  if (fail_at != never && reliable == 0) {
    ++asked;
    if ((asked == fail_at || (fail_after && asked > fail_at)) && !is_in_post()) {
      throw std::bad_alloc();
    }
  }
  void* const memory = std::malloc(size != 0 ? size : 1);
  if (!memory) throw std::bad_alloc();
  ++live;
  return memory;
}

void release(void* memory) noexcept {
  if (memory) --live;
  std::free(memory);
}

}  // namespace

void* operator new(std::size_t size) { return allocate(size); }
void* operator new(std::size_t size, std::align_val_t align) {
  // Only to be counted, and to fail: malloc knows nothing of alignment.
  ::operator delete(allocate(1));
  const auto alignment = static_cast<std::size_t>(align);
  void* const memory = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (!memory) throw std::bad_alloc();
  ++live;
  return memory;
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  try {
    return allocate(size);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void operator delete(void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::size_t) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { release(memory); }

namespace weir_test {

Reliable::Reliable() noexcept { ++reliable; }
Reliable::~Reliable() { --reliable; }

namespace {

struct Broken : std::logic_error {
  using std::logic_error::logic_error;
};

enum Ended : int { fine = 0, not_reached = 10, leaked = 11, broken = 12, terminated = 13, threw = 14 };

const char* word(int ended) {
  switch (ended) {
    case leaked:
      return "something was not freed";
    case broken:
      return "a promise was broken";
    case terminated:
      return "the program was ended";
    case threw:
      return "something else than std::bad_alloc was thrown";
    default:
      return "crashed, or did not end";
  }
}

int run(const std::function<void(Stage&)>& scenario, std::uint64_t n, bool after) {
  const std::int64_t before = live;
  int ended = fine;
  {
    Stage stage;
    asked = 0;
    fail_after = after;
    fail_at = n;
    try {
      scenario(stage);
    } catch (const std::bad_alloc&) {
    } catch (const Broken& error) {
      std::fprintf(stderr, "%s\n", error.what());
      ended = broken;
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", error.what());
      ended = threw;
    }
  }
  fail_at = never;
  if (ended == fine && live != before) {
    std::fprintf(stderr, "%lld blocks\n", static_cast<long long>(live - before));
    ended = leaked;
  }
  return ended == fine && asked < n ? not_reached : ended;
}

int run_apart(const std::function<void(Stage&)>& scenario, std::uint64_t n, bool after) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) throw std::runtime_error("fork failed");
  if (child == 0) {
    // One that does not end is ended by the signal.
    alarm(10);
    std::set_terminate([] { _exit(terminated); });
    const int ended = run(scenario, n, after);
    std::fflush(nullptr);
    _exit(ended);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

void require(bool holds, const char* what) {
  if (holds) return;
  const Reliable now;
  throw Broken(what);
}

Stage::Stage() { poll(); }

void Stage::poll() {
  context_.restart();
  context_.poll();
}

Failures fail_each(const std::function<void(Stage&)>& scenario) {
  Failures failures;
  // What the program allocates once and keeps, such as a table of a locale, is not the scenario's.
  int ended = run(scenario, never - 1, false);
  if (ended == leaked) ended = run(scenario, never - 1, false);
  if (ended != not_reached) failures.trouble += std::string("without a failure: ") + word(ended) + "\n";
  for (const bool after : {false, true}) {
    for (std::uint64_t n = 1;; ++n) {
      ended = run_apart(scenario, n, after);
      if (ended == not_reached) break;
      failures.allocations = n;
      if (ended == fine) continue;
      if (ended == terminated) ++failures.ended_program;
      failures.trouble +=
          "allocation " + std::to_string(n) + (after ? " and all that follow" : "") + ": " + word(ended) + "\n";
    }
  }
  return failures;
}

}  // namespace weir_test

int main(int argc, char** argv) { return Catch::Session().run(argc, argv); }
