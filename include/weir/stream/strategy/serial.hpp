/// One event after another.
#pragma once

#include <cstddef>
#include <string>

#include <weir/core/task.hpp>
#include <weir/stream/strategy/strategy.hpp>

namespace weir {

/// The strategy that calls the receiver for one event at a time, in the order in which they were emitted. The default.
class Serial {
 public:
  [[nodiscard]] std::size_t concurrency() const noexcept { return 1; }
  /// For pictures of the stream.
  [[nodiscard]] std::string describe() const { return "serial"; }

  template <class D>
  Task<> operator()(D& drain) const {
    if constexpr (D::plain) {
      // Not as the loop's condition, for GCC 12 (docs/traps.md).
      for (;;) {
        const bool more = co_await drain.fetch();
        if (!more) co_return;
        co_await drain.process_run();
      }
    } else {
      while (co_await drain.fetch()) {
        while (auto* const event = drain.next()) co_await drain.process(*event);
      }
    }
  }
};

[[nodiscard]] inline Serial serial() noexcept { return {}; }

static_assert(Strategy<Serial>);

}  // namespace weir
