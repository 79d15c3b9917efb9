/// Several events at once, but those of one key one after another, in the order in which they were emitted.
///
/// Protocol of `Lanes`:
///  1. A lane is of one hash. There is one while a worker owns it; only the owner processes its events. Each worker
///     owns one at most, so there are as many as workers.
///  2. Events are sorted into lanes by the worker that has the turn, in one go with taking them from the channel: so
///     each lane follows the channel's order. An event of a lane that another owns is kept in a node of its queue,
///     until the owner comes to it.
///  3. Nobody takes an event without a free node at hand: who has the turn waits for room. Every kept event is in a
///     lane, whose owner needs neither the turn nor room to get to it, so room appears.
///  4. An owner leaves its lane, under the mutex, only when the lane's queue is empty.
/// tests/stream/by_key_test.cpp breaks when one of these is broken.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
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
  class Lane;

  Lanes(std::size_t workers, std::size_t nodes)
      : lanes_(workers),
        nodes_(nodes),
        by_hash_(std::bit_ceil(2 * workers)),
        shift_(64 - std::countr_zero(by_hash_.size())) {
    for (Lane& lane : lanes_) lane.next_ = std::exchange(free_lanes_, &lane);
    for (Node& node : nodes_) node.next = std::exchange(free_nodes_, &node);
  }

  /// With the turn, by a worker without a lane: the lane that the caller owns from now on, to process the event itself;
  /// or null: the event was moved from, and kept.
  [[nodiscard]] Lane* enter(std::size_t hash, Event& event) {
    const std::lock_guard lock(mutex());
    Lane*& first = lanes_of(hash);
    Lane* lane = first;
    while (lane && lane->hash_ != hash) lane = lane->next_;
    if (!lane) {
      lane = std::exchange(free_lanes_, free_lanes_->next_);
      lane->hash_ = hash;
      lane->next_ = std::exchange(first, lane);
      return lane;
    }
    Node& node = *free_nodes_;
    node.event.emplace(std::move(event));
    free_nodes_ = std::exchange(node.next, nullptr);
    (lane->first_ ? lane->last_->next : lane->first_) = &node;
    lane->last_ = &node;
    return nullptr;
  }

  /// By the owner: the next event of its lane; false, when there is none, and the lane is given up.
  [[nodiscard]] bool next(Lane& lane, std::optional<Event>& event) {
    WakeList wakes;
    const std::lock_guard lock(mutex());
    Node* const node = lane.first_;
    if (!node) {
      Lane** link = &lanes_of(lane.hash_);
      while (*link != &lane) link = &(*link)->next_;
      *link = lane.next_;
      lane.next_ = std::exchange(free_lanes_, &lane);
      return false;
    }
    event.emplace(std::move(*node->event));
    node->event.reset();
    lane.first_ = node->next;
    node->next = std::exchange(free_nodes_, node);
    room_appeared(wakes);
    return true;
  }

 private:
  struct Node {
    std::optional<Event> event;
    Node* next = nullptr;
  };

  [[nodiscard]] bool has_room() const noexcept override { return free_nodes_ != nullptr; }
  /// Hashes of numbers are the numbers: the product's high bits depend on all of theirs.
  [[nodiscard]] Lane*& lanes_of(std::size_t hash) noexcept {
    return by_hash_[static_cast<std::size_t>((hash * std::uint64_t{0x9e3779b97f4a7c15}) >> shift_)];
  }

  std::vector<Lane> lanes_;
  std::vector<Node> nodes_;
  std::vector<Lane*> by_hash_;
  int shift_;
  Lane* free_lanes_ = nullptr;
  Node* free_nodes_ = nullptr;
};

/// The queue of what waits for its key; one of a chain: those that are free, or whose hashes have the same place.
template <class Event>
class Lanes<Event>::Lane {
  friend class Lanes;
  std::size_t hash_ = 0;
  Node* first_ = nullptr;
  Node* last_ = nullptr;
  Lane* next_ = nullptr;
};

}  // namespace detail

/// The strategy of `parallel(n).by_key(key)`: events of one key are processed one after another in the order in which
/// they were emitted, never two at once; those of different keys at the same time, on any worker. `key` is called with
/// an event's data, or with the event, and gives something that `std::hash` takes: a member pointer, or a function. If
/// it throws, the event counts as failed.
///
/// A key that most events have keeps one worker busy, and the others do the rest, until half of the stream's capacity
/// waits for it: then nothing is taken before it has gone on. With a capacity of 1 there is one worker. Keys with equal
/// hashes are as one key. Nothing is allocated for a key.
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
    auto lanes = std::make_shared<Lanes>(workers, std::max<std::size_t>(drain.kept(), 1));
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
      auto* const lane = lanes->enter(hash, *event);
      turn.pass();
      if (!lane) continue;
      const bool admitted = co_await detail::admit(drain, *event, limit);
      if (admitted) co_await drain.process(*event);
      while (lanes->next(*lane, kept)) {
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
