#include <weir/stream/lines_of.hpp>

#include "support/catch.hpp"

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "stream/run.hpp"

namespace {

namespace fs = std::filesystem;

class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& content)
      : path_(fs::temp_directory_path() / ("weir_lines_of_" + std::to_string(reinterpret_cast<std::uintptr_t>(this)))) {
    std::ofstream(path_, std::ios::binary) << content;
  }
  ~TemporaryFile() { fs::remove(path_); }
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

auto read(const fs::path& path, std::size_t capacity = 16) {
  weir::sim::Simulator sim;
  auto stream = weir::emits<std::string>(sim)
                    .capacity(capacity)
                    .sender(weir::lines_of(path))
                    .receiver([](auto& event) { return std::move(event).data(); })
                    .start();
  return weir_test::final_of(sim, stream);
}

std::vector<std::string> lines(const std::string& content) {
  const TemporaryFile file(content);
  const auto final = read(file.path());
  CHECK(final.outcome() == weir::Outcome::completed);
  return final.collected();
}

using Lines = std::vector<std::string>;

}  // namespace

TEST_CASE("lines_of: both line ends, empty lines, and a last line without an end") {
  CHECK(lines("") == Lines{});
  CHECK(lines("\n") == Lines{""});
  CHECK(lines("a") == Lines{"a"});
  CHECK(lines("a\nb\n") == Lines{"a", "b"});
  CHECK(lines("a\r\n\r\nb\r\n\nc\rd") == Lines{"a", "", "b", "", "c\rd"});
  CHECK(lines("a\r") == Lines{"a"});
}

TEST_CASE("lines_of: lines across blocks, and longer than a block") {
  const std::size_t block = weir::LinesOf::block_size;
  const std::string longest(3 * block + 5, 'x');
  const std::string before(block - 1, 'a');
  CHECK(lines(longest + "\r\nend") == Lines{longest, "end"});
  // The return is the last byte of a block, and the end of the line the first of the next.
  CHECK(lines(before + "\r\nb\n") == Lines{before, "b"});
  CHECK(lines(before + "a\r\nb\n") == Lines{before + "a", "b"});
  Lines many;
  std::string text;
  for (int i = 0; i < 50000; ++i) {
    many.push_back(std::to_string(i) + std::string(static_cast<std::size_t>(i % 40), '.'));
    text += many.back() + "\n";
  }
  CHECK(lines(text) == many);
}

TEST_CASE("lines_of: a file that can't be opened or read ends the stream as failed, and names it") {
  const fs::path nowhere = "/nowhere/access.log";
  const auto missing = read(nowhere);
  CHECK(missing.outcome() == weir::Outcome::failed);
  CHECK(missing.error().text() == "can't open /nowhere/access.log: No such file or directory");
  CHECK_THROWS_AS(missing.error().rethrow(), std::system_error);
  const auto folder = read(fs::temp_directory_path());
  CHECK(folder.outcome() == weir::Outcome::failed);
  CHECK(folder.error().text().find(fs::temp_directory_path().string()) != std::string::npos);
  CHECK(folder.stats().balanced());
}
