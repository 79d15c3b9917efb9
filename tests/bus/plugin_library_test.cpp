#include <weir/bus/plugin_scope.hpp>

#include <dlfcn.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include <asio/use_future.hpp>

#include <weir/bus/priority_event_bus.hpp>
#include <weir/core/sync_wait.hpp>

#include "bus/plugin/interface.hpp"
#include "support/catch.hpp"
#include "support/stress.hpp"

using namespace std::chrono_literals;
using weir::Task;
using weir_test::PluginTally;

namespace {

bool is_mapped(const std::string& path) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find(path) != std::string::npos) return true;
  }
  return false;
}

struct Round {
  bool complete = false;
  std::int64_t alive = 0;
  std::uint64_t ghosts = 0;
  bool was_mapped = false;
  bool is_mapped = false;
  std::string error;
};

/// Loads a plugin, lets it work, takes it back and unloads it.
Round load_and_unload(weir::PriorityEventBus& bus, const char* path, const char* name,
                      const std::atomic<std::uint64_t>& answers) {
  Round round;
  const std::uint64_t before = answers;
  void* const library = ::dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    round.error = ::dlerror();
    return round;
  }
  const auto start = reinterpret_cast<weir_test::StartPlugin*>(::dlsym(library, "weir_test_start"));
  PluginTally tally;
  {
    weir::PluginScope scope(bus, name, {.quota = 16});
    start(scope, tally);
    while (tally.calls < 20 || tally.ticks < 2 || tally.published < 20 || answers == before) {
      std::this_thread::yield();
    }
    round.was_mapped = is_mapped(path);
    const auto report = scope.async_close(10s, asio::use_future).get();
    tally.gone = true;
    round.complete = report.complete;
    round.alive = tally.alive;
    for (const auto& stuck : report.stuck) round.error += std::string(name_of(stuck.kind)) + " " + stuck.name + "; ";
  }
  if (round.complete) ::dlclose(library);
  round.is_mapped = is_mapped(path);
  round.ghosts = tally.ghosts;
  return round;
}

Task<> publish_all_the_while(weir::PriorityEventBus& bus, const std::atomic<bool>& done) {
  for (std::uint64_t n = 0; !done; ++n) co_await bus.publish(n % 2 == 0 ? "host.a" : "host.b", n);
}

}  // namespace

TEST_CASE("plugin_library: two plugins are loaded, taken back and really unmapped while events flow") {
  const int rounds = weir_test::long_stress(20);
  asio::thread_pool pool(3);
  {
    weir::PriorityEventBus bus(pool, {.workers = 4, .capacity = 64});
    auto [tx, rx] = weir::make_channel<weir::DeadEvent>(pool, {.capacity = 1024});
    bus.set_dead_letters(tx);
    std::atomic<std::uint64_t> answers = 0;
    const auto host = bus.subscribe("*.answer", [&answers](weir::EventContext& event) -> Task<> {
      if (event.payload<std::string>() == "for the host") ++answers;
      co_await weir::yield();
    });
    const auto nosy = bus.subscribe(">", [](weir::EventContext&) {}, {.phase = 1});
    std::atomic<bool> done = false;
    auto publishing = weir::spawn(pool, publish_all_the_while(bus, done), asio::use_future);
    const auto repeat = [&bus, &answers, rounds](const char* path, const char* name) {
      Round last;
      for (int i = 0; i < rounds; ++i) {
        last = load_and_unload(bus, path, name, answers);
        if (!last.complete || last.is_mapped || last.alive != 0) break;
      }
      return last;
    };
    auto second = std::async(std::launch::async, [&] { return repeat(WEIR_TEST_PLUGIN_B, "b"); });
    const Round ends[] = {repeat(WEIR_TEST_PLUGIN_A, "a"), second.get()};
    done = true;
    publishing.get();
    for (const Round& end : ends) {
      CHECK(end.error == "");
      CHECK(end.complete);
      CHECK(end.alive == 0);
      CHECK(end.ghosts == 0);
      CHECK(end.was_mapped);
      CHECK_FALSE(end.is_mapped);
    }
    CHECK(answers > 0);
    // What the plugins left among the dead letters is the host's: it is read after they have gone.
    std::uint64_t dead = 0;
    while (auto letter = rx.try_receive()) {
      try {
        std::rethrow_exception(letter->error());
      } catch (const weir::Error& error) {
        dead += error.code() == weir::Errc::handler_failed;
      }
    }
    CHECK(dead > 0);
    const auto report = weir::sync_wait(bus.drain());
    CHECK(report.complete);
  }
  pool.join();
}
