#include <weir/bus/detail/event_queue.hpp>

#include <algorithm>
#include <functional>
#include <memory>
#include <random>
#include <set>
#include <tuple>
#include <vector>

#include "support/catch.hpp"

namespace {

struct Record : weir::detail::EventLink {
  Record(std::uint64_t n, int r) : id(n), order(r) {}
  [[nodiscard]] std::uint64_t number() const { return id; }
  [[nodiscard]] int rank() const { return order; }
  std::uint64_t id;
  int order;
};

using Queue = weir::detail::EventQueue<Record, int, std::less<>>;

/// Random pushes, pops, removals and returns beside a set that is always in order.
std::size_t compare_with_set(int ranks, unsigned seed) {
  std::mt19937 dice(seed);
  const auto roll = [&dice](std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(dice); };
  Queue queue;
  queue.reserve_places(8);
  std::vector<std::unique_ptr<Record>> all;
  std::set<std::tuple<int, std::uint64_t>> model;
  std::vector<Record*> aside;
  const auto record_of = [&all](const std::tuple<int, std::uint64_t>& key) { return all[std::get<1>(key) - 1].get(); };
  for (int step = 0; step < 3000; ++step) {
    switch (roll(6)) {
      case 0:
      case 1:
      case 2: {
        all.push_back(
            std::make_unique<Record>(all.size() + 1, static_cast<int>(roll(static_cast<std::size_t>(ranks)))));
        queue.reserve(1);
        queue.push(*all.back());
        model.emplace(all.back()->order, all.back()->id);
        break;
      }
      case 3:
        if (!model.empty()) {
          Record* const top = queue.top();
          REQUIRE(top == record_of(*model.begin()));
          queue.remove(*top);
          model.erase(model.begin());
          if (aside.size() < 8) aside.push_back(top);
        }
        break;
      case 4:
        if (!model.empty()) {
          auto any = model.begin();
          std::advance(any, static_cast<std::ptrdiff_t>(roll(model.size())));
          queue.remove(*record_of(*any));
          model.erase(any);
        }
        break;
      case 5:
        if (!aside.empty()) {
          Record* const back = aside.back();
          aside.pop_back();
          queue.put_back(*back);
          model.emplace(back->order, back->id);
        }
        break;
    }
    REQUIRE(queue.size() == model.size());
    REQUIRE(queue.empty() == model.empty());
    const Record* const oldest = queue.find_oldest([](const Record&) { return true; });
    std::uint64_t expected = 0;
    for (const auto& [rank, id] : model) expected = expected == 0 ? id : std::min(expected, id);
    REQUIRE((oldest ? oldest->id : 0) == expected);
    if (!model.empty()) REQUIRE(queue.find([](const Record&) { return true; }) == queue.top());
  }
  std::size_t visited = 0;
  queue.for_each([&visited](Record&) { ++visited; });
  REQUIRE(visited == model.size());
  while (Record* const record = queue.top()) queue.remove(*record);
  return all.size();
}

}  // namespace

TEST_CASE("event_queue: gives the same order as a set, whatever is taken out and put back") {
  for (unsigned seed = 1; seed <= 40; ++seed) {
    CAPTURE(seed);
    CHECK(compare_with_set(4, seed) > 1000);
    CHECK(compare_with_set(50, seed) > 1000);
  }
}

TEST_CASE("event_queue: four ranks are four entries, however they come and go") {
  Queue queue;
  std::vector<std::unique_ptr<Record>> all;
  const auto push = [&](int rank) {
    all.push_back(std::make_unique<Record>(all.size() + 1, rank));
    queue.reserve(1);
    queue.push(*all.back());
  };
  std::size_t most = 0;
  for (int step = 0; step < 100; ++step) {
    push(3);
    for (int rank = 0; rank < 3; ++rank) push(rank);
    std::size_t entries = 0;
    (void)queue.find([&entries](const Record&) { return ++entries != 0; });
    most = std::max(most, entries);
    for (int taken = 0; taken < 3; ++taken) queue.remove(*queue.top());
  }
  CHECK(most == 4);
  CHECK(queue.size() == 100);
}
