#include <weir/bus/priority_event_bus.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "support/allocation_counter.hpp"
#include "support/catch.hpp"

namespace {

std::int64_t held() { return weir_test::held_bytes.load(std::memory_order_relaxed); }

template <std::size_t size>
using Bytes = std::array<std::byte, size>;

struct Burst {
  std::int64_t bytes_an_event = 0;  ///< without what was needed once, as long as that is less than a byte of each
  double kept = 0;
};

/// Queues events that nobody takes, then has them handled.
template <class Bus, class Payload>
Burst burst(std::size_t events) {
  asio::io_context context(1);
  Bus bus(context, {.workers = 1, .capacity = events});
  std::size_t handled = 0;
  const auto subscription = bus.subscribe("a.>", [&handled](weir::EventContext&) { ++handled; });
  // The topic and what else is needed once.
  (void)bus.try_publish("a.b", Payload());
  context.poll();
  const auto before = held();
  for (std::size_t i = 0; i < events; ++i) {
    if (!bus.try_publish("a.b", Payload())) return {};
  }
  const auto full = held();
  context.poll();
  const auto after = held();
  bus.abort();
  context.poll();
  REQUIRE(handled == events + 1);
  const auto grown = full - before;
  return {grown / static_cast<std::int64_t>(events), static_cast<double>(after - before) / static_cast<double>(grown)};
}

template <class Payload>
void check_burst() {
  constexpr std::size_t events = 20'000;
  constexpr auto size = static_cast<std::int64_t>(sizeof(Payload));
  for (const Burst& found : {burst<weir::EventBus, Payload>(events), burst<weir::PriorityEventBus, Payload>(events)}) {
    CAPTURE(size, found.bytes_an_event, found.kept);
    CHECK(found.bytes_an_event >= size);
    CHECK(found.bytes_an_event <= size + 128);
    CHECK(found.kept <= 0.25);
  }
}

bool knows_bytes() { return weir_test::counts() && held() > 0; }

}  // namespace

TEST_CASE("bus: a queued event takes its payload and at most 128 bytes, and a burst gives its memory back",
          "[allocation]") {
  if (!knows_bytes()) {
    SUCCEED("what is allocated is not known in this build");
    return;
  }
  check_burst<std::uint64_t>();
  check_burst<Bytes<64>>();
  check_burst<Bytes<1000>>();
}

TEST_CASE("bus: events with a payload of 32 bytes allocate nothing once as many have been queued before",
          "[allocation]") {
  asio::io_context context(1);
  weir::PriorityEventBus bus(context, {.workers = 1, .capacity = 64});
  std::size_t handled = 0;
  const auto subscription = bus.subscribe("a.>", [&handled](weir::EventContext&) { ++handled; });
  const auto publish = [&](weir::EventPriority priority) {
    for (int i = 0; i < 64; ++i) (void)bus.try_publish("a.b", Bytes<32>(), priority);
    context.poll();
  };
  const auto publish_all = [&] {
    for (const auto priority : {weir::EventPriority::low, weir::EventPriority::critical}) publish(priority);
  };
  publish_all();
  const weir_test::AllocationCounter counter;
  for (int round = 0; round < 100; ++round) publish_all();
  const auto allocated = counter.count();
  bus.abort();
  context.poll();
  CHECK(handled == 101 * 128);
  CHECK(allocated == 0);
}

TEST_CASE("bus: batches that wait for room leave nothing of their keys behind", "[allocation]") {
  if (!knows_bytes()) {
    SUCCEED("what is allocated is not known in this build");
    return;
  }
  asio::io_context context(1);
  weir::PriorityEventBus bus(context, {.workers = 1, .capacity = 2});
  std::size_t handled = 0;
  const auto subscription = bus.subscribe("a.>", [&handled](weir::EventContext&) { ++handled; });
  const auto publish = [&](int round) {
    std::vector<weir::Event> events;
    for (int i = 0; i < 2; ++i) {
      events.emplace_back("a.b", i);
      events.back().key("a key of its own, which no other batch has, of the round " + std::to_string(round));
    }
    bus.async_publish_batch(std::move(events), weir::BatchMode::atomic,
                            [](const std::exception_ptr&, const weir::BatchReport&) {});
    // Before it has its turn, in which it finds no room.
    for (int i = 0; i < 2; ++i) (void)bus.try_publish("a.b", i);
    context.restart();
    context.poll();
  };
  for (int round = 0; round < 100; ++round) publish(round);
  const auto before = held();
  for (int round = 100; round < 1100; ++round) publish(round);
  const auto grown = held() - before;
  bus.abort();
  context.poll();
  CHECK(handled == 4 * 1100);
  CHECK(grown < 1100 * 20);
}
