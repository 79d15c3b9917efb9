/// What a broadcast keeps for whom: values, places, the policy and the counters. All of it is called under the lock of
/// the core, which has the protocol.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <weir/channel/broadcast_options.hpp>
#include <weir/channel/detail/broadcast_place.hpp>
#include <weir/channel/detail/broadcast_ring.hpp>

namespace weir::detail {

/// Nodes that are done with go to a `trash` when their values have to be destroyed, which is for the caller, unlocked.
template <class T>
class BroadcastLog {
 public:
  using Node = BroadcastNode<T>;
  using Subscription = BroadcastSubscription<T>;
  using Run = BroadcastRun<T>;
  using State = typename Subscription::State;
  using Trash = BroadcastNodeList<T>;

  explicit BroadcastLog(const BroadcastOptions& options) noexcept : ring_(options.capacity), slow_(options.slow) {}

  [[nodiscard]] std::size_t capacity() const noexcept { return ring_.capacity(); }
  [[nodiscard]] std::size_t subscribers() const noexcept { return subscribers_; }
  /// Whether a send has to wait for a receiver.
  [[nodiscard]] bool must_wait() const noexcept {
    return subscribers_ != 0 && slow_ == SlowReceiver::wait && !ring_.room();
  }

  void join(Subscription& s) noexcept {
    s.start = s.next = ring_.tail();
    s.following = first_;
    if (first_) first_->prev = &s;
    first_ = &s;
    ++subscribers_;
  }
  void leave(Subscription& s, Trash& trash) noexcept {
    end(s, State::left);
    (s.prev ? s.prev->following : first_) = s.following;
    if (s.following) s.following->prev = s.prev;
    drop_read(trash);
  }

  /// Appends a value. When the construction throws, nothing has changed.
  template <class Construct>
  void append(Construct& construct, Trash& trash) {
    if (subscribers_ == 0) {
      ++counts_.sent;
      ++counts_.unheard;
      return;
    }
    Node& node = ring_.fill(construct);
    if (ring_.full()) make_room(trash);
    ++counts_.sent;
    if (subscribers_ == 0) {
      // The policy has just disconnected the last one.
      ++counts_.unheard;
      return discard(node, trash);
    }
    counts_.due += subscribers_;
    ring_.push(node, subscribers_);
  }

  [[nodiscard]] Found look(const Subscription& s, bool closed) const noexcept {
    if (s.state == State::disconnected) return Found::disconnected;
    if (s.state == State::left) return Found::end;
    if (s.next < ring_.head()) return Found::lagged;
    if (s.next < ring_.tail()) return Found::value;
    return closed ? Found::end : Found::nothing;
  }
  /// Pins the values that the call takes; or notes what the receiver is told instead of them.
  Found begin(Subscription& s, Run& run, Found found) noexcept {
    if (found == Found::lagged) {
      run.lag = ring_.head() - s.next;
      s.skipped += run.lag;
      s.next = ring_.head();
      if (!run.skipped) return found;
      *run.skipped += run.lag;
      found = Found::value;
    }
    if (found != Found::value) return found;
    run.first = &ring_.at(s.next);
    run.pinned = static_cast<std::size_t>(std::min<std::uint64_t>(run.max, ring_.tail() - s.next));
    for (std::size_t i = 0; i < run.pinned; ++i) {
      Node& node = ring_.at(s.next + i);
      --node.unread;
      if (++node.pins == 1) node.last = node.unread == 0;
    }
    s.reading = run.pinned;
    return found;
  }

  /// Lets go of what was pinned: the first `done` were received.
  void commit(Subscription& s, const Run& run, std::size_t done, Trash& trash) noexcept {
    Node* node = run.first;
    for (std::size_t i = 0; i < run.pinned; ++i) {
      Node* const after = node->next;
      const bool buffered = s.next + i >= ring_.head();
      --node->pins;
      if (i >= done) {
        node->last = false;
        if (s.state != State::active) {
          ++s.dropped;
          ++counts_.dropped;
        } else if (buffered) {
          ++node->unread;
        } else {
          ++counts_.skipped;
        }
      }
      if (!buffered && node->pins == 0) discard(*node, trash);
      node = after;
    }
    s.next += done;
    s.received += done;
    counts_.received += done;
    s.reading = 0;
    drop_read(trash);
  }

  void destroyed(Node& node) noexcept { ring_.destroyed(node); }

  [[nodiscard]] BroadcastStats stats() const noexcept {
    BroadcastStats stats = counts_;
    stats.buffered = static_cast<std::size_t>(ring_.tail() - ring_.head());
    stats.capacity = ring_.capacity();
    stats.subscribers = subscribers_;
    for (const Subscription* s = first_; s; s = s->following) {
      const std::uint64_t behind = pending(*s);
      stats.pending += behind;
      stats.slowest = std::max(stats.slowest, behind);
    }
    return stats;
  }
  [[nodiscard]] BroadcastReceiverStats stats(const Subscription& s) const noexcept {
    return {.sent = (s.state == State::active ? ring_.tail() : s.end) - s.start,
            .received = s.received,
            .skipped = s.skipped + untold(s),
            .dropped = s.dropped,
            .pending = pending(s),
            .disconnected = s.state == State::disconnected};
  }

 private:
  [[nodiscard]] std::uint64_t first_unread(const Subscription& s) const noexcept {
    return std::max(s.next + s.reading, ring_.head());
  }
  /// Skipped, and the receiver has not been told.
  [[nodiscard]] std::uint64_t untold(const Subscription& s) const noexcept {
    return s.state == State::active ? first_unread(s) - (s.next + s.reading) : 0;
  }
  [[nodiscard]] std::uint64_t pending(const Subscription& s) const noexcept {
    return s.state == State::active ? ring_.tail() - s.next - untold(s) : s.reading;
  }

  /// Takes the oldest value out of the ring, from those that have not begun with it.
  void make_room(Trash& trash) noexcept {
    Node& oldest = ring_.at(ring_.head());
    if (slow_ == SlowReceiver::disconnect) {
      for (Subscription* s = first_; s && oldest.unread != 0; s = s->following) {
        if (s->state != State::active || first_unread(*s) != ring_.head()) continue;
        end(*s, State::disconnected);
        ++counts_.disconnected;
      }
    }
    counts_.skipped += oldest.unread;
    oldest.unread = 0;
    ring_.pop();
    // Pinned, it is for the last one that reads it to discard.
    if (oldest.pins == 0) discard(oldest, trash);
    drop_read(trash);
  }

  void drop_read(Trash& trash) noexcept {
    while (!ring_.empty()) {
      const Node& oldest = ring_.at(ring_.head());
      if (oldest.unread != 0 || oldest.pins != 0) break;
      discard(ring_.pop(), trash);
    }
  }
  void discard(Node& node, Trash& trash) noexcept {
    if (ring_.discard(node)) trash.add(node);
  }

  /// Nothing more for this one: what it has not begun with is dropped.
  void end(Subscription& s, State how) noexcept {
    if (s.state == State::active) {
      const std::uint64_t from = first_unread(s);
      for (std::uint64_t position = from; position != ring_.tail(); ++position) --ring_.at(position).unread;
      s.skipped += untold(s);
      s.dropped += ring_.tail() - from;
      counts_.dropped += ring_.tail() - from;
      s.end = ring_.tail();
      --subscribers_;
    }
    s.state = how;
  }

  BroadcastRing<T> ring_;
  SlowReceiver slow_;
  Subscription* first_ = nullptr;
  std::size_t subscribers_ = 0;
  BroadcastStats counts_;
};

}  // namespace weir::detail
