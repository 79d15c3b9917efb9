/// `Permit<T>`: room in a channel, held for a value that comes later.
#pragma once

#include <memory>
#include <new>
#include <utility>

#include <weir/channel/detail/core.hpp>
#include <weir/channel/detail/sync.hpp>

namespace weir {

/// Room for one value, got by `co_await tx.reserve()`: using it never waits, so whatever is done between, such as
/// reading from a socket, can be cancelled without a value in hand. Move-only. Destroying it, or `release()`, gives the
/// room back.
///
/// It stays good when the channel is closed: receivers see the end only after the permits that were out are used or
/// given back, so don't keep one for ever. The channel counts it against its capacity, and no overflow policy takes it
/// away. One thread at a time; it is no handle: it does not keep the channel open.
template <class T, class Sync = detail::SharedSync>
class [[nodiscard("a permit that is dropped gives its room back")]] Permit {
 public:
  Permit() noexcept = default;
  Permit(Permit&& other) noexcept = default;
  Permit& operator=(Permit&& other) noexcept {
    if (this != &other) {
      release();
      core_ = std::move(other.core_);
    }
    return *this;
  }
  ~Permit() { release(); }

  /// Puts the value into the room. Never waits; wakes a receiver that does. Throws `Error(Errc::channel_closed)` when
  /// no receiver is left, with `value` untouched, and `Error(Errc::empty_handle)` when the permit was used before.
  /// Allocates nothing (the channel's first value: its ring). O(1).
  void send(T&& value) { emplace(std::move(value)); }
  void send(const T& value)
    requires std::copy_constructible<T>
  {
    emplace(value);
  }
  /// The same, built in place.
  template <class... Args>
    requires std::constructible_from<T, Args...>
  void emplace(Args&&... args) {
    if (!core_) throw Error(Errc::empty_handle, "this permit was used, released, or moved from");
    const bool sent = core_->send_reserved([&](void* slot) { ::new (slot) T(static_cast<Args&&>(args)...); });
    if (!sent) throw Error(Errc::channel_closed);
    core_ = {};
  }

  /// Gives the room back; again is nothing.
  void release() noexcept {
    if (!core_) return;
    core_->release_permit();
    core_ = {};
  }

  /// True while the room is held.
  [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(core_); }

  /// Takes over room that was counted: for the channel.
  explicit Permit(detail::CoreRef<detail::ChannelCore<T, Sync>> core) noexcept : core_(std::move(core)) {}

 private:
  detail::CoreRef<detail::ChannelCore<T, Sync>> core_;
};

}  // namespace weir
