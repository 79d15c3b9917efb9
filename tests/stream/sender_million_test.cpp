// A million events of every kind of sender that needs nothing from outside: in order, none lost, none allocated.
#include <weir/stream/sender.hpp>

#include "support/allocation_counter.hpp"
#include "support/catch.hpp"
#include "support/stress.hpp"

#include <cstdint>
#include <optional>
#include <ranges>
#include <utility>
#include <vector>

#include <weir/core/sync_wait.hpp>
#include <weir/stream/emits.hpp>

namespace {

constexpr std::uint64_t count = weir_test::scaled(1'000'000);

template <class... S>
[[nodiscard]] bool a_million(S... sender) {
  asio::io_context context;
  std::uint64_t next = 0;
  bool in_order = true;
  std::optional<weir_test::AllocationCounter> counter;
  std::uint64_t allocated = count;
  auto stream = weir::emits<std::uint64_t>(context)
                    .sender(std::move(sender)...)
                    .receiver([&](const auto& event) {
                      in_order = in_order && event.data() == next++;
                      if (next == count / 4) counter.emplace();
                      if (next == count / 2) allocated = counter->count();
                    })
                    .start();
  context.run();
  const auto final = weir::sync_wait(stream.final_event());
  CHECK(final.outcome() == weir::Outcome::completed);
  CHECK(final.stats().emitted == count);
  CHECK(final.stats().processed == count);
  CHECK(final.stats().balanced());
  CHECK(in_order);
  CHECK(allocated == 0);
  return final.stats().processed == count;
}

weir::Generator<std::uint64_t> counting() {
  for (std::uint64_t i = 0; i < count; ++i) co_yield i;
}

}  // namespace

TEST_CASE("sender: a million of a view, a container, a generator and a function") {
  CHECK(a_million(std::views::iota(std::uint64_t{0}, count)));
  std::vector<std::uint64_t> items;
  for (std::uint64_t i = 0; i < count; ++i) items.push_back(i);
  CHECK(a_million(std::move(items)));
  CHECK(a_million(counting()));
  CHECK(a_million([i = std::uint64_t{0}]() mutable -> std::optional<std::uint64_t> {
    if (i == count) return std::nullopt;
    return i++;
  }));
}

TEST_CASE("sender: a million of a coroutine, one by one, all at once, and by runs") {
  CHECK(a_million([](weir::Emitter<std::uint64_t>& out) -> weir::Task<> {
    for (std::uint64_t i = 0; i < count; ++i) co_await out.emit(i);
  }));
  CHECK(a_million([](weir::Emitter<std::uint64_t>& out) -> weir::Task<> {
    const auto all = std::views::iota(std::uint64_t{0}, count);
    co_await out.emit_all(all);
  }));
  CHECK(a_million([](weir::Emitter<std::uint64_t>& out) -> weir::Task<> {
    std::vector<weir::SenderEvent<std::uint64_t>> run;
    run.reserve(100);
    for (std::uint64_t i = 0; i < count; ++i) {
      run.emplace_back(std::in_place, i);
      if (run.size() == 100) co_await out.emit_run(run);
    }
  }));
}

TEST_CASE("sender: a million that are gathered, one by one and by runs, and that have a rate") {
  const auto one_by_one = [](weir::Emitter<std::uint64_t>& out) -> weir::Task<> {
    for (std::uint64_t i = 0; i < count; ++i) co_await out.emit(i);
  };
  CHECK(a_million(weir::batched(100), one_by_one));
  CHECK(a_million(weir::rate_limited(1e9, 64), one_by_one));
  CHECK(a_million(weir::batched(50), std::views::iota(std::uint64_t{0}, count)));
}
