/// `EventPayload`: what an event carries, of any type.
#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>

#include <weir/core/error.hpp>

namespace weir {

/// A value of any movable type, or none. Up to 32 bytes are kept in place if moving them cannot throw; what is larger
/// is allocated. Move-only. As thread-safe as an `int`.
class EventPayload {
 public:
  EventPayload() noexcept = default;
  template <class P>
    requires(!std::same_as<std::remove_cvref_t<P>, EventPayload>)
  explicit EventPayload(P&& value) : EventPayload(std::in_place_type<std::decay_t<P>>, static_cast<P&&>(value)) {}
  /// Builds the value in place.
  template <class P, class... Args>
  explicit EventPayload(std::in_place_type_t<P>, Args&&... args) {
    if constexpr (fits<P>) {
      ::new (static_cast<void*>(memory_)) P(static_cast<Args&&>(args)...);
    } else {
      ::new (static_cast<void*>(memory_)) P*(new P(static_cast<Args&&>(args)...));
    }
    kind_ = &kind_of<P>;
  }
  EventPayload(EventPayload&& other) noexcept { take(other); }
  EventPayload& operator=(EventPayload&& other) noexcept {
    if (this != &other) {
      reset();
      take(other);
    }
    return *this;
  }
  ~EventPayload() { reset(); }

  void reset() noexcept {
    if (const Kind* const kind = std::exchange(kind_, nullptr)) kind->destroy(memory_);
  }

  [[nodiscard]] bool has_value() const noexcept { return kind_ != nullptr; }
  /// `typeid(void)` for none.
  [[nodiscard]] const std::type_info& type() const noexcept {
    if (!kind_) return typeid(void);
    return kind_->type ? *kind_->type : inner().type();
  }

  /// Null unless the value is a `P`.
  template <class P>
  [[nodiscard]] const P* get_if() const noexcept {
    if (kind_ != &kind_of<P>) {
      if (!kind_) return nullptr;
      if (!kind_->type) return inner().template get_if<P>();
      if (*kind_->type != typeid(P)) return nullptr;
    }
    if constexpr (fits<P>) {
      return std::launder(reinterpret_cast<const P*>(memory_));
    } else {
      return *std::launder(reinterpret_cast<P* const*>(memory_));
    }
  }
  /// Also null for a value that others share, because it is the last of a topic: see `Bus::keep_last_values`.
  template <class P>
  [[nodiscard]] P* get_if() noexcept {
    if (kind_ && !kind_->type && !is_sole()) return nullptr;
    return const_cast<P*>(std::as_const(*this).template get_if<P>());
  }
  /// Throws `Error(Errc::wrong_payload)`, which names both types, unless the value is a `P`.
  template <class P>
  [[nodiscard]] const P& get() const {
    const P* const value = get_if<P>();
    if (!value) refuse(typeid(P));
    return *value;
  }

  /// For buses: another that shares the value, which nobody changes from now on. Allocates the first time.
  [[nodiscard]] EventPayload share();

 private:
  static constexpr std::size_t size_ = 32;

  template <class P>
  static constexpr bool fits =
      sizeof(P) <= size_ && alignof(P) <= alignof(void*) && std::is_nothrow_move_constructible_v<P>;

  struct Shared;
  struct Kind {
    /// Null: the value is in a block that others share.
    const std::type_info* type;
    void (*move)(std::byte* to, std::byte* from) noexcept;
    void (*destroy)(std::byte* memory) noexcept;
  };
  template <class P>
  static constexpr Kind kind_of{&typeid(P),
                                [](std::byte* to, std::byte* from) noexcept {
                                  if constexpr (fits<P>) {
                                    P* const value = std::launder(reinterpret_cast<P*>(from));
                                    ::new (static_cast<void*>(to)) P(std::move(*value));
                                    value->~P();
                                  } else {
                                    ::new (static_cast<void*>(to)) P*(*std::launder(reinterpret_cast<P**>(from)));
                                  }
                                },
                                [](std::byte* memory) noexcept {
                                  if constexpr (fits<P>) {
                                    std::launder(reinterpret_cast<P*>(memory))->~P();
                                  } else {
                                    delete *std::launder(reinterpret_cast<P**>(memory));
                                  }
                                }};

  [[noreturn]] void refuse(const std::type_info& asked) const {
    throw Error(Errc::wrong_payload, std::string("asked for ") + asked.name() + ", but the event carries " +
                                         (kind_ ? type().name() : "nothing"));
  }

  [[nodiscard]] Shared& shared() const noexcept { return **std::launder(reinterpret_cast<Shared* const*>(memory_)); }
  [[nodiscard]] const EventPayload& inner() const noexcept;
  [[nodiscard]] bool is_sole() const noexcept;
  void hold(Shared& block) noexcept;

  void take(EventPayload& other) noexcept {
    if (!other.kind_) return;
    other.kind_->move(memory_, other.memory_);
    kind_ = std::exchange(other.kind_, nullptr);
  }

  alignas(void*) std::byte memory_[size_];
  const Kind* kind_ = nullptr;
};

struct EventPayload::Shared {
  EventPayload value;
  std::atomic<std::uint32_t> refs{1};
};

inline const EventPayload& EventPayload::inner() const noexcept { return shared().value; }
inline bool EventPayload::is_sole() const noexcept { return shared().refs.load(std::memory_order_acquire) == 1; }
inline EventPayload EventPayload::share() {
  EventPayload other;
  if (!kind_) return other;
  if (kind_->type) {
    auto* const block = new Shared;
    block->value.take(*this);
    hold(*block);
  }
  shared().refs.fetch_add(1, std::memory_order_relaxed);
  other.hold(shared());
  return other;
}
inline void EventPayload::hold(Shared& block) noexcept {
  static constexpr Kind kind{nullptr,
                             [](std::byte* to, std::byte* from) noexcept {
                               ::new (static_cast<void*>(to)) Shared*(*std::launder(reinterpret_cast<Shared**>(from)));
                             },
                             [](std::byte* memory) noexcept {
                               Shared* const held = *std::launder(reinterpret_cast<Shared**>(memory));
                               if (held->refs.fetch_sub(1, std::memory_order_acq_rel) == 1) delete held;
                             }};
  ::new (static_cast<void*>(memory_)) Shared*(&block);
  kind_ = &kind;
}

}  // namespace weir
