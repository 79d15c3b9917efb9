#include <weir/channel/detail/core.hpp>

// The checker's fibers are none that the sanitizers know of, and races are what it looks for itself.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#  define WEIR_MODEL_CHECK 1
#endif
#if defined(__has_feature)
#  if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#    undef WEIR_MODEL_CHECK
#  endif
#endif

#if defined(WEIR_MODEL_CHECK)

#  include <algorithm>
#  include <array>
#  include <cstdio>
#  include <cstdlib>
#  include <deque>
#  include <memory>
#  include <optional>
#  include <string>
#  include <vector>

#  include "support/catch.hpp"
#  include "support/model/checker.hpp"
#  include "support/model/sync.hpp"

namespace model = weir_test::model;
using model::Bounds;
using model::Checker;
using model::Event;
using model::Report;
using model::require;
using model::Scenario;
using model::Value;
using weir::detail::WaitState;

namespace {

Report explore(const char* name, Bounds bounds, const Checker::Make& make) {
  if (const char* const n = std::getenv("WEIR_PREEMPTIONS")) {
    bounds.preemptions = static_cast<std::uint32_t>(std::atoi(n));
    bounds.executions = ~std::uint64_t{0};
  }
  Checker checker(bounds);
  const char* const choices = std::getenv("WEIR_CHOICES");
  Report report = choices ? checker.repeat(make, choices) : checker.explore(make);
  if (std::getenv("WEIR_TALLY")) {
    std::fprintf(stderr, "%-60s %9llu%s%s\n", name, static_cast<unsigned long long>(report.executions),
                 report.found() ? " found: " : "", report.failure.c_str());
  }
  return report;
}

// The checker's own tests.

/// Store buffering: each stores its own, and looks at the other's.
struct StoreBuffering : Scenario {
  enum class How { release, sequential, exchange, heavy };
  explicit StoreBuffering(How how) {
    threads.push_back([this, how] {
      put(x, how, false);
      seen[0] = y.load(std::memory_order_acquire);
    });
    threads.push_back([this, how] {
      put(y, how, true);
      seen[1] = x.load(std::memory_order_acquire);
    });
  }
  static void put(model::Atomic<std::uint32_t>& to, How how, bool second) {
    switch (how) {
      case How::release:
        return to.store(1, std::memory_order_release);
      case How::sequential:
        return to.store(1, std::memory_order_seq_cst);
      case How::exchange:
        static_cast<void>(to.exchange(1, std::memory_order_seq_cst));
        return;
      case How::heavy:
        to.store(1, second ? std::memory_order_seq_cst : std::memory_order_relaxed);
        if (second) model::checker().heavy_fence();
        return;
    }
  }
  void check() override {
    if (seen[0] == 0 && seen[1] == 0) throw model::Failure("both saw nothing");
  }
  model::Atomic<std::uint32_t> x{0};
  model::Atomic<std::uint32_t> y{0};
  std::array<std::uint32_t, 2> seen{};
};

Report store_buffering(StoreBuffering::How how) {
  return explore("litmus: store buffering", {}, [how] { return std::make_unique<StoreBuffering>(how); });
}

/// A message behind a flag.
struct Message : Scenario {
  explicit Message(std::memory_order order) {
    threads.push_back([this, order] {
      text.emplace(17);
      ready.store(true, order);
    });
    threads.push_back([this] {
      while (!ready.load(std::memory_order_acquire)) model::Sync<true>::pause();
      require(text->get() == 17, "another message");
    });
  }
  std::optional<Value> text;
  model::Atomic<bool> ready{false};
};

/// Dekker's mutual exclusion, for the first look: who sees the other's flag goes away.
struct Dekker : Scenario {
  explicit Dekker(std::memory_order order) {
    for (std::size_t i = 0; i < 2; ++i) {
      threads.push_back([this, i, order] {
        flags[i].store(true, order);
        if (flags[1 - i].load(std::memory_order_acquire)) return;
        require(inside.exchange(true, std::memory_order_relaxed) == false, "both are inside");
        model::checker().data_write(&shared);
        inside.store(false, std::memory_order_relaxed);
      });
    }
  }
  std::array<model::Atomic<bool>, 2> flags{{{false}, {false}}};
  model::Atomic<bool> inside{false};
  int shared = 0;
};

/// Looks at a flag, then waits: between the two the flag may be set, and nobody signalled.
struct LostWake : Scenario {
  explicit LostWake(bool looks_under_lock) {
    threads.push_back([this, looks_under_lock] {
      if (!looks_under_lock && ready.load(std::memory_order_acquire)) return;
      mutex.lock();
      const bool waits = !looks_under_lock || !ready.load(std::memory_order_acquire);
      waiting = waits;
      mutex.unlock();
      if (waits) event.wait();
    });
    threads.push_back([this] {
      mutex.lock();
      ready.store(true, std::memory_order_release);
      const bool wakes = waiting;
      mutex.unlock();
      if (wakes) event.signal();
    });
  }
  model::Mutex mutex;
  model::Atomic<bool> ready{false};
  Event event;
  bool waiting = false;
};

/// Two increments of two steps each.
struct Increments : Scenario {
  Increments() {
    for (int i = 0; i < 2; ++i) {
      threads.push_back([this] {
        const std::uint32_t n = count.load(std::memory_order_relaxed);
        count.store(n + 1, std::memory_order_relaxed);
      });
    }
  }
  void check() override {
    if (count.load(std::memory_order_relaxed) != 2) throw model::Failure("an increment was lost");
  }
  model::Atomic<std::uint32_t> count{0};
};

}  // namespace

TEST_CASE("model checker: store buffering is found with buffered stores, and not with fenced ones") {
  CHECK(store_buffering(StoreBuffering::How::release).found());
  const auto fenced =
      GENERATE(StoreBuffering::How::sequential, StoreBuffering::How::exchange, StoreBuffering::How::heavy);
  const Report report = store_buffering(fenced);
  INFO(report.text());
  CHECK_FALSE(report.found());
  CHECK(report.complete);
}

TEST_CASE("model checker: a message behind a release store arrives, behind a relaxed one it races") {
  const Report fine =
      explore("litmus: message", {}, [] { return std::make_unique<Message>(std::memory_order_release); });
  INFO(fine.text());
  CHECK_FALSE(fine.found());
  CHECK(fine.complete);
  CHECK(fine.executions > 1);
  CHECK(explore("litmus: message, relaxed", {}, [] {
          return std::make_unique<Message>(std::memory_order_relaxed);
        }).failure.find("data race") != std::string::npos);
}

TEST_CASE("model checker: Dekker's exclusion holds with seq_cst stores alone") {
  const Report broken =
      explore("litmus: Dekker, broken", {}, [] { return std::make_unique<Dekker>(std::memory_order_release); });
  CHECK(broken.found());
  CHECK(broken.log.find("looks past a store") != std::string::npos);
  const Report fine = explore("litmus: Dekker", {}, [] { return std::make_unique<Dekker>(std::memory_order_seq_cst); });
  INFO(fine.text());
  CHECK_FALSE(fine.found());
  CHECK(fine.complete);
}

TEST_CASE("model checker: a lost wake-up is a deadlock") {
  const Report broken = explore("litmus: lost wake-up", {}, [] { return std::make_unique<LostWake>(false); });
  CHECK(broken.failure.find("deadlock") != std::string::npos);
  const Report fine = explore("litmus: wake-up", {}, [] { return std::make_unique<LostWake>(true); });
  INFO(fine.text());
  CHECK_FALSE(fine.found());
  CHECK(fine.complete);
}

TEST_CASE("model checker: what it found is repeated from its choices, and needs its preemption") {
  const auto make = [] { return std::make_unique<Increments>(); };
  Bounds bounds;
  bounds.delays = 0;
  bounds.preemptions = 0;
  Report without = explore("litmus: increments, one after the other", bounds, make);
  CHECK_FALSE(without.found());
  bounds.preemptions = 1;
  const Report found = explore("litmus: increments", bounds, make);
  REQUIRE(found.found());
  Checker checker(bounds);
  CHECK(checker.repeat(make, found.choices).failure == found.failure);
}

#endif
