/// A receiver's place in a broadcast, and what a call that receives has in hand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>

#include <weir/channel/detail/broadcast_ring.hpp>
#include <weir/channel/detail/sync.hpp>
#include <weir/channel/detail/waiter.hpp>

namespace weir::detail {

template <class T>
class BroadcastCore;
template <class T>
struct BroadcastWaiter;

/// One receiver's place. Its members are the core's, under its lock; shared by the handle and the operation that waits.
template <class T>
class BroadcastSubscription {
 public:
  explicit BroadcastSubscription(BroadcastCore<T>& c) noexcept : core(c) { core.retain(); }
  BroadcastSubscription(const BroadcastSubscription&) = delete;
  BroadcastSubscription& operator=(const BroadcastSubscription&) = delete;

  void retain() noexcept { ++refs_; }
  void release() noexcept {
    if (--refs_ == 0) delete this;
  }

  enum class State : unsigned char { active, disconnected, left };

  BroadcastCore<T>& core;
  BroadcastSubscription* prev = nullptr;
  BroadcastSubscription* following = nullptr;
  std::uint64_t start = 0;     ///< the first value that is for it
  std::uint64_t next = 0;      ///< the first that it has not received; before `head`: some were skipped
  std::uint64_t end = 0;       ///< no longer active: the first that is not for it
  std::uint64_t received = 0;  ///< each of the three counts what it was told of
  std::uint64_t skipped = 0;
  std::uint64_t dropped = 0;
  std::uint64_t reading = 0;             ///< from `next` on: pinned by the call that is under way
  BroadcastWaiter<T>* waiter = nullptr;  ///< the operation that waits for a value
  bool busy = false;                     ///< an operation has suspended
  State state = State::active;

 private:
  ~BroadcastSubscription() { core.release(); }
  SharedCounter refs_{1};
};

/// A receive that waits for a value to be sent.
template <class T>
struct BroadcastWaiter : Waiter {
  using Waiter::Waiter;

  BroadcastSubscription<T>* subscription = nullptr;
};

/// What a receiver finds at its place.
enum class Found : unsigned char { nothing, value, lagged, disconnected, end };

/// A call that receives: what it was asked for, and what it has in hand.
template <class T>
struct BroadcastRun {
  std::size_t max = 1;
  std::uint64_t* skipped = nullptr;  ///< adds what was skipped here, instead of telling of it
  BroadcastNode<T>* first = nullptr;
  std::size_t pinned = 0;
  std::uint64_t lag = 0;
  std::exception_ptr reason;
};

}  // namespace weir::detail
