/// How the processing of one event ended.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <weir/stream/collector.hpp>
#include <weir/stream/detail/attempt.hpp>

namespace weir {

template <class D>
class EventBatch;

namespace detail {

template <class Pipeline>
class Recovery;
template <class Pipeline>
class RunResults;

}  // namespace detail

/// How the processing of one event ended: what `Drain::call` gives and `Drain::settle` takes. Between the two it
/// belongs to the strategy.
template <class C, class Collection>
class ProcessedEvent : private detail::Attempt {
 public:
  ProcessedEvent() = default;
  explicit ProcessedEvent(std::uint64_t id) noexcept : id_(id) {}
  [[nodiscard]] std::uint64_t event_id() const noexcept { return id_; }

 private:
  template <class P>
  friend class Drain;
  template <class P>
  friend class detail::Recovery;
  template <class P>
  friend class detail::RunResults;
  template <class D>
  friend class EventBatch;

  std::uint64_t id_ = 0;
  std::optional<detail::item_t<C>> item_;
  std::vector<typename Collector<C, Collection>::Staged> staged_;
};

}  // namespace weir
