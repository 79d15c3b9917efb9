/// `StuckEvent`: an event whose handlers do not come to an end.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include <weir/bus/event.hpp>

namespace weir {

/// What `stuck` and `watch` of a bus report.
class StuckEvent {
 public:
  using Duration = std::chrono::steady_clock::duration;

  StuckEvent(EventId id, std::string_view topic, EventPriority priority, Duration running, bool cancelled)
      : id_(id), topic_(topic), priority_(priority), running_(running), cancelled_(cancelled) {}

  /// For a plain event that the only worker took along with others, the number of the first of them.
  [[nodiscard]] EventId id() const noexcept { return id_; }
  [[nodiscard]] const std::string& topic() const noexcept { return topic_; }
  [[nodiscard]] EventPriority priority() const noexcept { return priority_; }
  /// For how long it has, by the clock of the bus's execution context.
  [[nodiscard]] Duration running() const noexcept { return running_; }
  /// It was cancelled, or its run timeout has passed: its handlers do not react.
  [[nodiscard]] bool cancelled() const noexcept { return cancelled_; }

 private:
  EventId id_;
  std::string topic_;
  EventPriority priority_;
  Duration running_;
  bool cancelled_;
};

}  // namespace weir
