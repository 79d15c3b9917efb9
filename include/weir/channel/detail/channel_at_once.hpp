/// What a channel's handles do at once, without its lock: sides.hpp has the protocol.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include <weir/channel/detail/channel_delivery.hpp>
#include <weir/channel/detail/sides.hpp>
#include <weir/channel/detail/waiter.hpp>
#include <weir/core/always_inline.hpp>

namespace weir::detail {

template <class T, class Sync>
class ChannelAtOnce : public ChannelDelivery<T, Sync> {
  using Delivery = ChannelDelivery<T, Sync>;
  using Side = typename Sides<T, Sync>::Side;
  using Hold = typename Sides<T, Sync>::Hold;

 public:
  /// Without the lock, by a handle of the side: `done`, or `full`; `idle`: ask with the lock.
  template <class Construct>
  WEIR_ALWAYS_INLINE WaitState send_at_once(Construct&& construct) {
    const Hold hold(sides_, Side::put);
    if (!hold) return WaitState::idle;
    if (!hold->has_room()) return WaitState::full;
    hold->put([&construct](void* slot) {
      construct(slot);
      return true;
    });
    return WaitState::done;
  }
  /// The same for values that `fill` builds in up to `max` slots (see `Ring::put_some`): gives their number, or 0.
  template <class Fill>
  std::size_t send_some_at_once(std::size_t max, Fill&& fill) {
    const Hold hold(sides_, Side::put);
    return hold ? hold->put_some(max, fill) : 0;
  }

  /// A look at the oldest value, by a receiver's handle and without the lock: null: ask with it. Otherwise the take
  /// side is held until `took_front` or `kept_front`, which must follow without a pause. On one thread it is enough
  /// that there is one: `took_front` serves who waits for its room.
  WEIR_ALWAYS_INLINE T* front_at_once() noexcept {
    if constexpr (Sync::concurrent) {
      Hold hold(sides_, Side::take);
      if (!hold || !hold->has_value()) return nullptr;
      T* const front = std::addressof(hold->front());
      hold.keep();
      return front;
    } else {
      Ring<T, Sync>* const ring = sides_.ring();
      return ring && ring->has_value() ? std::addressof(ring->front()) : nullptr;
    }
  }
  /// `by`: the home of the coroutine that took it, if one did.
  WEIR_ALWAYS_INLINE void took_front(Home* by) noexcept {
    Ring<T, Sync>* const ring = sides_.ring();
    ring->pop();
    if constexpr (Sync::concurrent) {
      Hold::let_go(ring->take_lane());
    } else if (!senders_waiting_.empty()) [[unlikely]] {
      admit_senders(by);
    }
  }
  void kept_front() noexcept { Hold::let_go(sides_.ring()->take_lane()); }

  /// Up to `max` values for `use` (see `Ring::take_some`), without the lock: gives their number, or 0.
  template <class Use>
  std::size_t receive_some_at_once(std::size_t max, Use&& use) {
    const Hold hold(sides_, Side::take);
    return hold ? hold->take_some(max, use) : 0;
  }

  /// Counts an operation of a handle: false when its coroutine has had its turn. Where nobody else could work on the
  /// side instead, that comes later.
  [[nodiscard]] WEIR_ALWAYS_INLINE bool spend_sending(Home& home) const noexcept {
    return home.spend() || (sides_.senders <= 1 && home.renew());
  }
  [[nodiscard]] WEIR_ALWAYS_INLINE bool spend_receiving(Home& home) const noexcept {
    return home.spend() || (sides_.receivers <= 1 && home.renew());
  }

  [[nodiscard]] bool linger_for_room(std::uint32_t pauses) noexcept { return sides_.linger_for_room(pauses); }
  [[nodiscard]] bool linger_for_value(std::uint32_t pauses) noexcept { return sides_.linger_for_value(pauses); }

 protected:
  using Wakes = typename Delivery::Wakes;
  using Section = typename Delivery::Section;

  using Delivery::Delivery;
  using Delivery::pump;
  using Delivery::senders_waiting_;
  using Delivery::sides_;

 private:
  [[gnu::noinline]] void admit_senders(Home* by) noexcept {
    Wakes wake(by);
    const Section section(*this);
    pump(wake);
  }
};

}  // namespace weir::detail
