/// Several events at once, but those of one key one after another, in the order in which they were emitted.
///
/// Protocol of `Lanes`:
///  1. Keys are hashed to lanes. Events are sorted into lanes by the worker that has the turn, in one go with taking
///  them from the
///     channel: so each lane follows the channel's order.
///  2. A lane is active while one worker owns it; only the owner processes its events. An event of an active lane is
///  kept in a node
///     of its queue, until the owner comes to it.
///  3. Nobody takes an event without a free node at hand: who has the turn waits for room. Every kept event is in an
///  active
///     lane, whose owner needs neither the turn nor room to get to it, so room appears.
///  4. An owner leaves its lane, under the mutex, only when the lane's queue is empty.
#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <weir/core/error.hpp>
#include <weir/core/task.hpp>
#include <weir/core/this_task.hpp>
#include <weir/core/token_bucket.hpp>
#include <weir/core/wake_list.hpp>
#include <weir/stream/detail/stream_turn.hpp>
#include <weir/stream/rate_limit.hpp>
#include <weir/stream/strategy/strategy.hpp>

namespace weir {
namespace detail {

template <class Event>
class Lanes final : public StreamTurn {
 public:
  Lanes(std::size_t lanes, std::size_t nodes) : lanes_(lanes), nodes_(nodes) {
    for (Node& node : nodes_) {
      node.next = free_;
      free_ = &node;
    }
  }

  /// With the turn: true if the caller now owns the lane and processes the event itself; else the event was moved from,
  /// and kept.
  [[nodiscard]] bool enter(std::size_t hash, Event& event) {
    const std::lock_guard lock(mutex());
    Lane& lane = lanes_[hash % lanes_.size()];
    if (!std::exchange(lane.active, true)) return true;
    Node& node = *free_;
    node.event.emplace(std::move(event));
    free_ = node.next;
    node.next = nullptr;
    (lane.first ? lane.last->next : lane.first) = &node;
    lane.last = &node;
    return false;
  }

  /// By the owner: the next event of its lane; false, when there is none, and the lane is given up.
  [[nodiscard]] bool next(std::size_t hash, std::optional<Event>& event) {
    WakeList wakes;
    const std::lock_guard lock(mutex());
    Lane& lane = lanes_[hash % lanes_.size()];
    Node* const node = lane.first;
    if (!node) {
      lane.active = false;
      return false;
    }
    event.emplace(std::move(*node->event));
    node->event.reset();
    lane.first = node->next;
    node->next = free_;
    free_ = node;
    room_appeared(wakes);
    return true;
  }

 private:
  struct Node {
    std::optional<Event> event;
    Node* next = nullptr;
  };
  struct Lane {
    Node* first = nullptr;
    Node* last = nullptr;
    bool active = false;
  };

  [[nodiscard]] bool has_room() const noexcept override { return free_ != nullptr; }

  std::vector<Lane> lanes_;
  std::vector<Node> nodes_;
  Node* free_ = nullptr;
};

}  // namespace detail

/// The strategy of `parallel(n).by_key(key)`: events of one key are processed one after another in the order in which
/// they were emitted, never two at once; those of different keys at the same time, on any worker. `key` is called with
/// an event's data, or with the event, and gives something that `std::hash` takes: a member pointer, or a function. If
/// it throws, the event counts as failed.
///
/// Keys are hashed into a fixed number of lanes, so that nothing is allocated for a key: two keys may share a lane, and
/// then wait for each other. Up to half of the stream's capacity may wait for their key; with a capacity of 1 there is
/// one worker.
template <class Key>
class ByKey {
 public:
  ByKey(std::size_t workers, Key key, RateLimit limit = {})
      : workers_(workers), key_(std::move(key)), limit_(std::move(limit)) {
    if (workers == 0) throw Error(Errc::invalid_argument, "parallel(0): a stream needs at least 1 worker");
  }

  [[nodiscard]] std::size_t concurrency() const noexcept { return workers_; }
  /// For pictures of the stream.
  [[nodiscard]] std::string describe() const {
    return fmt::format("parallel({}){}.by_key()", workers_, limit_.describe());
  }
  [[nodiscard]] std::size_t kept(std::size_t capacity) const noexcept { return capacity / 2; }

  template <class D>
  Task<> operator()(D& drain) const {
    using Lanes = detail::Lanes<typename D::event_type>;
    const std::size_t workers = drain.kept() == 0 ? 1 : workers_;
    auto lanes =
        std::make_shared<Lanes>(std::max<std::size_t>(64 * workers, 256), std::max<std::size_t>(drain.kept(), 1));
    Home& home = co_await this_task::home();
    const auto limit = limit_.bucket(home);
    for (std::size_t i = 1; i < workers; ++i) {
      drain.start_worker([lanes, key = key_, limit](D& own) mutable { return work(own, lanes, key, limit); });
    }
    Key key = key_;
    auto own = work(drain, lanes, key, limit);
    co_await std::move(own);
  }

 private:
  template <class D>
  static Task<> work(D& drain, std::shared_ptr<detail::Lanes<typename D::event_type>> lanes, Key& key,
                     std::optional<TokenBucket> limit) {
    std::optional<typename D::event_type> kept;
    for (;;) {
      auto turn = co_await detail::StreamTurn::TakeOperation(*lanes);
      co_await detail::StreamTurn::RoomOperation(*lanes);
      if (!co_await drain.fetch(1)) break;
      auto* event = drain.next();
      if (!event) continue;
      std::size_t hash = 0;
      std::exception_ptr error;
      try {
        hash = hash_of(key, *event);
      } catch (...) {
        error = std::current_exception();
      }
      if (error) {
        turn.pass();
        co_await drain.reject(*event, std::move(error));
        continue;
      }
      const bool owner = lanes->enter(hash, *event);
      turn.pass();
      if (!owner) continue;
      const bool admitted = co_await detail::admit(drain, *event, limit);
      if (admitted) co_await drain.process(*event);
      while (lanes->next(hash, kept)) {
        if (drain.stopping()) {
          drain.discard(*kept);
        } else {
          drain.begin(*kept);
          const bool next_admitted = co_await detail::admit(drain, *kept, limit);
          if (next_admitted) co_await drain.process(*kept);
        }
        kept.reset();
      }
    }
  }

  template <class Event>
  static std::size_t hash_of(Key& key, Event& event) {
    const auto hashed = [](const auto& value) { return std::hash<std::remove_cvref_t<decltype(value)>>()(value); };
    if constexpr (std::invocable<Key&, decltype(std::as_const(event).data())>) {
      return hashed(std::invoke(key, std::as_const(event).data()));
    } else {
      return hashed(std::invoke(key, std::as_const(event)));
    }
  }

  std::size_t workers_;
  Key key_;
  RateLimit limit_;
};

}  // namespace weir
