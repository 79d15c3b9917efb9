#include <weir/stream/source/lines_of.hpp>

#include "support/catch.hpp"

#include <filesystem>
#include <string>
#include <vector>

#include "stream/run.hpp"
#include "stream/temporary_file.hpp"

namespace {

namespace fs = std::filesystem;
using weir_test::TemporaryFile;

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
  const std::size_t block = weir::FileRecords::block_size;
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

TEST_CASE("lines_of: a line that is longer than max_record ends the stream as failed after those before it") {
  for (const std::size_t size : {6u, 300'000u}) {
    const TemporaryFile file("12345\n12345\r\n" + std::string(size, '6') + "\nend\n");
    weir::sim::Simulator sim;
    auto stream = weir::emits<std::string>(sim)
                      .sender(weir::lines_of(file.path()).max_record(5))
                      .receiver([](auto& event) { return std::move(event).data(); })
                      .start();
    const auto final = weir_test::final_of(sim, stream);
    CHECK(final.outcome() == weir::Outcome::failed);
    CHECK(final.error().text().find("max_record(5)") != std::string::npos);
    CHECK(final.collected() == Lines{"12345", "12345"});
  }
}
