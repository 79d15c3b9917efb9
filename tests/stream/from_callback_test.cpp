#include <weir/stream/source/from_callback.hpp>

#include "support/allocation_counter.hpp"
#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/stress.hpp"

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include <weir/core/sync_wait.hpp>
#include <weir/sim/explore.hpp>
#include <weir/stream/strategy/parallel.hpp>

#include "stream/run.hpp"

namespace {

using weir::sim::ensure;
using Emit = weir::CallbackEmitter<int>;
using Pointer = std::unique_ptr<int>;

}  // namespace

TEST_CASE("from_callback: ends when the last copy is gone, or by close, and nothing is emitted afterwards") {
  for (const bool close : {false, true}) {
    weir::sim::Simulator sim;
    std::optional<Emit> kept;
    auto stream = weir::emits<int>(sim)
                      .sender(weir::from_callback<int>([&](Emit emit) {
                        CHECK(emit(1));
                        kept = emit;
                      }))
                      .receiver([](const auto& event) { return event.data(); })
                      .start();
    sim.spawn([&]() -> weir::Task<> {
      while (!kept) co_await weir::yield();
      const int two = 2;
      CHECK(kept->emit(two));
      CHECK(kept->open());
      if (close) {
        kept->close();
        CHECK_FALSE(kept->emit(3));
        CHECK_FALSE(kept->open());
      } else {
        const Emit another = *kept;
        kept.reset();
        CHECK(another.emit(3));
      }
    });
    const auto final = weir_test::final_of(sim, stream);
    CHECK(final.outcome() == weir::Outcome::completed);
    CHECK(final.collected() == (close ? std::vector{1, 2} : std::vector{1, 2, 3}));
    if (kept) {
      CHECK_FALSE(kept->emit(4));
      kept->close();
    }
  }
}

TEST_CASE("from_callback: without a copy it ends at once, and what the function throws fails the stream") {
  weir::sim::Simulator sim;
  auto empty = weir::emits<int>(sim).sender(weir::from_callback<int>([](Emit) {})).receiver([](const auto&) {}).start();
  CHECK(weir_test::final_of(sim, empty).outcome() == weir::Outcome::completed);
  auto failing = weir::emits<int>(sim)
                     .sender(weir::from_callback<int>([](const Emit&) { throw std::runtime_error("no such device"); }))
                     .receiver([](const auto&) {})
                     .start();
  const auto final = weir_test::final_of(sim, failing);
  CHECK(final.outcome() == weir::Outcome::failed);
  CHECK(final.error().text() == "no such device");
}

TEST_CASE("from_callback: full, it refuses and the value stays, or drops it and counts") {
  for (const auto policy : {weir::WhenFull::refuse, weir::WhenFull::drop}) {
    weir::sim::Simulator sim;
    int kept_by_caller = 0;
    std::uint64_t refused = 0;
    std::uint64_t dropped = 0;
    auto source = weir::from_callback<Pointer>([&](const weir::CallbackEmitter<Pointer>& emit) {
      for (int i = 0; i < 10; ++i) {
        Pointer value = std::make_unique<int>(i);
        const bool taken = emit(std::move(value));
        CHECK(taken == (value == nullptr));
        kept_by_caller += taken ? 0 : 1;
      }
      refused = emit.refused();
      dropped = emit.dropped();
    });
    auto stream = weir::emits<Pointer>(sim)
                      .capacity(3)
                      .sender(std::move(source).when_full(policy))
                      .receiver([](const auto& event) { return *event.data(); })
                      .start();
    const auto final = weir_test::final_of(sim, stream);
    const std::uint64_t lost = 10 - final.collected().size();
    CHECK(lost >= 6);
    CHECK(final.collected()[2] == 2);
    CHECK(final.stats().emitted == 10 - lost);
    if (policy == weir::WhenFull::refuse) {
      CHECK(refused == lost);
      CHECK(dropped == 0);
      CHECK(kept_by_caller == static_cast<int>(lost));
    } else {
      CHECK(dropped == lost);
      CHECK(refused == 0);
      CHECK(kept_by_caller == 0);
    }
  }
}

TEST_CASE("from_callback: once the stream is being stopped values stay with the caller, whatever the policy") {
  for (const auto policy : {weir::WhenFull::refuse, weir::WhenFull::drop}) {
    weir::sim::Simulator sim;
    std::optional<weir::CallbackEmitter<Pointer>> kept;
    auto source = weir::from_callback<Pointer>([&kept](auto emit) { kept = emit; });
    auto stream = weir::emits<Pointer>(sim)
                      .sender(std::move(source).when_full(policy))
                      .receiver([](const auto& event) { return *event.data(); })
                      .start();
    bool stays = false;
    sim.spawn([&]() -> weir::Task<> {
      while (!kept) co_await weir::yield();
      ensure(kept->open(), "it is open");
      stream.cancel();
      // The sender does not know yet.
      ensure(!kept->open(), "nothing is emitted any more");
      Pointer value = std::make_unique<int>(1);
      stays = !kept->emit(std::move(value)) && value && *value == 1;
    });
    const auto final = weir_test::final_of(sim, stream);
    CHECK(stays);
    CHECK(kept->refused() == 1);
    CHECK(kept->dropped() == 0);
    CHECK(final.stats().emitted == 0);
  }
}

TEST_CASE("from_callback: what the function returns is kept until the sender ends, whatever ends it") {
  enum class Action { none, cancel, end_context };
  for (const Action action : {Action::none, Action::cancel, Action::end_context}) {
    const auto scenario = [action](weir::sim::Simulator& sim) {
      struct World {
        weir_test::Count count;
        std::optional<Emit> emit;
      };
      auto& world = sim.keep<World>();
      auto stream = weir::emits<int>(sim)
                        .capacity(1)
                        .sender(weir::from_callback<int>([&world](Emit emit) {
                          world.emit = std::move(emit);
                          return weir_test::Counted(world.count, 1);
                        }))
                        .receiver([](const auto& event) { return event.data(); })
                        .start();
      decltype(stream)::final_event_type final;
      weir::spawn(sim, stream.final_event(), [&final](std::exception_ptr, auto event) { final = std::move(event); });
      int accepted = 0;
      sim.spawn([&]() -> weir::Task<> {
        while (!world.emit && !stream.is_complete()) co_await weir::yield();
        for (int i = 0; i < 4 && world.emit; ++i) {
          if (world.emit->emit(accepted + 1)) ++accepted;
          co_await weir::yield();
        }
        world.emit.reset();
      });
      sim.on_action([&] { action == Action::cancel ? static_cast<void>(stream.cancel()) : sim.stop(); });
      sim.run();
      if (sim.stopped()) {
        sim.shut_down();
      } else {
        ensure(final.stats().balanced(), "the counts add up");
        ensure(final.collected().size() == static_cast<std::size_t>(accepted), "what was accepted was processed");
        ensure(final || final.outcome() == weir::Outcome::cancelled, "completed or cancelled");
      }
      ensure(world.count.alive() == 0, "what was kept is gone");
      if (world.emit) ensure(!world.emit->emit(9), "nothing is emitted after the end");
    };
    if (action == Action::none) {
      weir::sim::explore(scenario);
    } else {
      weir::sim::explore_each_step(scenario);
    }
  }
  CHECK(true);
}

TEST_CASE("from_callback: a million from two threads that are kept, in order for each, none allocated, none lost") {
  constexpr int each = weir_test::scaled(500'000);
  asio::thread_pool pool(1);
  std::uint64_t allocated = 1;
  std::optional<weir_test::AllocationCounter> counter;
  std::array<int, 2> next{0, 0};
  int seen = 0;
  bool in_order = true;
  auto stream = weir::emits<std::pair<int, int>>(pool)
                    .sender(weir::from_callback<std::pair<int, int>>([](auto emit) {
                      std::vector<std::jthread> threads;
                      for (int thread = 0; thread < 2; ++thread) {
                        threads.emplace_back([emit, thread] {
                          for (int i = 0; i < each; ++i) {
                            while (!emit(std::pair(thread, i))) std::this_thread::yield();
                          }
                        });
                      }
                      return threads;
                    }))
                    .receiver([&](const auto& event) {
                      const auto [thread, i] = event.data();
                      in_order = in_order && i == next[static_cast<std::size_t>(thread)]++;
                      ++seen;
                      if (seen == each / 2) counter.emplace();
                      if (seen == each) allocated = counter->count();
                    })
                    .start();
  const auto final = weir::sync_wait(stream.final_event());
  CHECK(final.outcome() == weir::Outcome::completed);
  CHECK(final.stats().processed == 2 * each);
  CHECK(final.stats().balanced());
  CHECK(in_order);
  CHECK(allocated == 0);
}

TEST_CASE("from_callback: emitted from a thread while the stream is cancelled and its context ends") {
  for (int round = 0; round < 20; ++round) {
    std::optional<weir::CallbackEmitter<int>> kept;
    std::atomic<bool> started{false};
    std::thread caller;
    {
      asio::thread_pool pool(2);
      auto stream = weir::emits<int>(pool)
                        .capacity(4)
                        .sender(weir::from_callback<int>([&](auto emit) {
                          kept = emit;
                          started = true;
                          started.notify_one();
                        }))
                        .receiver(weir::parallel(2), [](const auto&) {})
                        .start();
      started.wait(false);
      caller = std::thread([emit = *kept] {
        while (emit.open()) emit(1);
      });
      if (round % 2 == 0) {
        stream.cancel();
        CHECK(weir::sync_wait(stream.final_event()).stats().balanced());
      } else {
        pool.stop();
      }
    }
    caller.join();
    CHECK_FALSE(kept->emit(1));
  }
}
