/// What a bus tells those who own events in it, such as a plugin.
#pragma once

#include <utility>

namespace weir::detail {

struct BusAfter;
struct RecordBase;
struct EventOwner;

/// What ties an event to its owner. While it is queued it is in the owner's list. It is what goes last of an event, and
/// tells the owner.
struct OwnedEvent {
  OwnedEvent() = default;
  OwnedEvent(const OwnedEvent&) = delete;
  OwnedEvent& operator=(const OwnedEvent&) = delete;
  ~OwnedEvent();

  EventOwner* owner = nullptr;
  OwnedEvent* prev = nullptr;
  OwnedEvent* next = nullptr;
  RecordBase* record = nullptr;
  /// It has one of the places in the queue that its owner has.
  bool has_place = false;
};

/// Its list is under the lock of the bus.
struct EventOwner {
  EventOwner() = default;
  EventOwner(const EventOwner&) = delete;
  EventOwner& operator=(const EventOwner&) = delete;

  /// One of its events that had a place has started, or has ended without. Under the lock of the bus.
  virtual void left_queue(BusAfter& after) noexcept = 0;
  /// There is one event of its more, made of another. Under the lock of the bus.
  virtual void another() noexcept = 0;
  /// One of its events has been destroyed, or was given away. No lock is held.
  virtual void gone() noexcept = 0;

  void enter(OwnedEvent& event, RecordBase& record) noexcept {
    event.record = &record;
    event.prev = nullptr;
    event.next = first_event;
    if (first_event) first_event->prev = &event;
    first_event = &event;
  }
  void leave(OwnedEvent& event, BusAfter& after) noexcept {
    (event.prev ? event.prev->next : first_event) = event.next;
    if (event.next) event.next->prev = event.prev;
    event.prev = event.next = nullptr;
    if (std::exchange(event.has_place, false)) left_queue(after);
  }

  OwnedEvent* first_event = nullptr;
  /// None of its events is admitted any more.
  bool ended = false;

 protected:
  virtual ~EventOwner() = default;
};

inline OwnedEvent::~OwnedEvent() {
  if (owner) owner->gone();
}

}  // namespace weir::detail
