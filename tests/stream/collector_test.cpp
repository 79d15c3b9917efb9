#include <weir/stream/collector.hpp>

#include "support/catch.hpp"

#include <atomic>
#include <map>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/stress.hpp"

TEST_CASE("collector: items, keys, errors, a snapshot and the whole") {
  weir::Collector<int> list;
  list.collect(1);
  list.collect(2);
  CHECK(list.collected() == std::vector{1, 2});
  list.collect_error(7, std::make_exception_ptr(std::runtime_error("bad")));
  REQUIRE(list.errors().size() == 1);
  CHECK(list.errors()[0].event_id == 7);
  CHECK(list.errors()[0].message == "bad");
  CHECK(list.take() == std::vector{1, 2});

  weir::Collector<int, std::map<std::string, std::uint64_t>> words(
      weir::collect::keyed<std::string>(weir::collect::count));
  words.collect("a", 1);
  words.collect("a", 1);
  CHECK(words.collected() == std::map<std::string, std::uint64_t>{{"a", 2}});
}

TEST_CASE("collector: move-only items") {
  weir::Collector<std::unique_ptr<int>> list;
  list.collect(std::make_unique<int>(5));
  const auto taken = list.take();
  REQUIRE(taken.size() == 1);
  CHECK(*taken[0] == 5);
}

TEST_CASE("collector: staged items are collected when they are settled, in their order") {
  weir::Collector<int> list;
  std::vector<weir::Collector<int>::Staged> items;
  auto staging = list.stage_into(items);
  staging.collect(1);
  list.collect(2);
  staging.collect(3);
  CHECK(list.collected() == std::vector{2});
  list.collect_staged(items);
  CHECK(list.collected() == std::vector{2, 1, 3});
  CHECK(items.empty());
}

TEST_CASE("collector: a copy of one that stages adds at once") {
  weir::Collector<int> list;
  std::vector<weir::Collector<int>::Staged> items;
  auto staging = list.stage_into(items);
  auto copy = staging;
  copy.collect(1);
  staging.collect(2);
  CHECK(list.collected() == std::vector{1});
  copy = staging;
  copy.collect(3);
  CHECK(list.collected() == std::vector{1, 3});
  CHECK(items.size() == 1);
}

TEST_CASE("collector: a run goes on behind what the policy refuses") {
  struct Odd {
    std::vector<int> start() const { return {}; }
    void add(std::vector<int>& kept, int&& item) const {
      if (item % 2 == 0) throw std::runtime_error("even");
      kept.push_back(item);
    }
  };
  weir::Collector<int> odd{Odd()};
  std::vector<weir::Collector<int>::Staged> items;
  auto staging = odd.stage_into(items);
  for (const int i : {1, 2, 3}) staging.collect(i);
  std::size_t next = 0;
  CHECK_THROWS(odd.collect_run(items, next));
  CHECK(next == 2);
  odd.collect_run(items, next);
  CHECK(next == 3);
  CHECK(odd.collected() == std::vector{1, 3});
  CHECK_THROWS(odd.collect_staged(items));
  CHECK(items.empty());
}

TEST_CASE("collector: keeps a bounded number of errors") {
  weir::Collector<int> list;
  for (std::uint64_t i = 0; i < 2 * weir::Collector<int>::max_errors; ++i) list.collect_error(i, nullptr);
  CHECK(list.errors().size() == weir::Collector<int>::max_errors);
}

TEST_CASE("collector: written by four threads while another looks") {
  const int each = weir_test::stress(20000);
  weir::Collector<int, std::uint64_t> counter(weir::collect::count);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([counter, each]() mutable {
      for (int i = 0; i < each; ++i) counter.collect(i);
    });
  }
  std::uint64_t last = 0;
  bool grows = true;
  while (last < static_cast<std::uint64_t>(each)) {
    const std::uint64_t now = counter.collected();
    grows = grows && now >= last;
    last = now;
  }
  for (auto& thread : threads) thread.join();
  CHECK(grows);
  CHECK(counter.take() == static_cast<std::uint64_t>(4 * each));
}

namespace {

/// Refuses to merge what is negative.
struct Sum {
  [[nodiscard]] int start() const { return 0; }
  void add(int& sum, int&& item) const { sum += item; }
  void merge(int& sum, int&& other) const {
    if (other < 0) throw std::runtime_error("negative");
    sum += other;
  }
};

template <class Collector>
void collect_in(Collector& to, std::vector<int> items, std::size_t part) {
  std::size_t next = 0;
  to.collect_run(std::span(items), next, part);
}

}  // namespace

TEST_CASE("collector: what workers collect by themselves is seen by who looks, and in the whole") {
  weir::Collector<int, std::map<int, std::uint64_t>> counts(
      weir::collect::keyed([](int i) { return i % 2; }, weir::collect::count));
  for (std::size_t part = 0; part < 20; ++part) collect_in(counts, {1, 2, 3}, part);
  const std::map<int, std::uint64_t> all{{0, 20}, {1, 40}};
  CHECK(counts.collected() == all);
  CHECK(counts.collected() == all);
  counts.merge_parts();
  CHECK(counts.collected() == all);
  collect_in(counts, {2}, 5);
  CHECK(counts.take() == std::map<int, std::uint64_t>{{0, 21}, {1, 40}});
}

TEST_CASE("collector: a policy that does not merge keeps the order of runs, whose they are") {
  weir::Collector<int> list;
  for (const int i : {3, 0, 2, 1}) collect_in(list, {i, 10 * i}, static_cast<std::size_t>(i));
  CHECK(list.collected() == std::vector{3, 30, 0, 0, 2, 20, 1, 10});
}

TEST_CASE("collector: a merge that throws costs who looks nothing, and at the end its part") {
  weir::Collector<int, int> sum{Sum()};
  collect_in(sum, {5}, 0);
  collect_in(sum, {-3}, 1);
  collect_in(sum, {7}, 2);
  CHECK_THROWS(sum.collected());
  collect_in(sum, {4}, 1);
  CHECK(sum.collected() == 13);
  collect_in(sum, {-10}, 1);
  CHECK_THROWS(sum.merge_parts());
  CHECK(sum.take() == 12);
}

TEST_CASE("collector: four workers with parts of their own while another looks") {
  constexpr int run = 8;
  const int each = weir_test::stress(4000);
  weir::Collector<int, std::uint64_t> counter(weir::collect::count);
  std::atomic<std::uint64_t> added{0};
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&added, counter, each, t]() mutable {
      for (int i = 0; i < each; ++i) {
        collect_in(counter, std::vector<int>(run), t);
        added.fetch_add(run, std::memory_order_release);
      }
    });
  }
  bool whole = true;
  bool fresh = true;
  std::uint64_t before = 0;
  while (before != static_cast<std::uint64_t>(4 * run * each)) {
    before = added.load(std::memory_order_acquire);
    const std::uint64_t now = counter.collected();
    whole = whole && now % run == 0;
    fresh = fresh && now >= before;
  }
  for (auto& thread : threads) thread.join();
  CHECK(whole);
  CHECK(fresh);
  CHECK(counter.take() == static_cast<std::uint64_t>(4 * run * each));
}

TEST_CASE("collector: who looks sees one moment of all parts") {
  // Each round is added to one part and then to another, so that the second never has more than the first.
  const int rounds = weir_test::stress(20000);
  weir::Collector<int, std::map<int, std::uint64_t>> counts(
      weir::collect::keyed([](int i) { return i; }, weir::collect::count));
  std::thread worker([counts, rounds]() mutable {
    for (int i = 0; i < rounds; ++i) {
      collect_in(counts, {0}, 2);
      collect_in(counts, {1}, 1);
    }
  });
  bool ordered = true;
  std::uint64_t last = 0;
  while (last != static_cast<std::uint64_t>(rounds)) {
    auto now = counts.collected();
    last = now[1];
    ordered = ordered && now[0] >= last;
  }
  worker.join();
  CHECK(ordered);
}
