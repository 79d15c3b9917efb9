/// Events as JSON. Optional: it needs nlohmann-json 3, and `weir.hpp` does not include it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <typeindex>
#include <typeinfo>
#include <utility>

#include <nlohmann/json.hpp>
#include <weir/bus/event.hpp>
#include <weir/core/error.hpp>

namespace weir {

/// Writes events as JSON and reads them back. A payload has any type, so each type that travels is given a name, by
/// which the reader knows what to make of it:
///
///     weir::EventJson json;
///     json.payload<DiskFull>("disk_full");   // nlohmann's to_json and from_json do the rest
///     const nlohmann::json text = json.write(event);
///     weir::Event again = json.read(text);
///
/// `std::string`, `bool`, `std::int64_t`, `std::uint64_t` and `double` are known, as "string", "bool", "int", "uint"
/// and "double". What is written: type, payload, priority, source, metadata, key, time to live and run timeout (in
/// nanoseconds), and, to be looked at, the id and the time of admission, which the reader gives anew. A token is not
/// written: it belongs to the process. Const functions from any thread; O(size of the event).
class EventJson {
 public:
  using Json = nlohmann::json;

  EventJson() {
    payload<std::string>("string");
    payload<bool>("bool");
    payload<std::int64_t>("int");
    payload<std::uint64_t>("uint");
    payload<double>("double");
  }

  /// Makes a type of payloads known by a name. `Error(Errc::invalid_argument)` for a name or a type that is known.
  template <class P>
  void payload(std::string_view name) {
    if (names_.contains(typeid(P)) || kinds_.contains(name)) {
      throw Error(Errc::invalid_argument, "the payload \"" + std::string(name) + "\", or its type, is known already");
    }
    Kind kind{[](const EventPayload& from) { return Json(from.get<P>()); },
              [](const Json& from) { return EventPayload(from.get<P>()); }};
    kinds_.emplace(name, std::move(kind));
    names_.emplace(typeid(P), name);
  }

  /// `Error(Errc::invalid_argument)` for a payload of a type without a name.
  [[nodiscard]] Json write(const Event& event) const {
    Json json{{"type", event.type()}, {"priority", name_of(event.priority())}, {"payload", write(event.payload())}};
    json["source"] = {{"origin", name_of(event.origin())}, {"name", event.source_name()}};
    if (event.id() != 0) {
      json["id"] = event.id();
      json["admitted_ns"] = nanoseconds(event.timestamp().time_since_epoch());
    }
    if (!event.metadata().empty()) json["metadata"] = event.metadata();
    if (!event.key().empty()) json["key"] = event.key();
    if (const auto time = event.time_to_live()) json["time_to_live_ns"] = nanoseconds(*time);
    if (const auto time = event.run_timeout()) json["run_timeout_ns"] = nanoseconds(*time);
    return json;
  }

  /// An event that has not been admitted. `Error(Errc::invalid_argument)`, which says what is wrong, for what is no
  /// event, a payload whose name is not known, or one that its type refuses.
  [[nodiscard]] Event read(const Json& json) const {
    try {
      Event event(json.at("type").get<std::string>());
      event.payload() = read_payload(json.at("payload"));
      if (json.contains("priority")) event.priority(one_of(json["priority"], all_priorities, "priority"));
      if (json.contains("source")) {
        const Json& source = json["source"];
        event.source(one_of(source.at("origin"), all_origins, "origin"), source.value("name", std::string()));
      }
      if (json.contains("metadata")) {
        for (const auto& [name, value] : json["metadata"].items()) event.metadata(name, value.get<std::string>());
      }
      if (json.contains("key")) event.key(json["key"].get<std::string>());
      if (json.contains("time_to_live_ns")) event.time_to_live(time_of(json["time_to_live_ns"]));
      if (json.contains("run_timeout_ns")) event.run_timeout(time_of(json["run_timeout_ns"]));
      return event;
    } catch (const Json::exception& error) {
      throw Error(Errc::invalid_argument, std::string("not an event: ") + error.what());
    }
  }

 private:
  struct Kind {
    Json (*write)(const EventPayload&);
    EventPayload (*read)(const Json&);
  };

  static constexpr EventPriority all_priorities[] = {EventPriority::critical, EventPriority::high,
                                                     EventPriority::normal, EventPriority::low};
  static constexpr EventOrigin all_origins[] = {EventOrigin::system, EventOrigin::plugin, EventOrigin::user,
                                                EventOrigin::external};

  [[nodiscard]] static std::int64_t nanoseconds(Event::Duration time) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
  }
  [[nodiscard]] static std::chrono::nanoseconds time_of(const Json& json) {
    return std::chrono::nanoseconds(json.get<std::int64_t>());
  }
  template <class T, std::size_t N>
  [[nodiscard]] static T one_of(const Json& json, const T (&all)[N], const char* what) {
    const auto& text = json.get_ref<const std::string&>();
    for (const T value : all) {
      if (name_of(value) == text) return value;
    }
    throw Error(Errc::invalid_argument, std::string("no such ") + what + ": \"" + text + "\"");
  }

  [[nodiscard]] Json write(const EventPayload& payload) const {
    if (!payload.has_value()) return nullptr;
    const auto found = names_.find(payload.type());
    if (found == names_.end()) {
      throw Error(Errc::invalid_argument, std::string("a payload of type ") + payload.type().name() +
                                              " has no name: give it one by EventJson::payload");
    }
    return {{"name", found->second}, {"value", kinds_.find(found->second)->second.write(payload)}};
  }
  [[nodiscard]] EventPayload read_payload(const Json& json) const {
    if (json.is_null()) return {};
    const auto& name = json.at("name").get_ref<const std::string&>();
    const auto found = kinds_.find(name);
    if (found == kinds_.end()) {
      throw Error(Errc::invalid_argument,
                  "no payload is known as \"" + name + "\": name its type by EventJson::payload");
    }
    return found->second.read(json.at("value"));
  }

  std::map<std::string, Kind, std::less<>> kinds_;
  std::map<std::type_index, std::string> names_;
};

}  // namespace weir
