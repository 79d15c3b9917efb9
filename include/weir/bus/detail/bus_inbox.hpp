/// Where publishers leave plain events while the workers of a bus are at work anyway.
///
/// Protocol (tests/bus/bus_inbox_test.cpp and the explorations of the bus break when one of these is broken):
///  1. Everything is under `mutex_`, which is taken alone or under the lock of the bus, and held for some forty
///     instructions: nothing is allocated, told or looked up under it.
///  2. Only who has the lock of the bus opens and closes it and takes what is in it. While it is closed its numbers and
///     its topics are theirs alone.
///  3. It is open to a class of events only while one that comes needs nothing but a place in the queue: the room is
///     there and set aside for it, nobody waits for room, and no worker would have to be woken.
///  4. Who takes the lock of the bus closes it and queues what is in it before anything else. Only a worker that ends
///     its event leaves it open; it looks once more before it goes idle, and when it would leave what has come behind.
/// So what is in it has been admitted, in the order of its numbers, and nobody can tell that it is not queued yet.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include <weir/bus/detail/bus_blocks.hpp>
#include <weir/bus/detail/bus_order.hpp>
#include <weir/bus/detail/bus_record.hpp>
#include <weir/core/processor.hpp>
#include <weir/core/spin_mutex.hpp>
#include <weir/core/time_service.hpp>

namespace weir::detail {

template <class Order>
class BusInbox {
 public:
  BusInbox() = default;
  BusInbox(const BusInbox&) = delete;
  BusInbox& operator=(const BusInbox&) = delete;
  ~BusInbox() {
    while (stock_ != 0) ::operator delete(blocks_[--stock_]);
  }

  using Record = RankedRecord<Order>;
  using Rank = typename Order::Rank;
  /// What one class of events may put into it: nothing, or so much that `room` are queued with what is in it.
  struct Share {
    bool open = false;
    std::size_t room = 0;
  };
  using Shares = std::array<Share, Order::classes>;

  // Publishers, without the lock of the bus.

  /// Admits the event, which is moved from, as number `id`. False: it has to go the long way. O(1), allocates nothing.
  [[nodiscard]] bool put(EventDraft<Order>& draft, TimeService::TimePoint now, EventId& id) noexcept {
    if (!hint_.load(std::memory_order_relaxed) || draft.state || !draft.event->is_plain()) return false;
    const std::string_view topic = draft.topic.empty() ? draft.event->type() : draft.topic;
    const std::size_t c = Order::class_of(draft.rank);
    const std::size_t place = place_of(topic);
    const std::lock_guard lock(mutex_);
    // First: without room it may be closed, and the rest not ours to look at.
    if (room_[c] == 0 || count_ == size || stock_ == 0) return false;
    const auto [text, entry] = topics_[place];
    if (!text || text->view() != topic) return false;
    if (limit_ && typename Order::Before()(draft.rank, *limit_)) return false;
    --room_[c];
    ++inside_[c];
    auto* const record = ::new (take_block()) Record(std::move(*draft.event), *entry, nullptr, draft.rank);
    record->event.admit(id = ++last_id_, now, *text);
    records_[turn_][count_++] = record;
    return true;
  }

  // Under the lock of the bus.

  /// Opens it, or changes how far it is open; `limit`: more urgent ones have to go the long way. False: it has some of
  /// a class that is not open to it any more, and nothing was changed. `blocks`: where it takes its memory from.
  template <class Blocks>
  [[nodiscard]] bool open(const Shares& shares, const std::optional<Rank>& limit, Blocks& blocks) noexcept {
    const Supply supply(blocks, known_stock_);
    const std::lock_guard lock(mutex_);
    take_in(supply);
    for (std::size_t c = 0; c < Order::classes; ++c) {
      if (!shares[c].open && inside_[c] != 0) return false;
    }
    for (std::size_t c = 0; c < Order::classes; ++c) give_room(c, shares[c]);
    limit_ = limit;
    hint_.store(true, std::memory_order_relaxed);
    return true;
  }
  /// It is open, and two classes have more room, or are the same.
  template <class Blocks>
  void renew(std::size_t one, const Share& for_one, std::size_t other, const Share& for_other,
             const std::optional<Rank>& limit, Blocks& blocks) noexcept {
    const Supply supply(blocks, known_stock_);
    const std::lock_guard lock(mutex_);
    take_in(supply);
    give_room(one, for_one);
    give_room(other, for_other);
    limit_ = limit;
  }
  /// Takes what is in it, which is to be seen until the next time; it stays as it is.
  [[nodiscard]] std::span<Record* const> take() noexcept {
    const std::lock_guard lock(mutex_);
    return take_all();
  }
  [[nodiscard]] std::span<Record* const> close() noexcept {
    const std::lock_guard lock(mutex_);
    room_ = {};
    hint_.store(false, std::memory_order_relaxed);
    return take_all();
  }

  // While it is closed, under the lock of the bus.

  [[nodiscard]] EventId next_id() noexcept { return ++last_id_; }
  /// Events of this topic may go the short way, as long as its table has made so many changes.
  void remember(TopicEntry& entry, std::uint64_t changes) noexcept {
    check_topics(changes);
    topics_[place_of(entry.text->view())] = {entry.text.get(), &entry};
  }
  void check_topics(std::uint64_t changes) noexcept {
    if (std::exchange(changes_, changes) != changes) topics_ = {};
  }

 private:
  using Count = std::uint32_t;

  static constexpr std::size_t topics = 16;
  static constexpr std::size_t size = 256;
  /// So many are made when there are none: two kilobytes.
  static constexpr std::size_t few = 16;
  static constexpr std::size_t ahead = 2;

  /// Blocks for what comes next, got before the lock.
  struct Supply {
    template <class Blocks>
    Supply(Blocks& blocks, std::size_t known) noexcept {
      for (; known + count != size; ++count) {
        more[count] = known + count < few ? blocks.try_take() : blocks.take_kept();
        if (!more[count]) break;
      }
    }
    std::array<void*, size> more;
    std::size_t count = 0;
  };
  void take_in(const Supply& supply) noexcept {
    std::copy_n(supply.more.begin(), supply.count, blocks_.begin() + stock_);
    known_stock_ = stock_ += static_cast<Count>(supply.count);
  }
  void give_room(std::size_t c, const Share& share) noexcept {
    const auto room = static_cast<Count>(std::min<std::size_t>(share.room, size));
    room_[c] = room > inside_[c] ? room - inside_[c] : 0;
  }
  [[nodiscard]] void* take_block() noexcept {
    // Those of the next events: a worker has written them last.
    if (stock_ > ahead) {
      const auto* const next = static_cast<const std::byte*>(blocks_[stock_ - 1 - ahead]);
      prefetch_to_write(next);
      prefetch_to_write(next + 64);
      prefetch_to_write(next + sizeof(Record) - 1);
    }
    return blocks_[--stock_];
  }
  [[nodiscard]] std::span<Record* const> take_all() noexcept {
    inside_ = {};
    known_stock_ = stock_;
    return {records_[std::exchange(turn_, 1 - turn_)].data(), std::exchange(count_, 0)};
  }
  /// Where a topic is remembered: any of the same place throws it out.
  [[nodiscard]] static std::size_t place_of(std::string_view topic) noexcept {
    const auto at = [topic](std::size_t i) { return static_cast<std::size_t>(static_cast<unsigned char>(topic[i])); };
    if (topic.empty()) return 0;
    return (topic.size() + 31 * at(topic.size() - 1) + 7 * at(topic.size() / 2)) % topics;
  }

  // What changes with every event is in one line, and what publishers only read in others.
  alignas(64) SpinMutex mutex_;
  Count count_ = 0;
  Count turn_ = 0;
  Count stock_ = 0;
  std::array<Count, Order::classes> room_{};
  std::array<Count, Order::classes> inside_{};
  EventId last_id_ = 0;
  alignas(64) std::atomic<bool> hint_{false};
  std::optional<Rank> limit_;
  std::array<std::pair<const TopicText*, TopicEntry*>, topics> topics_{};
  std::uint64_t changes_ = 0;
  /// Under the lock of the bus: what was there when that last looked. Publishers only take from it.
  Count known_stock_ = 0;
  std::array<std::array<Record*, size>, 2> records_;
  std::array<void*, size> blocks_;
};

}  // namespace weir::detail
