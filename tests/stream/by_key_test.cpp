#include <weir/stream/strategy/by_key.hpp>

#include "support/catch.hpp"

#include <map>

#include "stream/scene.hpp"

namespace {

using namespace weir_test;

int key_of(const Item& item) { return item.value % 2; }

}  // namespace

TEST_CASE("by_key: cancelled at each level, dropped and destroyed at every step") {
  REQUIRE_NOTHROW(explore_strategy(weir::ByKey(3, &key_of), [](Scene& scene, const SceneFinal&, weir::sim::Simulator&) {
    ensure(scene.record.at_once <= 2, "one of each key at a time");
    std::map<int, int> last;
    for (const int value : scene.record.begun) {
      ensure(value > last[value % 2], "events of one key in order");
      last[value % 2] = value;
    }
  }));
}
