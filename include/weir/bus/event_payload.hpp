/// `EventPayload`: what an event carries, of any type.
#pragma once

#include <cstddef>
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
  [[nodiscard]] const std::type_info& type() const noexcept { return kind_ ? *kind_->type : typeid(void); }

  /// Null unless the value is a `P`.
  template <class P>
  [[nodiscard]] const P* get_if() const noexcept {
    if (kind_ != &kind_of<P> && (!kind_ || *kind_->type != typeid(P))) return nullptr;
    if constexpr (fits<P>) {
      return std::launder(reinterpret_cast<const P*>(memory_));
    } else {
      return *std::launder(reinterpret_cast<P* const*>(memory_));
    }
  }
  template <class P>
  [[nodiscard]] P* get_if() noexcept {
    return const_cast<P*>(std::as_const(*this).template get_if<P>());
  }
  /// Throws `Error(Errc::wrong_payload)`, which names both types, unless the value is a `P`.
  template <class P>
  [[nodiscard]] const P& get() const {
    const P* const value = get_if<P>();
    if (!value) refuse(typeid(P));
    return *value;
  }

 private:
  static constexpr std::size_t size_ = 32;

  template <class P>
  static constexpr bool fits =
      sizeof(P) <= size_ && alignof(P) <= alignof(void*) && std::is_nothrow_move_constructible_v<P>;

  struct Kind {
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
                                         (kind_ ? kind_->type->name() : "nothing"));
  }

  void take(EventPayload& other) noexcept {
    if (!other.kind_) return;
    other.kind_->move(memory_, other.memory_);
    kind_ = std::exchange(other.kind_, nullptr);
  }

  alignas(void*) std::byte memory_[size_];
  const Kind* kind_ = nullptr;
};

}  // namespace weir
