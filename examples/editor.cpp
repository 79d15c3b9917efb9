/// An editor that indexes a file while somebody types: the keys overtake the indexing.
///
///     editor [--plain] [--keys TEXT] FILE
///
/// Each line of FILE ("-": standard input) is a job for the index, of low priority; each letter of TEXT is a key, which
/// is critical. Both go over one bus with one worker. At the end it says how many jobs a key had to wait for; with
/// --plain the bus has no priorities, and a key waits for all that was there before it.
#include <algorithm>
#include <cstddef>
#include <fstream>
#include <iostream>
#include <set>
#include <sstream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <weir/bus/priority_event_bus.hpp>
#include <weir/core/sync_wait.hpp>
#include <weir/core/timer.hpp>

#include "support/options.hpp"
#include "support/output.hpp"

namespace {

constexpr std::string_view program = "editor";

struct Key {
  char letter = 0;
  /// How many jobs had been done when it was pressed.
  std::size_t jobs_done = 0;
};

constexpr weir::Topic<std::string> index_line{"index.line"};
constexpr weir::Topic<Key> key_pressed{"ui.key"};

/// Its handlers run one at a time, as the bus has one worker.
class Editor {
 public:
  template <class Bus>
  std::vector<weir::Subscription> listen_to(Bus& bus) {
    std::vector<weir::Subscription> handlers;
    handlers.push_back(bus.subscribe(index_line, [this](const std::string& line) { index(line); }));
    handlers.push_back(bus.subscribe(key_pressed, [this](const Key& key) {
      screen_ += key.letter;
      longest_wait_ = std::max(longest_wait_, jobs_done_ - key.jobs_done);
    }));
    return handlers;
  }

  [[nodiscard]] std::size_t jobs_done() const noexcept { return jobs_done_; }
  [[nodiscard]] std::string describe() const {
    return fmt::format("typed: {}\na key waited for {} of {} jobs at most\n{} different words\n", screen_,
                       longest_wait_, jobs_done_, words_.size());
  }

 private:
  void index(const std::string& line) {
    std::istringstream in(line);
    for (std::string word; in >> word;) words_.insert(word);
    ++jobs_done_;
  }

  std::string screen_;
  std::set<std::string> words_;
  std::size_t jobs_done_ = 0;
  std::size_t longest_wait_ = 0;
};

/// On the thread of the bus, which so looks at the editor between two events.
template <class Bus>
weir::Task<> work(Bus& bus, const Editor& editor, const std::vector<std::string>& lines, const std::string& keys) {
  for (const std::string& line : lines) co_await bus.publish(index_line, line, weir::EventPriority::low);
  for (const char letter : keys) {
    Key key{letter, editor.jobs_done()};
    co_await bus.publish(key_pressed, key, weir::EventPriority::critical);
    co_await weir::yield();
  }
  co_await bus.drain();
}

template <class Bus>
int edit(const std::vector<std::string>& lines, const std::string& keys) {
  Editor editor;
  asio::thread_pool pool(1);
  Bus bus(pool, {.workers = 1, .capacity = lines.size() + keys.size() + 1});
  const auto handlers = editor.listen_to(bus);
  weir::sync_wait(pool, work(bus, editor, lines, keys));
  example::print(editor.describe());
  return example::exit_done;
}

std::vector<std::string> read_lines(const std::string& path) {
  std::ifstream file;
  if (path != "-") {
    file.open(path);
    if (!file) throw std::system_error(errno, std::generic_category(), path);
  }
  std::vector<std::string> lines;
  for (std::string line; std::getline(path == "-" ? std::cin : file, line);) lines.push_back(std::move(line));
  return lines;
}

}  // namespace

int main(int argc, char** argv) {
  std::string path;
  std::string keys = "urgent";
  bool plain = false;
  CLI::App app("Keys overtake the indexing of a file.", std::string(program));
  app.add_option("FILE", path, "what is indexed, line by line; - is standard input")->required();
  app.add_option("--keys", keys, "what is typed meanwhile")->capture_default_str();
  app.add_flag("--plain", plain, "a bus without priorities");
  if (const auto code = example::parse(app, argc, argv)) return *code;
  try {
    const auto lines = read_lines(path);
    return plain ? edit<weir::EventBus>(lines, keys) : edit<weir::PriorityEventBus>(lines, keys);
  } catch (const std::exception& error) {
    example::complain(program, error.what());
  }
  return example::exit_failed;
}
