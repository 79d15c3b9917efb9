#include <weir/bus/event_payload.hpp>

#include <array>
#include <memory>
#include <utility>

#include "support/catch.hpp"

namespace {

template <std::size_t Size>
struct Tracked {
  explicit Tracked(int& n) : alive(&n) { ++*alive; }
  Tracked(Tracked&& other) noexcept : alive(std::exchange(other.alive, nullptr)) {}
  Tracked& operator=(Tracked&&) = delete;
  ~Tracked() {
    if (alive) --*alive;
  }
  int* alive;
  std::array<char, Size> room{};
};

template <class P>
void check_life() {
  int alive = 0;
  {
    weir::EventPayload payload(std::in_place_type<P>, alive);
    CHECK(alive == 1);
    weir::EventPayload moved(std::move(payload));
    CHECK(alive == 1);
    CHECK_FALSE(payload.has_value());
    CHECK(moved.get<P>().alive == &alive);
    payload = std::move(moved);
    CHECK(alive == 1);
    payload = weir::EventPayload(P(alive));
    CHECK(alive == 1);
    payload.reset();
    CHECK(alive == 0);
    payload = weir::EventPayload(P(alive));
  }
  CHECK(alive == 0);
}

}  // namespace

TEST_CASE("event_payload: small and large values are moved and destroyed once") {
  check_life<Tracked<8>>();
  check_life<Tracked<100>>();
}

TEST_CASE("event_payload: takes what can only be moved") {
  weir::EventPayload payload(std::make_unique<int>(7));
  REQUIRE(payload.get_if<std::unique_ptr<int>>());
  const std::unique_ptr<int> taken = std::move(*payload.get_if<std::unique_ptr<int>>());
  CHECK(*taken == 7);
}
