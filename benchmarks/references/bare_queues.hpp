#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <queue>
#include <tuple>
#include <vector>
#include <weir/bus/detail/event_queue.hpp>

#include "bus_job.hpp"
#include "harness.hpp"
#include "payload.hpp"

namespace weir_bench {

/// What is queued where only the queue is the question. All of them link the same records, in one piece of memory.
struct QueuedRecord : weir::detail::EventLink {
  [[nodiscard]] U64 number() const noexcept { return id; }
  [[nodiscard]] std::size_t rank() const noexcept { return urgency; }

  U64 id = 0;
  std::size_t urgency = 0;
};

/// weir's.
class EventHeap {
 public:
  void push(QueuedRecord& record) {
    queue_.reserve(1);
    queue_.push(record);
  }
  [[nodiscard]] QueuedRecord& pop() {
    QueuedRecord* const first = queue_.top();
    queue_.remove(*first);
    return *first;
  }

 private:
  weir::detail::EventQueue<QueuedRecord, std::size_t, std::less<>> queue_;
};

class StdHeap {
 public:
  void push(QueuedRecord& record) { queue_.push({record.urgency, record.id, &record}); }
  [[nodiscard]] QueuedRecord& pop() {
    QueuedRecord* const first = std::get<2>(queue_.top());
    queue_.pop();
    return *first;
  }

 private:
  using Entry = std::tuple<std::size_t, U64, QueuedRecord*>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue_;
};

/// A list for each urgency: what can be had if there are four of them and no more.
class FifoLanes {
 public:
  void push(QueuedRecord& record) noexcept {
    weir::detail::EventList& lane = lanes_[record.urgency];
    lane.insert_before(lane.ends, record);
  }
  [[nodiscard]] QueuedRecord& pop() noexcept {
    auto* lane = lanes_.data();
    while (lane->empty()) ++lane;
    auto& first = static_cast<QueuedRecord&>(*lane->ends.next);
    weir::detail::EventList::remove(first);
    return first;
  }

 private:
  std::array<weir::detail::EventList, urgencies> lanes_;
};

/// An event is a pop and a push of a queue that stays as deep as it is.
template <class Queue, bool mixed>
[[nodiscard]] Sample run_bare_queue(std::uint64_t events, std::uint64_t depth) {
  Queue queue;
  std::vector<QueuedRecord> records(depth);
  U64 next = 0;
  const auto push = [&](QueuedRecord& record) {
    record.id = next++;
    record.urgency = mixed ? urgency_of(record.id) : 2;
    queue.push(record);
  };
  for (QueuedRecord& record : records) push(record);
  U64 sum = 0;
  const Measurement measurement;
  for (std::uint64_t i = 0; i < events; ++i) {
    QueuedRecord& first = queue.pop();
    sum += first.id;
    push(first);
  }
  const Sample sample = measurement.finish(events);
  if (!mixed) expect_delivered(expected_digest<U64>(events), sum);
  for (std::uint64_t i = 0; i < depth; ++i) sum += queue.pop().id;
  expect_delivered(expected_digest<U64>(events + depth), sum);
  return sample;
}

}  // namespace weir_bench
