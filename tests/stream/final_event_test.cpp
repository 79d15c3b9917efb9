#include <weir/stream/final_event.hpp>

#include "support/catch.hpp"

#include <memory>
#include <stdexcept>
#include <string>

namespace {

template <class C, class Collection = std::vector<C>>
weir::FinalEvent<int, C, Collection> final_with(Collection collection, weir::Outcome outcome = weir::Outcome::completed,
                                                weir::StreamError error = {}) {
  using Event = weir::FinalEvent<int, C, Collection>;
  return Event(
      std::make_shared<typename Event::Content>(typename Event::Content{weir::EventHeader(weir::EventType::final, 0, 1),
                                                                        "name",
                                                                        outcome,
                                                                        std::move(collection),
                                                                        {},
                                                                        {},
                                                                        std::move(error)}));
}

}  // namespace

TEST_CASE("final_event: a temporary's collection is safe in a range-for") {
  int sum = 0;
  for (const auto& item : final_with<std::string>({"1", "22", "333"}).collected()) sum += static_cast<int>(item.size());
  CHECK(sum == 6);
}

TEST_CASE("final_event: a temporary's collection that can't be copied is shared") {
  std::vector<std::unique_ptr<int>> items;
  items.push_back(std::make_unique<int>(4));
  items.push_back(std::make_unique<int>(5));
  int sum = 0;
  for (const auto& item : final_with<std::unique_ptr<int>>(std::move(items)).collected()) sum += *item;
  CHECK(sum == 9);
}

TEST_CASE("final_event: copies share one collection, and take moves it out") {
  auto first = final_with<int>({1, 2});
  const auto second = first;
  CHECK(&first.collected() == &second.collected());
  CHECK(first.take() == std::vector{1, 2});
  CHECK(second.collected().empty());
}

TEST_CASE("final_event: true only when it completed, and the error is printed") {
  CHECK(static_cast<bool>(final_with<int>({})));
  const auto failed = final_with<int>({}, weir::Outcome::failed,
                                      weir::StreamError("broke", std::make_exception_ptr(std::runtime_error("broke"))));
  CHECK_FALSE(static_cast<bool>(failed));
  CHECK(fmt::format("{}: {}", failed.outcome(), failed.error()) == "failed: broke");
  CHECK_THROWS_AS(failed.error().rethrow(), std::runtime_error);
  CHECK_FALSE(static_cast<bool>(final_with<int>({}, weir::Outcome::timed_out)));
  CHECK_FALSE(static_cast<bool>(final_with<int>({}, weir::Outcome::cancelled)));
  CHECK(fmt::format("{}", weir::Outcome::timed_out) == "timed_out");
}

TEST_CASE("final_event: an empty one says so") {
  const weir::FinalEvent<int, int> empty;
  CHECK_FALSE(empty.valid());
  CHECK_THROWS_AS(empty.outcome(), weir::Error);
  CHECK_THROWS_AS(empty.collected(), weir::Error);
}
