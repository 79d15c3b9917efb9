/// A turn that coroutines of several roots take one after another, and room that they wait for while they have it.
///
/// Protocol:
///  1. `taken_` says that somebody has the turn. It is handed from one to the next under the mutex: who is woken has
///  it.
///  2. Only the one who has the turn waits for room, so one waiter is enough.
///  3. Both kinds of waiter leave their list under the mutex, so a wake is never lost to a cancel: the turn of one that
///  is
///     cancelled was never its.
///  4. A frame that is destroyed after it was handed the turn takes the turn with it: that happens only when the whole
///     execution context ends, and every other worker with it.
/// tests/stream/ordered_test.cpp and by_key_test.cpp break when one of these is broken.
#pragma once

#include <memory>
#include <mutex>
#include <utility>

#include <weir/core/wake_list.hpp>
#include <weir/stream/detail/stream_waiters.hpp>

namespace weir::detail {

/// `Shared` derives from this, and is owned by shared pointers: an operation keeps it.
class StreamTurn {
 public:
  StreamTurn() = default;
  StreamTurn(const StreamTurn&) = delete;
  StreamTurn& operator=(const StreamTurn&) = delete;

  [[nodiscard]] std::mutex& mutex() noexcept { return mutex_; }

  class TakeOperation;
  class RoomOperation;

  /// Gives the turn back.
  void pass() noexcept {
    WakeList wakes;
    const std::lock_guard lock(mutex_);
    if (!turns_.wake_one(wakes)) taken_ = false;
  }

 protected:
  ~StreamTurn() = default;
  /// Under the mutex: whether somebody has the turn.
  [[nodiscard]] bool taken() const noexcept { return taken_; }
  /// Under the mutex, when there may be room again.
  void room_appeared(WakeList& wakes) noexcept { room_.wake_one(wakes); }
  /// Under the mutex.
  [[nodiscard]] virtual bool has_room() const noexcept = 0;

 private:
  std::mutex mutex_;
  StreamWaitList turns_;
  StreamWaitList room_;
  bool taken_ = false;
};

/// Gives the turn back when it goes.
class StreamTurnHeld {
 public:
  explicit StreamTurnHeld(StreamTurn& turn) noexcept : turn_(&turn) {}
  StreamTurnHeld(StreamTurnHeld&& other) noexcept : turn_(std::exchange(other.turn_, nullptr)) {}
  StreamTurnHeld& operator=(StreamTurnHeld&&) = delete;
  ~StreamTurnHeld() { pass(); }
  void pass() noexcept {
    if (turn_) std::exchange(turn_, nullptr)->pass();
  }

 private:
  StreamTurn* turn_;
};

class StreamTurn::TakeOperation final : public StreamWaiter {
 public:
  explicit TakeOperation(StreamTurn& turn) noexcept : StreamWaiter(turn.mutex_, turn.turns_, kind), turn_(turn) {}

  [[nodiscard]] bool await_ready() noexcept {
    {
      const std::lock_guard lock(turn_.mutex_);
      if (turn_.taken_) {
        wait_locked();
        return false;
      }
      turn_.taken_ = true;
    }
    return spend();
  }
  [[nodiscard]] StreamTurnHeld await_resume() {
    resumed();
    return StreamTurnHeld(turn_);
  }

 private:
  static constexpr Cancellable::Kind kind{&StreamWaiter::cancel, nullptr, "its turn to take an event"};
  StreamTurn& turn_;
};

class StreamTurn::RoomOperation final : public StreamWaiter {
 public:
  explicit RoomOperation(StreamTurn& turn) noexcept : StreamWaiter(turn.mutex_, turn.room_, kind), turn_(turn) {}

  [[nodiscard]] bool await_ready() noexcept {
    const std::lock_guard lock(turn_.mutex_);
    if (turn_.has_room()) return true;
    wait_locked();
    return false;
  }
  void await_resume() { resumed(); }

 private:
  static constexpr Cancellable::Kind kind{&StreamWaiter::cancel, nullptr, "an earlier event of its stream"};
  StreamTurn& turn_;
};

}  // namespace weir::detail
