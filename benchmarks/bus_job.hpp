#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "harness.hpp"
#include "payload.hpp"

namespace weir_bench {

inline constexpr std::string_view bus_topic = "bench.event";

/// How urgent an event is where urgencies are mixed.
inline constexpr std::size_t urgencies = 4;
[[nodiscard]] constexpr std::size_t urgency_of(U64 number) noexcept { return number % urgencies; }

/// What the buses that are compared with have for subscribers.
template <class T>
class Handlers {
 public:
  Handlers(std::size_t count, U64& sum) {
    for (std::size_t i = 0; i < count; ++i) {
      handlers_.emplace_back([&sum](const T& value) { sum += digest(value); });
    }
  }
  void call(const T& value) const {
    for (const auto& handler : handlers_) handler(value);
  }

 private:
  std::vector<std::function<void(const T&)>> handlers_;
};

/// A queue that keeps its depth: who is handed an event publishes the next. The clock runs from the first that is
/// handled until so many have been.
class HeldDepth {
 public:
  HeldDepth(std::uint64_t events, std::uint64_t depth) noexcept : events_(events), published_(depth) {}

  /// In the handler. The number of the event to publish, if another is wanted.
  [[nodiscard]] std::optional<U64> handled() noexcept {
    if (!measurement_) measurement_.emplace();
    if (handled_++ == events_) sample_ = measurement_->finish(events_);
    if (handled_ > events_) return std::nullopt;
    return published_++;
  }
  [[nodiscard]] bool over() const noexcept { return handled_ > events_; }
  [[nodiscard]] const Sample& sample() const noexcept { return sample_; }

 private:
  std::uint64_t events_;
  std::uint64_t published_;
  std::uint64_t handled_ = 0;
  std::optional<Measurement> measurement_;
  Sample sample_;
};

}  // namespace weir_bench
