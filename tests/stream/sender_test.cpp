#include <weir/stream/sender.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <vector>

#include <weir/core/timer.hpp>
#include <weir/sim/explore.hpp>
#include <weir/stream/flow/from.hpp>
#include <weir/stream/flow/take.hpp>
#include <weir/stream/source/interval.hpp>
#include <weir/stream/source/lines_of.hpp>

#include "stream/run.hpp"
#include "stream/temporary_file.hpp"

namespace {

/// Its type makes the streams': it is one for all of them.
struct Data {
  int operator()(const weir::ReceiverEvent<int>& event) const { return event.data(); }
};

template <class S>
auto emitted_by(S&& sender, std::size_t capacity = 4) {
  weir::sim::Simulator sim;
  auto stream = weir::emits<int>(sim).capacity(capacity).sender(std::forward<S>(sender)).receiver(Data()).start();
  const auto final = weir_test::final_of(sim, stream);
  CHECK(final.outcome() == weir::Outcome::completed);
  CHECK(final.stats().emitted == final.collected().size());
  return final.collected();
}

weir::Generator<int> counting(int n) {
  for (int i = 1; i <= n; ++i) co_yield i;
}

}  // namespace

TEST_CASE("sender: a coroutine, a plain function, a function that gives optionals") {
  const std::vector<int> expected{1, 2, 3};
  CHECK(emitted_by([](weir::Emitter<int>& out) -> weir::Task<> {
          for (int i = 1; i <= 3; ++i) co_await out.emit(i);
        }) == expected);
  CHECK(emitted_by([](weir::Emitter<int>& out) {
          for (int i = 1; i <= 3; ++i) CHECK(out.try_emit(i));
        }) == expected);
  CHECK(emitted_by([i = 0]() mutable -> std::optional<int> {
          if (i == 3) return std::nullopt;
          return ++i;
        }) == expected);
}

TEST_CASE("sender: a plain function finds no room when the stream is full") {
  int refused = 0;
  const auto emitted = emitted_by(
      [&refused](weir::Emitter<int>& out) {
        for (int i = 1; i <= 10; ++i) refused += out.try_emit(i) ? 0 : 1;
      },
      1);
  CHECK(emitted == std::vector{1});
  CHECK(refused == 9);
}

TEST_CASE("sender: ranges, views, generators, and functions that give them") {
  const std::vector<int> expected{1, 2, 3};
  CHECK(emitted_by(std::vector{1, 2, 3}) == expected);
  const std::list<int> named{1, 2, 3};
  CHECK(emitted_by(named) == expected);
  CHECK(emitted_by(std::views::iota(1, 4)) == expected);
  CHECK(emitted_by(counting(3)) == expected);
  CHECK(emitted_by([] { return counting(3); }) == expected);
  CHECK(emitted_by(std::vector<int>()).empty());
  CHECK(emitted_by(std::views::iota(0, 5000)).size() == 5000);
}

TEST_CASE("sender: moves out of a container that the stream owns") {
  weir::sim::Simulator sim;
  std::vector<std::unique_ptr<int>> items;
  items.push_back(std::make_unique<int>(1));
  items.push_back(std::make_unique<int>(2));
  auto stream = weir::emits<std::unique_ptr<int>>(sim)
                    .sender([&items](weir::Emitter<std::unique_ptr<int>>& out) -> weir::Task<> {
                      co_await out.emit_all(std::move(items));
                    })
                    .receiver([](auto& e) { return *e.data(); })
                    .start();
  CHECK(weir_test::final_of(sim, stream).collected() == std::vector{1, 2});
}

TEST_CASE("sender: one that throws, at once or midway, ends the stream as failed after what it emitted was processed") {
  for (const int before : {0, 1, 50}) {
    weir::sim::Simulator sim(static_cast<std::uint64_t>(before));
    auto stream = weir::emits<int>(sim)
                      .sender([before](weir::Emitter<int>& out) -> weir::Task<> {
                        for (int i = 0; i < before; ++i) co_await out.emit(i);
                        throw std::runtime_error("the source broke");
                      })
                      .receiver([](const auto& e) { return e.data(); })
                      .start();
    const auto final = weir_test::final_of(sim, stream);
    CHECK(final.outcome() == weir::Outcome::failed);
    CHECK(final.error().text() == "the source broke");
    CHECK_THROWS_AS(final.error().rethrow(), std::runtime_error);
    CHECK(final.collected().size() == static_cast<std::size_t>(before));
    CHECK(final.stats().balanced());
    CHECK(final.type() == weir::EventType::error);
  }
}

namespace {

using weir::sim::ensure;
using Lines = std::vector<std::string>;

const Lines six{"1", "2", "3", "4", "5", "6"};

/// Waits or not, and fails or not, by the seed.
struct Taking {
  weir::Task<std::string> operator()(weir::ReceiverEvent<std::string>& event) const {
    const bool fails = event.data() == "3" && seed % 5 < 2;
    if (seed % 2 == 0) co_await weir::sleep_for(std::chrono::milliseconds(2));
    if (fails) throw std::runtime_error("no");
    co_return std::move(event).data();
  }
  std::uint64_t seed;
};

using Stream = weir::EmittingTask<std::string, std::string>;

template <class Make>
Stream start(weir::sim::Simulator& sim, Make& make, std::uint64_t seed) {
  auto builder = weir::emits<std::string>(sim).capacity(2).on_error(seed % 5 == 0 ? weir::stop : weir::continue_);
  if (seed % 5 == 2) builder.timeout(std::chrono::milliseconds(5));
  return std::move(builder).sender(make()).receiver(Taking{seed}).start();
}

/// Whatever is done to a stream of these six, at every step, with receivers that fail and times that are up.
void explore_stream(const std::function<Stream(weir::sim::Simulator&, std::uint64_t seed)>& start_by) {
  enum class Action { none, graceful, forceful, immediate, drop_handle, end_context };
  for (const Action action : {Action::none, Action::graceful, Action::forceful, Action::immediate, Action::drop_handle,
                              Action::end_context}) {
    const auto scenario = [&start_by, action](weir::sim::Simulator& sim) {
      const std::uint64_t seed = std::stoull(sim.name().substr(sim.name().find(' ')));
      const std::uint64_t trouble = seed % 5;
      Stream stream = start_by(sim, seed);
      Stream::final_event_type final;
      weir::spawn(sim, stream.final_event(), [&final](std::exception_ptr, auto event) { final = std::move(event); });
      sim.on_step([&stream] { ensure(!stream || stream.stats().balanced(), "the counts add up at every step"); });
      sim.on_action([&] {
        if (action == Action::drop_handle) stream = Stream();
        if (action == Action::end_context) sim.stop();
        if (action == Action::graceful) stream.cancel(weir::CancellationLevel::graceful);
        if (action == Action::forceful) stream.cancel(weir::CancellationLevel::forceful);
        if (action == Action::immediate) stream.cancel(weir::CancellationLevel::immediate);
      });
      sim.run();
      if (sim.stopped()) return sim.shut_down();
      const weir::StreamStats stats = final.stats();
      ensure(stats.balanced() && stats.buffered == 0 && stats.in_progress == 0, "the counts add up");
      Lines expected = six;
      if (trouble < 2) expected.erase(expected.begin() + 2);
      ensure(final.collected().size() <= expected.size(), "nothing twice");
      ensure(std::equal(final.collected().begin(), final.collected().end(), expected.begin()), "a beginning, in order");
      if (final) ensure(final.collected() == expected, "completed means all");
      if (sim.acted()) return;
      const bool in_time = trouble != 2 || final.outcome() == weir::Outcome::timed_out;
      ensure(trouble == 0 ? final.outcome() == weir::Outcome::failed : final || in_time, "done, unless it fails");
    };
    if (action == Action::none) {
      weir::sim::explore(scenario);
    } else {
      weir::sim::explore_each_step(scenario);
    }
  }
}
template <class Make>
void explore_sender(Make make) {
  explore_stream([&make](weir::sim::Simulator& sim, std::uint64_t seed) { return start(sim, make, seed); });
}

}  // namespace

TEST_CASE("sender: each kind of them, and each source that can be simulated, whatever is done at whatever step") {
  REQUIRE_NOTHROW(explore_sender([] { return six; }));
  REQUIRE_NOTHROW(explore_sender([] { return std::views::all(six); }));
  REQUIRE_NOTHROW(explore_sender([] {
    return []() -> weir::Generator<std::string> {
      for (const std::string& line : six) co_yield line;
    };
  }));
  REQUIRE_NOTHROW(explore_sender([] {
    return [next = std::size_t{0}]() mutable { return next == six.size() ? std::nullopt : std::optional(six[next++]); };
  }));
  REQUIRE_NOTHROW(explore_sender([] { return weir::from(six) | weir::skip(0); }));
  const auto number = [](std::uint64_t tick) { return std::to_string(tick); };
  REQUIRE_NOTHROW(explore_sender([number] {
    return weir::interval(std::chrono::milliseconds(1), number).missed(weir::MissedTicks::catch_up).until_tick(6);
  }));
  const weir_test::TemporaryFile lines("1\n2\r\n3\n4\n5\n6");
  REQUIRE_NOTHROW(explore_sender([&lines] { return weir::lines_of(lines.path()); }));
}
