#include <weir/stream/source/directory_changes.hpp>

#include "support/catch.hpp"

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include <weir/core/sync_wait.hpp>

#include "stream/run.hpp"
#include "stream/temporary_file.hpp"

namespace {

namespace fs = std::filesystem;
using weir::DirectoryChange;
using Kind = DirectoryChange::Kind;

class TemporaryFolder {
 public:
  TemporaryFolder() : file_("") {
    fs::remove(file_.path());
    fs::create_directory(file_.path());
  }
  ~TemporaryFolder() { fs::remove_all(file_.path()); }
  [[nodiscard]] const fs::path& path() const { return file_.path(); }
  void write(const std::string& name, const std::string& text) const { std::ofstream(path() / name) << text; }

 private:
  weir_test::TemporaryFile file_;
};

/// The changes up to the removal of a file called "end".
template <class Change>
std::vector<DirectoryChange> changes(const TemporaryFolder& folder, Change change) {
  asio::io_context context;
  // Seen from here on, though the stream runs later only.
  auto source = weir::directory_changes(folder.path());
  change();
  folder.write("end", "");
  fs::remove(folder.path() / "end");
  std::vector<DirectoryChange> seen;
  weir::EmittingTask<DirectoryChange, void, weir::Nothing> stream;
  stream = weir::emits<DirectoryChange>(context)
               .sender(std::move(source))
               .receiver([&](const auto& event) {
                 const DirectoryChange& one = event.data();
                 if (one.kind == Kind::removed && one.path.filename() == "end") stream.cancel();
                 if (one.path.filename() != "end") seen.push_back(one);
               })
               .start();
  context.run();
  CHECK(weir::sync_wait(stream.final_event()).outcome() == weir::Outcome::cancelled);
  return seen;
}

}  // namespace

TEST_CASE("directory_changes: created, modified, closed, moved and removed, each with its path") {
  const TemporaryFolder folder;
  const TemporaryFolder elsewhere;
  const auto seen = changes(folder, [&] {
    folder.write("a", "text");
    fs::rename(folder.path() / "a", folder.path() / "b");
    fs::rename(folder.path() / "b", elsewhere.path() / "b");
    fs::rename(elsewhere.path() / "b", folder.path() / "c");
    fs::create_directory(folder.path() / "d");
    fs::remove(folder.path() / "c");
    fs::remove(folder.path() / "d");
  });
  const std::vector<std::pair<Kind, std::string>> expected{
      {Kind::created, "a"},  {Kind::modified, "a"},   {Kind::closed, "a"},   {Kind::moved_from, "a"},
      {Kind::moved_to, "b"}, {Kind::moved_from, "b"}, {Kind::moved_to, "c"}, {Kind::created, "d"},
      {Kind::removed, "c"},  {Kind::removed, "d"}};
  REQUIRE(seen.size() == expected.size());
  for (std::size_t i = 0; i < seen.size(); ++i) {
    CHECK(seen[i].kind == expected[i].first);
    CHECK(seen[i].path == folder.path() / expected[i].second);
    CHECK(seen[i].is_directory == (expected[i].second == "d"));
  }
  CHECK(seen[3].move_id != 0);
  CHECK(seen[3].move_id == seen[4].move_id);
  CHECK(seen[5].move_id != seen[6].move_id);
  CHECK(seen[0].move_id == 0);
}

TEST_CASE("directory_changes: an overflow of the kernel's queue is an event, and the stream goes on") {
  const TemporaryFolder folder;
  std::size_t limit = 16384;
  std::ifstream("/proc/sys/fs/inotify/max_queued_events") >> limit;
  if (limit > 200'000) return;
  asio::io_context context;
  auto source = weir::directory_changes(folder.path());
  // Two alternate, so that none is merged with the one before.
  std::ofstream one(folder.path() / "one");
  std::ofstream two(folder.path() / "two");
  for (std::size_t i = 0; i < limit; ++i) (i % 2 == 0 ? one : two) << 'x' << std::flush;
  std::size_t seen = 0;
  bool overflow = false;
  bool after = false;
  weir::EmittingTask<DirectoryChange, void, weir::Nothing> stream;
  stream = weir::emits<DirectoryChange>(context)
               .sender(std::move(source))
               .receiver([&](const auto& event) {
                 ++seen;
                 if (event.data().kind == Kind::overflow) {
                   overflow = true;
                   CHECK(event.data().path == folder.path());
                   fs::create_directory(folder.path() / "after");
                 } else if (event.data().path.filename() == "after") {
                   after = true;
                   stream.cancel();
                 }
               })
               .start();
  context.run();
  CHECK(overflow);
  CHECK(after);
  CHECK(seen >= limit);
}

TEST_CASE("directory_changes: what can't be watched, or is removed, is named") {
  CHECK_THROWS_WITH(weir::directory_changes("/nowhere"), "can't watch /nowhere: No such file or directory");
  const weir_test::TemporaryFile file("");
  CHECK_THROWS_AS(weir::directory_changes(file.path()), std::system_error);
  asio::io_context context;
  auto folder = std::make_unique<TemporaryFolder>();
  const fs::path path = folder->path();
  auto stream = weir::emits<DirectoryChange>(context)
                    .sender(weir::directory_changes(path))
                    .receiver([](const auto& event) { return event.data().kind; })
                    .start();
  context.poll();
  folder->write("a", "");
  folder.reset();
  context.run();
  const auto final = weir::sync_wait(stream.final_event());
  CHECK(final.outcome() == weir::Outcome::failed);
  CHECK(final.error().text().find(path.string()) != std::string::npos);
  CHECK(final.collected().front() == Kind::created);
  CHECK(final.collected().back() == Kind::removed);
}

TEST_CASE("directory_changes: its context ends while it waits; and in the simulator it says that it can't") {
  const TemporaryFolder folder;
  {
    asio::thread_pool pool(2);
    auto waiting = weir::emits<DirectoryChange>(pool)
                       .sender(weir::directory_changes(folder.path()))
                       .receiver([](const auto&) {})
                       .start();
    folder.write("a", "");
    pool.stop();
  }
  weir::sim::Simulator sim;
  auto stream = weir::emits<DirectoryChange>(sim)
                    .sender(weir::directory_changes(folder.path()))
                    .receiver([](const auto&) {})
                    .start();
  const auto final = weir_test::final_of(sim, stream);
  CHECK(final.outcome() == weir::Outcome::failed);
  CHECK(final.error().text().find("simulator") != std::string::npos);
}
