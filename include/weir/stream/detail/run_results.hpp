/// What the events of a run gave, until it is added to the collection.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <weir/stream/collector.hpp>
#include <weir/stream/detail/processed_event.hpp>

namespace weir::detail {

/// Of one worker. Items are beside their keys only where the receiver can give keys.
template <class Pipeline>
class RunResults {
  using C = typename Pipeline::item_type;
  using Collection = typename Pipeline::collection_type;
  using Staged = typename Collector<C, Collection>::Staged;
  using Item = typename Collector<C, Collection>::Item;
  using Entry = std::conditional_t<Pipeline::takes_collector, Staged, Item>;
  struct None {};

 public:
  explicit RunResults(const Collector<C, Collection>& collector) : staging_(staging_of(collector, items_)) {}
  RunResults(const RunResults&) = delete;
  RunResults& operator=(const RunResults&) = delete;

  /// For a receiver that takes a collector.
  [[nodiscard]] auto& staging() noexcept { return staging_; }

  [[nodiscard]] std::size_t size() const noexcept { return items_.size(); }
  /// What a receiver returned, if it is something.
  template <class R>
  void add(R&& returned) {
    if constexpr (Pipeline::returns_optional) {
      if (returned) push(std::move(*returned));
    } else {
      push(static_cast<R&&>(returned));
    }
  }
  /// A receiver of the event alone that returns nothing still counts, where the policy counts.
  void add_nothing() {
    if constexpr (std::is_void_v<C> && !std::is_same_v<Collection, Nothing>) push(Nothing());
  }
  void add(ProcessedEvent<C, Collection>& outcome) {
    if constexpr (Pipeline::takes_collector) {
      for (Staged& item : outcome.staged_) items_.push_back(std::move(item));
    }
    if (outcome.item_) push(std::move(*outcome.item_));
  }
  /// Those that came since there were `mark`.
  void drop_from(std::size_t mark) noexcept {
    while (items_.size() != mark) items_.pop_back();
  }
  /// What was added since the last event is that of `id`.
  void end_event(std::uint64_t id) { ends_.push_back({id, items_.size()}); }

  [[nodiscard]] bool empty() const noexcept { return ends_.empty(); }
  void clear() noexcept {
    items_.clear();
    ends_.clear();
  }

  /// As one unit, for a batch. Throws what the policy throws: then what came before has been added.
  void collect_all(Collector<C, Collection>& collector, std::size_t part) {
    if (items_.empty()) return;
    std::size_t next = 0;
    collector.collect_run(std::span<Entry>(items_), next, part);
    clear();
  }

  /// Event by event, under one lock unless the policy throws: then `failed(id, error)`, under no lock, says whether the
  /// others are still to be added. Gives how many were added, and how many were not any more.
  struct Added {
    std::size_t added;
    std::size_t left_out;
  };
  template <class Failed>
  Added collect_events(Collector<C, Collection>& collector, std::size_t part, Failed failed) noexcept {
    std::size_t event = 0;
    std::size_t next = 0;
    Added sum{ends_.size(), 0};
    while (next != items_.size()) {
      try {
        collector.collect_run(std::span<Entry>(items_), next, part);
      } catch (...) {
        while (ends_[event].end < next) ++event;
        --sum.added;
        next = ends_[event].end;
        if (!failed(ends_[event].id, std::current_exception())) {
          sum.left_out = ends_.size() - event - 1;
          sum.added -= sum.left_out;
          break;
        }
        ++event;
      }
    }
    clear();
    return sum;
  }

 private:
  [[nodiscard]] static auto staging_of(const Collector<C, Collection>& collector, std::vector<Entry>& items) {
    if constexpr (Pipeline::takes_collector) {
      return collector.stage_into(items);
    } else {
      return None();
    }
  }
  template <class R>
  void push(R&& item) {
    if constexpr (Pipeline::takes_collector) {
      staging_.collect(static_cast<R&&>(item));
    } else {
      items_.push_back(static_cast<R&&>(item));
    }
  }

  struct End {
    std::uint64_t id;
    std::size_t end;
  };

  std::vector<Entry> items_;
  std::vector<End> ends_;
  std::conditional_t<Pipeline::takes_collector, Collector<C, Collection>, None> staging_;
};

}  // namespace weir::detail
