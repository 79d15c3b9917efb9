/// A host with two plugins on its bus: one that behaves, and one that floods, throws and hangs.
///
///     plugin_host [--readings N]
///
/// The house publishes its temperatures; the thermostat asks the house what temperature is wanted, and switches the
/// heating; the weather plugin does what a plugin should not. Neither gets more of the bus than its scope allows, both
/// are taken back at the end, and the one that does not let itself be is named. Whether a plugin is in the program, as
/// here, or in a shared object is the same for all that is shown.
#include <chrono>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>

#include <fmt/format.h>
#include <weir/bus/plugin_scope.hpp>
#include <weir/bus/priority_event_bus.hpp>
#include <weir/core/shielded.hpp>
#include <weir/core/sync_wait.hpp>
#include <weir/core/timer.hpp>

#include "support/options.hpp"
#include "support/output.hpp"

namespace {

using namespace std::chrono_literals;
using weir::Task;

constexpr std::string_view program = "plugin_host";

struct Reading {
  Reading(std::string_view r, double d) : room(r), degrees(d) {}
  std::string room;
  double degrees;
};
constexpr weir::Topic<Reading> temperature{"temperature"};

namespace thermostat {

/// What the plugin keeps. A shared object would have it in a static variable.
struct State {
  weir::Subscription temperatures;
};

void start(weir::PluginScope& scope, State& state) {
  state.temperatures = scope.subscribe(temperature, [&scope](const Reading& reading) -> Task<> {
    const double wanted = co_await scope.request<double>("temperature.wanted", reading.room, 1s);
    if (reading.degrees < wanted) co_await scope.publish("heating.on", reading.room);
  });
}

}  // namespace thermostat

namespace weather {

struct State {
  weir::Subscription throws;
  weir::Subscription hangs;
};

Task<> flood(weir::PluginScope& scope) {
  for (;;) co_await scope.publish("weather.rain", std::string("!"), weir::EventPriority::critical);
}

Task<> hang() { co_await weir::sleep_for(400ms); }

void start(weir::PluginScope& scope, State& state) {
  state.throws = scope.subscribe(temperature, [](const Reading&) { throw std::runtime_error("the sky is falling"); });
  // It does not even heed being cancelled.
  state.hangs = scope.subscribe("heating.*", [](weir::EventContext&) -> Task<> { co_await weir::shielded(hang()); });
  scope.spawn(flood(scope), "flood");
}

}  // namespace weather

void print_stats(const weir::PluginScope& scope) {
  const auto stats = scope.stats();
  fmt::print("{}: published {}, of which less urgent than it asked for {}, handled {}, failed {}{}\n", scope.name(),
             stats.published, stats.capped, stats.calls, stats.failed,
             stats.failed != 0 ? ": " + stats.last_error : "");
}

/// Takes a plugin back. What holds on is told, and waited for; a shared object would stay loaded until then.
Task<> remove(weir::PluginScope& scope) {
  weir::PluginReport report = co_await scope.close(50ms);
  print_stats(scope);
  for (const auto& stuck : report.stuck) {
    fmt::print("{}: cannot be unloaded: {} {} does not end\n", scope.name(), name_of(stuck.kind), stuck.name);
  }
  if (!report.complete) report = co_await scope.close(10s);
  fmt::print("{}: {}, {} handlers taken out\n", scope.name(), report.complete ? "gone" : "still there",
             report.handlers);
}

Task<> live(weir::PriorityEventBus& bus, int readings) {
  int heated = 0;
  const auto heating = bus.subscribe("heating.on", [&heated](weir::EventContext&) { ++heated; }, {.phase = -1});
  const auto wanted = bus.subscribe("temperature.wanted", [](weir::EventContext&) { return 21.0; });
  weir::PluginScope good(bus, "thermostat", {.highest = weir::EventPriority::normal});
  weir::PluginScope bad(bus, "weather", {.highest = weir::EventPriority::low, .quota = 8, .grace = 50ms});
  thermostat::State good_state;
  weather::State bad_state;
  thermostat::start(good, good_state);
  weather::start(bad, bad_state);

  for (int i = 0; i < readings; ++i) {
    Reading reading("kitchen", i % 2 == 0 ? 19.0 : 22.0);
    co_await bus.publish(temperature, std::move(reading), weir::EventPriority::high);
    co_await weir::sleep_for(5ms);
  }
  co_await remove(bad);
  co_await remove(good);
  co_await bus.drain();
  fmt::print("the heating was switched on {} times for {} readings\n", heated, readings);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("A host with two plugins on its bus, of which one behaves.", std::string(program));
  int readings = 10;
  app.add_option("--readings", readings, "how often the house measures")
      ->check(CLI::Range(1, 1000))
      ->type_name("N")
      ->capture_default_str();
  if (const auto code = example::parse(app, argc, argv)) return *code;
  try {
    asio::thread_pool pool(2);
    weir::PriorityEventBus bus(pool, {.workers = 16});
    weir::sync_wait(live(bus, readings));
    pool.join();
  } catch (const std::exception& error) {
    example::complain(program, error.what());
    return example::exit_failed;
  }
  return example::exit_done;
}
