#include <weir/stream/collector.hpp>

#include "support/catch.hpp"

#include <memory>
#include <string>
#include <thread>

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
