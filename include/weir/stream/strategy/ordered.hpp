/// Several events at once, collected in the order in which they were emitted.
///
/// Protocol of `Reorder`:
///  1. Events get their positions from `tail_` by the worker that has the turn, in one go with taking them from the
///  channel: so
///     positions follow the channel's order, whatever workers do.
///  2. Each position is settled or skipped once, by the worker that took it. `head_` is the first that is neither.
///  3. tail_ - head_ <= slots: who has the turn waits for room. The event at `head_` is with a worker that needs
///  neither the turn nor
///     room to end it, so room appears.
///  4. Settling happens under the mutex, in the order of positions; it may collect, count and stop the stream.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
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

template <class D>
class Reorder final : public StreamTurn {
 public:
  using Outcome = typename D::outcome_type;

  explicit Reorder(std::size_t slots) : slots_(slots) {}

  /// With the turn, after `RoomOperation`: how many positions are free.
  [[nodiscard]] std::size_t room() noexcept {
    const std::lock_guard lock(mutex());
    return slots_.size() - static_cast<std::size_t>(tail_ - head_);
  }
  /// With the turn: gives out `n` positions, which are free.
  [[nodiscard]] std::uint64_t take(std::size_t n) noexcept {
    const std::lock_guard lock(mutex());
    return std::exchange(tail_, tail_ + n);
  }

  void settle(D& drain, std::uint64_t position, Outcome&& outcome) noexcept {
    WakeList wakes;
    const std::lock_guard lock(mutex());
    slot(position).outcome.emplace(std::move(outcome));
    advance(drain, wakes);
  }
  void skip(D& drain, std::uint64_t position) noexcept {
    WakeList wakes;
    const std::lock_guard lock(mutex());
    slot(position).skipped = true;
    advance(drain, wakes);
  }

 private:
  struct Slot {
    std::optional<Outcome> outcome;
    bool skipped = false;
  };

  [[nodiscard]] bool has_room() const noexcept override { return tail_ - head_ < slots_.size(); }
  [[nodiscard]] Slot& slot(std::uint64_t position) noexcept { return slots_[position % slots_.size()]; }

  void advance(D& drain, WakeList& wakes) noexcept {
    for (; head_ != tail_; ++head_) {
      Slot& first = slot(head_);
      if (first.outcome) {
        drain.settle_later(std::move(*first.outcome));
        first.outcome.reset();
      } else if (!first.skipped) {
        break;
      }
      first.skipped = false;
    }
    drain.flush();
    if (has_room()) room_appeared(wakes);
  }

  std::vector<Slot> slots_;
  std::uint64_t head_ = 0;
  std::uint64_t tail_ = 0;
};

}  // namespace detail

/// The strategy of `parallel(n).ordered()`: as `parallel(n)`, but results are collected in the order in which their
/// events were emitted. What is done before its turn is kept, at most `window()` results: an event that takes long
/// holds up the others then.
class Ordered {
 public:
  explicit Ordered(std::size_t workers, RateLimit limit = {}) : workers_(workers), limit_(std::move(limit)) {
    if (workers == 0) throw Error(Errc::invalid_argument, "parallel(0): a stream needs at least 1 worker");
  }

  [[nodiscard]] std::size_t concurrency() const noexcept { return workers_; }
  /// For pictures of the stream.
  [[nodiscard]] std::string describe() const {
    return fmt::format("parallel({}){}.ordered()", workers_, limit_.describe());
  }
  [[nodiscard]] std::size_t window() const noexcept { return std::max<std::size_t>(16 * workers_, 64); }

  template <class D>
  Task<> operator()(D& drain) const {
    auto reorder = std::make_shared<detail::Reorder<D>>(window());
    Home& home = co_await this_task::home();
    const auto limit = limit_.bucket(home);
    for (std::size_t i = 1; i < workers_; ++i) {
      drain.start_worker([reorder, limit](D& own) { return work(own, reorder, limit); });
    }
    auto own = work(drain, reorder, limit);
    co_await std::move(own);
  }

 private:
  template <class D>
  static Task<> work(D& drain, std::shared_ptr<detail::Reorder<D>> reorder, std::optional<TokenBucket> limit) {
    for (;;) {
      auto turn = co_await detail::StreamTurn::TakeOperation(*reorder);
      co_await detail::StreamTurn::RoomOperation(*reorder);
      if (!co_await drain.fetch(reorder->room())) break;
      const std::size_t taken = drain.fetched();
      std::uint64_t position = reorder->take(taken);
      const std::uint64_t end = position + taken;
      turn.pass();
      while (auto* const event = drain.next()) {
        const bool admitted = co_await detail::admit(drain, *event, limit);
        if (!admitted) {
          reorder->skip(drain, position++);
          continue;
        }
        auto outcome = co_await drain.call(*event);
        reorder->settle(drain, position++, std::move(outcome));
      }
      while (position != end) reorder->skip(drain, position++);
    }
  }

  std::size_t workers_;
  RateLimit limit_;
};

}  // namespace weir
