/// The orders that a bus can have, and what of an event depends on them.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string_view>
#include <utility>

#include <weir/bus/detail/bus_record.hpp>

namespace weir::detail {

/// How events are ordered: first in, first out.
struct FifoOrder {
  struct Rank {};
  struct Before {
    [[nodiscard]] bool operator()(Rank, Rank) const noexcept { return false; }
  };
  static constexpr std::size_t classes = 1;
  [[nodiscard]] static Rank rank(const Event&) noexcept { return {}; }
  [[nodiscard]] static std::size_t class_of(Rank) noexcept { return 0; }
  /// Of a class that is never dropped.
  [[nodiscard]] static bool precious(std::size_t) noexcept { return false; }
  /// Of a class that leaves a worker for the others.
  [[nodiscard]] static bool modest(std::size_t) noexcept { return false; }
};

/// By `EventPriority`.
struct PriorityOrder {
  using Rank = EventPriority;
  using Before = std::less<EventPriority>;
  static constexpr std::size_t classes = 4;
  [[nodiscard]] static Rank rank(const Event& event) noexcept { return event.priority(); }
  [[nodiscard]] static std::size_t class_of(Rank rank) noexcept { return static_cast<std::size_t>(rank); }
  [[nodiscard]] static bool precious(std::size_t c) noexcept { return c == 0; }
  [[nodiscard]] static bool modest(std::size_t c) noexcept { return c >= 2; }
};

/// By a priority of the user's, which is given with each event.
template <class Priority, class Compare>
struct CustomOrder {
  using Rank = Priority;
  using Before = Compare;
  static constexpr std::size_t classes = 1;
  [[nodiscard]] static std::size_t class_of(const Rank&) noexcept { return 0; }
  [[nodiscard]] static bool precious(std::size_t) noexcept { return false; }
  [[nodiscard]] static bool modest(std::size_t) noexcept { return false; }
};

/// An order whose rank is in the event.
template <class Order>
concept HasRank = requires(const Event& event) { Order::rank(event); };

/// What a batch says of the ranks of its events: one for each, or one for all, where they are not in the events.
template <class Order>
[[nodiscard]] typename Order::Rank rank_of(std::span<const Event> events,
                                           [[maybe_unused]] std::span<const typename Order::Rank> ranks,
                                           std::size_t index) {
  if constexpr (HasRank<Order>) {
    return Order::rank(events[index]);
  } else {
    return ranks[ranks.size() == 1 ? 0 : index];
  }
}

/// A record with its rank, which is stored only where the event does not have it.
template <class Order>
struct RankedRecord : RecordBase {
  using Rank = typename Order::Rank;

  RankedRecord(Event&& e, TopicEntry& t, EventState* s, const Rank& r) : RecordBase(std::move(e), t, s), rank_(r) {}
  [[nodiscard]] const Rank& rank() const noexcept { return rank_; }

 private:
  Rank rank_;
};
template <HasRank Order>
struct RankedRecord<Order> : RecordBase {
  using Rank = typename Order::Rank;

  RankedRecord(Event&& e, TopicEntry& t, EventState* s, const Rank&) noexcept : RecordBase(std::move(e), t, s) {}
  [[nodiscard]] Rank rank() const noexcept { return Order::rank(event); }
};

/// An event that is to be admitted.
template <class Order>
struct EventDraft {
  /// The caller's, moved from on admission.
  Event* event = nullptr;
  /// Empty: the event has its own.
  std::string_view topic;
  typename Order::Rank rank{};
  EventStateRef state;
  /// What a saga had held back: it is published while the bus is drained, too.
  bool held_back = false;
};

}  // namespace weir::detail
