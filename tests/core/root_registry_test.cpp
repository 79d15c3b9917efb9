#include <weir/core/root_registry.hpp>

#include "support/asio_net.hpp"
#include "support/catch.hpp"
#include "support/counted.hpp"

#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include <weir/core/spawn.hpp>
#include <weir/core/use_task.hpp>

namespace {

using weir::RootRegistry;
using weir::Task;
using weir_test::Count;
using weir_test::Counted;

Task<> wait_for_ever(Counted) {
  co_await asio::async_initiate<const weir::UseTask<false>&, void()>([](auto) {}, weir::use_task);
}

std::vector<std::uint64_t> unfinished(asio::io_context& loop) {
  std::vector<std::uint64_t> ids;
  asio::use_service<RootRegistry>(loop).for_each([&ids](const weir::Home& home) { ids.push_back(home.id()); });
  return ids;
}

}  // namespace

TEST_CASE("root_registry: knows the unfinished roots, numbered from 1, the newest first") {
  Count count;
  asio::io_context loop;
  weir::spawn(loop, wait_for_ever(Counted(count)));
  weir::spawn(loop, []() -> Task<> { co_return; });
  weir::spawn(loop, wait_for_ever(Counted(count)));
  CHECK(unfinished(loop) == std::vector<std::uint64_t>{3, 2, 1});
  loop.poll();
  CHECK(unfinished(loop) == std::vector<std::uint64_t>{3, 1});
}

TEST_CASE("root_registry: destroys unfinished roots with the context, started or not, their handlers uncalled") {
  Count frames;
  Count handlers;
  bool called = false;
  {
    asio::io_context loop;
    for (int i = 0; i < 3; ++i) {
      weir::spawn(loop, wait_for_ever(Counted(frames)),
                  [&called, held = Counted(handlers)](std::exception_ptr) { called = true; });
      if (i == 1) loop.poll();
    }
  }
  CHECK(frames.made == 3);
  CHECK(frames.alive() == 0);
  CHECK(handlers.made == 3);
  CHECK(handlers.alive() == 0);
  CHECK_FALSE(called);
}

TEST_CASE("root_registry: a frame's destructor may spawn, and that goes too") {
  struct SpawnAtEnd {
    SpawnAtEnd(asio::io_context& l, Count& c) : loop(&l), count(&c) {}
    SpawnAtEnd(SpawnAtEnd&& other) noexcept : loop(std::exchange(other.loop, nullptr)), count(other.count) {}
    ~SpawnAtEnd() {
      if (loop) weir::spawn(*loop, wait_for_ever(Counted(*count)));
    }
    asio::io_context* loop;
    Count* count;
  };
  Count count;
  {
    asio::io_context loop;
    const auto run = [](SpawnAtEnd, Counted held) -> Task<> { co_await wait_for_ever(std::move(held)); };
    weir::spawn(loop, run(SpawnAtEnd(loop, count), Counted(count)));
    loop.poll();
  }
  CHECK(count.made == 2);
  CHECK(count.alive() == 0);
}

TEST_CASE("root_registry: what is destroyed with one root may still wake another") {
  struct CancelAtEnd {
    explicit CancelAtEnd(asio::cancellation_signal& s) : signal(&s) {}
    CancelAtEnd(CancelAtEnd&& other) noexcept : signal(std::exchange(other.signal, nullptr)) {}
    ~CancelAtEnd() {
      if (signal) signal->emit(asio::cancellation_type::terminal);
    }
    asio::cancellation_signal* signal;
  };
  Count count;
  asio::cancellation_signal first;
  asio::cancellation_signal second;
  {
    asio::io_context loop;
    const auto run = [](CancelAtEnd, Counted held) -> Task<> { co_await wait_for_ever(std::move(held)); };
    weir::spawn(loop, run(CancelAtEnd(second), Counted(count)),
                asio::bind_cancellation_slot(first.slot(), asio::detached));
    weir::spawn(loop, run(CancelAtEnd(first), Counted(count)),
                asio::bind_cancellation_slot(second.slot(), asio::detached));
    loop.poll();
  }
  CHECK(count.made == 2);
  CHECK(count.alive() == 0);
}

TEST_CASE("root_registry: a block that outlives its context let go of the executor before") {
  asio::cancellation_signal finished;
  asio::cancellation_signal unfinished;
  Count count;
  {
    asio::thread_pool pool(2);
    weir::spawn(
        asio::make_strand(pool), []() -> Task<> { co_return; },
        asio::bind_cancellation_slot(finished.slot(), asio::detached));
    weir::spawn(asio::any_io_executor(asio::make_strand(pool)), wait_for_ever(Counted(count)),
                asio::bind_cancellation_slot(unfinished.slot(), asio::detached));
  }
  CHECK(count.alive() == 0);
  finished.emit(asio::cancellation_type::terminal);
  unfinished.emit(asio::cancellation_type::terminal);
}

TEST_CASE("root_registry: a finished root's block destroyed on another thread while the context goes") {
  int rounds = 0;
  for (; rounds < 300; ++rounds) {
    auto signals = std::make_unique<std::vector<asio::cancellation_signal>>(4);
    auto pool = std::make_unique<asio::thread_pool>(1);
    for (auto& signal : *signals) {
      weir::spawn(
          asio::make_strand(*pool), []() -> Task<> { co_return; },
          asio::bind_cancellation_slot(signal.slot(), asio::detached));
    }
    pool->join();
    std::thread other([&signals] { signals.reset(); });
    pool.reset();
    other.join();
  }
  CHECK(rounds == 300);
}

TEST_CASE("root_registry: the budget is how often a root goes on before others may") {
  std::vector<int> order;
  asio::io_context loop;
  auto& registry = asio::use_service<RootRegistry>(loop);
  CHECK(registry.budget() == 256);
  registry.set_budget(1);
  const auto run = [&order](int id) -> Task<> {
    for (int i = 0; i < 3; ++i) {
      order.push_back(id);
      co_await asio::post(weir::use_task);
    }
  };
  weir::spawn(loop, run(1));
  weir::spawn(loop, run(2));
  loop.run();
  CHECK(order == std::vector<int>{1, 2, 1, 2, 1, 2});
}
