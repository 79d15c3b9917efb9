#include <weir/core/time_service.hpp>

#include "support/catch.hpp"

#include <cstdint>
#include <deque>
#include <memory>
#include <random>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "support/allocation_counter.hpp"

namespace {

using weir::TimeService;
using TimePoint = TimeService::TimePoint;
using namespace std::chrono_literals;

/// A clock that is moved by hand, and what it was told.
struct HandClock final : TimeService::Backend {
  struct Hands {
    TimePoint time{};
    std::vector<TimePoint> told;
  };
  explicit HandClock(Hands& h) : hands(h) {}
  [[nodiscard]] TimePoint now() const noexcept override { return hands.time; }
  void wake_at(TimePoint when) override { hands.told.push_back(when); }
  Hands& hands;
};

struct Wait : TimeService::Deadline {
  Wait(TimePoint at, int n, std::vector<int>& to) : number(n), log(to) {
    when = at;
    due = [](TimeService::Deadline& self, weir::WakeList&) noexcept {
      auto& wait = static_cast<Wait&>(self);
      wait.log.push_back(wait.number);
    };
  }
  int number;
  std::vector<int>& log;
};

TimePoint at(int ticks) { return TimePoint(TimeService::Duration(ticks)); }

struct Fixture {
  Fixture() { service.set_backend(std::make_unique<HandClock>(hands)); }
  HandClock::Hands hands;
  asio::io_context context;
  TimeService& service = asio::use_service<TimeService>(context);
  asio::io_context::executor_type executor = context.get_executor();
  std::vector<int> log;
};

}  // namespace

TEST_CASE("time service: what is due fires in the order of the deadlines, equals in the order of adding") {
  Fixture f;
  Wait third(at(30), 3, f.log), first(at(10), 1, f.log), second(at(20), 2, f.log), second_too(at(20), 22, f.log),
      later(at(31), 4, f.log);
  for (Wait* wait : {&third, &first, &second, &second_too, &later}) f.service.add(*wait, f.executor);
  f.hands.time = at(30);
  f.service.expire();
  CHECK(f.log == std::vector<int>{1, 2, 22, 3});
  CHECK_FALSE(f.service.remove(second));
  CHECK(f.service.remove(later));
}

TEST_CASE("time service: the backend is told whenever the earliest deadline changes, and max when none is left") {
  Fixture f;
  f.hands.told.clear();
  Wait a(at(20), 1, f.log), b(at(10), 2, f.log), c(at(15), 3, f.log);
  f.service.add(a, f.executor);
  f.service.add(b, f.executor);
  f.service.add(c, f.executor);
  f.service.remove(b);
  f.hands.time = at(15);
  f.service.expire();
  f.service.remove(a);
  CHECK(f.hands.told == std::vector<TimePoint>{at(20), at(10), at(15), at(20), TimePoint::max()});
}

TEST_CASE("time service: a random history agrees with an ordered set") {
  Fixture f;
  std::mt19937 random(7);
  std::deque<Wait> waits;
  std::set<std::pair<TimePoint, int>> model;
  std::vector<int> expected;
  for (int i = 0; i < 20000; ++i) {
    const auto choice = random() % 8;
    if (choice < 4) {
      auto& wait = waits.emplace_back(f.hands.time + TimeService::Duration(1 + random() % 1000), i, f.log);
      f.service.add(wait, f.executor);
      model.emplace(wait.when, i);
    } else if (choice < 7 && !waits.empty()) {
      auto& wait = waits[random() % waits.size()];
      const bool known = model.erase({wait.when, wait.number}) != 0;
      if (f.service.remove(wait) != known) FAIL("remove disagrees at " << i);
    } else {
      f.hands.time += TimeService::Duration(random() % 200);
      while (!model.empty() && model.begin()->first <= f.hands.time) {
        expected.push_back(model.begin()->second);
        model.erase(model.begin());
      }
      f.service.expire();
      if (f.log != expected) FAIL("expire disagrees at " << i);
    }
    const auto earliest = model.empty() ? TimePoint::max() : model.begin()->first;
    if (f.hands.told.back() != earliest) FAIL("the backend was told wrongly at " << i);
  }
  CHECK(f.log.size() > 1000);
  for (auto& wait : waits) f.service.remove(wait);
}

TEST_CASE("time service: adding, firing and removing allocate nothing") {
  Fixture f;
  f.log.reserve(10);
  f.hands.told.reserve(100);
  Wait a(at(20), 1, f.log), b(at(10), 2, f.log), c(at(15), 3, f.log);
  const weir_test::AllocationCounter counter;
  for (Wait* wait : {&a, &b, &c}) f.service.add(*wait, f.executor);
  f.service.remove(c);
  f.hands.time = at(10);
  f.service.expire();
  f.service.remove(a);
  const auto allocations = counter.count();
  CHECK(allocations == 0);
  CHECK(f.log == std::vector<int>{2});
}

TEST_CASE("time service: after() stops at the deadline that never comes") {
  Fixture f;
  f.hands.time = at(1000);
  CHECK(f.service.after(TimeService::Duration(5)) == at(1005));
  CHECK(f.service.after(TimeService::Duration::max()) == TimePoint::max());
}

TEST_CASE("time service: the default backend fires, and run() ends when nothing is waited for") {
  asio::io_context context;
  auto& service = asio::use_service<TimeService>(context);
  std::vector<int> log;
  Wait far(service.after(1h), 1, log), near(service.after(1ms), 2, log), nearer(service.after(0ms), 3, log);
  service.add(far, context.get_executor());
  service.add(near, context.get_executor());
  service.add(nearer, context.get_executor());
  while (log.size() < 2) context.run_one();
  CHECK(log == std::vector<int>{3, 2});
  CHECK(service.remove(far));
  context.run();
  CHECK(log.size() == 2);
}

TEST_CASE("time service: the default backend asks again after an early wake") {
  asio::io_context context;
  auto& service = asio::use_service<TimeService>(context);
  std::vector<int> log;
  Wait first(service.after(1ms), 1, log), second(service.after(3ms), 2, log);
  service.add(first, context.get_executor());
  service.add(second, context.get_executor());
  service.remove(first);
  context.run();
  CHECK(log == std::vector<int>{2});
}

TEST_CASE("time service: a deadline may outlive its context") {
  std::vector<int> log;
  std::shared_ptr<TimeService::Timeline> timeline;
  Wait wait(TimePoint(), 1, log);
  {
    asio::io_context context;
    auto& service = asio::use_service<TimeService>(context);
    timeline = service.timeline();
    wait.when = service.after(1h);
    service.add(wait, context.get_executor());
    context.poll();
  }
  CHECK(timeline->remove(wait));
  CHECK(log.empty());
}

TEST_CASE("time service: deadlines are added and removed from several threads while others fire") {
  asio::thread_pool pool(1);
  auto& service = asio::use_service<TimeService>(pool);
  struct Count : TimeService::Deadline {
    std::atomic<int> fired{0};
  };
  constexpr int rounds = 20000;
  std::atomic<int> fired{0}, removed{0};
  const auto work = [&] {
    for (int i = 0; i < rounds; ++i) {
      Count wait;
      wait.when = service.after(std::chrono::microseconds(i % 3));
      wait.due = [](TimeService::Deadline& self, weir::WakeList&) noexcept { ++static_cast<Count&>(self).fired; };
      service.add(wait, pool.get_executor());
      for (int spin = 0; spin < i % 50 && wait.fired == 0; ++spin) std::this_thread::yield();
      if (service.remove(wait)) {
        ++removed;
      } else {
        fired += wait.fired;
      }
    }
  };
  std::thread one(work), two(work);
  one.join();
  two.join();
  pool.join();
  CHECK(fired + removed == 2 * rounds);
}
