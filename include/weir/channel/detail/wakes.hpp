/// How a channel wakes those that waited, and how an operation says whether it waits.
#pragma once

#include <exception>
#include <type_traits>

#include <weir/channel/detail/waiter.hpp>
#include <weir/core/home.hpp>
#include <weir/core/wake_list.hpp>

namespace weir::detail {

/// On one thread there is no lock that a post would have to wait for: each is told at once.
class DirectWakes {
 public:
  /// `by` runs the waking operation, if it is not null.
  explicit DirectWakes(Home* by) noexcept : by_(by) {}
  DirectWakes(const DirectWakes&) = delete;
  DirectWakes& operator=(const DirectWakes&) = delete;

  void add(Home& home, Resumable& r) noexcept {
    if (by_ && by_->resume_along(home, r)) return;
    home.resume_later(r);
  }
  void add(WakeList::Deferred& d) noexcept { d.fire(d); }

 private:
  Home* by_;
};

template <class Sync>
using ChannelWakes = std::conditional_t<Sync::concurrent, WakeList, DirectWakes>;

// What an operation of the core is asked with (`Asks`): who asks, whether it would wait, as which waiter, and whether
// it may be served (see `Choice`).

/// By a waiter that is there, or (null) by one that does not wait.
template <class W>
struct Known {
  W* known;

  [[nodiscard]] Home* home() const noexcept { return known ? known->home() : nullptr; }
  [[nodiscard]] bool waits() const noexcept { return known != nullptr; }
  [[nodiscard]] W& waiter() const noexcept { return *known; }
  [[nodiscard]] bool claim() const noexcept { return !known || known->claim(); }
};
template <class W>
Known(W*) -> Known<W>;
/// By one that does not wait. `by`: the home that runs it, if one does.
struct AtOnce {
  Home* by = nullptr;

  [[nodiscard]] Home* home() const noexcept { return by; }
  [[nodiscard]] static bool waits() noexcept { return false; }
  /// Not called by who asked `waits`.
  [[noreturn]] static Waiter& waiter() noexcept { std::terminate(); }
  [[nodiscard]] static bool claim() noexcept { return true; }
};
/// By a coroutine, whose waiter `make()` builds when it has to wait.
template <class Make>
struct Lazily {
  Home* by;
  Make make;

  [[nodiscard]] Home* home() const noexcept { return by; }
  [[nodiscard]] static bool waits() noexcept { return true; }
  [[nodiscard]] auto& waiter() const noexcept { return make(); }
  [[nodiscard]] static bool claim() noexcept { return true; }
};
template <class Make>
Lazily(Home*, Make) -> Lazily<Make>;

}  // namespace weir::detail
