#include <weir/stream/source/from_stream.hpp>

#include "support/catch.hpp"

#include <array>
#include <memory>
#include <string>
#include <vector>

#include <unistd.h>

#include <weir/core/sync_wait.hpp>
#include <weir/core/timer.hpp>
#include <weir/sim/explore.hpp>

#include "stream/run.hpp"

namespace {

using weir::sim::ensure;
using Lines = std::vector<std::string>;

/// An AsyncReadStream on the simulator: what is received, a piece a read, and how it ends.
class ScriptedStream {
 public:
  struct Script {
    std::vector<std::string> pieces;
    std::error_code end = asio::error::eof;
    std::size_t reads = 0;
    int streams = 0;
    bool stays_open = false;
    bool ends_with_data = false;
  };

  ScriptedStream(weir::sim::Simulator& sim, Script& script) : sim_(&sim), script_(&script) { ++script_->streams; }
  ScriptedStream(ScriptedStream&& other) noexcept : sim_(other.sim_), script_(std::exchange(other.script_, nullptr)) {}
  ScriptedStream& operator=(ScriptedStream&&) = delete;
  ~ScriptedStream() {
    if (script_) --script_->streams;
  }

  template <class Token>
  auto async_read_some(asio::mutable_buffer buffer, Token&& token) {
    auto initiate = [sim = sim_, script = script_, buffer](auto handler) {
      using Reading = Operation<decltype(handler)>;
      auto reading = std::make_shared<Reading>(Reading{std::move(handler)});
      auto slot = asio::get_associated_cancellation_slot(*reading->handler);
      slot.assign([weak = std::weak_ptr(reading)](asio::cancellation_type) {
        if (const auto found = weak.lock()) found->finish(asio::error::operation_aborted, 0);
      });
      ++script->reads;
      if (script->reads > script->pieces.size() && script->stays_open) {
        script->pieces.push_back("");
        sim->template keep<std::shared_ptr<Reading>>(std::move(reading));
        return;
      }
      asio::post(*sim, [reading, script, buffer, read = script->reads - 1] {
        if (!reading->handler) return;
        if (read >= script->pieces.size()) return reading->finish(script->end, 0);
        const std::string& piece = script->pieces[read];
        ensure(piece.size() <= buffer.size(), "the block is too small for the script");
        std::copy(piece.begin(), piece.end(), static_cast<char*>(buffer.data()));
        const bool last = read + 1 == script->pieces.size();
        reading->finish(last && script->ends_with_data ? script->end : std::error_code(), piece.size());
      });
    };
    return asio::async_initiate<Token, void(std::error_code, std::size_t)>(std::move(initiate), token);
  }

 private:
  template <class Handler>
  struct Operation {
    std::optional<Handler> handler;
    void finish(std::error_code error, std::size_t size) {
      if (!handler) return;
      Handler called = std::move(*handler);
      handler.reset();
      std::move(called)(error, size);
    }
  };

  weir::sim::Simulator* sim_;
  Script* script_;
};

using Script = ScriptedStream::Script;

template <class Configure>
auto read(Script script, Configure configure) {
  weir::sim::Simulator sim;
  auto stream = weir::emits<std::string>(sim)
                    .capacity(2)
                    .sender(configure(weir::from_stream(ScriptedStream(sim, script))))
                    .receiver([](auto& event) { return std::move(event).data(); })
                    .start();
  const auto final = weir_test::final_of(sim, stream);
  CHECK(script.streams == 0);
  CHECK(final.stats().balanced());
  return final;
}
auto read(Script script) {
  return read(std::move(script), [](auto source) { return source; });
}

}  // namespace

TEST_CASE("from_stream: lines across reads, and a clean end completes with or without a last unfinished line") {
  const auto final = read({{"a\nb", "", "c\r", "\n", "\r\nd\re\n", "last"}});
  CHECK(final.outcome() == weir::Outcome::completed);
  CHECK(final.collected() == Lines{"a", "bc", "", "d\re", "last"});
  const auto dropped = read({{"a\nlast"}}, [](auto s) { return std::move(s).unfinished(weir::Unfinished::drop); });
  CHECK(dropped.outcome() == weir::Outcome::completed);
  CHECK(dropped.collected() == Lines{"a"});
  const auto failed = read({{"a\nlast"}}, [](auto s) { return std::move(s).unfinished(weir::Unfinished::fail); });
  CHECK(failed.outcome() == weir::Outcome::failed);
  CHECK(failed.error().text().find("inside a record") != std::string::npos);
  CHECK(failed.collected() == Lines{"a"});
  CHECK(read({{"a\n"}}, [](auto s) { return std::move(s).unfinished(weir::Unfinished::fail); }));
}

TEST_CASE("from_stream: an error ends the stream as failed after the whole lines that came before it") {
  const auto final = read({{"a\nb\nhal"}, asio::error::connection_reset});
  CHECK(final.outcome() == weir::Outcome::failed);
  CHECK(final.collected() == Lines{"a", "b"});
  try {
    final.error().rethrow();
    CHECK(false);
  } catch (const std::system_error& error) {
    CHECK(error.code() == asio::error::connection_reset);
  }
}

TEST_CASE("from_stream: a line that is longer than max_record ends the stream as failed, whole or not yet") {
  for (const char* const end : {"\nb\n", ""}) {
    const auto final = read({{"12345\r\n12345\n123456", std::string("7") + end, "never read\n"}},
                            [](auto s) { return std::move(s).max_record(5); });
    CHECK(final.outcome() == weir::Outcome::failed);
    CHECK(final.collected() == Lines{"12345", "12345"});
    CHECK(final.error().text().find("max_record(5)") != std::string::npos);
  }
}

TEST_CASE("from_stream: what is received together with the end, or with an error, comes before it") {
  Script script{{"a\n", "b\nc"}};
  script.ends_with_data = true;
  const auto final = read(script);
  CHECK(final.outcome() == weir::Outcome::completed);
  CHECK(final.collected() == Lines{"a", "b", "c"});
  script.end = asio::error::connection_reset;
  const auto cut = read(script);
  CHECK(cut.outcome() == weir::Outcome::failed);
  CHECK(cut.collected() == Lines{"a", "b"});
}

TEST_CASE("from_stream: a last line without an end is not longer than max_record either") {
  const auto bounded = [](auto s) { return std::move(s).max_record(5); };
  CHECK(read({{"1\n12345\r"}}, bounded).collected() == Lines{"1", "12345"});
  const auto final = read({{"1\n123456"}}, bounded);
  CHECK(final.outcome() == weir::Outcome::failed);
  CHECK(final.collected() == Lines{"1"});
}

TEST_CASE("from_stream: of a line without an end no more is read than max_record and a block") {
  weir::sim::Simulator sim;
  Script script{std::vector<std::string>(50, "12345")};
  auto stream = weir::emits<std::string>(sim)
                    .sender(weir::from_stream(ScriptedStream(sim, script)).max_record(12))
                    .receiver([](auto& event) { return std::move(event).data(); })
                    .start();
  CHECK(weir_test::final_of(sim, stream).outcome() == weir::Outcome::failed);
  // One byte more might be the line's return.
  CHECK(script.reads == 3);
}

TEST_CASE("from_stream: records by a string") {
  weir::sim::Simulator sim;
  Script script{{"a\r", "\n\r\n", "b\r\nc"}};
  auto stream = weir::emits<std::string>(sim)
                    .sender(weir::from_stream(ScriptedStream(sim, script), "\r\n"))
                    .receiver([](auto& event) { return std::move(event).data(); })
                    .start();
  CHECK(weir_test::final_of(sim, stream).collected() == Lines{"a", "", "b", "c"});
}

TEST_CASE("from_stream: a stream of the user's is there afterwards") {
  asio::io_context context;
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  asio::posix::stream_descriptor in(context, ends[0]);
  const std::string text = "one;two";
  REQUIRE(::write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  ::close(ends[1]);
  auto stream = weir::emits<std::string>(context)
                    .sender(weir::from_stream(in, ';'))
                    .receiver([](auto& event) { return std::move(event).data(); })
                    .start();
  context.run();
  CHECK(weir::sync_wait(stream.final_event()).collected() == Lines{"one", "two"});
  CHECK(in.is_open());
}

TEST_CASE("from_stream: under every schedule, cancelled or destroyed at every step, also while it waits for a read") {
  enum class Action { none, graceful, immediate, end_context };
  for (const bool stays_open : {false, true}) {
    for (const Action action : {Action::none, Action::graceful, Action::immediate, Action::end_context}) {
      if (stays_open && action == Action::none) continue;
      const auto scenario = [=](weir::sim::Simulator& sim) {
        auto& script = sim.keep<Script>(Script{{"a\nb\nc\nd", "\ne\n"}, asio::error::eof, 0, 0, stays_open});
        auto stream = weir::emits<std::string>(sim)
                          .capacity(1)
                          .sender(weir::from_stream(ScriptedStream(sim, script)))
                          .receiver([](auto& event) { return std::move(event).data(); })
                          .start();
        decltype(stream)::final_event_type final;
        weir::spawn(sim, stream.final_event(), [&final](std::exception_ptr, auto event) { final = std::move(event); });
        // Ends the one that stays open where nothing else does.
        if (stays_open) {
          sim.spawn([&stream]() -> weir::Task<> {
            co_await weir::sleep_for(std::chrono::seconds(1));
            stream.cancel();
          });
        }
        sim.on_action([&] {
          if (action == Action::graceful) stream.cancel(weir::CancellationLevel::graceful);
          if (action == Action::immediate) stream.cancel(weir::CancellationLevel::immediate);
          if (action == Action::end_context) sim.stop();
        });
        sim.run();
        if (sim.stopped()) {
          sim.shut_down();
        } else {
          ensure(final.stats().balanced(), "the counts add up");
          ensure(final.stats().processed == final.collected().size(), "each line was collected");
          const Lines all{"a", "b", "c", "d", "e"};
          ensure(std::equal(final.collected().begin(), final.collected().end(), all.begin()), "a beginning, in order");
          if (final) ensure(final.collected() == all, "completed means all");
          ensure(final || final.outcome() == weir::Outcome::cancelled, "a cancel is no failure");
        }
        ensure(script.streams == 0, "the stream was closed");
      };
      if (action == Action::none) {
        weir::sim::explore(scenario);
      } else {
        weir::sim::explore_each_step(scenario);
      }
    }
  }
  CHECK(true);
}
