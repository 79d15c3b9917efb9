#include <weir/bus/event_json.hpp>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "support/catch.hpp"

using namespace std::chrono_literals;
using Json = nlohmann::json;

namespace bus_json_test {

struct DiskFull {
  std::string path;
  double used = 0;
};
void to_json(Json& json, const DiskFull& disk) { json = {{"path", disk.path}, {"used", disk.used}}; }
void from_json(const Json& json, DiskFull& disk) {
  json.at("path").get_to(disk.path);
  json.at("used").get_to(disk.used);
}

}  // namespace bus_json_test

using bus_json_test::DiskFull;

TEST_CASE("event_json: an event comes back as it went, by its text") {
  weir::EventJson json;
  json.payload<DiskFull>("disk_full");
  weir::Event event("disk.full", DiskFull{"/var", 0.97}, weir::EventPriority::high);
  event.source(weir::EventOrigin::plugin, "watcher")
      .metadata("host", "a")
      .key("/var")
      .time_to_live(5s)
      .run_timeout(1ms);
  const std::string text = json.write(event).dump();
  const weir::Event again = json.read(Json::parse(text));
  CHECK(again.type() == "disk.full");
  CHECK(again.payload().get<DiskFull>().path == "/var");
  CHECK(again.payload().get<DiskFull>().used == 0.97);
  CHECK(again.priority() == weir::EventPriority::high);
  CHECK(again.origin() == weir::EventOrigin::plugin);
  CHECK(again.source_name() == "watcher");
  CHECK(again.metadata() == event.metadata());
  CHECK(again.key() == "/var");
  CHECK(again.time_to_live() == 5s);
  CHECK(again.run_timeout() == 1ms);
  CHECK(again.id() == 0);
  CHECK(json.write(again).dump() == text);
}

TEST_CASE("event_json: the types that are known, and none") {
  const weir::EventJson json;
  std::vector<weir::Event> events;
  events.emplace_back("a", std::string("text"));
  events.emplace_back("a", true);
  events.emplace_back("a", std::int64_t{-5});
  events.emplace_back("a", std::uint64_t{1} << 63);
  events.emplace_back("a", 0.5);
  events.emplace_back("a");
  for (const weir::Event& event : events) {
    const weir::Event again = json.read(json.write(event));
    CHECK(again.payload().type() == event.payload().type());
  }
  CHECK(json.read(json.write(events[3])).payload().get<std::uint64_t>() == std::uint64_t{1} << 63);
  CHECK(json.write(events[5])["payload"].is_null());
}

TEST_CASE("event_json: what is wrong is said") {
  weir::EventJson json;
  using Catch::Contains;
  CHECK_THROWS_WITH(json.payload<std::string>("text"), Contains("is known already"));
  CHECK_THROWS_WITH(json.payload<int>("string"), Contains("is known already"));
  CHECK_THROWS_WITH(json.write(weir::Event("a", 1)), Contains("EventJson::payload"));
  CHECK_THROWS_WITH(json.read(Json::parse(R"({"type": "a"})")), Contains("not an event") && Contains("payload"));
  CHECK_THROWS_WITH(json.read(Json::parse(R"({"type": "a..b", "payload": null})")), Contains("a..b"));
  CHECK_THROWS_WITH(json.read(Json::parse(R"({"type": "a", "payload": null, "priority": "urgent"})")),
                    Contains("no such priority: \"urgent\""));
  CHECK_THROWS_WITH(json.read(Json::parse(R"({"type": "a", "payload": {"name": "disk", "value": 1}})")),
                    Contains("no payload is known as \"disk\""));
  CHECK_THROWS_WITH(json.read(Json::parse(R"({"type": "a", "payload": {"name": "bool", "value": 1}})")),
                    Contains("not an event"));
  CHECK_THROWS_WITH(json.read(Json::parse(R"({"type": "a", "payload": null, "time_to_live_ns": -1})")),
                    Contains("positive"));
  CHECK_THROWS_WITH(json.read(Json::parse("[]")), Contains("not an event"));
}
