/// The queue of a bus: a binary heap whose entries are whole runs of events.
///
/// Invariants (tests/bus/event_queue_test.cpp breaks when one of these is broken):
///  1. A run holds events of one rank in the order of their numbers. It is in the heap as long as it is not empty.
///  2. The heap is ordered by rank, then by the number of a run's first event: the event on top is the next one.
///  3. An event that comes is added to the newest run of its rank, if that is among the few that are kept open; else it
///     begins a run. So the four priorities are four entries whatever the depth, and a push or a pop of theirs costs no
///     more than in a list; with a rank of its own for each event, such as a deadline, it is a plain binary heap.
///  4. Of the runs of one rank only the newest is open.
/// Not thread-safe: it is used under the lock of the bus.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace weir::detail {

struct EventList;

/// What links an event into a list. It is in one list at most.
struct EventLink {
  EventLink* prev = nullptr;
  EventLink* next = nullptr;
  EventList* list = nullptr;
};

/// A ring of events through a node of its own.
struct EventList {
  EventList() noexcept { ends.prev = ends.next = &ends; }
  EventList(const EventList&) = delete;
  EventList& operator=(const EventList&) = delete;

  [[nodiscard]] bool empty() const noexcept { return ends.next == &ends; }
  [[nodiscard]] bool is_first(const EventLink& link) const noexcept { return ends.next == &link; }
  [[nodiscard]] bool is_only(const EventLink& link) const noexcept { return is_first(link) && ends.prev == &link; }

  /// Adds it after all for which `goes_after(link)` is false, looking from the back, where its place usually is.
  template <class GoesAfter>
  void insert(EventLink& link, GoesAfter&& goes_after) noexcept {
    EventLink* place = &ends;
    while (place->prev != &ends && goes_after(*place->prev)) place = place->prev;
    insert_before(*place, link);
  }
  void insert_before(EventLink& place, EventLink& link) noexcept {
    link.list = this;
    link.next = &place;
    link.prev = place.prev;
    link.prev->next = &link;
    place.prev = &link;
  }
  static void remove(EventLink& link) noexcept {
    link.prev->next = link.next;
    link.next->prev = link.prev;
    link.prev = link.next = nullptr;
    link.list = nullptr;
  }

  EventLink ends;
  /// Not a run of the queue, but of those that wait aside.
  bool aside = false;
};

/// `Record` is an `EventLink` with a `number()` and a `rank()`; `Before` orders ranks, the most urgent first.
template <class Record, class Rank, class Before>
class EventQueue {
 public:
  explicit EventQueue(Before before = Before()) : before_(std::move(before)) {}
  EventQueue(const EventQueue&) = delete;
  EventQueue& operator=(const EventQueue&) = delete;
  ~EventQueue() {
    for (Run* const run : heap_) delete run;
    while (spare_) delete std::exchange(spare_, spare_->next_spare);
  }

  [[nodiscard]] bool empty() const noexcept { return heap_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  /// After it, `count` more events can be added without an allocation, unless others come between.
  void reserve(std::size_t count) { make_spare(count + kept_); }
  /// The same for `put_back`, and it holds whatever comes between.
  void reserve_places(std::size_t count) {
    kept_ = std::max(kept_, count);
    reserve(1);
  }

  /// Adds an event that is younger than all that were ever added. O(1), or O(log runs) for one that begins a run: a
  /// spare one must have been reserved for it.
  void push(Record& record) noexcept {
    if (Run* const run = open_run(record.rank())) {
      run->insert_before(run->ends, record);
    } else {
      begin_run(record);
    }
    ++size_;
  }

  /// Adds one that was in it before: it gets its place back. O(events before it in its run), and O(log runs). A spare
  /// run must have been reserved for it.
  void put_back(Record& record) noexcept {
    if (Run* const run = open_run(record.rank())) {
      EventLink* place = run->ends.next;
      while (place != &run->ends && static_cast<Record*>(place)->number() < record.number()) place = place->next;
      run->insert_before(*place, record);
      if (run->is_first(record)) sift_up(run->index);
    } else {
      begin_run(record);
    }
    ++size_;
  }

  /// The next one, or null. O(1).
  [[nodiscard]] Record* top() const noexcept { return heap_.empty() ? nullptr : &first_of(*heap_.front()); }
  /// The most urgent of the runs' first events for which `takes(record)` is true, or null. O(runs).
  template <class Takes>
  [[nodiscard]] Record* find(Takes&& takes) const noexcept {
    Run* best = nullptr;
    for (Run* const run : heap_) {
      if (takes(first_of(*run)) && (!best || is_before(*run, *best))) best = run;
    }
    return best ? &first_of(*best) : nullptr;
  }
  /// The one that was admitted first of all for which `takes(record)` is true, or null. O(runs).
  template <class Takes>
  [[nodiscard]] Record* find_oldest(Takes&& takes) const noexcept {
    Record* oldest = nullptr;
    for (Run* const run : heap_) {
      Record& first = first_of(*run);
      if ((!oldest || first.number() < oldest->number()) && takes(first)) oldest = &first;
    }
    return oldest;
  }

  /// Takes out one that is in it. O(1), or O(log runs) for a run's first.
  void remove(Record& record) noexcept {
    Run& run = static_cast<Run&>(*record.list);
    const bool first = run.is_first(record);
    EventList::remove(record);
    --size_;
    if (run.empty()) {
      end_run(run);
    } else if (first) {
      sift_down(run.index);
    }
  }

  /// Calls `visit(record)` for each, in no particular order; it may not change the queue.
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (const Run* const run : heap_) {
      for (EventLink* link = run->ends.next; link != &run->ends; link = link->next) {
        visit(static_cast<Record&>(*link));
      }
    }
  }

 private:
  struct Run : EventList {
    Rank rank{};
    std::size_t index = 0;
    Run* next_spare = nullptr;
  };

  [[nodiscard]] static Record& first_of(const Run& run) noexcept { return static_cast<Record&>(*run.ends.next); }
  [[nodiscard]] bool same(const Rank& a, const Rank& b) const noexcept { return !before_(a, b) && !before_(b, a); }
  [[nodiscard]] bool is_before(const Run& a, const Run& b) const noexcept {
    if (before_(a.rank, b.rank)) return true;
    if (before_(b.rank, a.rank)) return false;
    return first_of(a).number() < first_of(b).number();
  }

  void make_spare(std::size_t count) {
    if (spare_count_ >= count && heap_.capacity() - heap_.size() >= count) return;
    if (heap_.capacity() < heap_.size() + count) heap_.reserve(std::max(heap_.size() + count, 2 * heap_.size()));
    while (spare_count_ < count) give_spare(*new Run);
  }

  [[nodiscard]] Run* open_run(const Rank& rank) const noexcept {
    for (Run* const run : open_) {
      if (run && same(run->rank, rank)) return run;
    }
    return nullptr;
  }

  void begin_run(Record& record) noexcept {
    Run& run = *std::exchange(spare_, spare_->next_spare);
    --spare_count_;
    run.rank = record.rank();
    run.insert_before(run.ends, record);
    run.index = heap_.size();
    heap_.push_back(&run);
    sift_up(run.index);
    auto open = std::find(open_.begin(), open_.end(), nullptr);
    if (open == open_.end()) {
      // The others come and go; one that is long would be in pieces if it were closed while there is a place.
      open = open_.begin() + static_cast<std::ptrdiff_t>(next_open_);
      next_open_ = (next_open_ + 1) % open_.size();
    }
    *open = &run;
  }
  void end_run(Run& run) noexcept {
    std::replace(open_.begin(), open_.end(), &run, static_cast<Run*>(nullptr));
    Run* const last = heap_.back();
    heap_.pop_back();
    if (last != &run) {
      const std::size_t index = run.index;
      place(index, *last);
      sift_down(index);
      sift_up(last->index);
    }
    if (spare_count_ < std::max(max_spare, 1 + kept_)) {
      give_spare(run);
    } else {
      delete &run;
    }
  }
  void give_spare(Run& run) noexcept {
    run.next_spare = spare_;
    spare_ = &run;
    ++spare_count_;
  }

  void place(std::size_t index, Run& run) noexcept {
    heap_[index] = &run;
    run.index = index;
  }
  void sift_up(std::size_t index) noexcept {
    Run& run = *heap_[index];
    while (index != 0 && is_before(run, *heap_[(index - 1) / 2])) {
      place(index, *heap_[(index - 1) / 2]);
      index = (index - 1) / 2;
    }
    place(index, run);
  }
  void sift_down(std::size_t index) noexcept {
    Run& run = *heap_[index];
    for (;;) {
      std::size_t child = 2 * index + 1;
      if (child >= heap_.size()) break;
      if (child + 1 < heap_.size() && is_before(*heap_[child + 1], *heap_[child])) ++child;
      if (!is_before(*heap_[child], run)) break;
      place(index, *heap_[child]);
      index = child;
    }
    place(index, run);
  }

  static constexpr std::size_t max_spare = 16;

  std::vector<Run*> heap_;
  std::array<Run*, 4> open_{};
  std::size_t next_open_ = 0;
  Run* spare_ = nullptr;
  std::size_t spare_count_ = 0;
  std::size_t kept_ = 0;
  std::size_t size_ = 0;
  [[no_unique_address]] Before before_;
};

}  // namespace weir::detail
