/// How a batch that is admitted as a whole gets into its bus: all of it or nothing, in its turn. See rule 2 of
/// bus_batches.hpp; all of it is under the lock of the bus.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <exception>
#include <new>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include <weir/bus/detail/bus_batch.hpp>
#include <weir/bus/detail/bus_order.hpp>
#include <weir/channel/options.hpp>
#include <weir/core/error.hpp>

namespace weir::detail {

template <class Order>
class BusCore;

/// The publisher of a batch that is admitted as a whole, and waits for its end. Not moved from `begin` on.
template <class Order>
struct BatchPublisher : BusWaiter {
  BusBatch* batch = nullptr;
  /// The caller's, moved from at the admission.
  std::span<Event> events;
  std::span<const typename Order::Rank> ranks;
  std::array<std::size_t, Order::classes> need{};
  /// Its places in the lines for room.
  std::array<typename BusCore<Order>::Publisher, Order::classes> places;
  TimeService::TimePoint now{};
  std::error_code error;
  std::exception_ptr exception;
  bool for_room = false;

  [[nodiscard]] typename Order::Rank rank(std::size_t index) const { return rank_of<Order>(events, ranks, index); }
};

template <class Order>
class BatchAdmission {
  using Core = BusCore<Order>;
  using Publisher = BatchPublisher<Order>;

 public:
  explicit BatchAdmission(Core& core) noexcept : core_(core) {}

  void measure(Publisher& p) const {
    p.need = {};
    for (std::size_t i = 0; i < p.events.size(); ++i) ++p.need[Order::class_of(p.rank(i))];
    for (std::size_t c = 0; c < Order::classes; ++c) {
      if (p.need[c] <= core_.classes_[c].capacity) continue;
      throw Error(Errc::invalid_argument, "a batch that is admitted as a whole has " + std::to_string(p.need[c]) +
                                              " events of a priority whose queue has room for " +
                                              std::to_string(core_.classes_[c].capacity) +
                                              ": make that larger, or publish them as independent events");
    }
  }
  [[nodiscard]] bool fits(const Publisher& p) const noexcept {
    for (std::size_t c = 0; c < Order::classes; ++c) {
      if (p.need[c] == 0 || drops(c)) continue;
      const auto& room = core_.classes_[c];
      if (room.stats.queued + p.need[c] > room.capacity) return false;
      if (room.publishers.first && room.publishers.first != &p.places[c]) return false;
    }
    return true;
  }
  void check_policies(const Publisher& p) const {
    for (std::size_t c = 0; c < Order::classes; ++c) {
      const bool full = core_.classes_[c].stats.queued + p.need[c] > core_.classes_[c].capacity;
      if (p.need[c] != 0 && full && policy(c) != Overflow::wait && !drops(c)) throw Error(Errc::queue_full);
    }
  }
  /// False: what is in the way cannot be dropped.
  bool make_room(const Publisher& p, BusAfter& after) noexcept {
    for (std::size_t c = 0; c < Order::classes; ++c) {
      while (p.need[c] != 0 && core_.classes_[c].stats.queued + p.need[c] > core_.classes_[c].capacity) {
        auto* const oldest = core_.oldest_of(c);
        if (!oldest) return false;
        core_.end_queued(*oldest, EventOutcome::dropped, after);
      }
    }
    return true;
  }

  /// All that can fail: after it, the events can be admitted. Strong guarantee.
  void resolve(Publisher& p, BusAfter& after) {
    std::size_t done = 0;
    try {
      std::size_t calls = 0;
      for (; done < p.events.size(); ++done) calls += resolve(p, done, after);
      if (p.batch->saga) p.batch->calls.reserve(calls);
      core_.queue_.reserve(HasRank<Order> ? Order::classes : p.events.size());
    } catch (...) {
      unresolve(p, done);
      throw;
    }
  }
  void unresolve(Publisher& p, std::size_t count) noexcept {
    for (std::size_t i = 0; i < count; ++i) {
      --p.batch->members[i].entry->events;
      if (const auto key = p.events[i].key(); !key.empty()) core_.leave_key(core_.keys_.find(key)->second);
      if (p.batch->members[i].entry->keeps) core_.last_values_.detach(p.events[i]);
    }
  }
  /// Its events become those of the bus. After `resolve`.
  void link(Publisher& p, TimeService::TimePoint now) noexcept {
    BusBatch& batch = *p.batch;
    for (std::size_t i = 0; i < batch.size; ++i) {
      BatchMember& member = batch.members[i];
      Event& event = p.events[i];
      const auto rank = p.rank(i);
      auto* const record =
          ::new (batch.take_block()) typename Core::Record(std::move(event), *member.entry, &member, rank);
      if (batch.saga) pin(member);
      core_.link(*record, Order::class_of(rank), now);
    }
  }

  void enter_lines(Publisher& p) noexcept {
    p.for_room = true;
    for (std::size_t c = 0; c < Order::classes; ++c) {
      p.places[c].batch = &p;
      if (p.need[c] != 0) core_.classes_[c].publishers.push(p.places[c]);
    }
  }
  void leave_lines(Publisher& p) noexcept {
    p.for_room = false;
    for (std::size_t c = 0; c < Order::classes; ++c) {
      if (p.need[c] != 0) core_.classes_[c].publishers.remove(p.places[c]);
    }
  }

 private:
  [[nodiscard]] Overflow policy(std::size_t c) const noexcept {
    const Overflow overflow = core_.classes_[c].overflow;
    return Order::precious(c) && overflow != Overflow::reject ? Overflow::wait : overflow;
  }
  /// Others lose their room to the batch.
  [[nodiscard]] bool drops(std::size_t c) const noexcept {
    return policy(c) == Overflow::drop_oldest || policy(c) == Overflow::latest;
  }

  /// Of one: how often a handler may be called for it.
  std::size_t resolve(Publisher& p, std::size_t index, BusAfter& after) {
    Event& event = p.events[index];
    TopicEntry* entry = index == 0 ? nullptr : p.batch->members[index - 1].entry;
    if (!entry || entry->text->view() != event.type()) entry = &core_.table_.entry(event.type(), after.handlers);
    const auto& handlers = entry->handlers->list;
    if (p.batch->saga) {
      const auto stuck = std::find_if(handlers.begin(), handlers.end(), [](const BusHandler* handler) {
        return !handler->has_compensator && !handler->gone.load(std::memory_order_relaxed);
      });
      if (stuck != handlers.end()) {
        throw Error(Errc::invalid_argument, "the topic \"" + std::string(event.type()) + "\" has a handler, for \"" +
                                                (*stuck)->pattern +
                                                "\", that cannot be undone: a saga needs weir::compensated handlers");
      }
    }
    if (entry->keeps) core_.last_values_.attach(event, *entry, p.rank(index));
    try {
      if (const auto key = event.key(); !key.empty()) core_.enter_key(key);
    } catch (...) {
      if (entry->keeps) core_.last_values_.detach(event);
      throw;
    }
    p.batch->members[index].entry = entry;
    // So that the table keeps it.
    ++entry->events;
    return handlers.size();
  }
  static void pin(BatchMember& member) noexcept {
    member.handlers = member.entry->handlers;
    ++member.handlers->running;
    for (BusHandler* const handler : member.handlers->list) ++handler->pins;
  }
  Core& core_;
};

}  // namespace weir::detail
