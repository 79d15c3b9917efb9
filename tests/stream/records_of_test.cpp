#include <weir/stream/source/records_of.hpp>

#include "support/allocation_counter.hpp"
#include "support/catch.hpp"

#include <charconv>
#include <random>
#include <string>
#include <vector>

#include <weir/core/sync_wait.hpp>

#include "stream/run.hpp"
#include "stream/temporary_file.hpp"

namespace {

using weir_test::TemporaryFile;
using Records = std::vector<std::string>;

/// A number that is read without an allocation.
struct Number {
  explicit Number(std::string_view text) { std::from_chars(text.data(), text.data() + text.size(), value); }
  std::uint64_t value = 0;
};

template <class D>
Records records(const std::string& content, D delimiter) {
  const TemporaryFile file(content);
  weir::sim::Simulator sim;
  auto stream = weir::emits<std::string>(sim)
                    .sender(weir::records_of(file.path(), delimiter))
                    .receiver([](auto& event) { return std::move(event).data(); })
                    .start();
  const auto final = weir_test::final_of(sim, stream);
  CHECK(final.outcome() == weir::Outcome::completed);
  return final.collected();
}

/// The same by searching the whole text.
Records expected(std::string_view text, const std::string& delimiter) {
  Records found;
  for (std::size_t end = 0; (end = text.find(delimiter)) != std::string_view::npos;) {
    found.emplace_back(text.substr(0, end));
    text.remove_prefix(end + delimiter.size());
  }
  if (!text.empty()) found.emplace_back(text);
  return found;
}

}  // namespace

TEST_CASE("records_of: a character or a string ends a record, and nothing else is taken away") {
  CHECK(records("a;b\n;;c", ';') == Records{"a", "b\n", "", "c"});
  CHECK(records("a\r\nb", '\n') == Records{"a\r", "b"});
  CHECK(records(std::string("a\0b\0", 4), '\0') == Records{"a", "b"});
  CHECK(records("a--b-c---d--", "--") == Records{"a", "b-c", "-d"});
  CHECK(records("a-", "--") == Records{"a-"});
  CHECK_THROWS_AS(weir::records_of("x", ""), weir::Error);
}

TEST_CASE("record splitter: wherever blocks are cut, the records are those of the whole text") {
  std::mt19937 dice(7);
  for (std::size_t round = 0; round < 20'000; ++round) {
    const std::string delimiter(std::array{"-", "--", "-+-", "+--+"}[round % 4]);
    std::string text;
    for (std::size_t left = dice() % 40; left != 0; --left) text += "-+a"[dice() % 3];
    weir::detail::RecordSplitter splitter(weir::detail::Delimiter::of(delimiter));
    Records found;
    for (std::string_view rest = text; !rest.empty();) {
      // A block of its own, so that a look at another one is found.
      const std::string block(rest.substr(0, 1 + dice() % 5));
      rest.remove_prefix(block.size());
      splitter.feed(block);
      for (std::string_view record; splitter.next(record);) found.emplace_back(record);
    }
    if (splitter.has_unfinished()) found.emplace_back(splitter.unfinished());
    if (found != expected(text, delimiter)) FAIL("'" << text << "' by '" << delimiter << "'");
  }
  CHECK(true);
}

TEST_CASE("records_of: a million in order, read beside the stream, without an allocation for one") {
  constexpr std::uint64_t count = 1'000'000;
  std::string text;
  for (std::uint64_t i = 0; i < count; ++i) text += std::to_string(i) + ';';
  const TemporaryFile file(text);
  asio::io_context context;
  asio::use_service<weir::BlockingService>(context).set_limit(1);
  std::uint64_t allocated = 0;
  std::optional<weir_test::AllocationCounter> counter;
  std::uint64_t next = 0;
  bool in_order = true;
  auto stream = weir::emits<Number>(context)
                    .sender(weir::records_of(file.path(), ';'))
                    .receiver([&](const auto& event) {
                      in_order = in_order && event.data().value == next++;
                      if (next == count / 2) counter.emplace();
                      if (next == count) allocated = counter->count();
                    })
                    .start();
  context.run();
  const auto final = weir::sync_wait(stream.final_event());
  CHECK(final.outcome() == weir::Outcome::completed);
  CHECK(in_order);
  CHECK(final.stats().processed == count);
  CHECK(final.stats().balanced());
  CHECK(allocated < 20);
  CHECK(asio::use_service<weir::BlockingService>(context).threads() == 1);
}

TEST_CASE("records_of: a pipe is waited for without a thread, by several streams more than there are threads") {
  asio::thread_pool pool(2);
  std::vector<std::unique_ptr<TemporaryFile>> pipes;
  using Stream = weir::EmittingTask<std::string, std::string>;
  std::vector<Stream> streams;
  for (int i = 0; i < 6; ++i) {
    pipes.push_back(std::make_unique<TemporaryFile>(TemporaryFile::Pipe()));
    REQUIRE(pipes.back()->made());
    streams.push_back(weir::emits<std::string>(pool)
                          .sender(weir::records_of(pipes.back()->path(), '\n'))
                          .receiver([](auto& event) { return std::move(event).data(); })
                          .start());
  }
  for (std::size_t i = pipes.size(); i-- != 0;) {
    // Waits until the stream has opened its end.
    std::ofstream out(pipes[i]->path());
    out << "a\nb" << std::flush << i << "\nc";
  }
  for (std::size_t i = 0; i < pipes.size(); ++i) {
    const auto final = weir::sync_wait(streams[i].final_event());
    CHECK(final.outcome() == weir::Outcome::completed);
    CHECK(final.collected() == Records{"a", "b" + std::to_string(i), "c"});
  }
}

TEST_CASE("records_of: cancelled while it waits for a pipe; destroyed with its context while it waits or reads") {
  const TemporaryFile pipe{TemporaryFile::Pipe()};
  REQUIRE(pipe.made());
  const TemporaryFile file(std::string(3'000'000, 'x') + ';');
  asio::thread_pool elsewhere(1);
  for (int round = 0; round < 30; ++round) {
    asio::thread_pool pool(2);
    const auto start = [&pool](const auto& path) {
      return weir::emits<std::string>(pool).sender(weir::records_of(path, ';')).receiver([](const auto&) {}).start();
    };
    auto waiting = start(pipe.path());
    auto reading = start(file.path());
    if (round % 3 == 0) {
      waiting.cancel();
      CHECK(weir::sync_wait(waiting.final_event()).outcome() == weir::Outcome::cancelled);
      reading.cancel();
      const auto final = weir::sync_wait(reading.final_event());
      CHECK((final.outcome() == weir::Outcome::cancelled || final.outcome() == weir::Outcome::completed));
    } else if (round % 3 == 1) {
      pool.stop();
    } else {
      const std::ofstream other_end(pipe.path());
      pool.stop();
    }
  }
  CHECK(true);
}
